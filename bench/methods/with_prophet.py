"""Prophet with its defaults: quantiles of its own predictive samples; it leaves gaps out itself."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from prophet import Prophet

from bench.questions import QUANTILES, Answer, Block, Float

SAMPLES = 300


def answer(name: str, block: Block) -> Answer:
    """Quantiles, series by series; NaN where it fails."""
    logging.getLogger("cmdstanpy").disabled = True
    columns = block.past.shape[1] + block.horizon
    times = pd.to_datetime(block.start + np.arange(columns) * block.step, unit="s")
    out = np.full((len(block.past), len(QUANTILES), block.horizon), np.nan)
    for i, y in enumerate(block.past):
        try:
            out[i] = _quantiles(y, times)
        except Exception as failure:  # one series must not end the comparison; the table says how many failed
            print(f"{name}: {block.dataset}, series {i}: {failure}", flush=True)
    return Answer(out)


def _quantiles(y: Float, times: pd.DatetimeIndex) -> Float:
    known = np.isfinite(y)
    np.random.seed(0)  # noqa: NPY002 - Prophet draws from numpy's global generator
    model = Prophet(uncertainty_samples=SAMPLES)
    model.fit(pd.DataFrame({"ds": times[: len(y)][known], "y": y[known]}))
    drawn = model.predictive_samples(pd.DataFrame({"ds": times[len(y) :]}))["yhat"]
    return np.quantile(drawn, QUANTILES, axis=1)
