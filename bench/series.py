"""The series of the comparison: data that ships with statsmodels, and the simulated platform.

Shapes: n series, T columns, H steps ahead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from bench.questions import Block, Float
from detector.catalogue.load import load_catalogue
from detector.simulate import Platform, Scenario

DAY, WEEK, YEAR = 86400, 604800, 31557600
MONDAY = 1_790_000_000 // WEEK * WEEK + 4 * DAY  # any whole week serves
STEP, PAST, AHEAD = 300, 14 * 288, 288  # of the simulator: 14 days of 5 minutes, a day ahead
PER_QUERY = 1  # series of each simulated query: the one in trouble, where there is one
EDGE = 0.02  # a threshold is what this share of the newest points lies beyond


@dataclass(frozen=True)
class Panel:
    """``values [n, T]`` of one data set, from which origins are taken; ``past`` and ``ahead`` in columns.

    ``objective [n]``: a threshold from outside with its direction ``breach_above [n]``; NaN: none.
    """

    name: str
    about: str
    values: Float
    start: int
    step: int
    season: int
    past: int
    ahead: int
    origins: int
    run: int = 1
    objective: Float | None = None
    breach_above: Float | None = None

    def blocks(self) -> Iterator[Block]:
        """A block for each origin, the last first; origins are ``ahead`` columns apart."""
        T = self.values.shape[1]
        for k in range(self.origins):
            origin = T - (k + 1) * self.ahead
            if origin < self.past:
                raise ValueError(f"{self.name}: expected {self.past} columns before origin {k}, got {origin}")
            past = self.values[:, origin - self.past : origin]
            threshold, above = self._thresholds(past)
            start = self.start + (origin - self.past) * self.step
            yield Block(
                self.name, past, start, self.step, self.season, self.ahead, threshold, above, self.run,
                self.values[:, origin : origin + self.ahead],
            )  # fmt: skip

    def _thresholds(self, past: Float) -> tuple[Float, np.ndarray]:
        """The 98 % and 2 % quantiles of the last 7 days (of all, where there are none), and an objective nearby."""
        recent = past[:, -max(WEEK // self.step, 0) :] if self.step * 48 < WEEK else past
        high, low = np.nanquantile(recent, 1 - EDGE, axis=1), np.nanquantile(recent, EDGE, axis=1)
        columns, above = [high, low], [np.ones(len(past), bool), np.zeros(len(past), bool)]
        if self.objective is not None and self.breach_above is not None:
            room = np.nanmax(recent, axis=1) - np.nanmin(recent, axis=1)
            near = np.abs(self.objective - past[:, -1]) <= room  # as far away as the last week was wide
            columns.append(np.where(near, self.objective, np.nan))
            above.append(self.breach_above > 0)
        return np.stack(columns, axis=1), np.stack(above, axis=1)


def packaged() -> list[Panel]:
    """Series that come with statsmodels."""
    from statsmodels.datasets import co2, elnino, macrodata, nile, sunspots

    weekly = co2.load_pandas().data["co2"].to_numpy(float)[None]
    monthly = elnino.load_pandas().data.iloc[:, 1:].to_numpy(float).reshape(1, -1)
    spots = sunspots.load_pandas().data["SUNACTIVITY"].to_numpy(float)[None]
    river = nile.load_pandas().data["volume"].to_numpy(float)[None]
    quarters = macrodata.load_pandas().data[["realgdp", "realcons", "cpi", "unemp", "tbilrate", "infl"]]
    economy = quarters.to_numpy(float).T
    month, quarter = YEAR // 12, YEAR // 4
    return [
        Panel("co2", "CO₂ over Mauna Loa, weekly 1958–2001, gaps, a year ahead", weekly, _year(1958), WEEK, 52, 520,
              52, 12),
        Panel("elnino", "sea surface temperature, monthly 1950–2010, a year ahead", monthly, _year(1950), month, 12,
              360, 12, 16),
        Panel("sunspots", "sunspot numbers, yearly 1700–2008, 11 years ahead", spots, _year(1700), YEAR, 11, 150, 11,
              12),
        Panel("macrodata", "US economy (GDP, consumption, prices, unemployment, interest, inflation), quarterly "
              "1959–2009, two years ahead", economy, _year(1959), quarter, 4, 100, 8, 10),
        Panel("nile", "yearly flow of the Nile 1871–1970, 5 years ahead", river, _year(1871), YEAR, 1, 60, 5, 6),
    ]  # fmt: skip


def simulated(origins: int, seed: int = 11) -> list[Panel]:
    """Metrics of the simulated platform that have an objective: a healthy one, and one where things go wrong."""
    days = 14 + origins
    end = MONDAY + days * DAY
    rng = np.random.default_rng(seed)
    kinds = ("accuracy-slide", "memory-leak", "disk-fill", "cpu-growth", "queue-backlog")
    trouble = [
        Scenario(kind, int(end - rng.uniform(0.5, origins) * DAY) // 60 * 60, float(rng.uniform(0.35, 1.0)))
        for kind in kinds
    ]
    what = "10 metrics of the simulated platform with an objective, every 5 minutes, a day ahead; "
    return [
        _platform("healthy", what + "nothing is wrong", Platform(seed), days, origins),
        _platform("trouble", what + "slides, leaks and growth begin", Platform(seed + 1, trouble), days, origins),
    ]


QUERIES = (
    "ml_ensemble_accuracy", "ml_prediction_duration", "ml_memory_usage", "data_quality_score",
    "data_fetch_success_rate", "scheduler_queue_length", "node_cpu_usage", "node_disk_usage",
    "postgresql_connections", "redis_memory_usage",
)  # fmt: skip


def _platform(name: str, about: str, platform: Platform, days: int, origins: int) -> Panel:
    catalogue = load_catalogue("day_trade")
    values, objective, above = [], [], []
    for query in (catalogue.queries[q] for q in QUERIES):
        end = MONDAY + days * DAY
        frame = platform.query(query.name, end - days * DAY + STEP, end, STEP)
        rows = [i for i, v in enumerate(frame.values) if np.nanstd(v) > 0]
        touched = {tuple(sorted(dict(t.labels).items())) for t in platform.truth() if t.query == query.name}
        rows.sort(key=lambda i: tuple(sorted(dict(frame.labels[i]).items())) not in touched)
        for i in rows[:PER_QUERY]:
            values.append(frame.values[i])
            objective.append(np.nan if query.threshold is None else query.threshold)
            above.append(float(query.breach_above))
    panel = Panel(name, about, np.stack(values), MONDAY + STEP, STEP, 288, PAST, AHEAD, origins, 3)
    return replace(panel, objective=np.array(objective), breach_above=np.array(above))


def panels(quick: bool = False) -> list[Panel]:
    """Everything, or a few origins and series of it."""
    if not quick:
        return [*packaged(), *simulated(origins=3)]
    few = [replace(p, origins=2) for p in packaged()]
    return few + [
        replace(p, values=p.values[::3], objective=_every(p.objective, 3), breach_above=_every(p.breach_above, 3))
        for p in simulated(origins=1)
    ]


def _every(values: Float | None, k: int) -> Float | None:
    return None if values is None else values[::k]


def _year(year: int) -> int:
    """Unix seconds at which a year begins, nearly."""
    return (year - 1970) * YEAR
