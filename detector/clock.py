"""Time for the worker: the wall clock and its slots.

A *slot* is a multiple of a query's ``every``, in unix seconds. Everything a cycle computes depends on its slot alone,
never on the moment it happens to run.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

SETTLE_SECONDS = 2.0
"""A slot is worked on this long after it begins, so that the scrapes before it have arrived."""


class Clock(Protocol):
    """What the worker needs of time; tests bring their own."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait, or less when ``stop`` is set; whether it is."""
        ...


class WallClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait, or less when ``stop`` is set; whether it is."""
        return stop.wait(max(0.0, seconds))


def slot_at(now: float, every: int) -> int:
    """The slot that has begun last.

    >>> slot_at(179.9, 60)
    120
    """
    return int(now // every) * every


def due_at(slot: int, every: int) -> float:
    """When to work on the slot after ``slot``.

    >>> due_at(120, 60)
    182.0
    """
    return slot + every + min(SETTLE_SECONDS, every / 10)
