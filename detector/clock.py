"""Time for the worker: the wall clock and its slots.

A *slot* is a multiple of a query's ``every``, in unix seconds. Everything a cycle computes depends on
its slot alone, never on the moment it happens to run.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from detector.catalogue import Query

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


def unit_of(query: Query) -> int:
    """Seconds between slots that can have new data: the cycle, or the step where that is longer."""
    return max(query.every, query.step)


def column_of(query: Query, slot: int) -> int:
    """Unix seconds of the newest column that a slot sees."""
    return slot - slot % query.step


def slots_to_decide(query: Query, last: int, slot: int) -> list[int]:
    """The slots after ``last`` (-1: none was decided yet) that alerts must be decided for, ``slot`` at the end.

    Only as many as an alert has to hold: with them a start without state knows what a worker knows that never stopped,
    and so does one that was late for a slot.

    >>> from detector.catalogue import Query
    >>> query = Query(name="q", expr="up", unit="ratio", objective={"above": 0.9}, alert={"name": "A", "hold": 3})
    >>> slots_to_decide(query, -1, 600), slots_to_decide(query, 540, 600)
    ([480, 540, 600], [600])
    """
    unit, hold = unit_of(query), query.alert.hold if query.alert else 1
    return [*(at for at in range(slot - (hold - 1) * unit, slot, unit) if at > last), slot]
