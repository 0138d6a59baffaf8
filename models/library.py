"""The library of error paths: what the combination got wrong, from many origins of the past.

Error paths keep the autocorrelation and the heavy tails of the series. Where the truth after an origin is not known
yet, another origin lends its errors (the *donor*). Each path is stretched by as little as is known of the spread (see
models/freedom.py); and a series that is restless now, compared with an origin, is expected to err more for a while.

Shapes: n series, T columns, K origins, H cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from models.base import Array32, Origins
from models.freedom import independent_errors, stretch
from models.panel import Float, Index

MIN_KNOWN = 8  # origins whose error at a cell must be known, so that a few do not speak for all paths
# A median error over so many independent windows is as much the series' bias as chance; what chance is left out.
BIAS_WINDOWS = 20.0
# How restless a series is: mean error against the profile over this many steps; its power in the spread, for how many
# steps that lasts, the share of the long-run error that is always added, and the most it may matter.
RESTLESS_MEMORY, RESTLESS_POWER, RESTLESS_LASTS, CALM, RESTLESS_MOST = 12.0, 0.5, 24.0, 0.3, 3.0
# A series that has changed from one point to the next far more than at an origin, over this many points, has become
# another one: errors are larger at every horizon, as far as it is beyond the ordinary.
VOLATILE_MEMORY, VOLATILE_FROM, VOLATILE_MOST = 144.0, 2.0, 10.0


@dataclass
class PathLibrary:
    """``donor [n, K, H]``: whose errors to use; ``residuals [n, K, H]``: those, centred and stretched.

    ``deviation [n, T]``: the observations at the fit, from their seasonal profile. Extremes are taken of it, so that a
    steep hour (a market that opens) lends its noise to other hours, not its slope. ``restless, volatile [n, K]``: at
    each origin.
    """

    residuals: Array32
    donor: NDArray[np.int16]
    deviation: Array32
    origins: Origins
    ends: Index
    restless: Float
    volatile: Float
    _lifts: dict[tuple[bool, int], Array32] = field(default_factory=dict, init=False, repr=False)

    def select(self, rows: Index) -> PathLibrary:
        """The same of some of the series."""
        return PathLibrary(
            self.residuals[rows],
            self.donor[rows],
            self.deviation[rows],
            self.origins[rows],
            self.ends,
            self.restless[rows],
            self.volatile[rows],
        )

    def stretched(self, now: Float, volatile: Float) -> Array32:
        """The residuals ``[n, K, H]``, wider or narrower by how restless each series is ``now [n]``, and wider by how
        ``volatile [n]`` it has become.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = (now[:, None] / self.restless) ** RESTLESS_POWER
        ratio = np.clip(np.nan_to_num(ratio, nan=1.0), 1 / RESTLESS_MOST, RESTLESS_MOST)
        lasts = np.exp(-self.ends / RESTLESS_LASTS)
        near = int(np.searchsorted(-lasts, -1e-3))  # beyond, it is forgotten
        with np.errstate(invalid="ignore", divide="ignore"):
            grown = np.nan_to_num(volatile[:, None] / self.volatile, nan=1.0) / VOLATILE_FROM
        out = self.residuals * np.clip(grown, 1.0, VOLATILE_MOST).astype(np.float32)[:, :, None]
        out[:, :, :near] *= np.exp(np.log(ratio).astype(np.float32)[:, :, None] * lasts[:near].astype(np.float32))
        return out

    def lifts(self, widths: Index, above: bool, run: int) -> Array32:
        """What to add to a path where a cell is wider than a step, ``[n, K, H]``: the level that ``run`` consecutive
        points stayed beyond somewhere in the cell, minus the cell's mean; 0 for cells of one step.
        """
        key = (above, run)
        if key not in self._lifts:
            self._lifts[key] = self._compute(widths, above, run)
        return self._lifts[key]

    def _compute(self, widths: Index, above: bool, run: int) -> Array32:
        sign = np.float32(1 if above else -1)
        known = np.isfinite(self.deviation)
        d = np.where(known, sign * self.deviation, -np.inf).astype(np.float32)
        held = d.copy()  # held[t]: what the run of points ending at t stays above
        for back in range(1, run):
            held[:, back:] = np.minimum(held[:, back:], d[:, :-back])
        column = self.origins[:, :, None] + self.ends - 1
        inside = (column < d.shape[1]) & (self.origins > 0)[:, :, None]
        column = np.clip(column, 0, d.shape[1] - 1)
        rows = np.arange(len(d))[:, None, None]
        lift = np.zeros(column.shape, np.float32)
        for width in np.unique(widths[widths > 1]):
            cells = np.flatnonzero(widths == width)
            # origin shifts the window so that it covers the width columns that end at the centre's right edge
            top = maximum_filter1d(held, int(width), axis=1, origin=int(width - 1) // 2, mode="nearest")
            above_mean = top - _trailing_mean(np.where(known, d, np.nan), int(width))
            lift[:, :, cells] = sign * above_mean[rows, column[:, :, cells]]
        lift = np.where(inside & np.isfinite(lift), lift, 0.0)
        return np.take_along_axis(lift, self.donor, axis=1).astype(np.float32)


def _trailing_mean(values: Array32, width: int) -> Array32:
    """Mean of the last ``width`` columns at each column; NaN ignored, NaN where none is there."""
    there = np.isfinite(values)
    total = np.cumsum(np.where(there, values, 0), axis=1, dtype=np.float64)
    count = np.cumsum(there, axis=1)
    total[:, width:] = total[:, width:] - total[:, :-width]
    count[:, width:] = count[:, width:] - count[:, :-width]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def choose_donors(known: NDArray[np.bool_], seed: int) -> NDArray[np.int16]:
    """For each origin and cell an origin whose error is known there: itself if it can; ``[n, K, H]``.

    Where no origin knows a cell, the origin itself (its error counts as zero).
    """
    shifts = np.random.default_rng(seed).permutation(np.arange(1, known.shape[1]))
    return _donors(known, shifts)


@njit(cache=True)
def _donors(known: NDArray[np.bool_], shifts: Index) -> NDArray[np.int16]:
    n, K, H = known.shape
    donor = np.empty((n, K, H), np.int16)
    for i in range(n):
        for h in range(H):
            count = 0
            for k in range(K):
                count += known[i, k, h]
            for k in range(K):
                donor[i, k, h] = k
                if known[i, k, h] or count == 0:
                    continue
                for shift in shifts:
                    lender = (k + shift) % K
                    if known[i, lender, h]:
                        donor[i, k, h] = lender
                        break
    return donor


@njit(cache=True)
def lent(residual: Array32, donor: NDArray[np.int16]) -> Array32:
    """``residual [n, K, H]`` of the donor of each origin and cell; 0 where that is not known either."""
    out = np.zeros_like(residual)
    n, K, H = residual.shape
    for i in range(n):
        for k in range(K):
            for h in range(H):
                value = residual[i, donor[i, k, h], h]
                if np.isfinite(value):
                    out[i, k, h] = value
    return out


def hold_known(residual: Array32) -> Array32:
    """``residual [n, K, H]`` where a cell that fewer than MIN_KNOWN origins know has the errors of the last one before
    it that enough know: a far cell is at least as uncertain as a nearer one.
    """
    count = np.isfinite(residual).sum(1)
    enough = count >= np.clip(count.max(1, keepdims=True, initial=0), 1, MIN_KNOWN)
    cell = np.arange(residual.shape[2])
    last = np.maximum.accumulate(np.where(enough, cell, -1), axis=1)
    if (last == cell).all():
        return residual
    return np.take_along_axis(residual, np.where(last < 0, cell, last)[:, None, :], axis=2)


def build_library(
    residual: Array32,
    deviation: Float,
    origins: Origins,
    ends: Index,
    history: Index,
    restless: Float,
    volatile: Float,
    seed: int,
) -> PathLibrary:
    """The library of ``residual [n, K, H]`` (NaN unknown).

    ``deviation [n, T]`` of the series from their profile, ``origins [n, K]``, ``ends [H]`` of the cells and
    ``history [n]`` in columns, ``restless, volatile [n, K]`` at each origin.
    """
    known = hold_known(residual)
    donor = choose_donors(np.isfinite(known), seed)
    drawn = lent(known, donor)
    windows = history[:, None] / ends
    ordered = np.sort(np.ascontiguousarray(np.moveaxis(drawn, 1, 2)), axis=2)
    median = (ordered[:, :, (ordered.shape[2] - 1) // 2] + ordered[:, :, ordered.shape[2] // 2]) / 2
    drawn -= (median * BIAS_WINDOWS / (windows + BIAS_WINDOWS))[:, None].astype(np.float32)
    drawn *= stretch(independent_errors(residual, origins, history, ends), drawn.shape[1], seed)
    return PathLibrary(drawn, donor, deviation.astype(np.float32), origins, ends, restless, volatile)
