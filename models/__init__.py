"""Forecasts of many series at once: arrays in, arrays out.

>>> import numpy as np
>>> from models import forecast
>>> y = 50 + 0.1 * np.arange(600.0)[None] + np.random.default_rng(0).normal(size=(1, 600))
>>> fc = forecast(y, step=300, horizon=12)
>>> fc.breach(threshold=1000.0).probability < 0.01
array([ True])
"""

from models.anomaly import score_anomalies
from models.forecaster import Forecaster, forecast
from models.paths import Breach, Forecast

__all__ = ["Breach", "Forecast", "Forecaster", "forecast", "score_anomalies"]
