"""Seasonal profile: what the last cycles had at the same phase, seen from an origin.

Shapes: n series, T columns, K origins, J positions relative to an origin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array32 = NDArray[np.float32]

# How many cycles make the profile: a week of days, and as many weeks as a month has.
CYCLES_SHORT, CYCLES_LONG = 7, 5
# Neighbours on each side that smooth the profile: 2 cells of 5 minutes keep the edges of a trading session.
SMOOTH = 2


def cycles_of(season: int, cells_per_day: float) -> int:
    """Number of cycles to average for a season of ``season`` cells."""
    return CYCLES_SHORT if season <= 1.5 * cells_per_day else CYCLES_LONG


def smooth(values: Array32, width: int = SMOOTH) -> Array32:
    """Centred moving mean over ``2 width + 1`` columns; near the ends over what is there; NaN only where all are.

    A smoothed column reaches ``width`` columns ahead; :func:`profile_at` stays clear of the origin by as much.
    """
    n, T = values.shape
    there = np.isfinite(values)
    total = np.zeros((n, T + 1))
    count = np.zeros((n, T + 1))
    np.cumsum(np.where(there, values, 0.0), axis=1, out=total[:, 1:], dtype=np.float64)
    np.cumsum(there, axis=1, out=count[:, 1:], dtype=np.float64)
    a = np.maximum(np.arange(T) - width, 0)
    b = np.minimum(np.arange(T) + width + 1, T)
    c = count[:, b] - count[:, a]
    with np.errstate(invalid="ignore"):
        return np.where(c > 0, (total[:, b] - total[:, a]) / np.maximum(c, 1), np.nan).astype(np.float32)


def profile_at(
    smoothed: Array32, positions: NDArray[np.int64], origins: NDArray[np.int64], season: int, cycles: int
) -> Array32:
    """Trimmed mean over the last ``cycles`` cycles at the phase of ``positions``.

    ``positions [K, J]`` are column numbers, seen from ``origins [K]``: only columns before an origin are used, and
    never a position's own. Three or more cycles: the largest and the smallest are left out, so that one incident
    does not teach. Returns ``[n, K, J]``, NaN where no cycle is there.
    """
    n, T = smoothed.shape
    K, J = positions.shape
    ahead = positions - (origins[:, None] - 1 - SMOOTH)  # > 0: this many columns beyond the last usable one
    first = np.maximum(1, -(-ahead // season))
    total = np.zeros((n, K, J), np.float32)
    count = np.zeros((n, K, J), np.float32)
    low = np.full((n, K, J), np.inf, np.float32)
    high = np.full((n, K, J), -np.inf, np.float32)
    for k in range(cycles):
        column = positions - (first + k) * season
        inside = column >= 0
        if not inside.any():
            break
        v = smoothed[:, np.where(inside, column, 0)]
        there = inside & np.isfinite(v)
        total += np.where(there, v, 0)
        count += there
        np.minimum(low, v, out=low, where=there)
        np.maximum(high, v, out=high, where=there)
    trim = count >= 3
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(trim, total - low - high, total)
        return (total / np.where(trim, count - 2, count)).astype(np.float32)
