"""The simulated platform: every query of the built-in catalogue as a deterministic function of seed and time.

Shapes: n series, T columns. Values exist once a minute; between two minutes a value holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from detector.frame import SeriesFrame
from detector.simulate.metrics import CONNECTIONS_MAX, METRICS, WINDOW_MINUTES
from detector.simulate.processes import Floats, Ints, Noise, window_sd
from detector.simulate.scenarios import ABSENCES, OF_NO_QUERY, Scenario, displacement, remaining_damage
from detector.simulate.series import Series, build_series

if TYPE_CHECKING:
    from detector.catalogue.schema import Catalogue
    from detector.simulate.truth import Truth

Clock = Literal["sessions", "around_the_clock"]


@lru_cache(maxsize=1)
def _built_in_catalogue() -> Catalogue:
    from detector.catalogue.load import load_catalogue

    return load_catalogue("day_trade")


class Platform:
    """A day-trading platform with a past, a present and a future.

    Any window of any query can be computed, and always with the same numbers, whatever was asked before:
    live exposition, backfilled blocks and replays without a server agree.

    Parameters
    ----------
    seed
        All randomness follows from it.
    scenarios
        What goes wrong; none is a healthy platform.
    clock
        `sessions` trades 9:00-11:30 and 12:30-15:30 Asia/Tokyo on weekdays; `around_the_clock` gives the
        ml_ and data_ groups a smooth day like the others'.
    catalogue
        Where the objectives stand, by default the built-in `day_trade`.

    >>> platform = Platform(seed=1)
    >>> frame = platform.query("node_cpu_usage", 1_700_000_040, 1_700_003_640, 60)
    >>> frame.n, frame.T
    (8, 61)
    """

    def __init__(
        self,
        seed: int = 0,
        scenarios: Iterable[Scenario] = (),
        clock: Clock = "sessions",
        catalogue: Catalogue | None = None,
    ) -> None:
        if clock not in ("sessions", "around_the_clock"):
            raise ValueError(f"clock must be sessions or around_the_clock, got {clock!r}")
        self.seed = seed
        self.scenarios = tuple(scenarios)
        self.clock = clock
        self.catalogue = catalogue if catalogue is not None else _built_in_catalogue()
        self._series: dict[str, tuple[Series, ...]] = {}
        self._noise: dict[str, Noise] = {}
        self._check_targets()

    @property
    def queries(self) -> tuple[str, ...]:
        """Every query the platform can answer."""
        return tuple(METRICS)

    def series(self, query_name: str) -> tuple[Series, ...]:
        """The series of a query with their parameters. Raises KeyError for an unknown query."""
        if query_name not in self._series:
            query = self.catalogue.queries.get(query_name)
            around = self.clock == "around_the_clock"
            self._series[query_name] = build_series(query_name, query, self.seed, around)
        return self._series[query_name]

    def query(self, query_name: str, start: float, end: float, step: int) -> SeriesFrame:
        """What Prometheus returns for a query of the catalogue at start, start + step, ... <= end.

        Times in unix seconds. NaN where a scenario makes the series vanish.

        Raises:
        ------
        KeyError
            Unknown query.
        ValueError
            An empty window or a step that is not positive.
        """
        self.series(query_name)
        times = _grid(start, end, step)
        minutes = times // 60
        values = self.observed(query_name, minutes)
        values[self.absent(query_name, minutes)] = np.nan
        labels = tuple(s.labels for s in self.series(query_name))
        if METRICS[query_name].kind == "quantile":
            labels = tuple({k: v for k, v in one.items() if k != "job"} for one in labels)
        return SeriesFrame(values=values, labels=labels, start=int(times[0]), step=int(step))

    def values(self, metric: str, start: float, end: float, step: int) -> SeriesFrame:
        """Raw samples of an exposed metric, for example `ml_prediction_duration_bucket`.

        Raises:
        ------
        KeyError
            The platform exposes no such metric.
        """
        from detector.simulate.exposed import raw_samples

        times = _grid(start, end, step)
        values, labels = raw_samples(self, metric, times)
        return SeriesFrame(values=values, labels=labels, start=int(times[0]), step=int(step))

    def truth(
        self, catalogue: Catalogue | None = None, within: float = 14 * 86400.0, until: float | None = None
    ) -> list[Truth]:
        """What really happens to every series a scenario touches, looking `within` seconds past its start."""
        from detector.simulate.truth import find_truth

        return find_truth(self, catalogue if catalogue is not None else self.catalogue, within, until)

    def process(self, query_name: str, minutes: Ints) -> Floats:
        """Values [n, T] of the process behind a query at sorted minutes, before window and rounding."""
        metric = METRICS[query_name]
        noise = self._noise_of(query_name).at(minutes)
        scale = metric.sigma / (window_sd(metric.phi, WINDOW_MINUTES) if metric.windowed else 1.0)
        noise *= scale
        for row, series in zip(noise, self.series(query_name), strict=True):
            row += series.healthy(minutes)
            row += self.displaced(series, minutes)
        return np.clip(noise, *metric.bounds, out=noise)

    def displaced(self, series: Series, minutes: Ints) -> Floats:
        """The sum of what all scenarios do to a series."""
        total = np.zeros(minutes.shape)
        retrains = [s for s in self.scenarios if s.kind == "retrain" and s.hits(series)]
        for scenario in self.scenarios:
            if scenario.hits(series):
                total += displacement(scenario, series, minutes) * remaining_damage(scenario, retrains, minutes)
        return total

    def observed(self, query_name: str, minutes: Ints) -> Floats:
        """Values [n, T] as the catalogue's expression shows them, absence aside."""
        metric = METRICS[query_name]
        if metric.windowed:
            from detector.simulate.exposed import read_window

            return read_window(self, query_name, minutes)
        values = self.process(query_name, minutes)
        if metric.kind == "share":
            return np.asarray(np.rint(values * (CONNECTIONS_MAX / 100.0)) * (100.0 / CONNECTIONS_MAX))
        return np.rint(values, out=values) if metric.whole else values

    def absent(self, query_name: str, minutes: Ints) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Where [n, T] a series has vanished."""
        series = self.series(query_name)
        gone = np.zeros((len(series), minutes.size), dtype=bool)
        for scenario in self.scenarios:
            if scenario.kind not in ABSENCES:
                continue
            inside = scenario.lasts_at(minutes)
            for row, one in enumerate(series):
                if scenario.hits(one):
                    gone[row] |= inside
        return gone

    def _noise_of(self, query_name: str) -> Noise:
        if query_name not in self._noise:
            metric = METRICS[query_name]
            n = len(self.series(query_name))
            self._noise[query_name] = Noise(self.seed, query_name, n, metric.phi)
        return self._noise[query_name]

    def _check_targets(self) -> None:
        for scenario in self.scenarios:
            hit = any(scenario.hits(one) for name in self.queries for one in self.series(name))
            if scenario.kind not in ("healthy", *OF_NO_QUERY) and not hit:
                raise ValueError(f"scenario {scenario.kind} finds no series with {dict(scenario.target or {})}")


def _grid(start: float, end: float, step: int) -> Ints:
    if step <= 0 or end < start:
        raise ValueError(f"expected start <= end and step > 0, got start {start}, end {end}, step {step}")
    return np.arange(int(start), int(end) + 1, int(step), dtype=np.int64)
