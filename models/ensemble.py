"""Combination of members by their own past errors.

Shapes: n series, K origins, H cells of a segment, M members, B buckets of horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.base import Array32, Fitted, Member, Origins
from models.panel import Float, Index, Panel
from models.registry import chosen

# Weights are (mean absolute error) ** -POWER within a bucket of horizon: Bates & Granger (1969) with the power of
# Stock & Watson (2004), made sharper. They are shrunk to those of the next shorter horizon, the first to equal ones,
# like this many independent windows of no information.
POWER = 6.0
PRIOR_WINDOWS = 2.0
# Where a series rests (models/panel.py) the best members speak alone, as a mean of all would leave the value at rest:
# the power there, and the share of the largest weight below which a member has none.
RESTING_POWER, RESTING_LEAST = 24.0, 0.1
LEAST = 1e-3  # of the best member's error: a perfect past counts as this much
SCARCE = 0.5  # of the most origins that a member answered: with fewer, its error is no comparison


@dataclass(frozen=True)
class Combination:
    """The members that apply to a panel, what they learned, and their weights ``[n, M, H]`` (sum over M is 1)."""

    members: tuple[Member, ...]
    fitted: tuple[Fitted, ...]
    weights: Array32

    def select(self, rows: Index) -> Combination:
        """The same of some of the series."""
        fitted = tuple({name: array[rows] for name, array in f.items()} for f in self.fitted)
        return Combination(self.members, fitted, self.weights[rows])


def buckets(horizon: int) -> Index:
    """Bucket of each of ``horizon`` cells: 1, 2–3, 4–7, 8–15 … cells ahead.

    >>> buckets(8)
    array([0, 1, 1, 2, 2, 2, 2, 3])
    """
    return np.floor(np.log2(np.arange(1, horizon + 1))).astype(np.int64)


@njit(cache=True)
def actuals(values: Float, origins: Origins, horizon: int) -> Array32:
    """What of ``values [n, T]`` came after each origin ``[n, K]``, ``[n, K, H]``; NaN where missing, not yet there, or
    no origin.
    """
    n, K = origins.shape
    out = np.full((n, K, horizon), np.float32(np.nan))
    for i in range(n):
        for k in range(K):
            o = origins[i, k]
            if o > 0:
                for h in range(min(horizon, values.shape[1] - o)):
                    out[i, k, h] = values[i, o + h]
    return out


@njit(cache=True)
def combine(parts: Array32, weights: Array32) -> Array32:
    """Weighted mean of ``parts [M, n, K, H]`` with ``weights [n, M, H]``, leaving out members that have no answer."""
    M, n, K, H = parts.shape
    out = np.empty((n, K, H), np.float32)
    total, mass = np.empty(H), np.empty(H)
    wide = weights.astype(np.float64)  # the smallest are subnormal in single precision: slow to multiply
    for i in range(n):
        for k in range(K):
            total[:], mass[:] = 0.0, 0.0
            for m in range(M):
                value, weight = parts[m, i, k], wide[i, m]
                for h in range(H):
                    known = np.isfinite(value[h])
                    w = weight[h] if known else 0.0
                    total[h] += w * (value[h] if known else np.float32(0))
                    mass[h] += w
            for h in range(H):
                out[i, k, h] = total[h] / mass[h] if mass[h] > 0 else np.nan
    return out


@njit(cache=True)
def _errors(parts: Array32, truth: Array32, bucket: Index) -> tuple[Float, Float]:
    """Mean absolute error of each member in each bucket ``[n, M, B]`` (NaN without any), and how many origins and
    cells it is of ``[n, M, B]``.
    """
    M, n, K, H = parts.shape
    B = bucket[-1] + 1
    total, count = np.zeros((n, M, B)), np.zeros((n, M, B))
    size, known = np.empty(H), np.empty(H)
    for m in range(M):
        for i in range(n):
            size[:], known[:] = 0.0, 0.0
            for k in range(K):
                value, there = parts[m, i, k], truth[i, k]
                for h in range(H):
                    error = abs(value[h] - there[h])
                    counts = np.isfinite(error)
                    size[h] += error if counts else np.float32(0)
                    known[h] += 1.0 if counts else 0.0
            for h in range(H):
                total[i, m, bucket[h]] += size[h]
                count[i, m, bucket[h]] += known[h]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), count


def weigh(parts: Array32, truth: Array32, windows: Float, rests: NDArray[np.bool_] | None = None) -> Array32:
    """Weights ``[n, M, H]`` from the members' errors over the origins, bucket by bucket.

    ``windows [n]``: cells of history behind the backtest: so many over the bucket's horizon are independent. A member
    without any answer in the backtest gets the least weight given, so that it is used only where nothing else answers.
    ``rests [n]`` (None: none does): series whose best members are to speak alone.
    """
    M, n, _, H = parts.shape
    bucket = buckets(H)
    error, count = _errors(parts, truth, bucket)
    error = np.where(count >= SCARCE * count.max(axis=1, keepdims=True, initial=0), error, np.nan)
    known = np.isfinite(error)
    alone = np.zeros((n, 1, 1), np.bool_) if rests is None else rests[:, None, None]
    power = np.where(alone, RESTING_POWER, POWER)
    best = np.where(known, error, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    best = np.where(np.isfinite(best), best, 0)
    floor = 1e-30 + LEAST * best
    raw = np.where(known, np.maximum(np.where(known, error, 1), floor) / (best + floor), np.inf) ** -power
    raw /= np.maximum(raw.sum(axis=1, keepdims=True), 1e-300)
    answers = known.any(axis=2, keepdims=True)
    before = np.broadcast_to(np.where(answers, 1.0, 1e-6)[:, :, 0], (n, M)).copy()
    before /= np.maximum(before.sum(axis=1, keepdims=True), 1e-300)
    out = np.empty((n, M, bucket[-1] + 1))
    for b in range(out.shape[2]):
        independent = np.where(known[:, :, b].any(1), windows / 2.0**b, 0.0)
        trust = (independent / (independent + PRIOR_WINDOWS))[:, None]
        before = trust * raw[:, :, b] + (1 - trust) * before
        out[:, :, b] = before
    out[alone & (out < RESTING_LEAST * out.max(axis=1, keepdims=True, initial=0))] = 0.0
    out /= out.sum(axis=1, keepdims=True)
    return np.asarray(out[:, :, bucket], np.float32)


def predict_all(c: tuple[tuple[Member, ...], tuple[Fitted, ...]], panel: Panel, origins: Origins, H: int) -> Array32:
    """Forecasts of every member, ``[M, n, K, H]``."""
    out = np.empty((len(c[0]), panel.n, origins.shape[-1], H), np.float32)
    for m, f, of_member in zip(*c, out, strict=True):
        m.predict(panel, f, origins, H, of_member)
    return out


def fit_combination(
    panel: Panel, origins: Origins, horizon: int, names: Sequence[str] | None = None
) -> tuple[Combination, Array32]:
    """Fit the members, weigh them on ``origins [n, K]``; returns the combination and its own backtest ``[n, K, H]``.

    ``names`` of the members, None: all of the ensemble.
    """
    members = tuple(m for m in chosen(names) if m.applies(panel))
    fitted = tuple(m.fit(panel) for m in members)
    parts = predict_all((members, fitted), panel, origins, horizon)
    span = panel.T - np.where(origins > 0, origins, panel.T).min(axis=1, initial=panel.T)
    truth, rests = actuals(panel.observed, origins, horizon), np.isfinite(panel.resting)
    weights = weigh(parts, truth, span.astype(np.float64), rests)
    return Combination(members, fitted, weights), combine(parts, weights)


def predict_now(c: Combination, panel: Panel, horizon: int) -> Array32:
    """The combined forecast from the end of the panel, ``[n, H]``; the last value where no member answers."""
    origin = np.full((panel.n, 1), panel.T, np.int64)
    out = combine(predict_all((c.members, c.fitted), panel, origin, horizon), c.weights)[:, 0]
    return np.where(np.isfinite(out), out, panel.values[:, -1:]).astype(np.float32)
