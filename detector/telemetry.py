"""What the worker says about itself: cycles, failures, durations, as `detector_*` metrics."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from detector import __version__
from detector import conventions as names
from detector.cycle import render_samples

if TYPE_CHECKING:
    from detector.cycle import CycleResult, Sample


class Telemetry:
    """Counts of one process since it began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gauges: dict[tuple[names.Metric, tuple[tuple[str, str], ...]], float] = {}
        self._counters: dict[tuple[names.Metric, tuple[tuple[str, str], ...]], float] = defaultdict(float)
        self._set(names.BUILD_INFO, 1.0, version=__version__)

    def record(self, result: CycleResult, refits: int) -> None:
        """Count one finished cycle; ``refits`` is how many fits of its series there were so far."""
        base = {names.FOR: result.query.name}
        failed = result.failure is not None
        with self._lock:
            self._add(names.CYCLES, **base, outcome="error" if failed else "ok")
            if not failed:
                self._set(names.CYCLE_LAST_SUCCESS, float(result.slot), **base)
            for stage, seconds in result.seconds.items():
                self._set(names.QUERY_DURATION, seconds, **base, stage=stage)
            if result.frame is not None:
                self._set(names.HISTORY_COLUMNS, float(result.frame.T), **base)
            self._counters[_key(names.REFITS, base)] = float(refits)

    def pushed(self, query: str, ok: bool) -> None:
        """Count one push of a query's results."""
        with self._lock:
            self._add(names.PUSHES, **{names.FOR: query}, outcome="ok" if ok else "error")

    def missed(self, query: str, slots: int) -> None:
        """Count slots that were never computed."""
        with self._lock:
            self._counters[_key(names.SLOTS_MISSED, {names.FOR: query})] += slots

    def samples(self) -> list[Sample]:
        """Everything counted so far."""
        with self._lock:
            found = {**self._gauges, **self._counters}
        return [(metric, dict(labels), value) for (metric, labels), value in found.items()]

    def body(self) -> bytes:
        """The exposition of everything counted so far."""
        return render_samples(self.samples())

    def _set(self, metric: names.Metric, value: float, **labels: str) -> None:
        self._gauges[_key(metric, labels)] = value

    def _add(self, metric: names.Metric, **labels: str) -> None:
        self._counters[_key(metric, labels)] += 1


def _key(metric: names.Metric, labels: dict[str, str]) -> tuple[names.Metric, tuple[tuple[str, str], ...]]:
    return metric, tuple(sorted(labels.items()))
