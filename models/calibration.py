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
from scipy.special import expit

from models.base import Array32
from models.examples import Past, examples_of
from models.panel import Float, Index

ANCHORS = 5
PRIOR = np.array([-0.2, 0.4, 0.4])  # a, b, c where nothing is known: between the share and the base rate, less sure
PRIOR_STRENGTH = 20.0  # independent examples that the prior is worth
LEAST_SLOPE = 0.05
ROUNDS, SMALLEST_MOVE = 12, 1e-9  # of Newton's method
MOMENTS = 16  # different ends of history that have coefficients of their own, at most

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
            question = limit, above, run, narrow, anchors, ahead
            found = examples_of(one.y, one.centre, one.at, residual, one.origins, *question)
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


def regress(rows: Float) -> Float:
    """Logistic regression of the outcome on (1, logit of share, logit of base rate), shrunk to PRIOR, ``[3]``.

    ``rows``: as of :func:`models.examples.examples_of`.
    """
    b = PRIOR.copy()
    if not len(rows):
        return b
    X = np.column_stack([np.ones(len(rows)), rows[:, 1], rows[:, 2]])
    y, w = rows[:, 3], rows[:, 4]

    def likelihood(b: Float) -> float:
        z = X @ b
        return float(w @ (y * z - np.logaddexp(0, z)) - PRIOR_STRENGTH / 2 * ((b - PRIOR) ** 2).sum())

    reached = likelihood(b)
    for _ in range(ROUNDS):
        p = expit(X @ b)
        gradient = X.T @ (w * (y - p)) - PRIOR_STRENGTH * (b - PRIOR)
        curvature = (X * (w * p * (1 - p))[:, None]).T @ X + PRIOR_STRENGTH * np.eye(3)
        move = np.linalg.solve(curvature, gradient)
        while (new := likelihood(b + move)) < reached and np.abs(move).max() > SMALLEST_MOVE:
            move /= 2  # a whole step may overshoot, and never come back
        b, reached = b + move, new
        if np.abs(move).max() <= SMALLEST_MOVE:
            break
    b[1:] = np.maximum(b[1:], LEAST_SLOPE)
    return b
