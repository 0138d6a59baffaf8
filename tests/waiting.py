"""Waiting for a condition with a deadline, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, within: float = 30.0, what: str = "the condition") -> T:
    """Call ``condition`` until its answer is true and return that answer.

    Raises:
        TimeoutError: After ``within`` seconds, naming ``what`` was waited for.

    >>> wait_until(lambda: "ready", within=1.0)
    'ready'
    """
    deadline = time.monotonic() + within
    pause = 0.01
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {within:g} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
