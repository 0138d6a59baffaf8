"""What can go wrong on the simulated platform, and by how much.

A scenario moves the noise-free value of its series from `start` on. Its unit is the series' own: the daily
swing or sigma (see `metrics.py`), so that severity 1 means the same for a ratio of 0.93 and for a queue of
100.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from detector.simulate.processes import DAY, Floats, Ints
from detector.simulate.series import Series

SLIDE_MINUTES = 360
"""A slide of severity 1 covers one daily swing in this time."""
GROWTH_SIGMAS_PER_DAY = 6.0
CLIFF_SIGMAS = 4.0
"""How far beyond the threshold a cliff of severity 1 drops even the best hour."""
SPIKE_SIGMAS, SPIKE_MINUTES = 8.0, 4
SHIFT_SIGMAS = 6.0
RECOVERY_MINUTES = 30
ACCURACY_FLOOR = 0.5
"""A sliding accuracy ends at the toss of a coin."""
RESTART_PERCENT = 99.0
"""A leaking process is killed and starts afresh here."""

KINDS = (
    "healthy", "accuracy-slide", "accuracy-cliff", "memory-leak", "disk-fill", "cpu-growth", "queue-backlog",
    "data-outage", "retrain", "spike", "level-shift", "slide", "cliff", "service-down", "data-refresh", "backup",
    "log-stop",
)  # fmt: skip
RESETTABLE = ("disk-fill", "memory-leak")
OF_ANY_QUERY = ("spike", "level-shift", "slide", "cliff")
"""Kinds that another query can be given."""
OF_NO_QUERY = ("data-refresh", "backup", "log-stop")
"""Kinds that are seen in no query of the catalogue."""
ABSENCES = ("data-outage", "service-down")
"""Kinds that make series vanish."""
REPAIRED_BY_RETRAIN = frozenset({"accuracy-slide", "accuracy-cliff"})

_Match = tuple[str, dict[str, str]]
_TARGETS: dict[str, tuple[_Match, ...]] = {
    "healthy": (),
    "accuracy-slide": (("ml_ensemble_accuracy", {}), ("ml_model_performance", {"model": "transformer"})),
    "accuracy-cliff": (("ml_ensemble_accuracy", {}), ("ml_model_performance", {"model": "transformer"})),
    "retrain": (("ml_ensemble_accuracy", {}), ("ml_model_performance", {})),
    "memory-leak": (("ml_memory_usage", {"instance": "ml-service-1"}),),
    "disk-fill": (("node_disk_usage", {"instance": "node-2", "mountpoint": "/data"}),),
    "cpu-growth": (("node_cpu_usage", {"instance": "node-3"}),),
    "queue-backlog": (("scheduler_queue_length", {"queue": "prediction"}),),
    "spike": (("ml_ensemble_accuracy", {}),),
    "level-shift": (("node_memory_usage", {"instance": "node-4"}),),
    "data-outage": (),
    "slide": (("ml_prediction_duration", {}),),
    "cliff": (("data_quality_score", {"dataset": "prices"}),),
    "service-down": (),
    "data-refresh": (),
    "backup": (),
    "log-stop": (),
}
OUTAGE_SERVICE = "data-service"
STOPPED_SERVICE = "ml-service"


@dataclass(frozen=True)
class Scenario:
    """One thing that happens at `start` (unix seconds).

    `severity` scales speed or size (1 = as documented per kind). `target` are labels that replace the
    default choice, for example ``{"instance": "node-5", "mountpoint": "/"}``; `query` moves a kind of OF_ANY_QUERY
    to another query. `duration` (seconds) ends a data-outage, a service-down or a log-stop; None: it stays.
    `reset` (seconds after `start`) is when a disk is cleaned up or a leaking process restarted, once: the
    series is back at its healthy course and fills again at the same rate. None: never.

    >>> Scenario("disk-fill", 1_700_000_000).severity
    1.0
    """

    kind: str
    start: float
    severity: float = 1.0
    target: Mapping[str, str] | None = None
    query: str | None = None
    duration: float | None = None
    reset: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"scenario must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not 0 < self.severity < float("inf"):
            raise ValueError(f"severity must be a positive number, got {self.severity!r} ({self.kind})")
        if self.query is not None and self.kind not in OF_ANY_QUERY:
            raise ValueError(f"only {', '.join(OF_ANY_QUERY)} take another query, got {self.query!r} ({self.kind})")
        if self.reset is not None:
            if self.kind not in RESETTABLE:
                raise ValueError(f"only {' and '.join(RESETTABLE)} can be reset, got {self.reset!r} ({self.kind})")
            if not 0 < self.reset < float("inf"):
                raise ValueError(f"reset must be a positive number of seconds, got {self.reset!r} ({self.kind})")

    @property
    def start_minute(self) -> int:
        """The first absolute minute the scenario touches."""
        return int(-(-self.start // 60))

    @property
    def stopped(self) -> Mapping[str, str]:
        """The labels of what a service-down stops."""
        return self.target or {"service": STOPPED_SERVICE}

    def lasts_at(self, minutes: Ints) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """At which absolute minutes [T] it is under way: from its start, up to its duration."""
        end = np.inf if self.duration is None else self.start_minute + self.duration / 60
        return np.asarray((minutes >= self.start_minute) & (minutes < end))

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels are those of the target; without one every series is."""
        return all(labels.get(key) == value for key, value in (self.target or {}).items())

    def removes(self, labels: Mapping[str, str]) -> bool:
        """Whether it makes the series of these labels vanish."""
        if self.kind == "data-outage":
            return labels["service"] == OUTAGE_SERVICE and self.selects(labels)
        return self.kind == "service-down" and all(labels.get(key) == value for key, value in self.stopped.items())

    def hits(self, series: Series) -> bool:
        """Whether the scenario touches this series."""
        if self.kind in ABSENCES:
            return self.removes(series.labels)
        targets = _TARGETS[self.kind]
        if self.query is not None:
            targets = ((self.query, {}),)
        return any(name == series.metric.name and self._selects(series, match) for name, match in targets)

    def _selects(self, series: Series, default: Mapping[str, str]) -> bool:
        wanted = default if self.target is None else self.target
        return all(series.labels.get(key) == value for key, value in wanted.items())


