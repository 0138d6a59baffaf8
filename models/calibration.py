"""Odds that have been checked: probabilities of a breach, calibrated on what the series' own past forecasts were worth.

The share of sample paths that cross a threshold is over-confident about rare bursts, and the base rate knows nothing
of today. Both together, ``logit P = a + b logit(share) + c logit(base rate)``, is better than either; the coefficients
are learned from the origins of the backtest, where what came after is known, for the very question that is asked,
pooled over the series, and shrunk to what holds elsewhere while examples are few. (Platt, 1999, Probabilistic outputs;
Ranjan & Gneiting, 2010, Combining probability forecasts.)

Shapes: n series, K paths, C past origins, T columns, H cells, A anchors: horizons that have coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import expit

from models.base import Array32
from models.panel import Float, Index

ANCHORS = 5
EXAMPLES = 24  # origins of each series that give examples, C
PRIOR = np.array([-0.2, 0.4, 0.4])  # a, b, c where nothing is known: between the share and the base rate, less sure
PRIOR_STRENGTH = 20.0  # independent examples that the prior is worth
FEWEST_PATHS = 5  # that an example must have left, when those that overlap it are out
LEAST_SLOPE = 0.05
ROUNDS = 12  # of Newton's method
SPAN = 16  # cells that are looked at together before each is looked at
MOMENTS = 16  # different ends of history that have coefficients of their own, at most


@dataclass(frozen=True)
class Past:
    """What one series' examples are made from.

    ``y [T]``: the observations at the fit; ``centre [C, H]``: forecasts from the origins ``at [C]`` (columns before
    them were known); ``origins [K]`` of the error paths ``residual [K, H]``; 0 is no origin. All about ``level``.
    """

    level: float
    y: Float
    centre: Array32
    at: Index
    residual: Array32
    origins: Index


Learned = dict[tuple[bytes, bytes, bool, int], Float]
Extremes = Callable[[bool, int], list[Array32] | None]


@dataclass
class Calibrator:
    """Coefficients for any question about the series whose ``past`` it is given; each question is learned once.

    ``ends [n]``: unix seconds of the last column of each series; ``steps [H]``: end of each cell in steps;
    ``lifts(above, run)``: what turns a path into the extremes of wide cells; ``learned``: what is known already.
    """

    past: list[Past]
    ends: Index
    steps: Index
    lifts: Extremes
    learned: Learned = field(default_factory=dict, repr=False)

    @property
    def anchors(self) -> Index:
        """Cells at which coefficients are learned, ``[A]``."""
        return anchor_cells(len(self.steps))

    def coefficients(self, rows: Index, thresholds: Float, above: bool, run: int) -> Float:
        """Coefficients of every cell for a breach of ``thresholds [r]`` by the series ``rows [r]``, ``[r, H, 3]``.

        Only these series give examples: of others the question was not asked.
        """
        limits = np.ascontiguousarray(thresholds, np.float64)
        key = (rows.tobytes(), limits.tobytes(), above, run)
        if key not in self.learned:
            self.learned[key] = self._learn(rows, limits, above, run)
        return between_anchors(self.learned[key], self.anchors, len(self.steps))

    def _learn(self, rows: Index, thresholds: Float, above: bool, run: int) -> Float:
        anchors, ends = self.anchors, self.ends[rows]
        ahead = self.steps[anchors]
        narrow = int((np.diff(self.steps, prepend=0) == 1).sum())
        lifts = self.lifts(above, run)
        parts = []
        for i, threshold in zip(rows, thresholds, strict=True):
            if i >= len(self.past):
                break
            one = self.past[i]
            residual = one.residual if lifts is None else one.residual + lifts[i]
            limit = float(threshold) - one.level
            found = _ask(one.y, one.centre, one.at, residual, one.origins, limit, above, run, narrow, anchors, ahead)
            parts.append(np.column_stack([found, np.full(len(found), self.ends[i])]))
        table = np.concatenate(parts) if parts else np.empty((0, 6))
        out = np.tile(PRIOR, (len(rows), len(anchors), 1))
        moments = np.unique(ends)
        if len(moments) > MOMENTS:
            moments = np.unique(np.quantile(moments, np.arange(MOMENTS) / MOMENTS, method="lower"))
        group = np.searchsorted(moments, ends, side="right") - 1
        for g, moment in enumerate(moments):
            for a in range(len(anchors)):
                # Errors and base rates are of all of a series: it teaches none that ended before it.
                out[group == g, a] = regress(table[(table[:, 5] <= moment) & (table[:, 0] == a)])
        return out


def between_anchors(coefficients: Float, anchors: Index, cells: int) -> Float:
    """``coefficients [n, A, 3]`` at the anchors for all cells, ``[n, cells, 3]``: linear in the log of the horizon."""
    if len(anchors) == 1:
        return np.repeat(coefficients, cells, axis=1)
    x, xp = np.log(np.arange(1, cells + 1)), np.log(anchors + 1.0)
    right = np.clip(np.searchsorted(xp, x), 1, len(xp) - 1)
    share = np.clip((x - xp[right - 1]) / (xp[right] - xp[right - 1]), 0, 1)[:, None]
    return np.asarray(coefficients[:, right - 1] * (1 - share) + coefficients[:, right] * share)


def anchor_cells(cells: int) -> Index:
    """Cells at which coefficients are learned: evenly spread over the logarithm of the horizon, the last included.

    >>> anchor_cells(288)
    array([ 11,  26,  58, 129, 287])
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
def _tops(values: Array32, sign: float) -> Array32:
    """The greatest of ``sign * values [m, H]`` in each SPAN of cells, ``[m, ceil(H / SPAN)]``."""
    m, H = values.shape
    out = np.full((m, (H + SPAN - 1) // SPAN), np.float32(-np.inf))
    for i in range(m):
        for h in range(H):
            value = np.float32(sign) * values[i, h]
            # What is not known may be anything: it rules nothing out.
            out[i, h // SPAN] = max(out[i, h // SPAN], value if value == value else np.float32(np.inf))
    return out


@njit(cache=True)
def first_crossings(
    centre: Array32, residual: Array32, asked: NDArray[np.bool_], threshold: float, above: bool, run: int, narrow: int
) -> Index:
    """First cell in which each path ``centre [C, H] + residual [K, H]`` breaks its threshold, ``[C, K]``; H if none
    does, or ``asked [C]`` is not set. It breaks where a run of ``run`` cells begins in the first ``narrow`` cells (of
    one step each), and where a later cell is beyond.
    """
    (C, H), K = centre.shape, len(residual)
    sign = 1.0 if above else -1.0
    limit = sign * threshold
    top, of_errors = _tops(centre, sign), _tops(residual, sign)
    out = np.full((C, K), H, np.int64)
    for c in range(C):
        for k in range(K if asked[c] else 0):
            h = held = 0
            while h < H:
                if h % SPAN == 0 and top[c, h // SPAN] + of_errors[k, h // SPAN] <= limit:
                    h, held = h + SPAN, 0  # most paths are far from it most of the time
                    continue
                beyond = sign * (centre[c, h] + residual[k, h]) > limit
                held = held + 1 if beyond else 0
                if beyond and (h >= narrow or held >= run):
                    out[c, k] = h if h >= narrow else h - run + 1
                    break
                h += 1
    return out


@njit(cache=True)
def _counted(first: Index, beyond: NDArray[np.bool_], begin: int, run: int, reach: int) -> tuple[Index, Index]:
    """Of the columns before each one ``[T + 1]``: how many were followed by a breach within ``reach``, and how many
    had none yet and are old enough to tell; ``first, beyond`` as of :func:`next_breach`.
    """
    T = len(beyond)
    hits, chances = np.zeros(T + 1, np.int64), np.zeros(T + 1, np.int64)
    for t in range(T):
        known = begin <= t < T - reach and not beyond[t]
        chances[t + 1] = chances[t] + known
        hits[t + 1] = hits[t] + (known and first[t + 1] + run - 1 <= t + reach)
    return hits, chances


@njit(cache=True)
def _log_odds(share: float) -> float:
    return float(np.log(share / (1 - share)))


@njit(cache=True)
def _ask(
    y: Float,
    centre: Array32,
    at: Index,
    residual: Array32,
    origins: Index,
    threshold: float,
    above: bool,
    run: int,
    narrow: int,
    anchors: Index,
    ahead: Index,
) -> Float:
    """Examples of one series, rows of (anchor, logit of share, logit of base rate, outcome, weight).

    The share is of paths whose errors do not overlap the example; the base rate is that of the time before it.
    """
    T, C, A = len(y), len(at), len(anchors)
    out = np.empty((C * A, 5))
    rows = 0
    begin = 0
    while begin < T and not np.isfinite(y[begin]):
        begin += 1
    first, beyond = next_breach(y, threshold, above, run)
    asked = np.zeros(C, np.bool_)
    for c in range(C):
        o = at[c]
        asked[c] = begin < o and o + ahead[0] <= T and not beyond[o - 1] and np.isfinite(centre[c, 0])
    crossing = first_crossings(centre, residual, asked, threshold, above, run, narrow)
    for a in range(A):
        reach = ahead[a]
        hits, chances = _counted(first, beyond, begin, run, reach)
        before = rows
        for c in range(C):
            o = at[c]
            apart = (origins > 0) & (np.abs(origins - o) >= reach)
            count = apart.sum()
            if not asked[c] or o + reach > T or count < FEWEST_PATHS:
                continue
            known = max(0, o - reach)  # as now: what had ended by then
            free, hit = chances[known], hits[known]
            windows = max(1.0, free / reach)
            base = ((hit / free if free else 0.5) * windows + 0.5) / (windows + 1.0)
            crossed = (apart & (crossing[c] <= anchors[a])).sum()
            out[rows, 0] = a
            out[rows, 1] = _log_odds((crossed + 0.5) / (count + 1.0))
            out[rows, 2] = _log_odds(base)
            out[rows, 3] = first[o] + run - 1 <= o - 1 + reach
            rows += 1
        for r in range(before, rows):  # overlapping windows: so many are independent
            out[r, 4] = min(1.0, max(1.0, chances[T] / reach) / (rows - before))
    return out[:rows]


def regress(rows: Float) -> Float:
    """Logistic regression of the outcome on (1, logit of share, logit of base rate), shrunk to PRIOR, ``[3]``.

    ``rows``: as of :func:`_ask`.
    """
    b = PRIOR.copy()
    if not len(rows):
        return b
    X = np.column_stack([np.ones(len(rows)), rows[:, 1], rows[:, 2]])
    y, w = rows[:, 3], rows[:, 4]

    def likelihood(b: Float) -> float:
        z = X @ b
        return float(w @ (y * z - np.logaddexp(0, z)) - PRIOR_STRENGTH / 2 * ((b - PRIOR) ** 2).sum())

    for _ in range(ROUNDS):
        p = expit(X @ b)
        gradient = X.T @ (w * (y - p)) - PRIOR_STRENGTH * (b - PRIOR)
        curvature = (X * (w * p * (1 - p))[:, None]).T @ X + PRIOR_STRENGTH * np.eye(3)
        move = np.linalg.solve(curvature, gradient)
        while likelihood(b + move) < likelihood(b) and np.abs(move).max() > 1e-9:
            move /= 2  # a whole step may overshoot, and never come back
        b = b + move
    b[1:] = np.maximum(b[1:], LEAST_SLOPE)
    return b
