"""Steady trends: a disk that has always filled, a level that has always fallen.

A ramp (models/ramp.py) is a change: it has an onset, and stands out from what the series did before. What has gone on
for the whole history stands out from nothing. It is told from wandering by a backtest on blocks of whole seasons: the
median growth of the blocks before each origin must foretell the next block's growth far better than no growth does,
and what is newest must not look as if the growth had ended. (Theil, 1950, for slopes by medians.)

Shapes: n series, T columns, J blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.panel import Panel
from models.ramp import PERSISTS, PERSISTS_AGES, Ramp
from models.ramp_reference import profile_between
from models.robust import MAD_TO_SD

Float = NDArray[np.float64]

FEWEST_BLOCKS = 8  # of whole seasons; without a season a history is cut into
BLOCKS, FEWEST_CELLS = 16, 6  # so many blocks, of so many cells at least
MEMORY = 14  # blocks whose median growth is the trend
# Median error of the trend in foretelling a block's growth, over the median growth: from no trend to a sure one.
NO_TREND, SURE_TREND = 0.5, 0.3
# Of the swing within a block that its growth must be: where the rhythm is the larger part, the members know it better
# than a profile and a straight line.
OUTGROWS = 0.4
GOES_ON = 0.5  # of the growth that the newest two blocks must have
RESET = 3.0  # times the growth, the other way: the growth before is gone
TO_ENDED = 300.0  # prior odds of going on against having ended lately
PARTS = 24  # of a block: where it may have ended
CLIP = 6.0  # standard deviations of the noise that one cell may say
AGREES = 2.0  # standard errors
NEWEST = 12  # cells whose median says where the series is now


def find_trends(panel: Panel) -> list[Ramp]:
    """The steady trends at the end of the panel, at most one for each series, as ramps on what is left without them."""
    found = []
    for i in range(panel.n):
        y = panel.values[i, int(panel.first[i]) :]
        season = int(panel.season(0)[i])
        if len(y) < 2 * season:  # of which nothing is known yet
            season = 0
        block = (season if len(y) >= FEWEST_BLOCKS * season else 0) if season else len(y) // BLOCKS
        if block < FEWEST_CELLS or np.isnan(panel.observed[i, -NEWEST:]).all():
            continue
        growth, error, weight, resets = _trend_of(y, block)
        if weight <= 0:
            continue
        if abs(growth) < OUTGROWS * _swing(y, block, growth):
            continue
        known = float(len(y) * panel.step)
        lasts = max(PERSISTS_AGES * known, PERSISTS) if season and not resets else known / (1 + resets)
        found.append(
            Ramp(
                row=i,
                weight=weight * _goes_on(y, block, growth, season > 0),
                odds=np.ones(1),
                slope=np.array([growth / block / panel.step]),
                slope_error=np.array([error / block / panel.step]),
                age=np.zeros(1),
                shape=np.zeros(1, np.int64),
                lasts=np.array([lasts]),
            )
        )
    return _placed(panel, found)


def profile_without_trends(panel: Panel, ramps: Sequence[Ramp], first: int, last: int) -> NDArray[np.float32]:
    """The seasonal profile of the rows of ``ramps`` over columns ``first .. last-1``, ``[R, J]``, without the growth of
    those that are steady trends; 0 for a trend of which no season is known yet.
    """
    profile = profile_between(_flat(panel, ramps), first, last)
    steady = np.array([ramp.lasts is not None for ramp in ramps], np.bool_)
    return np.where(steady[:, None] & np.isnan(profile), np.float32(0), profile)


def _flat(panel: Panel, ramps: Sequence[Ramp]) -> Panel:
    """The rows of ``ramps``, in that order, without the growth of those that are steady trends: 0 at the end."""
    rows = [ramp.row for ramp in ramps]
    steady = np.array([0.0 if ramp.lasts is None else float(ramp.slope[0]) for ramp in ramps])
    grown = steady[:, None] * panel.step * (np.arange(panel.T) - panel.T)
    some = panel.select(rows)
    return Panel(some.values - grown, some.observed - grown, some.step, some.lengths, some.windows)


def _placed(panel: Panel, trends: list[Ramp]) -> list[Ramp]:
    """The trends with the ages that put them where the series are now."""
    if not trends:
        return []
    flat = _flat(panel, trends)
    span = min(flat.T, max(NEWEST, int(flat.lengths[:, 0].max(initial=0)), flat.T // BLOCKS))
    rest = flat.values[:, -span:] - profile_without_trends(panel, trends, flat.T - span, flat.T)
    placed = []
    for trend, z in zip(trends, rest.astype(np.float64), strict=True):
        level, error = level_now(z[np.isfinite(z)])
        placed.append(replace(trend, age=level / trend.slope, level_error=error))
    return placed


@njit(cache=True)
def level_now(z: Float) -> tuple[float, float]:
    """Where ``z`` is at its end, and the standard error of that: the mean of the longest newest stretch that agrees
    with every shorter one, so that noise averages out and a step does not (after Lepski, 1991).
    """
    middle = np.median(z)
    noise = MAD_TO_SD * np.median(np.abs(z - middle))
    d = np.minimum(np.maximum(z - middle, -4 * noise), 4 * noise)
    phi = min(max((d[1:] * d[:-1]).sum() / max((d * d).sum(), 1e-300), 0.0), 0.97)
    scale = noise * np.sqrt((1 + phi) / (1 - phi))
    level, error = np.median(z[-NEWEST:]), scale / np.sqrt(NEWEST)
    low, high = level - AGREES * error, level + AGREES * error
    size = 2 * NEWEST
    while size <= len(z):
        longer, its = np.median(z[-size:]), scale / np.sqrt(size)
        if not low <= longer <= high:
            break
        level, error = longer, its
        low, high = max(low, level - AGREES * error), min(high, level + AGREES * error)
        size *= 2
    return level, error


@njit(cache=True)
def _trend_of(y: Float, block: int) -> tuple[float, float, float, int]:
    """Growth of a block, its standard error, how sure the trend is 0..1 (0: there is none), and how often something
    took back more than it brings (a clean-up, a restart).
    """
    J = len(y) // block
    growth = np.empty(J - 1)
    before = 0.0
    for j in range(J):
        mean = y[len(y) - (J - j) * block : len(y) - (J - j - 1) * block].mean()
        if j:
            growth[j - 1] = mean - before
        before = mean
    first = max(3, (J - 1) // 2)
    wrong = np.empty(J - 1 - first)
    for j in range(first, J - 1):
        wrong[j - first] = abs(growth[j] - np.median(growth[max(0, j - MEMORY) : j]))
    size = np.median(np.abs(growth[first:]))
    newest = growth[max(0, J - 1 - MEMORY) :]
    trend = np.median(newest)
    if size <= 0 or (growth[-2:] * np.sign(trend) < GOES_ON * abs(trend)).any():
        return 0.0, 0.0, 0.0, 0
    error = MAD_TO_SD * np.median(np.abs(newest - trend)) / np.sqrt(len(newest))
    sure = (NO_TREND - np.median(wrong) / size) / (NO_TREND - SURE_TREND)
    resets = (growth * np.sign(trend) < -RESET * abs(trend)).sum()
    return trend, error, min(max(sure, 0.0), 1.0), resets


def _swing(y: Float, block: int, growth: float) -> float:
    """How far the series goes up and down within a block besides growing: what 80 % of the newest blocks lie within."""
    blocks = y[len(y) % block :].reshape(-1, block)[-MEMORY:] - growth / block * np.arange(block)
    low, high = np.quantile(blocks - np.median(blocks, axis=1, keepdims=True), [0.1, 0.9])
    return float(high - low)


@njit(cache=True)
def _goes_on(y: Float, block: int, growth: float, seasonal: bool) -> float:
    """Probability that the trend did not end within the newest block.

    Against a block before, every cell has grown by ``growth``; where the trend ended, by less and less since.
    """
    if seasonal:
        grown = y[-block:] - y[-2 * block : -block] - growth
        before = y[-2 * block : -block] - y[-3 * block : -2 * block] - growth
    else:
        line = growth / block * np.arange(2 * block)
        both = y[-2 * block :] - line
        before, grown = both[:block], both[block:] - np.median(both[:block])
    before = before - np.median(before)
    noise = MAD_TO_SD * np.median(np.abs(before)) + 1e-12 * np.abs(y).max() + 1e-30
    phi = min(max((before[1:] * before[:-1]).sum() / max((before * before).sum(), 1e-300), 0.0), 0.97)
    variance = 2 * noise**2 * (1 + phi) / (1 - phi)
    best = 0.0
    for part in range(1, PARTS + 1):
        end = max(3, block * part // PARTS)
        gain = 0.0
        for t in range(1, end + 1):  # cells since the end of the trend
            one = min(max(grown[block - end + t - 1], -CLIP * noise), CLIP * noise)
            lost = one + growth / block * t
            gain += one * one - lost * lost
        best = max(best, gain / variance)
    return float(1 / (1 + np.exp(best) / TO_ENDED)) if best < 100 else 0.0
