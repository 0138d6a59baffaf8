"""What `detector serve` counts about itself since it began, as `detector_serve_*` at /metrics."""

from __future__ import annotations

import threading
from collections import defaultdict

from detector import __version__
from detector import conventions as names
from detector.cycle import Sample, render_samples
from detector.serve.queue import Queue
from detector.serve.shelf import Shelf


class Counts:
    """Counters of one process; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[tuple[names.Metric, tuple[tuple[str, str], ...]], float] = defaultdict(float)

    def add(self, metric: names.Metric, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            self._counted[metric, tuple(sorted(labels.items()))] += amount

    def of(self, metric: names.Metric, **labels: str) -> float:
        """What was counted so far."""
        with self._lock:
            return self._counted.get((metric, tuple(sorted(labels.items()))), 0.0)

    def body(self, shelf: Shelf, queue: Queue | None = None) -> bytes:
        """The exposition of everything counted so far, of what there is to serve, and of what waits for a worker."""
        with self._lock:
            found: list[Sample] = [(metric, dict(labels), value) for (metric, labels), value in self._counted.items()]
        found.append((names.BUILD_INFO, {"version": __version__}, 1.0))
        found.append((names.SERVE_STORE, {}, 0.0 if shelf.problem else 1.0))
        if queue and (length := queue.length()) is not None:
            found.append((names.QUEUE_LENGTH, {"queue": queue.name}, float(length)))
        series: dict[tuple[str, str], float] = defaultdict(float)
        for sheet in shelf.sheets:
            series[sheet.common[names.FOR], sheet.common.get(names.ISSUED, "")] += len(sheet.curves)
        found += [(names.SERVE_SERIES, {names.FOR: q, names.ISSUED: i}, n) for (q, i), n in series.items()]
        slots: dict[str, int] = {}
        for place in shelf.places:
            if place.showing is not None:
                slots[place.query.name] = max(slots.get(place.query.name, 0), place.showing.slot)
        found += [(names.SERVE_SLOT, {names.FOR: name}, float(slot)) for name, slot in slots.items()]
        return render_samples(found)
