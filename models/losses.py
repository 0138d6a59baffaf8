"""Figures that say how good forecasts are. Smaller is better, save for coverage and skill.

Shapes: n series, H cells, Q quantiles. NaN in the truth or the forecast leaves the pair out; over nothing a figure
is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


def mean_of_known(values: Float, axis: int | tuple[int, ...] | None = None) -> Float:
    """Mean that leaves NaN out, and says NaN (without a warning) over nothing."""
    there = np.isfinite(values)
    count = there.sum(axis=axis)
    total = np.where(there, values, 0.0).sum(axis=axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def pinball(truth: ArrayLike, forecast: ArrayLike, quantile: float) -> Float:
    """Quantile loss of each pair: ``q * (y - f)`` above the forecast, ``(1 - q) * (f - y)`` below it.

    Source: Koenker & Bassett (1978), Regression quantiles, Econometrica 46.

    >>> pinball([10.0, 10.0], [8.0, 12.0], 0.9)
    array([1.8, 0.2])
    """
    error = np.asarray(truth, float) - np.asarray(forecast, float)
    return np.asarray(np.maximum(quantile * error, (quantile - 1) * error))


def crps(truth: ArrayLike, forecast: ArrayLike, quantiles: Sequence[float]) -> Float:
    """Continuous ranked probability score of ``truth [n, H]`` from ``forecast [n, Q, H]``, ``[n, H]``.

    Twice the mean pinball loss over evenly spread quantiles, which tends to the integral over all of them:
    Gneiting & Ranjan (2011), Comparing density forecasts, Journal of Business & Economic Statistics 29.

    >>> crps([[1.0]], [[[0.0], [1.0], [2.0]]], [0.25, 0.5, 0.75]).round(3)
    array([[0.333]])
    """
    y, f = np.asarray(truth, float), np.asarray(forecast, float)
    return np.asarray(2 * np.mean([pinball(y, f[:, j], q) for j, q in enumerate(quantiles)], axis=0))


def mase(truth: ArrayLike, forecast: ArrayLike, history: ArrayLike, season: int = 1) -> Float:
    """Mean absolute error over the seasonal naive one-step error in ``history [n, T]``, ``[n]``; inf where that is 0.

    Source: Hyndman & Koehler (2006), Another look at measures of forecast accuracy, International Journal of
    Forecasting 22.

    >>> mase([[3.0, 5.0]], [[4.0, 4.0]], [[1.0, 3.0, 1.0, 3.0]])
    array([0.5])
    """
    h = np.asarray(history, float)
    naive = mean_of_known(np.abs(h[:, season:] - h[:, :-season]), axis=1)
    error = mean_of_known(np.abs(np.asarray(truth, float) - np.asarray(forecast, float)), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, error / naive)


def coverage(truth: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Share of the truth within ``low .. high``, ends included; for a calibrated band its nominal share.

    >>> coverage([1.0, 2.0, 9.0, float("nan")], [0.0] * 4, [3.0] * 4).__round__(3)
    0.667
    """
    y, a, b = (np.asarray(x, float) for x in (truth, low, high))
    known = np.isfinite(y) & np.isfinite(a) & np.isfinite(b)
    return float(mean_of_known(np.where(known, (y >= a) & (y <= b), np.nan)))


def brier(happened: ArrayLike, probability: ArrayLike) -> float:
    """Mean squared difference between a probability and what happened (0 or 1).

    Source: Brier (1950), Verification of forecasts expressed in terms of probability, Monthly Weather Review 78.

    >>> brier([1.0, 0.0], [0.5, 0.0])
    0.125
    """
    return float(mean_of_known((np.asarray(happened, float) - np.asarray(probability, float)) ** 2))


def brier_skill(happened: ArrayLike, probability: ArrayLike, reference: ArrayLike | None = None) -> float:
    """``1 - brier / brier of reference``: 1 is perfect, 0 no better than ``reference`` (``None``: the base rate).

    Source: Murphy (1973), A new vector partition of the probability score, Journal of Applied Meteorology 12.
    NaN where the reference is already perfect (it always happened, or never).

    >>> brier_skill([1.0, 0.0], [1.0, 0.5])
    0.5
    """
    y, p = np.asarray(happened, float), np.asarray(probability, float)
    known = np.isfinite(y) & np.isfinite(p)
    y, p = np.where(known, y, np.nan), np.where(known, p, np.nan)
    best = brier(y, mean_of_known(y) if reference is None else reference)
    return 1 - brier(y, p) / best if best > 0 else float("nan")
