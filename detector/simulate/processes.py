"""Season and noise: functions of the absolute minute (minutes since 1970-01-01 UTC) and a seed, nothing else.

Shapes: n series, T minutes.
"""

from __future__ import annotations

import math
import zlib
from collections import OrderedDict
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from detector.simulate.metrics import SESSION_RAMP_MINUTES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY = 1440
WEEK = 7 * DAY
TOKYO_OFFSET = 9 * 60
"""Asia/Tokyo keeps UTC+9 all year."""
SESSIONS = ((9 * 60, 11 * 60 + 30), (12 * 60 + 30, 15 * 60 + 30))
"""Trading hours in local minutes of the day."""
WEEKDAY_LOAD = np.array([0.95, 0.98, 1.0, 0.97, 0.93, 0.66, 0.60])
"""Load of Monday to Sunday; the busiest day is 1."""
SESSION_SHARE = 0.7
"""How much of the daily shape of the ml_ and data_ groups is the trading session."""
_EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday."""
_KEPT_DAYS = 64


def _smooth_step(x: Floats) -> Floats:
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def session_activity(local_minutes: Ints) -> Floats:
    """Trading activity 0..1 at local (Tokyo) minutes since the epoch, busiest at the open, ramped edges."""
    minute = local_minutes % DAY
    weekday = (local_minutes // DAY + _EPOCH_WEEKDAY) % 7
    activity = np.zeros(minute.shape)
    for opens, closes in SESSIONS:
        level = 0.88 + 0.12 * np.exp(-(minute - opens) / 40.0)
        rise = _smooth_step((minute - opens) / SESSION_RAMP_MINUTES)
        fall = _smooth_step((minute - closes) / SESSION_RAMP_MINUTES)
        activity += np.where(minute >= opens, level * rise * (1.0 - fall), 0.0)
    return np.where(weekday < 5, activity, 0.0)


def daily_shape(local_minutes: Ints, peak_hour: float) -> Floats:
    """A smooth day 0..1 with its peak at `peak_hour`, scaled by the weekday, which changes in the trough."""
    since_trough = local_minutes - round(peak_hour * 60) + DAY // 2
    weekday = (since_trough // DAY + _EPOCH_WEEKDAY) % 7
    wave = 0.5 - 0.5 * np.cos(2.0 * math.pi * (since_trough % DAY) / DAY)
    return WEEKDAY_LOAD[weekday] * wave**1.2


@lru_cache(256)  # platforms of one seed share them
def week_profile(peak_hour: float, sessions: bool, shift_minutes: int = 0) -> Floats:
    """Load of every minute of the week [10080], 0 at the quietest and 1 at the busiest.

    The index is the absolute minute modulo 10080.

    >>> profile = week_profile(13.0, sessions=True)
    >>> float(profile.min()), float(profile.max())
    (0.0, 1.0)
    """
    local = np.arange(WEEK, dtype=np.int64) + TOKYO_OFFSET
    shape = daily_shape(local + shift_minutes, peak_hour)
    if sessions:
        weekday = (local // DAY + _EPOCH_WEEKDAY) % 7
        traded = session_activity(local) * WEEKDAY_LOAD[weekday]
        shape = (1.0 - SESSION_SHARE) * shape + SESSION_SHARE * traded
    profile = np.asarray((shape - shape.min()) / (shape.max() - shape.min()), dtype=np.float64)
    profile.flags.writeable = False
    return profile


def seeded(seed: int, *names: str | int) -> np.random.Generator:
    """A generator that depends on the seed and the names alone."""
    keys = [zlib.crc32(name.encode()) if isinstance(name, str) else int(name) for name in names]
    return np.random.default_rng([seed % 2**63, *keys])


def window_sd(phi: float, window: int) -> float:
    """Standard deviation of the mean of `window` consecutive values of a unit AR(1) process."""
    lags = np.arange(1, window)
    variance = (1.0 + 2.0 * float(np.sum((1.0 - lags / window) * phi**lags))) / window
    return math.sqrt(variance)


class Noise:
    """Unit AR(1) noise of n series, computed a UTC day at a time and kept.

    A day is filtered together with the innovations of the day before it as burn-in: what was before them
    weighs `phi ** 1440`, nothing, so that any window of any length gives the same numbers and days join
    without a seam.
    """

    def __init__(self, seed: int, name: str, n: int, phi: float) -> None:
        self._seed, self._name, self._n, self._phi = seed, name, n, phi
        self._days: OrderedDict[int, NDArray[np.float32]] = OrderedDict()

    def at(self, minutes: Ints) -> Floats:
        """Noise [n, T] at sorted absolute minutes."""
        out = np.empty((self._n, minutes.size))
        days = minutes // DAY
        first, last = int(days[0]), int(days[-1])
        edges = np.searchsorted(days, np.arange(first, last + 2))
        for day, left, right in zip(range(first, last + 1), edges[:-1], edges[1:], strict=True):
            if right > left:
                out[:, left:right] = self._day(day)[:, minutes[left:right] - day * DAY]
        return out

    def _day(self, day: int) -> NDArray[np.float32]:
        if day in self._days:
            self._days.move_to_end(day)
            return self._days[day]
        innovations = np.concatenate([self._innovations(day - 1), self._innovations(day)], axis=1)
        filtered = lfilter([math.sqrt(1.0 - self._phi**2)], [1.0, -self._phi], innovations, axis=1)
        block = np.asarray(filtered[:, DAY:], dtype=np.float32)
        self._days[day] = block
        if len(self._days) > _KEPT_DAYS:
            self._days.popitem(last=False)
        return block

    def _innovations(self, day: int) -> NDArray[np.float32]:
        return seeded(self._seed, self._name, day).standard_normal((self._n, DAY), dtype=np.float32)
