"""What everybody uses today: Prometheus' `predict_linear`, a straight line through the last hours.

Shapes: n series, T columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

WINDOW = 4 * 3600  # `predict_linear(metric[4h], ...)`, the range of most published rules


def line(values: Float, step: int, window: int = WINDOW) -> tuple[Float, Float]:
    """Least-squares line through the last ``window`` seconds of ``values [n, T]``.

    Returns its value at the last column and its slope per second, ``[n]`` each; NaN without two points.

    >>> level, slope = line(np.array([[0.0, 60.0, 120.0]]), step=60)
    >>> float(level[0]), float(slope[0])
    (120.0, 1.0)
    """
    columns = min(values.shape[1], window // step + 1)
    y = values[:, -columns:]
    there = np.isfinite(y)
    x = np.where(there, np.arange(1 - columns, 1) * float(step), 0.0)
    y = np.where(there, y, 0.0)
    count = there.sum(1)
    mean_x, mean_y = x.sum(1) / np.maximum(count, 1), y.sum(1) / np.maximum(count, 1)
    dx = np.where(there, x - mean_x[:, None], 0.0)
    spread = (dx * dx).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = np.where(count > 1, (dx * (y - mean_y[:, None])).sum(1) / spread, np.nan)
    return mean_y - slope * mean_x, slope


def time_to(values: Float, step: int, threshold: float, above: bool) -> Float:
    """Seconds until the line is beyond the threshold, ``[n]``: 0 if it is, inf if it never gets there."""
    level, slope = line(values, step)
    gap = (threshold - level) if above else (level - threshold)
    toward = slope if above else -slope
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(gap <= 0, 0.0, np.where(toward > 0, gap / toward, np.inf))
