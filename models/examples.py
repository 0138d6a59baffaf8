"""What a series' own past answers to a question: examples that odds are learned from, and base rates.

A question is whether a series breaks a threshold for ``run`` consecutive points within a horizon. From an origin of
the backtest it is answered by what came after; the share of paths and the base rate are of the rest of the past.

Shapes: C past origins, K paths, T columns, H cells, A anchors: horizons that have coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.base import Array32
from models.panel import Float, Index

EXAMPLES = 24  # origins of each series that give examples, C
FEWEST_PATHS = 5  # that an example must have left, when those that overlap it are out
SPAN = 16  # cells that are looked at together before each is looked at


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
def _tops(values: Array32, sign: float, run: int, narrow: int, more: int) -> Array32:
    """The most that ``run`` cells from one in each SPAN (and ``more`` cells after it) on all reach,
    ``sign * values [m, H]``, as ``[m, ceil(H / SPAN)]``. A cell from ``narrow`` on stands for itself; one that is not
    known reaches nothing.
    """
    m, H = values.shape
    out = np.full((m, (H + SPAN - 1) // SPAN), np.float32(-np.inf))
    row = np.empty(H, np.float32)
    for i in range(m):
        for h in range(H):
            value = np.float32(sign) * values[i, h]
            row[h] = value if value == value else np.float32(-np.inf)
        for _ in range(1, run):
            for h in range(narrow - 1):
                row[h] = min(row[h], row[h + 1])
        row[max(0, narrow - run + 1) : narrow] = -np.inf  # too few cells are left for a run
        for span in range(out.shape[1]):
            for h in range(span * SPAN, min(H, (span + 1) * SPAN + more)):
                out[i, span] = max(out[i, span], row[h])
    return out


@njit(cache=True)
def first_crossings(
    centre: Array32, residual: Array32, asked: Index, threshold: float, above: bool, run: int, narrow: int
) -> Index:
    """First cell in which each path ``centre [C, H] + residual [K, H]`` breaks its threshold, ``[C, K]``; H if none of
    the first ``asked [C, K]`` cells does. It breaks where a run of ``run`` cells begins in the first ``narrow`` cells
    (of one step each), and where a later cell is beyond. A cell that is not known is not beyond.
    """
    (C, H), K = centre.shape, len(residual)
    narrow = min(narrow, H)
    sign = 1.0 if above else -1.0
    limit = sign * threshold
    # Most paths are far from it most of the time: a run needs errors that all of it has, and a centre it has somewhere.
    top, of_errors = _tops(centre, sign, 1, H, run - 1), _tops(residual, sign, run, narrow, 0)
    out = np.full((C, K), H, np.int64)
    for c in range(C):
        for k in range(K):
            for begin in range(0, min(asked[c, k], H), SPAN):
                if top[c, begin // SPAN] + of_errors[k, begin // SPAN] <= limit:
                    continue
                held = 0
                for h in range(begin, min(H, begin + SPAN + run - 1)):
                    beyond = sign * (centre[c, h] + residual[k, h]) > limit
                    held = held + 1 if beyond else 0
                    if beyond and (h >= narrow or held >= run):
                        out[c, k] = h if h >= narrow else h - run + 1
                        break
                if out[c, k] < H:
                    break
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
def examples_of(
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

    The share is of paths whose errors do not overlap the example, the base rate of windows that do not. An anchor that
    the paths do not reach has none.
    """
    T, C, A = len(y), len(at), int((anchors < centre.shape[1]).sum())
    out = np.empty((C * A, 5))
    rows = 0
    begin = 0
    while begin < T and not np.isfinite(y[begin]):
        begin += 1
    first, beyond = next_breach(y, threshold, above, run)
    fits = np.zeros(C, np.bool_)
    asked = np.zeros((C, len(origins)), np.int64)  # cells up to the furthest anchor that has a use for the path
    for c in range(C):
        o = at[c]
        fits[c] = begin < o and o + ahead[0] <= T and not beyond[o - 1] and np.isfinite(centre[c, 0])
        for a in range(A if fits[c] else 0):
            for k in range(len(origins)):
                if o + ahead[a] <= T and origins[k] > 0 and abs(origins[k] - o) >= ahead[a]:
                    asked[c, k] = anchors[a] + 1
    crossing = first_crossings(centre, residual, asked, threshold, above, run, narrow)
    for a in range(A):
        reach = ahead[a]
        hits, chances = _counted(first, beyond, begin, run, reach)
        before = rows
        for c in range(C):
            o = at[c]
            apart = (origins > 0) & (np.abs(origins - o) >= reach)
            count = apart.sum()
            if not fits[c] or o + reach > T or count < FEWEST_PATHS:
                continue
            low, high = max(0, o - 1 - reach), min(T, o - 1 + reach)
            free = chances[T] - (chances[high] - chances[low])
            hit = hits[T] - (hits[high] - hits[low])
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
