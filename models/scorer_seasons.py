"""The seasons that anomaly scores are told from: each series' own, looked for as its history grows.

Shapes: n series, T columns.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models.grid import DAY, WEEK
from models.seasons import find_seasons

Float = NDArray[np.float64]

ASSUMED = DAY, WEEK  # where no seasons are found; each counts only as far as it made past errors smaller
# Columns after which seasons are looked for, and how many times as many there must be for the next look.
FIRST_LOOK, NEXT_LOOK = 1000, 4


def looks_within(columns: int) -> list[int]:
    """Numbers of columns, up to ``columns``, after which seasons are looked for."""
    looks = []
    look = FIRST_LOOK
    while look <= columns:
        looks.append(look)
        look *= NEXT_LOOK
    return looks


def seasons_of(values: Float, step: int) -> NDArray[np.int64]:
    """The two periods in seconds that scores after ``values [n, T]`` are told from, ``[n, 2]``, the shorter first: the
    best proven ones, and of those assumed as many as there is room for.
    """
    found = find_seasons(values, step, most=2) * step
    out = np.empty((len(values), 2), np.int64)
    for row, proven in zip(out, found, strict=True):
        row[:] = two_of((*proven[proven > 0], *(p for p in ASSUMED if p not in proven)), step)
    return out


def two_of(periods: Iterable[int], step: int) -> tuple[int, int]:
    """The first two, in order, 0 where there are fewer; a season of less than two points is none."""
    first, *more = (*sorted([int(p) for p in periods if p >= 2 * step][:2]), 0)
    return first, more[0] if more else 0
