"""Ramps: a leak, a fill, a slide that began some time ago and is still going on.

The deviation from the seasonal profile is compared, for every onset up to a week ago, with a *hinge*: zero before the
onset and a straight line times a shape after it. The shape is one (the level moves), the daily peak (peaks grow) or
the daily trough (troughs deepen). This is the generalised likelihood ratio test for a change of slope (Willsky & Jones,
1976), with two guards that plain regression lacks: the slope must stand out from the slopes that the same series
showed in its own past over the same span, and the data must look like a ramp, not like a step or a spike.

Shapes: n series, T columns, W onsets, S instants of the past, B shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.grid import DAY, HOUR, WEEK
from models.panel import Panel
from models.profile import cycles_of, profile_at, smooth
from models.robust import nan_quantile, scale_about_zero

Float = NDArray[np.float64]
Array32 = NDArray[np.float32]

SHAPES = ("level", "peak", "trough")
SHORTEST, RATIO = HOUR, 1.12  # onsets: from an hour ago, each this much further back than the one before
SAMPLE_EVERY = 30 * 60  # the past is looked at this often, in seconds
SIGNIFICANT = 4.5  # robust standard deviations of the past slopes
EXCEEDS_PAST = 1.2  # times the 99 % quantile of the past slopes
SURE_AT = 1.4  # this many times the bar: no doubt left
CANDIDATES = 8  # onsets tried per series, best first
PERSISTS = 5 * DAY  # a ramp goes on for this long on average, or PERSISTS_AGES times its age if that is more
PERSISTS_AGES = 4.0


@dataclass(frozen=True)
class RampReference:
    """What slopes are normal for each series: ``season [n]`` (index of the best season), ``low, high [n]`` of its
    profile, ``noise [n]`` of a deviation, ``scale, bar [B, n, W]`` of the slopes, in units per cell."""

    season: NDArray[np.int64]
    low: Float
    high: Float
    noise: Float
    scale: Float
    bar: Float
    onsets: NDArray[np.int64]


@dataclass(frozen=True)
class Ramp:
    """The ramp under way in each series: ``weight [n]`` 0..1 (0: none), ``slope``, ``slope_error`` in units per
    second, ``age`` seconds since the onset, ``shape`` (index into SHAPES)."""

    weight: Float
    slope: Float
    slope_error: Float
    age: Float
    shape: NDArray[np.int64]


def no_ramp(n: int) -> Ramp:
    return Ramp(np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n, np.int64))


def onset_lengths(panel: Panel) -> NDArray[np.int64]:
    """Distances of the onsets from the end, in cells."""
    count = int(np.log(WEEK / SHORTEST) / np.log(RATIO)) + 1
    cells = np.unique(np.round(SHORTEST * RATIO ** np.arange(count) / panel.step).astype(np.int64))
    return cells[(cells >= 6) & (cells <= panel.T // 3)]


def profile_of(panel: Panel, season: NDArray[np.int64], first: int, last: int, origin: int) -> Array32:
    """The profile of each series' own season over columns ``first .. last-1`` (may lie after ``origin``), ``[n, J]``."""
    out = np.full((panel.n, last - first), np.nan, np.float32)
    position = np.arange(first, last)[None]
    smoothed = smooth(panel.values)
    for which in np.unique(season):
        rows = np.flatnonzero(season == which)
        cycles = cycles_of(panel.seasons[which], DAY / panel.step)
        out[rows] = profile_at(
            smoothed[rows], position, np.array([origin]), panel.seasons[which], cycles
        )[:, 0]
    return out


def best_season(panel: Panel) -> NDArray[np.int64]:
    """The season whose profile lies closest to what came after it, ``[n]``; the shortest when in doubt."""
    errors = []
    for which in range(len(panel.seasons)):
        first = panel.seasons[-1]
        p = profile_of(panel, np.full(panel.n, which), first, panel.T, panel.T)
        errors.append(scale_about_zero(panel.values[:, first:] - p, axis=1))
    error = np.nan_to_num(np.stack(errors), nan=np.inf)
    return np.asarray(error.argmin(0))


def shapes_of(profile: Array32, low: Float, high: Float) -> Float:
    """The three shapes over the columns of ``profile [n, J]``: ``[B, n, J]``, each within 0..1.2."""
    span = np.where(high > low, high - low, np.inf)[:, None]
    peak = np.clip((profile - low[:, None]) / span, 0, 1.2)
    return np.stack([np.ones(profile.shape), peak, np.clip(1 - peak, 0, 1.2)])


def past_slopes(deviation: Float, shapes: Float, onsets: NDArray[np.int64], every: int) -> Float:
    """Hinge slopes at every ``every``-th column for every onset, ``[B, n, S, W]``; NaN where too early."""
    there = np.isfinite(deviation)
    d = np.where(there, deviation, 0)
    B, n, T = shapes.shape
    at = np.arange(int(onsets[0]), T + 1, every)
    start = at[:, None] - onsets
    valid = start >= 0
    start = np.maximum(start, 0)
    r = np.arange(T) + 0.5
    zero = np.zeros((n, 1))
    out = np.empty((B, n, len(at), len(onsets)))
    for b in range(B):
        s = np.where(there, shapes[b], 0)
        sums = [np.concatenate([zero, np.cumsum(x, axis=1)], 1) for x in (d * s, d * s * r, s * s, s * s * r, s * s * r * r)]
        c0, c1, q0, q1, q2 = (x[:, at][:, :, None] - x[:, start] for x in sums)
        den = q2 - 2 * start * q1 + start**2 * q0
        with np.errstate(invalid="ignore", divide="ignore"):
            out[b] = np.where(valid & (den > 1e-9), (c1 - start * c0) / den, np.nan)
    return out


