"""The engine behind the interface of an external harness: arrays in, quantiles, breach odds and anomaly scores out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import score_anomalies
from models.forecaster import Forecaster
from models.grid import uniform_grid
from models.paths import Forecast

Float = NDArray[np.float64]

REST = 86400  # seconds after an alert before another one of the same series is news
BELOW = np.nextafter(1.0, 0.0)
FIT_EVERY = 12  # columns: an hour of five-minute steps


class Engine:
    """Stateless: new values are learned anew; the last forecaster answers further questions about the same values."""

    def __init__(self) -> None:
        self._asked: tuple[Any, ...] = ()
        self._values: Float = np.empty((0, 0))
        self._forecaster: Forecaster | None = None
        self._forecast: Forecast | None = None

    def forecast(self, Y: Float, step_s: float, t0: Any, horizon_steps: int, quantiles: Any, n: Any = None) -> Float:
        """Quantiles ``[n, Q, H]``."""
        return self._about(_known(Y, n), int(step_s), t0, horizon_steps).quantile(quantiles)

    def breach(
        self,
        Y: Float,
        step_s: float,
        t0: Any,
        horizon_steps: int,
        threshold: Float,
        above: Any,
        run: int,
        n: Any = None,
    ) -> Float:
        """Probability of ``run`` consecutive points beyond the threshold, ``[n]``."""
        made = self._about(_known(Y, n), int(step_s), t0, horizon_steps)
        return made.breach(threshold, above, run).probability

    def anomaly(self, y: Float, step_s: float, t0: Any) -> Float:
        """Scores ``[T]``; of an episode only the onset reaches 1: an alert that is firing does not fire again."""
        return onsets(score_anomalies(y[None], step=int(step_s))[0], int(REST // step_s))

    def anomaly_batch(self, Y: Float, step_s: float, t0: Any) -> Float:
        """The same of many series, ``[n, T]``; those of the forecaster where it was last asked about these values."""
        if self._forecaster is not None and self._forecaster.step == int(step_s) and _same(Y, self._values):
            found = self._forecaster.scores(Y.shape[1])
        else:
            found = score_anomalies(Y, step=int(step_s))
        for i in np.flatnonzero((found >= 1.0).any(1)):
            found[i] = onsets(found[i], int(REST // step_s))
        return found

    def _about(self, Y: Float, step: int, t0: Any, horizon: int) -> Forecast:
        """The forecast from the end of ``Y [n, T]``."""
        start = np.array(t0, np.int64)
        asked = (Y.shape, step, horizon, start.tobytes())
        if self._forecast is None or asked != self._asked or not _same(Y, self._values):
            forecaster = self._brought_to(Y, step, start, horizon)
            self._forecaster, self._forecast = forecaster, forecaster.forecast()
            self._asked, self._values = asked, Y
        return self._forecast

    def _brought_to(self, Y: Float, step: int, start: NDArray[np.int64], horizon: int) -> Forecaster:
        """A forecaster whose newest column is the last of ``Y``."""
        return Forecaster(step, step * horizon, grid=uniform_grid(step, horizon)).fit(Y, start)


class Steady(Engine):
    """In step with windows that move on: new columns update what was learned, which is learned anew once an hour.

    The same series are expected in every call. Their ``t0`` may stay behind, but not apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self._start = np.zeros(1, np.int64)
        self._columns = 0  # since the last fit

    def _brought_to(self, Y: Float, step: int, start: NDArray[np.int64], horizon: int) -> Forecaster:
        kept = self._forecaster
        alike = kept is not None and self._asked[:3] == (Y.shape, step, horizon) and start.shape == self._start.shape
        if kept is not None and alike and np.ptp(start - self._start) == 0:
            for k in range(FIT_EVERY - self._columns):
                if _same(Y[:, : Y.shape[1] - k], self._values[:, k:]):
                    self._columns += k
                    return kept.update(Y[:, Y.shape[1] - k :])
        self._start, self._columns = start, 0
        return super()._brought_to(Y, step, start, horizon)


def _known(Y: Float, weights: Any) -> Float:
    """``Y [n, T]``, an array of the caller's own, without the points that nothing stands behind."""
    values = np.array(Y, np.float64)
    if weights is not None:
        values[~(np.asarray(weights, float) > 0)] = np.nan
    return values


def _same(a: Float, b: Float) -> bool:
    """Whether two blocks hold the same, gaps included; most that do not differ in the first column."""
    return a.shape == b.shape and all(np.array_equal(x, y, equal_nan=True) for x, y in ((a[:, :1], b[:, :1]), (a, b)))


def onsets(score: Float, rest: int) -> Float:
    """``score [T]`` with what follows an onset within ``rest`` points held just below 1."""
    held = score.copy()
    last = -rest
    for t in np.flatnonzero(score >= 1.0):
        if t - last < rest:
            held[t] = BELOW
        else:
            last = int(t)
    return held


engine = Engine()
steady = Steady()
