"""Rolling-origin evaluation: forecasts made in the past, from the past alone, against what came after.

Source: Tashman (2000), Out-of-sample tests of forecasting accuracy, International Journal of Forecasting 16.
Shapes: n series, T columns, R origins, H steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.forecaster import forecast
from models.losses import coverage, crps, mase, mean_of_known
from models.synthetic import runs

Float = NDArray[np.float64]

QUANTILES = tuple(np.round(np.linspace(0.05, 0.95, 19), 2).tolist())


@dataclass(frozen=True)
class Backtest:
    """``truth [R, n, H]``, ``quantiles [R, n, Q, H]`` at QUANTILES, ``probability [R, n]`` and ``happened [R, n]`` of a
    breach within the horizon (NaN without a threshold), ``origins [R]``: columns that each forecast was made from.
    """

    truth: Float
    quantiles: Float
    probability: Float
    happened: Float
    origins: NDArray[np.int64]
    values: Float

    @property
    def median(self) -> Float:
        """The point forecast, ``[R, n, H]``."""
        return self.quantiles[:, :, QUANTILES.index(0.5)]

    def mase(self, season: int = 1) -> Float:
        """MASE of each series over all origins, ``[n]``; scaled by the history before the first origin."""
        history = self.values[:, : self.origins[0]]
        truth, median = (np.moveaxis(x, 0, 1).reshape(len(history), -1) for x in (self.truth, self.median))
        return mase(truth, median, history, season)

    def crps(self) -> float:
        """Mean continuous ranked probability score."""
        each = [crps(y, q, QUANTILES) for y, q in zip(self.truth, self.quantiles, strict=True)]
        return float(mean_of_known(np.stack(each)))

    def coverage(self, share: float = 0.8) -> float:
        """Share of the truth within the central band of ``share``, whose ends must be in QUANTILES."""
        low, high = (QUANTILES.index(round(q, 2)) for q in ((1 - share) / 2, (1 + share) / 2))
        return coverage(self.truth, self.quantiles[:, :, low], self.quantiles[:, :, high])


def backtest(
    values: ArrayLike,
    *,
    step: int,
    horizon: int,
    origins: Sequence[int],
    threshold: float | None = None,
    above: bool = True,
    run: int = 1,
    **options: Any,
) -> Backtest:
    """Forecast ``values [n, T]`` from each of ``origins`` (columns before it are the history), ``options`` as in
    :func:`~models.forecaster.forecast`.

    Raises:
        ValueError: an origin that leaves no history, or no whole horizon after it.

    >>> y = np.sin(np.arange(400.0) / 4)[None]
    >>> backtest(y, step=300, horizon=6, origins=[300, 350]).truth.shape
    (2, 1, 6)
    """
    v = np.asarray(values, float)
    at = np.asarray(origins, np.int64)
    if at.size == 0 or at.min() < 1 or at.max() + horizon > v.shape[1]:
        raise ValueError(f"origins: expected columns in 1..{v.shape[1] - horizon}, got {list(origins)}")
    quantiles, probability, happened = [], [], []
    for o in at:
        fc = forecast(v[:, :o], step=step, horizon=horizon, **options)
        quantiles.append(fc.quantile(QUANTILES))
        nothing = np.full(len(v), np.nan)
        probability.append(nothing if threshold is None else fc.breach(threshold, above, run).probability)
        happened.append(nothing if threshold is None else _breaches(v, int(o), horizon, threshold, above, run))
    truth = np.stack([v[:, o : o + horizon] for o in at])
    return Backtest(truth, np.stack(quantiles), np.stack(probability), np.stack(happened), at, v)


def _breaches(v: Float, origin: int, horizon: int, threshold: float, above: bool, run: int) -> Float:
    """Whether a run of values beyond the threshold ends within the horizon, ``[n]`` 0 or 1."""
    window = v[:, max(0, origin - run + 1) : origin + horizon]
    beyond = window > threshold if above else window < threshold
    return runs(beyond, run).any(axis=1).astype(float)
