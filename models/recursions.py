"""Recursions over time that several members share, compiled.

Each works on one row: ``y [T]`` with NaN only before the series begins, or in columns that no estimate reaches.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float = NDArray[np.float64]
Array32 = NDArray[np.float32]
Index = NDArray[np.int64]


@njit(cache=True)
def exponential_mean(y: Float, memory: float) -> Float:
    """Mean of everything up to and with each column, weights ``exp(-age / memory)`` in columns, ``[T]``."""
    out = np.empty(len(y))
    fade = np.exp(-1.0 / memory)
    total = weight = 0.0
    for t in range(len(y)):
        if np.isfinite(y[t]):
            total = fade * total + (1 - fade) * y[t]
            weight = fade * weight + (1 - fade)
        out[t] = total / weight if weight > 0 else np.nan
    return out


@njit(cache=True)
def cycle_mean(y: Float, season: int, share: float) -> Float:
    """Exponential mean over the cycles at each column's phase, up to and with the column; newest ``share``, ``[T]``."""
    T = len(y)
    mean = np.full(T, np.nan)
    weight = np.zeros(T)
    for t in range(T):
        before = t - season
        old = (1 - share) * weight[before] if before >= 0 else 0.0
        value = mean[before] if old > 0 else 0.0
        if np.isfinite(y[t]):
            weight[t] = old + share
            mean[t] = (old * value + share * y[t]) / weight[t]
        elif old > 0:
            weight[t] = old
            mean[t] = value
    return mean


@njit(cache=True)
def centred_mean(y: Float, half: int) -> Float:
    """Mean over ``2 half + 1`` columns, near the ends over what is there, ``[T]``."""
    if half <= 0:
        return y.copy()
    T = len(y)
    total = np.zeros(T + 1)
    count = np.zeros(T + 1)
    for t in range(T):
        there = np.isfinite(y[t])
        total[t + 1] = total[t] + (y[t] if there else 0.0)
        count[t + 1] = count[t] + (1.0 if there else 0.0)
    out = np.full(T, np.nan)
    for t in range(T):
        a, b = max(0, t - half), min(T, t + half + 1)
        if count[b] > count[a]:
            out[t] = (total[b] - total[a]) / (count[b] - count[a])
    return out


@njit(cache=True)
def profile_of(y: Float, season: int, share: float, half: int) -> Float:
    """The seasonal profile as it is known after each column: :func:`cycle_mean`, smoothed, ``[T]``."""
    return centred_mean(cycle_mean(y, season, share), half)


@njit(cache=True)
def from_profile(y: Float, profile: Float, season: int, half: int) -> Float:
    """Deviation of each column from what the profile said a cycle before, ``[T]``."""
    lag = season if half < season else 2 * season
    out = np.full(len(y), np.nan)
    for t in range(lag, len(y)):
        out[t] = y[t] - profile[t - lag]
    return out


@njit(cache=True)
def profile_ahead(profile: Float, season: int, half: int, origin: int, horizon: int) -> Float:
    """The profile over ``origin .. origin + horizon - 1``, known from columns before ``origin``, ``[horizon]``."""
    out = np.full(horizon, np.nan)
    add_profile_ahead(profile, season, half, origin, np.zeros(horizon), out)
    return out


@njit(cache=True)
def add_profile_ahead(profile: Float, season: int, half: int, origin: int, level: Float, out: Float | Array32) -> None:
    """``level [horizon]`` plus :func:`profile_ahead` into ``out [horizon]``; where that is not known, nothing."""
    back = season * (half // season + 1)
    turn = back - half  # where the columns on either side of it reach the next cycle
    h = 0
    while h < len(out):
        stop = min(turn, len(out))
        begin = min(stop, max(h, back - origin))
        known, moved, row = profile[origin + begin - back : origin + stop - back], level[begin:stop], out[begin:stop]
        for g in range(stop - begin):
            row[g] = known[g] + moved[g]
        back += season
        turn += season
        h = stop
