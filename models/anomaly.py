"""Causal anomaly scores: how surprising the newest points are, given what the same forecaster expected of them.

Two kinds of evidence, each in units of its own alert threshold, the larger counts: a *point* (one step ahead) and a
*level* (the mean of the last LEVEL points against the forecast made before them). 1.0 is the alert threshold.

Shapes: n series, T columns, k newest columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.base import Array32
from models.ensemble import Combination, combine, fit_combination, predict_all
from models.grid import DAY
from models.panel import Panel, make_panel, row_centre
from models.robust import nan_quantile, scale_about_zero

Float = NDArray[np.float64]

LEVEL = 6  # points of the level evidence
# Robust standard deviations that make 1.0, and how far beyond the largest error of the backtest it must be at least.
POINT_LIMIT, LEVEL_LIMIT, BEYOND_PAST = 6.0, 6.0, 1.25
REFERENCE = 2 * DAY  # seconds of one-step errors the scales are taken from, at most
GRACE_POINTS = 96  # no score before a series has this many observations
HISTORY = 28 * DAY  # seconds of the past that :func:`score_anomalies` learns from


class AnomalyScorer:
    """Scores for series that a :class:`~models.forecaster.Forecaster` watches; learns only in :meth:`fit`."""

    def __init__(self, seasons: tuple[int, ...] | None = None) -> None:
        self.seasons = seasons
        self._combination: Combination | None = None
        self._limits: tuple[Float, Float] | None = None

    def fit(self, panel: Panel) -> AnomalyScorer:
        """Learn the one-step forecaster and the scale of its errors from ``panel``."""
        if panel.T < GRACE_POINTS:
            self._combination = None
            return self
        count = min(panel.T // 2, max(GRACE_POINTS, REFERENCE // panel.step), 600)
        origins = np.unique(np.linspace(panel.T // 2, panel.T - LEVEL, count).astype(np.int64))
        self._combination, backtest = fit_combination(panel, origins, LEVEL)
        column = np.minimum(origins[:, None] + np.arange(LEVEL), panel.T - 1)
        error = np.abs(panel.observed[:, column] - backtest)
        level = np.abs(np.mean(panel.observed[:, column] - backtest, axis=2))
        self._limits = _limit(error[:, :, 0], POINT_LIMIT), _limit(level, LEVEL_LIMIT)
        return self

    def score(self, panel: Panel, last: int, direction: str = "both") -> Float:
        """Scores of the ``last`` newest columns, ``[n, last]``; 0 in the grace period, NaN where nothing was observed.

        ``direction``: both, above_expected or below_expected.
        """
        T = panel.T
        out = np.where(np.isfinite(panel.observed[:, T - last :]), 0.0, np.nan)
        if self._combination is None or self._limits is None:
            return out
        columns = np.arange(max(T - last, LEVEL), T)
        point = panel.observed[:, columns] - self._expected(panel, columns, 1)[:, :, 0]
        back = columns[:, None] + np.arange(-LEVEL + 1, 1)
        level = np.mean(panel.observed[:, back] - self._expected(panel, columns - LEVEL + 1, LEVEL), axis=2)
        parts = [_signed(e, direction) / limit[:, None] for e, limit in zip((point, level), self._limits, strict=True)]
        score = np.fmax(parts[0], np.nan_to_num(parts[1]))
        seen = np.cumsum(np.isfinite(panel.observed), axis=1)[:, columns]
        out[:, columns - (T - last)] = np.where(seen >= GRACE_POINTS, score, np.where(np.isfinite(point), 0.0, np.nan))
        return np.where(np.isfinite(panel.observed[:, T - last :]), np.nan_to_num(out), np.nan)

    def _expected(self, panel: Panel, origins: NDArray[np.int64], horizon: int) -> Array32:
        c = self._combination
        if c is None:
            raise ValueError("score needs a fit first")
        return combine(predict_all((c.members, c.fitted), panel, origins, horizon), c.weights[:, :, :horizon])


def _signed(error: Float, direction: str) -> Float:
    if direction == "both":
        return np.abs(error)
    return np.maximum(error if direction == "above_expected" else -error, 0)


def _limit(error: Float, times: float) -> Float:
    """The error that scores 1.0: ``times`` robust standard deviations, or a little beyond all but 1 in 200 of the
    past; a series without any error scores on its own size.
    """
    scale = scale_about_zero(error, axis=1)
    high = nan_quantile(error, 0.995, axis=1)
    limit = np.maximum(times * np.nan_to_num(scale), BEYOND_PAST * np.nan_to_num(high))
    return np.where(limit > 0, limit, 1e-9)


def score_anomalies(values: ArrayLike, *, start: float = 0, step: int, seasons: tuple[int, ...] | None = None) -> Float:
    """Anomaly score of every point of ``values [n, T]``: causal, 1.0 = the alert threshold; NaN where missing.

    Column t uses columns up to t only: day by day, the scorer learns from the days before.

    Raises:
        ValueError: not a two-dimensional array, or a step below 1.

    >>> y = np.random.default_rng(0).normal(size=(1, 700)); y[0, 650] += 30
    >>> bool(score_anomalies(y, step=300)[0, 650] > 1)
    True
    """
    v = np.array(values, dtype=np.float64)
    if v.ndim != 2 or step < 1:
        raise ValueError(f"expected values [n, T] and step >= 1 s, got shape {v.shape} and {step}")
    v[~np.isfinite(v)] = np.nan
    T = v.shape[1]
    out = np.where(np.isfinite(v), 0.0, np.nan)
    block = max(GRACE_POINTS, DAY // step)
    for a in range(GRACE_POINTS, T, block):
        first = max(0, a - HISTORY // step)
        b = min(a + block, T)
        centred = v[:, first:b] - row_centre(v[:, first:a])
        past = make_panel(centred[:, : a - first], step, 1, seasons)
        scorer = AnomalyScorer(seasons).fit(past)
        out[:, a:b] = scorer.score(make_panel(centred, step, 1, seasons, like=past), b - a)
    return out
