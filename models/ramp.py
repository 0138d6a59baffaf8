"""Ramps: a leak, a fill, a slide that began some time ago and is still going on.

The deviation from the seasonal profile is compared, for every onset up to a week ago, with a *hinge*: zero before the
onset and a straight line times a shape after it. The shape is one (the level moves), the daily peak (peaks grow) or
the daily trough (troughs deepen). This is the generalised likelihood ratio test for a change of slope (Willsky & Jones,
1976), with two guards that plain regression lacks: the slope must stand out from the slopes that the same series
showed in its own past over the same span (models/ramp_reference.py), and the data must look like a ramp, not like a
step or a spike (models/ramp_checks.py). Where a ramp was reset on the way (models/sawtooth.py), only the cells since
then are judged.

Nobody knows the onset exactly, so a ramp is not one line but many: each onset and shape with its likelihood.

Shapes: n series, T columns, W onsets, B shapes, K paths.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from models.grid import DAY
from models.panel import Panel
from models.ramp_checks import ended_gain, fit_hinges, foretells, looks_like
from models.ramp_reference import RampReference, bar_at, profile_between, shapes_of
from models.sawtooth import Tooth, last_tooth

Float = NDArray[np.float64]
Index = NDArray[np.int64]

SHAPES = ("level", "peak", "trough")
# Leaks and fills are common, growing peaks less so, deepening troughs rare.
SHAPE_PRIOR = np.array([1.0, 0.1, 0.03])
RAMP_TO_STEP = 4.0  # prior odds of a ramp against a step that explains the data as well
RAMP_TO_ENDED = 300.0  # and against one that ended an hour ago or longer: the noise of an hour looks like an end
AT_RESET = 30.0  # prior odds of an onset right at a reset against any other since
SURE_AT = 1.3  # this many times the bar: no doubt left
# Error of a ramp through its older two thirds in its newest third, over that of one that ended, to be a ramp at all.
# A growing peak says little at night: it must only not be clearly worse.
FORETOLD, FORETOLD_SHAPED = 0.75, 1.5
# Days that a growing peak must have been growing, and cells that it must be made of: one unusual day is none.
SHAPED_CYCLES, SHAPED_CELLS = 1.5, 100
CANDIDATES = 8  # onsets whose shape is checked per series, best first
PERSISTS = 5 * DAY  # a ramp goes on for this long on average, or PERSISTS_AGES times its age if that is more
PERSISTS_AGES = 4.0


@dataclass(frozen=True)
class Ramp:
    """A ramp under way in series ``row``: ``weight`` 0..1 is our belief in it; ``odds [C]`` (sum 1), ``slope``,
    ``slope_error`` (units per second), ``age`` (seconds) and ``shape`` (index into SHAPES) of its C versions;
    ``lasts [C]`` seconds where known better than by its age; ``level_error``: of where the series is now; ``teeth``:
    seconds since the tooth before the last reset began, 0 without one.
    """

    row: int
    weight: float
    odds: Float
    slope: Float
    slope_error: Float
    age: Float
    shape: Index
    lasts: Float | None = None
    level_error: float = 0.0
    teeth: float = 0.0

    @property
    def began(self) -> float:
        """How many seconds ago it began, all its teeth included: the likeliest."""
        return max(float(self.age[self.odds.argmax()]), self.teeth)


@dataclass(frozen=True)
class _Evidence:
    """What the deviation ``d [J]`` of one series says for each shape ``[B, J]`` and onset ``[W]``: ``slope``, explained
    ``gain``, ``spread``, and ``ratio`` of the slope to its bar, ``[B, W]``; ``step_gain``: what the best step explains.
    """

    d: Float
    shapes: Float
    onsets: Index
    noise: float
    slope: Float
    gain: Float
    spread: Float
    step_gain: float
    ratio: Float


def find_ramps(panel: Panel, reference: RampReference | None) -> list[Ramp]:
    """The ramps under way at the end of the panel, at most one for each series."""
    if reference is None:
        return []
    first = max(0, panel.T - int(reference.onsets[-1]))
    profile = profile_between(panel, first, panel.T)
    d = np.where(np.isfinite(panel.observed[:, first:]), panel.values[:, first:] - profile, np.nan)
    shapes = shapes_of(profile, reference.low, reference.high)
    onsets = reference.onsets[reference.onsets <= d.shape[1]]
    slope, gain, spread, step_gain = fit_hinges(d, shapes, onsets)
    ratio = _ratio(slope, reference.bar[:, :, : len(onsets)], onsets, panel)
    ramps = []
    for i in range(panel.n):
        noise = max(float(reference.noise[i] * np.sqrt(reference.inflation[i])), 1e-12)
        tooth = last_tooth(d[i], onsets, noise, float(gain[:, i].max(initial=0)))
        if tooth is not None:
            found = _after(tooth, int(i), d, shapes, reference, noise, panel)
        elif (ratio[:, i] > 1).any():
            parts = (slope[:, i], gain[:, i], spread[:, i], float(step_gain[i]), ratio[:, i])
            found = _ramp_in(_Evidence(d[i], shapes[:, i], onsets, noise, *parts), int(i), panel)
        else:
            found = None
        if found is not None:
            ramps.append(found)
    return ramps


def _ratio(slope: Float, bar: Float, onsets: Index, panel: Panel) -> Float:
    """Slopes ``[B, n, W]`` over their ``bar``; 0 where a shape other than the level is too young to be one."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.abs(slope) / bar
    ratio = np.where(np.isfinite(ratio), ratio, 0)
    ratio[1:, :, _too_young(onsets, panel)] = 0
    return np.asarray(ratio)


