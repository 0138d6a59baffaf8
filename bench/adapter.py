"""The engine behind the interface of an external harness: arrays in, quantiles, breach odds and anomaly scores out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import forecast, score_anomalies

Float = NDArray[np.float64]

REST = 86400  # seconds after an alert before another one of the same series is news
BELOW = np.nextafter(1.0, 0.0)


class Engine:
    """Stateless: every call learns everything anew."""

    def forecast(self, Y: Float, step_s: float, t0: Any, horizon_steps: int, quantiles: Any, n: Any = None) -> Float:
        """Quantiles ``[n, Q, H]``."""
        return forecast(Y, start=t0, step=int(step_s), horizon=horizon_steps, weights=n).quantile(quantiles)

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
        made = forecast(Y, start=t0, step=int(step_s), horizon=horizon_steps, weights=n)
        return made.breach(threshold, above, run).probability

    def anomaly(self, y: Float, step_s: float, t0: Any) -> Float:
        """Scores ``[T]``; of an episode only the onset reaches 1: an alert that is firing does not fire again."""
        return onsets(score_anomalies(y[None], step=int(step_s))[0], int(REST // step_s))


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
