"""The level: the mean of the recent past, for ever. Exponential smoothing (Brown, 1956) with a given memory."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.base import Array32, Fitted, Member, Origins
from models.panel import Panel
from models.recursions import exponential_mean


class Level(Member):
    """Exponential mean with ``memory`` columns, as the forecast of every cell."""

    def __init__(self, name: str, memory: float) -> None:
        self.name, self.memory = name, memory

    def _predict(self, panel: Panel, fitted: Fitted, origins: Origins, rows: NDArray[np.int64], out: Array32) -> None:
        levels(panel.values, self.memory, origins, rows, out)


@njit(cache=True)
def levels(values: NDArray[np.float64], memory: float, origins: Origins, rows: NDArray[np.int64], out: Array32) -> None:
    """The exponential mean before each origin in every cell of ``out [n, K, H]``, in place."""
    for i in rows:
        level = exponential_mean(values[i], memory)
        for k in range(origins.shape[1]):
            if origins[i, k] > 0:
                out[i, k] = level[origins[i, k] - 1]
