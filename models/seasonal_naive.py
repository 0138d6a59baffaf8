"""Seasonal naive: the value one season before (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 5.2)."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.base import Array32, Fitted, Member, Origins
from models.panel import Panel


class SeasonalNaive(Member):
    """The last cycle again; ``which`` picks the series' season (0 the shortest)."""

    def __init__(self, which: int, name: str) -> None:
        self.which = which
        self.name = name

    def serves(self, panel: Panel) -> NDArray[np.bool_]:  # noqa: D102 - as in the base class
        return super().serves(panel) & (panel.season(self.which) > 0)

    def _predict(self, panel: Panel, fitted: Fitted, origins: Origins, rows: NDArray[np.int64], out: Array32) -> None:
        _repeat(panel.values, panel.season(self.which), origins, rows, out)


@njit(cache=True)
def _repeat(
    values: NDArray[np.float64], season: Origins, origins: Origins, rows: NDArray[np.int64], out: Array32
) -> None:
    H = out.shape[2]
    for i in rows:
        s = season[i]
        for k in range(origins.shape[1]):
            o = origins[i, k]
            for begin in range(0, H if o > 0 else 0, s):
                known = values[i, max(0, o - s) : max(0, min(o, o - s + H - begin))]
                row = out[i, k, begin + max(0, s - o) :]
                for h in range(len(known)):
                    row[h] = known[h]
