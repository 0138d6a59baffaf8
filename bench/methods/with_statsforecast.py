"""AutoETS, AutoTheta and MSTL of statsforecast, with its own intervals; gaps are interpolated."""

from __future__ import annotations

from typing import Any

import numpy as np
from statsforecast.models import MSTL, AutoETS, AutoTheta

from bench.methods.simple import filled
from bench.questions import QUANTILES, Answer, Block, Float

LEVELS = sorted({round(abs(1 - 2 * q) * 100) for q in QUANTILES} - {0})
LONGEST_ETS_SEASON = 24  # statsforecast's ETS has no longer one; beyond, it runs without a season


def answer(name: str, block: Block) -> Answer:
    """Quantiles of one model, series by series; NaN where it fails."""
    model = _model(name, block)
    out = np.full((len(block.past), len(QUANTILES), block.horizon), np.nan)
    for i, y in enumerate(filled(block.past)):
        try:
            out[i] = _quantiles(model.forecast(y=y, h=block.horizon, level=LEVELS))
        except Exception as failure:  # one series must not end the comparison; the table says how many failed
            print(f"{name}: {block.dataset}, series {i}: {failure}", flush=True)
    return Answer(out)


def _model(name: str, block: Block) -> Any:
    m = block.season
    if name == "autotheta":
        return AutoTheta(season_length=m)
    if name == "autoets" or m == 1:  # without a season there is nothing for MSTL to take apart
        return AutoETS(season_length=m if m <= LONGEST_ETS_SEASON else 1)
    # Of the simulator's the day alone: with the week too, a forecast takes more than ten seconds.
    return MSTL(season_length=[m], trend_forecaster=AutoETS(season_length=1, model="ZZN"))


def _quantiles(found: dict[str, Any]) -> Float:
    """``[Q, H]`` of the package's mean and intervals (around the mean they are normal: it is the median)."""
    rows = []
    for q in QUANTILES:
        level = round(abs(1 - 2 * q) * 100)
        rows.append(found["mean"] if level == 0 else found[f"{'hi' if q > 0.5 else 'lo'}-{level}"])
    return np.array(rows, float)