def fit_reference(panel: Panel) -> RampReference | None:
    """Learn what is normal; ``None`` where the panel is too short for a season."""
    if not panel.seasons:
        return None
    onsets = onset_lengths(panel)
    if not len(onsets):
        return None
    season = best_season(panel)
    first = min(panel.seasons)
    profile = profile_of(panel, season, first, panel.T, panel.T)
    low, high = np.nan_to_num(nan_quantile(profile, [0.02, 0.98], axis=1))
    deviation = np.where(np.isfinite(panel.observed[:, first:]), panel.values[:, first:] - profile, np.nan)
    every = max(1, SAMPLE_EVERY // panel.step)
    slopes = np.abs(past_slopes(deviation, shapes_of(profile, low, high), onsets, every))
    # The newest part may hold the ramp that is under way: it must not become its own reference.
    at = np.arange(int(onsets[0]), panel.T - first + 1, every)
    newest = np.minimum(2 * onsets + DAY // panel.step, (panel.T - first) // 2)
    slopes[:, :, at[:, None] > panel.T - first - newest] = np.nan
    scale = scale_about_zero(slopes, axis=2)
    bar = np.maximum(SIGNIFICANT * scale, EXCEEDS_PAST * nan_quantile(slopes, 0.99, axis=2))
    noise = scale_about_zero(deviation, axis=1)
    return RampReference(season, low, high, noise, scale, bar, onsets)


def find_ramp(panel: Panel, reference: RampReference | None) -> Ramp:
    """The ramp under way at the end of the panel, if any, for each series."""
    if reference is None:
        return no_ramp(panel.n)
    longest = int(reference.onsets[-1])
    first = max(0, panel.T - longest)
    profile = profile_of(panel, reference.season, first, panel.T, panel.T)
    d = np.where(np.isfinite(panel.observed[:, first:]), panel.values[:, first:] - profile, np.nan)
    shapes = shapes_of(profile, reference.low, reference.high)
    onsets = reference.onsets[reference.onsets <= d.shape[1]]
    W = len(onsets)
    slope, gain, step_gain = _fit_hinges(d, shapes, onsets)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.abs(slope) / reference.bar[:, :, :W]
    ratio = np.where(np.isfinite(ratio) & (gain > step_gain[None, :, None]), ratio, 0)
    out = no_ramp(panel.n)
    for i in np.flatnonzero((ratio > 1).any((0, 2))):
        ranked = np.argsort(np.where(ratio[:, i] > 1, -gain[:, i], np.inf), axis=None)[:CANDIDATES]
        for b, w in zip(*np.unravel_index(ranked, (len(SHAPES), W)), strict=True):
            if ratio[b, i, w] <= 1:
                break
            length = int(onsets[w])
            line = slope[b, i, w] * (np.arange(length) + 0.5) * shapes[b, i, -length:]
            if _looks_like(d[i, -length:], line, float(reference.noise[i]), level=b == 0):
                out.weight[i] = np.clip((ratio[b, i, w] - 1) / (SURE_AT - 1), 0, 1)
                out.slope[i] = slope[b, i, w] / panel.step
                out.slope_error[i] = reference.scale[b, i, w] / panel.step
                out.age[i] = length * panel.step
                out.shape[i] = b
                break
    return out


def _fit_hinges(d: Float, shapes: Float, onsets: NDArray[np.int64]) -> tuple[Float, Float, Float]:
    """Slopes and explained sums of squares ``[B, n, W]`` of hinges that end now, and the best step's ``[n]``."""
    there = np.isfinite(d)
    v = np.where(there, d, 0)[:, ::-1]
    age = np.arange(v.shape[1]) + 0.5
    last = onsets - 1
    slope, gain = np.zeros((2, len(shapes), len(d), len(onsets)))
    for b in range(len(shapes)):
        s = np.where(there, shapes[b], 0)[:, ::-1]
        x0, x1, q0, q1, q2 = (
            np.cumsum(x, axis=1)[:, last] for x in (v * s, v * s * age, s * s, s * s * age, s * s * age * age)
        )
        num = onsets * x0 - x1
        den = onsets**2 * q0 - 2 * onsets * q1 + q2
        ok = den > 1e-9
        slope[b] = np.where(ok, num / np.where(ok, den, 1), 0)
        gain[b] = slope[b] * num
    count = np.maximum(np.cumsum(there[:, ::-1], axis=1), 1)
    return slope, gain, (np.cumsum(v, axis=1) ** 2 / count).max(1)


def _looks_like(d: Float, line: Float, noise: float, level: bool) -> bool:
    """Whether the deviation ``d [w]`` follows ``line [w]``: medians by thirds, growth in each, and no end to it."""
    parts = np.array_split(np.arange(len(d)), 3)
    if min(np.isfinite(d[p]).mean() for p in parts) < 0.3:
        return False
    m = np.array([np.nanmedian(d[p]) for p in parts])
    e = np.array([np.median(line[p]) for p in parts])
    size = np.abs(line).max()
    slack = 3 * noise / np.sqrt(len(d) / 3)
    if (np.abs(m - e) > 0.3 * size + slack).any():
        return False
    if level and (np.diff(m) * np.sign(e[-1]) < 0.3 * np.abs(np.diff(e))).any():
        return False
    newest = slice(-max(3, len(d) // 6), None)
    gap = np.nanmean(d[newest] - line[newest]) if np.isfinite(d[newest]).any() else np.inf
    return bool(abs(gap) <= 0.25 * size + 3 * noise / np.sqrt(max(3, len(d) // 6)))
