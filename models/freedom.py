"""How well the spread of an error is known: by the number of independent errors behind it.

The windows of a far horizon overlap, and neighbouring errors are alike. At worst they are for as long as the horizon,
``history / horizon`` are independent; how long they are indeed alike, their autocorrelation tells, from few of them.
Between the two lies the geometric mean. (Thiebaux & Zwiers, 1984, The interpretation and estimation of effective
sample size.) Few errors know little about their spread, so each path is stretched by a draw of its own, as in the
predictive distribution of a small sample: Student's t.

Shapes: n series, K origins and paths, H cells, A horizons that are looked at.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit
from scipy.special import chdtri

from models.base import Array32, Origins
from models.panel import Float, Index

# Degrees of freedom per independent error (they are not quite alike), how few and how many there may be, and the share
# by which backtest errors understate fresh ones: the members were chosen on them.
PER_ERROR, LEAST, MOST, FRESH = 0.35, 1.0, 4000.0, 1.02
LEVELS = 128  # of the degrees of freedom
PLENTY = 64.0  # so many windows of a horizon are enough, however alike neighbours are
LOOKED_AT = 8  # horizons
PARTS = 12  # of a horizon: times apart at which errors are compared
ALIKE = 0.05  # autocorrelation below which errors are no longer
FEWEST_KNOWN, FEWEST_PAIRS = 8, 4


def independent_errors(residual: Array32, origins: Origins, history: Index, ends: Index) -> Float:
    """How many of the errors ``residual [n, K, H]`` (NaN unknown) from ``origins [n, K]`` (0: none) are independent,
    ``[n, H]``, with ``history [n]`` columns and cells that end ``ends [H]`` columns on.
    """
    windows = np.maximum(history, 1)[:, None] / ends
    looked_at = np.unique(np.geomspace(1, len(ends), LOOKED_AT).round().astype(np.int64)) - 1
    errors = np.ascontiguousarray(np.moveaxis(residual[:, :, looked_at], 2, 1))
    lasts = _alike_for(errors, origins, ends[looked_at])
    place = np.log(ends)
    gain = np.stack([np.interp(place, place[looked_at], row) for row in -np.log(lasts) / 2])
    return np.where(windows < PLENTY, windows * np.exp(gain), windows)


def stretch(errors: Float, K: int, seed: int) -> Array32:
    """Factors of each path, ``[n, K, H]``: Student's t for the independent ``errors [n, H]`` behind each cell, over the
    normal distribution; evenly spread over its quantiles, the same quantile in all cells of a path.
    """
    freedom = np.clip(PER_ERROR * errors, LEAST, MOST)
    level = np.rint(np.log(freedom / LEAST) / np.log(MOST / LEAST) * (LEVELS - 1)).astype(np.int64)
    return np.stack([_table(K, seed)[:, row] for row in level])


@lru_cache(maxsize=8)  # every block of series asks the same
def _table(K: int, seed: int) -> Array32:
    """The factors at each level of the degrees of freedom, ``[K, LEVELS]``."""
    share = (np.random.default_rng(seed + 1).permutation(K) + 0.5) / K
    at = np.geomspace(LEAST, MOST, LEVELS)
    out = (FRESH * np.sqrt(at / chdtri(at, share[:, None])) * np.sqrt(1 + 1 / at)).astype(np.float32)
    out.flags.writeable = False
    return out


@njit(cache=True)
def _alike_for(errors: Array32, origins: Origins, ahead: Index) -> Float:
    """For how long errors are alike, in units of the horizon and no more than it, ``[n, A]``: the integral of their
    autocorrelation about 0 (an error that stays is a bias), as far as it is positive; 1 where too few are known.

    ``errors [n, A, K]``, ``origins [n, K]`` in order, horizons ``ahead [A]`` in columns.
    """
    n, A, K = errors.shape
    out = np.ones((n, A))
    at, known = np.empty(K, np.int64), np.empty(K)
    for i in range(n):
        for a in range(A):
            count, power = 0, 0.0
            for k in range(K):
                if origins[i, k] > 0 and np.isfinite(errors[i, a, k]):
                    at[count], known[count] = origins[i, k], errors[i, a, k]
                    power += known[count] ** 2
                    count += 1
            if count < FEWEST_KNOWN or power <= 0.0:
                continue
            part = max(1.0, ahead[a] / PARTS)
            product, pairs = np.zeros(PARTS), np.zeros(PARTS)
            for k in range(count):
                for later in range(k + 1, count):
                    apart = int((at[later] - at[k]) / part)
                    if apart >= PARTS:
                        break
                    product[apart] += known[k] * known[later]
                    pairs[apart] += 1.0
            lasts, correlation = 0.0, 1.0
            for p in range(PARTS):
                if pairs[p] >= FEWEST_PAIRS:
                    correlation = min(1.0, product[p] / pairs[p] * count / power)
                if correlation < ALIKE:
                    break
                lasts += 2.0 * correlation * part
            out[i, a] = min(1.0, max(lasts, part) / ahead[a])
    return out
