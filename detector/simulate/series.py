"""One simulated series with every number resolved: its level, noise, season and bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detector.catalogue.schema import Query
from detector.simulate.fleet import LABELS, Labels
from detector.simulate.metrics import HEALTHY_MARGIN, METRICS, Metric
from detector.simulate.processes import WEEK, Floats, Ints, seeded, week_profile

_SWING_SPREAD = 0.1
_SWING_LIMITS = (12.0, 30.0)
_SHIFT_MINUTES = 45
"""How far the daily peak of one series may lie from its metric's."""


@dataclass(frozen=True, eq=False)
class Series:
    """A series of one query, without its noise and scenarios.

    `worst` is the deterministic value at the busiest minute of the week, `swing` the distance from there to
    the quietest (in the metric's unit), `worse` the direction in which load moves the value.
    """

    metric: Metric
    index: int
    labels: Labels
    sigma: float
    swing: float
    worst: float
    worse: int
    threshold: float | None
    profile: Floats

    def load(self, minutes: Ints) -> Floats:
        """Load 0..1 at absolute minutes."""
        return self.profile[minutes % WEEK]

    def healthy(self, minutes: Ints) -> Floats:
        """The noise-free healthy value at absolute minutes."""
        return np.asarray(self.worst - self.worse * self.swing * (1.0 - self.load(minutes)))


def build_series(name: str, query: Query | None, seed: int, around_the_clock: bool) -> tuple[Series, ...]:
    """All series of a query. `query` gives the objective; without one the table's quiet level counts.

    Raises:
    ------
    KeyError
        The platform has no such query.
    """
    if name not in METRICS:
        raise KeyError(f"the simulated platform has no query {name!r}; it has {', '.join(METRICS)}")
    metric = METRICS[name]
    sessions = metric.sessions and not around_the_clock
    return tuple(
        _build_one(metric, index, labels, query, seed, sessions) for index, labels in enumerate(LABELS[metric.fleet])
    )


def _build_one(metric: Metric, index: int, labels: Labels, query: Query | None, seed: int, sessions: bool) -> Series:
    rng = seeded(seed, "series", metric.name, index)
    spread = 1.0 + _SWING_SPREAD * rng.uniform(-1.0, 1.0)
    swing = float(np.clip(metric.swing * spread, *_SWING_LIMITS)) * metric.sigma
    shift = int(rng.integers(-_SHIFT_MINUTES, _SHIFT_MINUTES + 1))
    threshold = query.threshold if query is not None else None
    worse = metric.load
    if query is not None and threshold is not None:
        worse = 1 if query.breach_above else -1
        worst = threshold - worse * HEALTHY_MARGIN * metric.sigma
    else:
        worst = metric.quiet + worse * swing
    profile = week_profile(metric.peak_hour, sessions, shift)
    return Series(metric, index, labels, metric.sigma, swing, worst, worse, threshold, profile)
