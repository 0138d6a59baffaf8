"""The product's engine, by its public call, as it comes: it finds the seasons itself and is told no bounds."""

from __future__ import annotations

import numpy as np

from bench.questions import QUANTILES, Answer, Block
from models import forecast


def answer(name: str, block: Block) -> Answer:
    """Quantiles and the calibrated odds of each threshold."""
    made = forecast(block.past, start=block.start, step=block.step, horizon=block.horizon)
    probability = np.full(block.threshold.shape, np.nan)
    for j in range(block.threshold.shape[1]):
        asked = np.isfinite(block.threshold[:, j])
        if asked.any():
            limit = np.where(asked, block.threshold[:, j], 0.0)
            found = made.breach(limit, block.above[:, j], block.run).probability
            probability[asked, j] = found[asked]
    return Answer(made.quantile(QUANTILES), probability)