def parse_scenario(text: str, start: float) -> Scenario:
    """`KIND[:SEVERITY][@KEY=VALUE,...]` as the command line takes it.

    >>> parse_scenario("disk-fill:0.5@instance=node-5,mountpoint=/", 0).target
    {'instance': 'node-5', 'mountpoint': '/'}

    Raises:
    ------
    ValueError
        It is written differently, or the kind is unknown.
    """
    found = re.fullmatch(r"([a-z-]+)(?::([0-9.]+))?(?:@(.+))?", text.strip())
    if found is None:
        raise ValueError(f"a scenario is KIND[:SEVERITY][@LABEL=VALUE,...], got {text!r}")
    kind, severity, labels = found.groups()
    target: dict[str, str] | None = None
    if labels is not None:
        pairs = [pair.partition("=") for pair in labels.split(",")]
        if any(not sign for _, sign, _ in pairs):
            raise ValueError(f"the target of a scenario is LABEL=VALUE,..., got {labels!r}")
        target = {key.strip(): value.strip() for key, _, value in pairs}
    query = target.pop("query", None) if target else None
    return Scenario(kind, start, float(severity or 1.0), target or None, query)


def displacement(scenario: Scenario, series: Series, minutes: Ints) -> Floats:
    """How far the scenario moves the noise-free value of a series it hits, at sorted absolute minutes [T]."""
    elapsed = (minutes - scenario.start_minute).astype(np.float64)
    move = _MOVES.get(scenario.kind)
    if move is None:
        return np.zeros(minutes.shape)
    return np.where(elapsed >= 0, move(scenario, series, minutes, np.maximum(elapsed, 0.0)), 0.0)


def _slide(scenario: Scenario, series: Series, minutes: Ints, elapsed: Floats) -> Floats:
    return series.worse * scenario.severity * series.swing * elapsed / SLIDE_MINUTES


