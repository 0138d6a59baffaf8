"""Profile plus level: the mean of past cycles at the same phase, moved by how far the recent past was from it.

The profile is an exponential mean over cycles, known after each column, so that one pass over a series serves every
origin. Source of the idea: seasonal exponential smoothing (Winters, 1960), with the level damped to the profile.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.base import Array32, Fitted, Member, Origins
from models.panel import Panel
from models.recursions import add_profile_ahead, exponential_mean, from_profile, profile_of

SMOOTH_FROM, SMOOTH_SHARE = 96, 48  # from so many cells a season on, profiles are smoothed over a 24th of it


def half_width(season: int) -> int:
    """Cells on either side that a profile is smoothed over: half an hour of a day, nothing where cells are hours."""
    return season // SMOOTH_SHARE if season >= SMOOTH_FROM else int(season >= SMOOTH_SHARE)


class ProfileLevel(Member):
    """``profile(o + h) + deviation(o) * exp(-h / fade)``.

    ``which`` picks the season; ``share`` of the newest cycle in the profile; ``deviation`` has a memory of ``memory``
    and fades over ``fade``, both in cycles of the shortest season. ``smooth``: whether the profile is.
    """

    def __init__(self, name: str, which: int, share: float, memory: float, fade: float, smooth: bool = True) -> None:
        self.name, self.which, self.share = name, which, share
        self.memory, self.fade, self.smooth = memory, fade, smooth

    def serves(self, panel: Panel) -> NDArray[np.bool_]:  # noqa: D102 - as in the base class
        return super().serves(panel) & (panel.season(self.which) > 0)

    def _predict(self, panel: Panel, fitted: Fitted, origins: Origins, rows: NDArray[np.int64], out: Array32) -> None:
        cycle = panel.season(0)
        half = np.array([half_width(int(s)) * self.smooth for s in cycle], np.int64)
        season = panel.season(self.which)
        key = ("profile", self.which, self.share, self.smooth)
        if key not in panel.kept:  # members that differ in the level alone share it
            panel.kept[key] = _profiles(panel.values, season, half, self.share)
        _follow(panel.values, panel.kept[key], season, cycle, half, self.memory, self.fade, origins, rows, out)


@njit(cache=True)
def _profiles(values: NDArray[np.float64], season: Origins, half: Origins, share: float) -> NDArray[np.float64]:
    """The profile of each row as it is known after each column, ``[n, T]``; NaN without a season."""
    out = np.full(values.shape, np.nan)
    for i in range(len(values)):
        if season[i] > 0:
            out[i] = profile_of(values[i], season[i], share, half[i])
    return out


@njit(cache=True)
def _follow(
    values: NDArray[np.float64],
    profiles: NDArray[np.float64],
    season: Origins,
    cycle: Origins,
    half: Origins,
    memory: float,
    fade: float,
    origins: Origins,
    rows: NDArray[np.int64],
    out: Array32,
) -> None:
    H = out.shape[2]
    for i in rows:
        profile = profiles[i]
        deviation = exponential_mean(from_profile(values[i], profile, season[i], half[i]), max(1.0, memory * cycle[i]))
        decay = np.exp(-np.arange(1, H + 1) / max(1.0, fade * cycle[i]))
        for k in range(origins.shape[1]):
            o = origins[i, k]
            if o > 0:
                level = deviation[o - 1] if np.isfinite(deviation[o - 1]) else 0.0
                add_profile_ahead(profile, season[i], half[i], o, level * decay, out[i, k])
