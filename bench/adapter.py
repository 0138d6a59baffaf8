"""The engine behind the interface of an external harness: arrays in, quantiles, breach odds and anomaly scores out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import forecast, score_anomalies

Float = NDArray[np.float64]


class Engine:
    """Stateless: every call learns everything anew."""

    def forecast(self, Y: Float, step_s: float, t0: Any, horizon_steps: int, quantiles: Any, n: Any = None) -> Float:
        """Quantiles ``[n, Q, H]``."""
        return forecast(Y, start=t0, step=int(step_s), horizon=horizon_steps, weights=n).quantile(quantiles)

    def breach(
        self, Y: Float, step_s: float, t0: Any, horizon_steps: int, threshold: Float, above: Any, run: int, n: Any = None
    ) -> Float:
        """Probability of ``run`` consecutive points beyond the threshold, ``[n]``."""
        made = forecast(Y, start=t0, step=int(step_s), horizon=horizon_steps, weights=n)
        return made.breach(threshold, above, run).probability

    def anomaly(self, y: Float, step_s: float, t0: Any) -> Float:
        """Scores ``[T]``."""
        return score_anomalies(y[None], start=0, step=int(step_s))[0]


engine = Engine()
