"""Seasonal profiles: what past cycles had at the same phase, seen from an origin.

Two kinds. :func:`profile_at` averages whole seasons (the same hour of the last days, or of the last weeks).
:func:`pooled_profile` averages *every* past day, each weighted by how well its level around that hour agrees with
what the long season says: on a platform with quiet weekends a Tuesday learns from all working days, and a day with an
incident teaches nothing. A kernel-weighted analogue ensemble (Nadaraya-Watson) in the field's terms.

Shapes: n series, T columns, K origins, J positions relative to an origin.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.grid import DAY
from models.panel import Panel

Array32 = NDArray[np.float32]
Index = NDArray[np.int64]

# How many cycles make the profile: a week of days, and as many weeks as a month has.
CYCLES_SHORT, CYCLES_LONG = 7, 5
POOLED_CYCLES = 28
FEW_RUNS = 8  # up to here, copying runs beats picking single columns
KERNEL_WIDTH = 1.5  # of the day-to-day standard deviation of an hour's mean


def cycles_of(panel: Panel, which: int) -> int:
    """Number of cycles to average for the panel's season number ``which``."""
    return CYCLES_SHORT if panel.seasons[which] * panel.step <= 1.5 * DAY else CYCLES_LONG


def _past(positions: Index, origins: Index, season: int, reach: int) -> Index:
    """First cycle back, ``[K, J]``, whose column (and ``reach`` more, through smoothing) lies before the origin."""
    ahead = positions - (origins[:, None] - 1 - reach)
    return np.asarray(np.maximum(1, -(-ahead // season)))


class _Columns:
    """Columns ``[K, J]`` to pick from many rows; runs of neighbours are copied as runs. Before column 0: NaN."""

    def __init__(self, column: Index) -> None:
        self.column = column
        self.any = bool((column >= 0).any())
        self.inside = bool((column >= 0).all())
        jumps = np.flatnonzero((np.diff(column, axis=1) != 1).any(axis=0)) + 1
        self.runs = list(pairwise([0, *jumps.tolist(), column.shape[1]]))

    def of(self, row: Array32) -> Array32:
        """The picked values of one row ``[T]``: an array ``[K, J]`` of the caller's own."""
        if not self.inside or len(self.runs) > FEW_RUNS:
            return np.where(self.column >= 0, row[np.maximum(self.column, 0)], np.float32(np.nan))
        out = np.empty(self.column.shape, np.float32)
        if len(out) == 1:
            for a, b in self.runs:
                start = int(self.column[0, a])
                out[0, a:b] = row[start : start + b - a]
            return out
        for a, b in self.runs:
            out[:, a:b] = sliding_window_view(row, b - a)[self.column[:, a]]
        return out


def profile_at(panel: Panel, positions: Index, origins: Index, which: int) -> Array32:
    """An hour's trimmed mean over past cycles of season ``which`` at the phase of ``positions [K, J]``, ``[n, K, J]``.

    Only columns before ``origins [K]`` are used, and never a position's own. Three or more cycles: the largest and
    the smallest are left out, so that one incident does not teach. NaN where no cycle is there.
    """
    values, reach = panel.hourly
    season = panel.seasons[which]
    first = _past(positions, origins, season, reach)
    shape = (panel.n, *positions.shape)
    total, count = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    low, high = np.full(shape, np.inf, np.float32), np.full(shape, -np.inf, np.float32)
    for k in range(cycles_of(panel, which)):
        pick = _Columns(positions - (first + k) * season)
        if not pick.any:
            break
        for i in range(panel.n):  # one series at a time stays in the processor's cache
            v = pick.of(values[i])
            np.fmin(low[i], v, out=low[i])
            np.fmax(high[i], v, out=high[i])
            missing = np.isnan(v)
            v[missing] = 0
            count[i] += ~missing
            total[i] += v
    trim = count >= 3
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(trim, total - low - high, total)
        return (total / np.where(trim, count - 2, count)).astype(np.float32)


def pooled_profile(panel: Panel, positions: Index, origins: Index) -> Array32:
    """Mean over all past cycles of the shortest season that agree with the longest, ``[n, K, J]``; causal as above."""
    reference = profile_at(panel, positions, origins, len(panel.seasons) - 1)
    (values, _), (hourly, reach) = panel.smoothed, panel.hourly
    season = panel.seasons[0]
    first = _past(positions, origins, season, reach)
    precision = (1 / (KERNEL_WIDTH * panel.cycle_scale)).astype(np.float32)
    total, mass = np.zeros_like(reference), np.full_like(reference, 1e-6)
    for k in range(POOLED_CYCLES):
        pick = _Columns(positions - (first + k) * season)
        if not pick.any:
            break
        for i in range(panel.n):
            z = pick.of(hourly[i])
            z -= reference[i]
            z *= precision[i]
            z *= z
            z *= -0.5
            weight = np.exp(z, out=z)
            v = pick.of(values[i])
            v *= weight  # NaN where either is
            missing = np.isnan(v)
            weight[missing] = 0
            v[missing] = 0
            total[i] += v
            mass[i] += weight
    # Where no day agrees with the reference, the reference itself.
    return ((total + 1e-6 * reference) / mass).astype(np.float32)


def season_profile(panel: Panel, positions: Index, origins: Index) -> Array32:
    """The best profile the panel allows: pooled where there are seasons, else zero, ``[n, K, J]``."""
    if not panel.seasons:
        return np.zeros((panel.n, *positions.shape), np.float32)
    return pooled_profile(panel, positions, origins)