def _fill(scenario: Scenario, series: Series, minutes: Ints, elapsed: Floats) -> Floats:
    """A slide that one clean-up sets back to nothing."""
    if scenario.reset is not None:
        back = -(-scenario.reset // 60)
        elapsed = np.where(elapsed >= back, elapsed - back, elapsed)
    return _slide(scenario, series, minutes, elapsed)


def _accuracy_slide(scenario: Scenario, series: Series, minutes: Ints, elapsed: Floats) -> Floats:
    slid = _slide(scenario, series, minutes, elapsed)
    return np.maximum(slid, ACCURACY_FLOOR - series.healthy(minutes))


def _cliff(scenario: Scenario, series: Series, minutes: Ints, elapsed: Floats) -> Floats:
    best = series.worst - series.worse * series.swing
    edge = series.threshold if series.threshold is not None else series.worst
    drop = abs(edge - best) + CLIFF_SIGMAS * scenario.severity * series.sigma
    return np.full(elapsed.shape, series.worse * drop)


def _leak(scenario: Scenario, series: Series, minutes: Ints, elapsed: Floats) -> Floats:
    """A rising sawtooth: at RESTART_PERCENT, and at a planned reset, the process is restarted and leaks again."""
    slope = scenario.severity * series.swing / SLIDE_MINUTES
    if minutes[-1] < scenario.start_minute:
        return np.zeros(minutes.shape)
    course = series.healthy(np.arange(scenario.start_minute, minutes[-1] + 1, dtype=np.int64))
    since = np.arange(course.size, dtype=np.float64)
    planned = None if scenario.reset is None else int(-(-scenario.reset // 60))
    restart = 0
    while True:
        full = np.flatnonzero(course[restart:] + slope * np.arange(course.size - restart) >= RESTART_PERCENT)
        following = restart + int(full[0]) if full.size and full[0] else course.size
        if planned is not None and restart < planned < following:
            following = planned
        if following >= course.size:
            break
        restart = following
        since[restart:] = np.arange(course.size - restart)
    return slope * since[np.maximum(minutes - scenario.start_minute, 0)]


def _growth(scenario: Scenario, series: Series, minutes: Ints, elapsed: Floats) -> Floats:
    amplitude = GROWTH_SIGMAS_PER_DAY * series.sigma * scenario.severity * elapsed / DAY
    return series.worse * series.load(minutes) * amplitude


def _spike(scenario: Scenario, series: Series, minutes: Ints, elapsed: Floats) -> Floats:
    height = series.worse * SPIKE_SIGMAS * scenario.severity * series.sigma
    return np.where(elapsed < SPIKE_MINUTES, height, 0.0)


def _shift(scenario: Scenario, series: Series, minutes: Ints, elapsed: Floats) -> Floats:
    """Away from the threshold, so that a level shift alone is never a breach."""
    return np.full(elapsed.shape, -series.worse * SHIFT_SIGMAS * scenario.severity * series.sigma)


_MOVES: dict[str, Callable[[Scenario, Series, Ints, Floats], Floats]] = {
    "accuracy-slide": _accuracy_slide,
    "accuracy-cliff": _cliff,
    "memory-leak": _leak,
    "disk-fill": _fill,
    "queue-backlog": _slide,
    "cpu-growth": _growth,
    "spike": _spike,
    "level-shift": _shift,
    "slide": _slide,
    "cliff": _cliff,
}


def remaining_damage(scenario: Scenario, retrains: list[Scenario], minutes: Ints) -> Floats | float:
    """The share of a scenario's displacement that later retrains leave, 1 to 0 over RECOVERY_MINUTES each."""
    left: Floats | float = 1.0
    if scenario.kind not in REPAIRED_BY_RETRAIN:
        return left
    for retrain in retrains:
        if retrain.start >= scenario.start:
            progress = (minutes - retrain.start_minute) * retrain.severity / RECOVERY_MINUTES
            left = left * (1.0 - np.clip(progress, 0.0, 1.0))
    return left