def _too_young(onsets: Index, panel: Panel) -> NDArray[np.bool_]:
    return np.asarray(onsets < max(SHAPED_CELLS, SHAPED_CYCLES * panel.seasons[0]))


def _after(
    tooth: Tooth, i: int, d: Float, shapes: Float, reference: RampReference, noise: float, panel: Panel
) -> Ramp | None:
    """The ramp of series ``i`` since the reset, with what the tooth before tells of its slope."""
    d, shapes = d[i : i + 1, -tooth.reset :], shapes[:, i : i + 1, -tooth.reset :]
    onsets = np.append(reference.onsets[reference.onsets < tooth.reset], tooth.reset)
    slope, gain, spread, step_gain = fit_hinges(d, shapes, onsets)
    ratio = _ratio(slope, bar_at(reference, i, onsets), onsets, panel)
    parts = (slope[:, 0], gain[:, 0], spread[:, 0], float(step_gain[0]), ratio[:, 0])
    return _ramp_in(_Evidence(d[0], shapes[:, 0], onsets, noise, *parts), i, panel, tooth)


def _ramp_in(e: _Evidence, row: int, panel: Panel, tooth: Tooth | None = None) -> Ramp | None:
    """The ramp that the evidence is for, if it is for one."""
    support = e.gain / (2 * e.noise**2) + np.log(SHAPE_PRIOR)[:, None]
    support[1:, _too_young(e.onsets, panel)] = -np.inf
    if tooth is not None:
        support[:, -1] += np.log(AT_RESET)
    slope, error = e.slope, e.noise / np.sqrt(e.spread)
    # What the tooth before the reset foretold needs no other proof that it goes on.
    foretold = np.zeros(slope.shape, np.bool_)
    if tooth is not None:
        foretold[0] = tooth.agrees(slope[0], error[0])
    best = _best_candidate(e, support, foretold)
    if best is None:
        return None
    if tooth is not None and best[0] == 0:
        slope, error = slope.copy(), error.copy()
        slope[0], error[0] = tooth.agreed(slope[0], error[0])
    step_rival = e.step_gain / (2 * e.noise**2) - np.log(RAMP_TO_STEP)
    ended_rival = ended_gain(e.d, e.onsets) / (2 * e.noise**2) - np.log(RAMP_TO_ENDED)
    not_a_step = float(expit(support[best] - np.logaddexp(step_rival, ended_rival)))
    ramp = _versions(row, best, support, slope, error, e.ratio, e.onsets, panel.step)
    teeth = 0.0 if tooth is None else float(tooth.onset * panel.step)
    return replace(ramp, weight=ramp.weight * not_a_step, teeth=teeth)


def ramp_paths(ramp: Ramp, shapes: Float, offsets: Float, K: int, seed: int) -> Float:
    """What the ramp adds to the profile ``offsets [H]`` seconds ahead, on each of K paths, ``[K, H]``.

    Each path draws whether it follows the ramp at all (a row of NaN if not), a version by its odds, a slope, and
    when the ramp ends. ``shapes [B, H]`` at the cells. The draws are evenly spread, so that few paths do.
    """
    rng = np.random.default_rng(seed)
    even = (np.arange(K) + 0.5) / K
    member, version, slope_at, lasting = (rng.permutation(even) for _ in range(4))
    v = np.minimum(np.searchsorted(np.cumsum(ramp.odds), version), len(ramp.odds) - 1)
    slope = ramp.slope[v] + ramp.slope_error[v] * ndtri(slope_at)
    lasts = np.maximum(PERSISTS, PERSISTS_AGES * ramp.age) if ramp.lasts is None else ramp.lasts
    ends = -np.log(lasting) * lasts[v]
    along = ramp.age[v][:, None] + np.minimum(offsets, ends[:, None])
    path = slope[:, None] * along * shapes[ramp.shape[v]]
    if ramp.level_error:
        path += ramp.level_error * ndtri(rng.permutation(even))[:, None]
    return np.where((member < ramp.weight)[:, None], path, np.nan)


def _best_candidate(e: _Evidence, support: Float, foretold: NDArray[np.bool_]) -> tuple[int, int] | None:
    """The likeliest (shape, onset) over its bar that looks like a ramp and was ``foretold [B, W]`` or foretells."""
    ranked = np.argsort(np.where(e.ratio > 1, -support, np.inf), axis=None)[:CANDIDATES]
    for flat in ranked:
        b, w = divmod(int(flat), len(e.onsets))
        if e.ratio[b, w] <= 1:
            return None
        length = int(e.onsets[w])
        d, shape = e.d[-length:], e.shapes[b, -length:]
        line = e.slope[b, w] * (np.arange(length) + 0.5) * shape
        limit = FORETOLD if b == 0 else FORETOLD_SHAPED
        if looks_like(d, line, e.noise, b == 0) and (foretold[b, w] or foretells(d, shape, limit)):
            return b, w
    return None


def _versions(
    row: int, best: tuple[int, int], support: Float, slope: Float, error: Float, ratio: Float, onsets: Index, step: int
) -> Ramp:
    """All onsets and shapes with the best one's sign, by log posterior ``support``; arrays ``[B, W]``."""
    odds = np.exp(np.minimum(support - support[best], 0))
    b, w = np.nonzero((odds > 1e-3) & (np.sign(slope) == np.sign(slope[best])))
    odds = odds[b, w] / odds[b, w].sum()
    sure = np.clip((ratio[b, w] - 1) / (SURE_AT - 1), 0, 1)
    age = (onsets[w] * step).astype(np.float64)
    return Ramp(row, float(odds @ sure), odds, slope[b, w] / step, error[b, w] / step, age, b)
