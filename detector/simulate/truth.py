"""What really happens: breaches, anomalies and absences, found in the noisy values themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.simulate.metrics import METRICS
from detector.simulate.scenarios import ABSENCES, RECOVERY_MINUTES, REPAIRED_BY_RETRAIN, Scenario, displacement
from detector.stretches import stretches

if TYPE_CHECKING:
    from detector.catalogue.schema import Catalogue, Query
    from detector.simulate.platform import Platform
    from detector.simulate.processes import Ints
    from detector.simulate.series import Series

ANOMALY_SIGMAS = 3.0
"""A series is anomalous while a scenario holds it at least so far from its healthy course."""
_DAY_SECONDS = 86400

Interval = tuple[float, float | None]
"""[start, end) in unix seconds; end None: it lasted to the end of the window that was searched."""


@dataclass(frozen=True)
class Truth:
    """The truth about one series of one query under one scenario. Times in unix seconds.

    `breach_at` is the first of the `run` consecutive points of the query's own grid, at or after the
    scenario's start, that lie strictly beyond the objective; None: it did not happen before
    `searched_until`.
    """

    query: str
    labels: Mapping[str, str]
    kind: str
    severity: float
    start: float
    threshold: float | None
    searched_until: float
    breach_at: float | None = None
    recovered_at: float | None = None
    anomalies: list[Interval] = field(default_factory=list)
    absent: list[Interval] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {
            "query": self.query,
            "labels": dict(self.labels),
            "kind": self.kind,
            "severity": self.severity,
            "start": self.start,
            "threshold": self.threshold,
            "breach_at": self.breach_at,
            "recovered_at": self.recovered_at,
            "anomalies": [list(one) for one in self.anomalies],
            "absent": [list(one) for one in self.absent],
            "searched_until": self.searched_until,
        }


def find_truth(platform: Platform, catalogue: Catalogue, within: float, until: float | None) -> list[Truth]:
    """The truth of every scenario and series it hits, up to `until` or `within` seconds past its start."""
    found: list[Truth] = []
    for scenario in platform.scenarios:
        end = scenario.start + within if until is None else until
        for name in METRICS:
            query = catalogue.queries.get(name)
            hit = [one for one in platform.series(name) if scenario.hits(one)]
            if query is None or not hit:
                continue
            breaches = _first_breaches(platform, query, scenario.start, end, [one.index for one in hit])
            labels = platform.query(name, end, end, query.step).labels
            found += [
                _one_truth(platform, scenario, query, one, labels[one.index], breaches.get(one.index), end)
                for one in hit
            ]
    return found


def _one_truth(
    platform: Platform, scenario: Scenario, query: Query, series: Series,
    labels: Mapping[str, str], breach_at: float | None, end: float,
) -> Truth:  # fmt: skip
    minutes = np.arange(scenario.start_minute, int(end // 60) + 1, dtype=np.int64)
    moved = np.abs(displacement(scenario, series, minutes)) >= ANOMALY_SIGMAS * series.sigma
    if scenario.kind in REPAIRED_BY_RETRAIN:
        moved &= np.abs(platform.displaced(series, minutes)) >= ANOMALY_SIGMAS * series.sigma
    recovers = scenario.kind == "retrain"
    recovery = RECOVERY_MINUTES * 60 / scenario.severity
    return Truth(
        query=query.name,
        labels=labels,
        kind=scenario.kind,
        severity=scenario.severity,
        start=scenario.start,
        threshold=query.threshold,
        searched_until=end,
        breach_at=breach_at,
        recovered_at=scenario.start + recovery if recovers else None,
        anomalies=_intervals(moved, minutes),
        absent=_intervals(platform.absent(query.name, minutes)[series.index], minutes)
        if scenario.kind in ABSENCES
        else [],
    )


def _first_breaches(platform: Platform, query: Query, start: float, end: float, rows: list[int]) -> dict[int, float]:
    """For each row the time of the first of `run` points in a row beyond the threshold; a day at a time."""
    found: dict[int, float] = {}
    if query.threshold is None:
        return found
    run, step = query.breach.run, query.step
    left = int(-(-start // step) * step)
    while left <= end and len(found) < len(rows):
        right = min(left + _DAY_SECONDS + (run - 1) * step, int(end))
        values = platform.query(query.name, left, right, step).values
        beyond = values > query.threshold if query.breach_above else values < query.threshold
        for row in rows:
            first = first_run(beyond[row], run)
            if row not in found and first is not None:
                found[row] = float(left + first * step)
        left += -(-_DAY_SECONDS // step) * step
    return found


def first_run(flags: np.ndarray[Any, np.dtype[np.bool_]], run: int) -> int | None:
    """Index of the first of `run` consecutive true flags.

    >>> first_run(np.array([True, False, True, True]), 2)
    2
    """
    if flags.size < run:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(flags, run).all(axis=1)
    return int(windows.argmax()) if windows.any() else None


def _intervals(flags: np.ndarray[Any, np.dtype[np.bool_]], minutes: Ints) -> list[Interval]:
    spans = stretches(flags)
    return [(float(minutes[a] * 60), float(minutes[b] * 60) if b < minutes.size else None) for a, b in spans]
