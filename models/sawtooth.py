"""Ramps that were reset on the way: a disk cleaned up, a leaking process restarted, and the same again.

To a single hinge (models/ramp.py) such a series is a ramp that ended and recovered. Here two teeth of one slope are
fitted, for every onset and reset; where they explain clearly more than one ramp, and the reset is as abrupt as a
clean-up is, the cells before the reset no longer speak for or against the ramp since. What they tell is its slope.

Shapes: T columns, W onsets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float = NDArray[np.float64]
Index = NDArray[np.int64]

TO_RAMP = 6.0  # log likelihood by which two teeth must explain more than one ramp does
HEIGHT = 1.5  # standard deviations of a cell that the tooth before the reset must have reached
ABRUPT, WITHIN = 0.5, 6  # of that height, which the level must have lost within so many cells
REPEATS = 0.1  # standard deviation of a tooth's slope from the one before it, of that slope
AGREES = 2.5  # standard errors within which two teeth have one slope


@dataclass(frozen=True)
class Tooth:
    """The ramp before a reset: ``onset`` and ``reset`` in cells before the end, ``slope`` and its standard ``error``
    per cell.
    """

    onset: int
    reset: int
    slope: float
    error: float

    def agrees(self, slope: Float, error: Float) -> NDArray[np.bool_]:
        """Whether slopes since the reset, with their errors, are this tooth's as far as one can tell."""
        own = np.hypot(self.error, REPEATS * self.slope)
        return np.asarray(np.abs(slope - self.slope) < AGREES * np.hypot(own, error))

    def agreed(self, slope: Float, error: Float) -> tuple[Float, Float]:
        """Slopes and errors of ramps since the reset, with what this tooth tells of those that it agrees with."""
        own = np.hypot(self.error, REPEATS * self.slope)
        agrees = self.agrees(slope, error)
        both = 1 / (1 / own**2 + 1 / error**2)
        return (
            np.where(agrees, both * (self.slope / own**2 + slope / error**2), slope),
            np.where(agrees, np.sqrt(both), error),
        )


def last_tooth(d: Float, onsets: Index, noise: float, ramp_gain: float) -> Tooth | None:
    """The tooth of ``d [T]`` whose reset the ramp since then began with; ``None`` where there is no such thing.

    ``noise``: standard deviation of a cell, inflated for autocorrelation; ``ramp_gain``: what the best single ramp
    explains.
    """
    onset, reset, gain = _best_teeth(d, onsets)
    if reset == 0 or gain - ramp_gain < TO_RAMP * 2 * noise**2:
        return None
    slope, spread = _tooth_slope(d, onset, reset)
    height = slope * (onset - reset)
    span = min(WITHIN, (onset - reset) // 2, reset // 2)
    lost = np.nanmedian(d[-reset - span : -reset]) - np.nanmedian(d[len(d) - reset : len(d) - reset + span])
    if not (abs(height) >= HEIGHT * noise and lost * np.sign(height) >= ABRUPT * abs(height)):
        return None
    return Tooth(onset, reset, slope, noise / np.sqrt(spread))


@njit(cache=True)
def _best_teeth(d: Float, onsets: Index) -> tuple[int, int, float]:
    """Onset and reset, in cells before the end, of the two teeth of one slope that explain most of ``d [T]``, and how
    much that is; 0, 0, 0 where nothing does. ``onsets [W]`` ascend.
    """
    T = len(d)
    v0, v1, n0, n1, n2 = np.zeros(T + 1), np.zeros(T + 1), np.zeros(T + 1), np.zeros(T + 1), np.zeros(T + 1)
    for back in range(T):
        there = np.isfinite(d[T - 1 - back])
        v, one, age = d[T - 1 - back] if there else 0.0, 1.0 if there else 0.0, back + 0.5
        v0[back + 1] = v0[back] + v
        v1[back + 1] = v1[back] + v * age
        n0[back + 1] = n0[back] + one
        n1[back + 1] = n1[back] + one * age
        n2[back + 1] = n2[back] + one * age * age
    best, onset, reset = 0.0, 0, 0
    for w in range(len(onsets)):
        for u in range(w + 1, len(onsets)):
            gain = _gain_of(v0, v1, n0, n1, n2, onsets[u], onsets[w], onsets[0])
            if gain > best:
                best, onset, reset = gain, onsets[u], onsets[w]
    for turn in range(4):  # to the very cell: the reset, the onset, and again
        around, s0, r0 = max(4, onset // 16), onset, reset
        for step in range(-around, around + 1):
            s, r = (s0 + step, r0) if turn % 2 else (s0, r0 + step)
            if s <= T and r >= onsets[0]:
                gain = _gain_of(v0, v1, n0, n1, n2, s, r, onsets[0])
                if gain > best:
                    best, onset, reset = gain, s, r
    return onset, reset, best


@njit(cache=True)
def _gain_of(v0: Float, v1: Float, n0: Float, n1: Float, n2: Float, s: int, r: int, shortest: int) -> float:
    """What teeth from ``s`` to ``r`` and from there to the end explain; the arrays are sums back from the end."""
    if s - r < shortest:
        return 0.0
    num1, num2 = s * (v0[s] - v0[r]) - (v1[s] - v1[r]), r * v0[r] - v1[r]
    if num1 * num2 <= 0:  # they go different ways: that is no repetition
        return 0.0
    den = s * s * (n0[s] - n0[r]) - 2 * s * (n1[s] - n1[r]) + n2[s] - n2[r]
    den += r * r * n0[r] - 2 * r * n1[r] + n2[r]
    return (num1 + num2) ** 2 / den if den > 1e-9 else 0.0


@njit(cache=True)
def _tooth_slope(d: Float, onset: int, reset: int) -> tuple[float, float]:
    """Least-squares slope of the tooth ``d[-onset : -reset]``, and the sum of squares that its error goes by."""
    num, den = 0.0, 1e-9
    for back in range(reset, onset):
        v, along = d[len(d) - 1 - back], onset - back - 0.5
        if np.isfinite(v):
            num += along * v
            den += along * along
    return num / den, den
