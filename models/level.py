"""Profile plus level: the seasonal profile, moved by how far the recent past was from it.

Shapes: n series, K origins, J look-back, H cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.base import Array32, Member, Origins
from models.panel import Panel
from models.seasonal_profile import pooled_profile, profile_at

MAX_BACK = 240  # cells looked back at most: bounds the work on fine grids


class ProfileLevel(Member):
    """``profile(o + h) + level(o) * decay(h)``.

    ``level`` is the mean deviation from the profile with exponential weights of ``memory`` seconds. ``fade`` seconds
    let it go back to the profile (``None``: it stays). ``which`` picks the season, ``None`` pools them; -1 means no
    season: the profile is zero and the level is the series' own, so that the member is exponential smoothing.
    """

    def __init__(self, name: str, which: int | None, memory: int, fade: int | None) -> None:
        self.name = name
        self.which, self.memory, self.fade = which, memory, fade

    def applies(self, panel: Panel) -> bool:  # noqa: D102 - as in the base class
        return len(panel.seasons) > (0 if self.which is None else self.which)

    def _fit(self, panel: Panel) -> Any:
        return panel.cycle_scale if self.which is None else None

    def _predict(self, panel: Panel, fitted: Any, origins: Origins, horizon: int) -> Array32:
        memory = max(1.0, self.memory / panel.step)
        back = int(min(np.ceil(3 * memory), MAX_BACK, panel.T))
        position = origins[:, None] + np.arange(-back, horizon)
        if self.which is None:
            profile = pooled_profile(panel, position, origins, fitted)
        elif self.which < 0:
            profile = np.zeros((panel.n, *position.shape), np.float32)
        else:
            profile = profile_at(panel, position, origins, self.which)
        past = position[:, :back]
        deviation = np.where(past >= 0, panel.values[:, np.maximum(past, 0)], np.nan) - profile[:, :, :back]
        weight = np.exp(-np.arange(back - 1, -1, -1) / memory).astype(np.float32)
        there = np.isfinite(deviation)
        total = np.where(there, deviation, 0) @ weight
        mass = there.astype(np.float32) @ weight
        with np.errstate(invalid="ignore", divide="ignore"):
            level = total / mass
        h = np.arange(1, horizon + 1)
        decay = np.ones(horizon) if self.fade is None else np.exp(-h * panel.step / self.fade)
        return np.asarray(profile[:, :, back:] + level[:, :, None] * decay.astype(np.float32))
