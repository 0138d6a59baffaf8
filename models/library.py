"""The library of error paths: what the combination got wrong, from many origins of the past.

Shapes: n series, T columns, K origins, H cells. Error paths keep the autocorrelation and the heavy tails of the
series. Where the truth after an origin is not known yet, another origin lends its errors (the *donor*).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from models.base import Array32, Origins

Float = NDArray[np.float64]

MIN_KNOWN = 8  # origins whose error at a cell must be known, so that a few do not speak for all paths


@dataclass
class PathLibrary:
    """``raw [n, K, H]`` errors (NaN unknown), ``donor [n, K, H]`` whose errors to use.

    ``deviation [n, T]``: the observations at the fit, from their seasonal profile. Extremes are taken of it, so that a
    steep hour (a market that opens) lends its noise to other hours, not its slope.
    """

    raw: Array32
    donor: NDArray[np.int16]
    deviation: Array32
    origins: Origins
    ends: NDArray[np.int64]
    residuals: Array32
    _extremes: dict[tuple[bool, int], Array32] = field(default_factory=dict, repr=False)

    def extremes(self, widths: NDArray[np.int64], above: bool, run: int) -> Array32:
        """Error paths of each cell's extreme, ``[n, K, H]``: the level that ``run`` consecutive points stayed beyond
        somewhere in the cell, minus the forecast of the cell's mean.
        """
        key = (above, run)
        if key not in self._extremes:
            self._extremes[key] = self._compute(widths, above, run)
        return self._extremes[key]

    def _compute(self, widths: NDArray[np.int64], above: bool, run: int) -> Array32:
        sign = np.float32(1 if above else -1)
        known = np.isfinite(self.deviation)
        d = np.where(known, sign * self.deviation, -np.inf).astype(np.float32)
        held = d.copy()  # held[t]: what the run of points ending at t stays above
        for back in range(1, run):
            held[:, back:] = np.minimum(held[:, back:], d[:, :-back])
        column = self.origins[:, None] + self.ends - 1
        inside = column < d.shape[1]
        column = np.minimum(column, d.shape[1] - 1)
        lift = np.full(self.raw.shape, np.nan, np.float32)
        for width in np.unique(widths):
            cells = np.flatnonzero(widths == width)
            # origin shifts the window so that it covers the width columns that end at the centre's right edge
            top = maximum_filter1d(held, int(width), axis=1, origin=int(width - 1) // 2, mode="nearest")
            above_mean = top - _trailing_mean(np.where(known, d, np.nan), int(width))
            lift[:, :, cells] = sign * above_mean[:, column[:, cells]]
        lift = np.where(inside & np.isfinite(lift), lift, 0.0)
        return np.take_along_axis(np.nan_to_num(self.raw) + lift, self.donor, axis=1).astype(np.float32)


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
    n, K, H = known.shape
    donor = np.broadcast_to(np.arange(K, dtype=np.int16)[:, None], (n, K, H)).copy()
    missing = np.nonzero(~known)
    for shift in np.random.default_rng(seed).permutation(np.arange(1, K)):
        if not len(missing[0]):
            break
        i, k, h = missing
        lender = (k + shift) % K
        can = known[i, lender, h]
        donor[i[can], k[can], h[can]] = lender[can]
        missing = (i[~can], k[~can], h[~can])
    return donor


def hold_known(residual: Array32) -> Array32:
    """``residual [n, K, H]`` where a cell that fewer than MIN_KNOWN origins know has the errors of the last one before
    it that enough know: a far cell is at least as uncertain as a nearer one.
    """
    count = np.isfinite(residual).sum(1)
    enough = count >= np.clip(count.max(1, keepdims=True), 1, MIN_KNOWN)
    cell = np.arange(residual.shape[2])
    last = np.maximum.accumulate(np.where(enough, cell, -1), axis=1)
    return np.take_along_axis(residual, np.where(last < 0, cell, last)[:, None, :], axis=2)


def build_library(
    residual: Array32, deviation: Float, origins: Origins, ends: NDArray[np.int64], seed: int
) -> PathLibrary:
    """The library of ``residual [n, K, H]`` (NaN unknown); ``deviation [n, T]`` of the series from their profile."""
    residual = hold_known(residual)
    donor = choose_donors(np.isfinite(residual), seed)
    drawn = np.take_along_axis(np.nan_to_num(residual), donor, axis=1)
    return PathLibrary(residual, donor, deviation.astype(np.float32), origins, ends, drawn)
