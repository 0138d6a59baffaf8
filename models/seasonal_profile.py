"""Seasonal profiles: what past cycles had at the same phase, seen from an origin.

Two kinds. :func:`profile_at` averages whole seasons (the same hour of the last days, or of the last weeks).
:func:`pooled_profile` averages *every* past day, each weighted by how well its level around that hour agrees with
what the long season says: on a platform with quiet weekends a Tuesday learns from all working days, and a day with an
incident teaches nothing. A kernel-weighted analogue ensemble (Nadaraya-Watson) in the field's terms.

Shapes: n series, T columns, K origins, J positions relative to an origin.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.grid import DAY
from models.panel import Panel

Array32 = NDArray[np.float32]
Index = NDArray[np.int64]

# How many cycles make the profile: a week of days, and as many weeks as a month has.
CYCLES_SHORT, CYCLES_LONG = 7, 5
POOLED_CYCLES = 28
KERNEL_WIDTH = 1.5  # of the day-to-day standard deviation of an hour's mean


def cycles_of(panel: Panel, which: int) -> int:
    """Number of cycles to average for the panel's season number ``which``."""
    return CYCLES_SHORT if panel.seasons[which] * panel.step <= 1.5 * DAY else CYCLES_LONG


def _past(positions: Index, origins: Index, season: int, reach: int) -> Index:
    """First cycle back, ``[K, J]``, whose column (and ``reach`` more, through smoothing) lies before the origin."""
    ahead = positions - (origins[:, None] - 1 - reach)
    return np.asarray(np.maximum(1, -(-ahead // season)))


def profile_at(panel: Panel, positions: Index, origins: Index, which: int) -> Array32:
    """An hour's trimmed mean over past cycles of season ``which`` at the phase of ``positions [K, J]``, ``[n, K, J]``.

    Only columns before ``origins [K]`` are used, and never a position's own. Three or more cycles: the largest and
    the smallest are left out, so that one incident does not teach. NaN where no cycle is there.
    """
    values, reach = panel.hourly
    season = panel.seasons[which]
    first = _past(positions, origins, season, reach)
    return _trimmed_means(values, positions, first, season, cycles_of(panel, which))


@njit(cache=True)
def _trimmed_means(values: Array32, positions: Index, first: Index, season: int, cycles: int) -> Array32:
    """Means of ``values [n, T]`` over ``cycles`` cycles from the ``first [K, J]`` back, ``[n, K, J]``."""
    K, J = positions.shape
    out = np.full((len(values), K, J), np.float32(np.nan))
    for i in range(len(values)):
        for k in range(K):
            for j in range(J):
                total, low, high = np.float32(0), np.float32(np.inf), np.float32(-np.inf)
                count = 0
                column = positions[k, j] - first[k, j] * season
                for _ in range(cycles):
                    if column < 0:
                        break
                    v = values[i, column]
                    if not np.isnan(v):
                        total += v
                        low, high = min(low, v), max(high, v)
                        count += 1
                    column -= season
                if count >= 3:
                    total = total - low - high
                    count -= 2
                if count > 0:
                    out[i, k, j] = total / np.float32(count)
    return out


def pooled_profile(panel: Panel, positions: Index, origins: Index) -> Array32:
    """Mean over all past cycles of the shortest season that agree with the longest, ``[n, K, J]``; causal as above."""
    reference = profile_at(panel, positions, origins, len(panel.seasons) - 1)
    (values, _), (hourly, reach) = panel.smoothed, panel.hourly
    season = panel.seasons[0]
    first = _past(positions, origins, season, reach)
    precision = (1 / (KERNEL_WIDTH * panel.cycle_scale)).astype(np.float32)
    return _pool(values, hourly, reference, precision, positions, first, season)


@njit(cache=True)
def _pool(
    values: Array32,
    hourly: Array32,
    reference: Array32,
    precision: Array32,
    positions: Index,
    first: Index,
    season: int,
) -> Array32:
    """Means of ``values [n, T]`` over the cycles, each by how near ``hourly`` is to the ``reference [n, K, J]``."""
    n, K, J = reference.shape
    out = np.empty((n, K, J), np.float32)
    little, half = np.float32(1e-6), np.float32(-0.5)
    for i in range(n):
        for k in range(K):
            for j in range(J):
                total, mass, middle = np.float32(0), little, reference[i, k, j]
                column = positions[k, j] - first[k, j] * season
                for _ in range(POOLED_CYCLES):
                    if column < 0:
                        break
                    z = (hourly[i, column] - middle) * precision[i]
                    weight = np.exp(half * (z * z))
                    v = values[i, column] * weight
                    if not np.isnan(v):
                        total += v
                        mass += weight
                    column -= season
                # Where no day agrees with the reference, the reference itself.
                out[i, k, j] = (total + little * middle) / mass
    return out


def season_profile(panel: Panel, positions: Index, origins: Index) -> Array32:
    """The best profile the panel allows: pooled where there are seasons, else zero, ``[n, K, J]``."""
    if not panel.seasons:
        return np.zeros((panel.n, *positions.shape), np.float32)
    return pooled_profile(panel, positions, origins)
