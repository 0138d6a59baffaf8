"""What costs nothing: the last season again, and Prometheus' straight line."""

from __future__ import annotations

import numpy as np

from bench.predict_linear import WINDOW, line
from bench.questions import QUANTILES, Answer, Block, Float

DAY = 86400
FEWEST = 8  # points under the line where a step is a day or longer, and four hours hold none


def filled(past: Float) -> Float:
    """``past [n, T]`` with gaps interpolated and the nearest value at the edges; a row without any stays NaN."""
    out = past.copy()
    column = np.arange(past.shape[1])
    for row in out:
        known = np.isfinite(row)
        if known.any():
            row[~known] = np.interp(column[~known], column[known], row[known])
    return out


def answer(name: str, block: Block) -> Answer:
    """Quantiles of ``seasonal_naive`` or ``predict_linear``."""
    return Answer(seasonal_naive(block) if name == "seasonal_naive" else predict_linear(block))


def seasonal_naive(block: Block) -> Float:
    """The last season repeated; its own past errors around it, wider by the root of the number of seasons ahead."""
    y, m = filled(block.past), block.season
    error = np.quantile(y[:, m:] - y[:, :-m], QUANTILES, axis=1).T  # [n, Q]
    error -= error[:, [len(QUANTILES) // 2]]
    ahead = np.arange(block.horizon)
    return y[:, -m:][:, None, ahead % m] + error[:, :, None] * np.sqrt(ahead // m + 1.0)


def predict_linear(block: Block) -> Float:
    """The line through the last four hours; of slower series through a season, at least FEWEST points.

    It has no band: every quantile is the line.
    """
    window = WINDOW if block.step < DAY else max(block.season, FEWEST) * block.step
    level, slope = line(block.past, block.step, window)
    ahead = np.arange(1, block.horizon + 1) * float(block.step)
    drawn = level[:, None] + slope[:, None] * ahead
    return np.repeat(drawn[:, None], len(QUANTILES), axis=1)
