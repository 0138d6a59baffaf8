"""Seasonal naive: the value one season before (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 5.2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.base import Array32, Member, Origins
from models.panel import Panel


class SeasonalNaive(Member):
    """The last cycle again; ``which`` picks the panel's season (0 the shortest)."""

    def __init__(self, which: int, name: str) -> None:
        self.which = which
        self.name = name

    def applies(self, panel: Panel) -> bool:  # noqa: D102 - as in the base class
        return len(panel.seasons) > self.which

    def _predict(self, panel: Panel, fitted: Any, origins: Origins, horizon: int) -> Array32:
        season = panel.seasons[self.which]
        h = np.arange(horizon)
        column = origins[:, None] + h - season * (h // season + 1)
        value = panel.values[:, np.maximum(column, 0)]
        return np.where(column >= 0, value, np.nan)
