"""Odds that have been checked: probabilities of a breach, calibrated on what the series' own past forecasts were worth.

The share of sample paths that cross a threshold is over-confident about rare bursts, and the base rate knows nothing
of today. Both together, ``logit P = a + b logit(share) + c logit(base rate)``, is better than either; the coefficients
are learned from the origins of the backtest, where what came after is known: for a fan of thresholds, up and down,
pooled over the series, and shrunk to what holds elsewhere while examples are few. (Platt, 1999, Probabilistic outputs;
Ranjan & Gneiting, 2010, Combining probability forecasts.) They do not depend on the threshold that is asked about, so
a harder breach is never likelier.

Shapes: n series, K paths, T columns, H cells, A anchors: horizons at which the coefficients are learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import expit

from models.base import Array32, Origins
from models.panel import Float, Index

ANCHORS = 5
EXAMPLES = 24  # origins of each series that give examples
FAN = (0.8, 0.9, 0.95, 0.98, 0.995)  # quantiles of the history that examples are asked about; mirrored for below
PRIOR = np.array([-0.4, 0.6, 0.4])  # a, b, c where nothing is known: between the share and the base rate, less sure
PRIOR_STRENGTH = 20.0  # independent examples that the prior is worth
QUESTION = 0.5  # of an example: the thresholds of a fan share their weather
LEAST_SLOPE = 0.05
ROUNDS = 12  # of Newton's method
MOMENTS = 16  # different ends of history that have coefficients of their own, at most


@dataclass(frozen=True)
class Calibration:
    """``coefficients [n, 2, A, 3]`` for below (0) and above (1) at the cells ``anchors [A]``."""

    coefficients: Float
    anchors: Index

    def at(self, cells: int, above: bool) -> Float:
        """Coefficients of each cell, ``[n, cells, 3]``: linear in the logarithm of the horizon."""
        mine = self.coefficients[:, int(above)]
        x, xp = np.log(np.arange(1, cells + 1)), np.log(self.anchors + 1.0)
        right = np.clip(np.searchsorted(xp, x), 1, len(xp) - 1) if len(xp) > 1 else np.zeros(cells, np.int64)
        left = np.maximum(right - 1, 0)
        share = np.clip((x - xp[left]) / np.maximum(xp[right] - xp[left], 1e-9), 0, 1)[:, None]
        return np.asarray(mine[:, left] * (1 - share) + mine[:, right] * share)


def anchor_cells(cells: int) -> Index:
    """Cells at which coefficients are learned: evenly spread over the logarithm of the horizon, the last included.

    >>> anchor_cells(288)
    array([ 11,  26,  60, 130, 287])
    """
    return np.unique(np.round(np.geomspace(min(12, cells), cells, ANCHORS)).astype(np.int64) - 1)


def logit(p: Float) -> Float:
    """Log odds."""
    return np.log(p / (1 - p))


def share_of(count: Float, of: Float) -> Float:
    """A share that is never quite 0 or 1 (Krichevsky & Trofimov, 1981)."""
    return np.asarray((count + 0.5) / (of + 1.0))


@njit(cache=True)
def next_breach(y: Float, threshold: float, above: bool, run: int) -> tuple[Index, NDArray[np.bool_]]:
    """First column from each on in which ``run`` consecutive values beyond begin, ``[T + 1]`` (2^40: never); and
    whether each value is beyond ``[T]``.
    """
    T = len(y)
    beyond = np.empty(T, np.bool_)
    first = np.empty(T + 1, np.int64)
    first[T] = 2**40
    held = 0
    for t in range(T - 1, -1, -1):
        beyond[t] = y[t] > threshold if above else y[t] < threshold
        held = held + 1 if beyond[t] else 0
        first[t] = t if held >= run else first[t + 1]
    return first, beyond


@njit(cache=True)
def base_rates(y: Float, threshold: float, above: bool, run: int, ahead: Index) -> Float:
    """How often a breach began and lasted ``run`` points within ``ahead [A]`` columns of a time without one, ``[A]``.

    ``(x + 0.5) / (n + 1)``, with n the independent windows.
    """
    first, beyond = next_breach(y, threshold, above, run)
    out = np.empty(len(ahead))
    begin = 0
    while begin < len(y) and not np.isfinite(y[begin]):
        begin += 1
    for a in range(len(ahead)):
        hits = chances = 0
        for t in range(begin, len(y) - ahead[a]):
            if not beyond[t]:
                chances += 1
                hits += first[t + 1] + run - 1 <= t + ahead[a]
        windows = max(1.0, chances / ahead[a])
        out[a] = ((hits / chances if chances else 0.5) * windows + 0.5) / (windows + 1.0)
    return out


@njit(cache=True)
def _ask(
    y: Float,
    centre: Array32,
    residual: Array32,
    origins: Index,
    chosen: Index,
    thresholds: Float,
    above: bool,
    anchors: Index,
    ahead: Index,
) -> Float:
    """Examples of one series, rows of (anchor, logit of share, logit of base rate, outcome, weight, column known)."""
    T, K, A, Q = len(y), len(residual), len(anchors), len(thresholds)
    sign = 1.0 if above else -1.0
    # Largest (smallest) point of each path from each chosen origin, up to each anchor.
    peak = np.empty((len(chosen), K, A))
    for c in range(len(chosen)):
        for j in range(K):
            top, a = -np.inf, 0
            for h in range(anchors[-1] + 1):
                top = max(top, sign * (centre[chosen[c], h] + residual[j, h]))
                if h == anchors[a]:
                    peak[c, j, a] = top
                    a += 1
    out = np.empty((len(chosen) * A * Q, 6))
    rows = 0
    begin = 0
    while begin < T and not np.isfinite(y[begin]):
        begin += 1
    for q in range(Q):
        first, beyond = next_breach(y, thresholds[q], above, 1)
        for a in range(A):
            reach = ahead[a]
            hits, chances = np.zeros(T + 1, np.int64), np.zeros(T + 1, np.int64)
            for t in range(T):
                known = begin <= t < T - reach and not beyond[t]
                chances[t + 1] = chances[t] + known
                hits[t + 1] = hits[t] + (known and first[t + 1] <= t + reach)
            before = rows
            for c in range(len(chosen)):
                o = origins[chosen[c]]
                if o < 1 or o + reach > T or o - 1 < begin or beyond[o - 1]:
                    continue
                count = crossing = 0
                for j in range(K):
                    if origins[j] > 0 and abs(origins[j] - o) >= reach:
                        count += 1
                        crossing += peak[c, j, a] > sign * thresholds[q]
                if count < 5:
                    continue
                low, high = max(0, o - 1 - reach), min(T, o - 1 + reach)
                free = chances[T] - (chances[high] - chances[low])
                hit = hits[T] - (hits[high] - hits[low])
                windows = max(1.0, free / reach)
                base = ((hit / free if free else 0.5) * windows + 0.5) / (windows + 1.0)
                share = (crossing + 0.5) / (count + 1.0)
                out[rows, 0] = a
                out[rows, 1] = np.log(share / (1 - share))
                out[rows, 2] = np.log(base / (1 - base))
                out[rows, 3] = first[o] <= o - 1 + reach
                out[rows, 4] = chances[T] / reach
                out[rows, 5] = o + reach
                rows += 1
            for r in range(before, rows):
                out[r, 4] = min(1.0, max(1.0, out[r, 4]) / (rows - before))
    return out[:rows]


def examples(
    y: Float, centre: Array32, residual: tuple[Array32, Array32], origins: Origins, anchors: Index, ahead: Index
) -> tuple[Float, Float]:
    """Past forecasts of one series and what came, for below and above; rows as in :func:`_ask`.

    ``y [T]`` observed, ``centre [K, H]`` forecasts from ``origins [K]``, ``residual``: the error paths ``[K, H]`` of the
    lowest and of the highest point of each cell, ``ahead [A]``: steps that the anchors look ahead.
    """
    known = np.flatnonzero((origins > 0) & (origins + ahead[0] <= len(y)) & np.isfinite(centre).all(1))
    values = y[np.isfinite(y)]
    if not len(known) or not len(values) or values.min() == values.max():
        return np.empty((0, 6)), np.empty((0, 6))
    chosen = known[np.unique(np.linspace(0, len(known) - 1, EXAMPLES).round().astype(np.int64))]
    sample = values[:: 1 + len(values) // 4000]
    parts = []
    for above in (False, True):
        fan = np.quantile(sample, FAN if above else 1 - np.asarray(FAN))
        inside = np.unique(fan[(fan < values.max()) & (fan > values.min())])
        parts.append(_ask(y, centre, residual[above], origins, chosen, inside, above, anchors, ahead))
    return parts[0], parts[1]


def learn(example: list[tuple[Float, Float]], ends: Index, starts: Index, step: int, anchors: Index) -> Calibration:
    """Coefficients for every series from the ``example`` of all; those of later than a series' own end are not used.

    ``ends, starts [n]``: unix seconds of the last and of the first column of each series.
    """
    n = len(ends)
    out = np.tile(PRIOR, (n, 2, len(anchors), 1))
    moments = np.unique(ends)
    if len(moments) > MOMENTS:
        moments = np.unique(np.quantile(ends, np.arange(MOMENTS) / MOMENTS, method="lower"))
    group = np.searchsorted(moments, ends, side="right") - 1
    for side in (0, 1):
        rows = [np.column_stack([e[side], np.full(len(e[side]), i)]) for i, e in enumerate(example)]
        table = np.concatenate(rows) if rows else np.empty((0, 7))
        known_at = starts[table[:, 6].astype(np.int64)] + (table[:, 5] - 1) * step if len(table) else np.empty(0)
        for g, moment in enumerate(moments):
            for a in range(len(anchors)):
                mine = table[(known_at <= moment) & (table[:, 0] == a)]
                out[group == g, side, a] = _regress(mine)
    return Calibration(out, anchors)


def _regress(rows: Float) -> Float:
    """Logistic regression of the outcome on (1, logit of share, logit of base rate), shrunk to PRIOR, ``[3]``."""
    b = PRIOR.copy()
    if not len(rows):
        return b
    X = np.column_stack([np.ones(len(rows)), rows[:, 1], rows[:, 2]])
    y, w = rows[:, 3], rows[:, 4] * QUESTION
    for _ in range(ROUNDS):
        p = expit(X @ b)
        gradient = X.T @ (w * (y - p)) - PRIOR_STRENGTH * (b - PRIOR)
        curvature = (X * (w * p * (1 - p))[:, None]).T @ X + PRIOR_STRENGTH * np.eye(3)
        b = b + np.linalg.solve(curvature, gradient)
    b[1:] = np.maximum(b[1:], LEAST_SLOPE)
    return b
