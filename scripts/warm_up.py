"""Compile the engine once, so that the first forecast does not wait for it: what numba compiles is kept on disk."""

import numpy as np

from models import Forecaster
from models.synthetic import make_series

values = np.round(make_series(2, 4 * 1440, step=60).values, 3)
values[1] = np.convolve(np.random.default_rng(0).normal(size=4 * 1440 + 99), np.ones(100) / 100, "valid")  # a mean
engine = Forecaster(step=60, horizon=86400, bounds=(0.0, 100.0)).fit(values[:, :-1], 0).update(values[:, -1:])
forecast = engine.forecast()
forecast.quantile([0.5])
for above in (True, False):
    forecast.breach(50.0, above, run=3).time_to([0.5])
