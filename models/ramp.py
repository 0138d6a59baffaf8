"""Ramps: a leak, a fill, a slide that began some time ago and is still going on.

The deviation from the seasonal profile is compared, for every onset up to a week ago, with a *hinge*: zero before the
onset and a straight line times a shape after it. The shape is one (the level moves), the daily peak (peaks grow) or
the daily trough (troughs deepen). This is the generalised likelihood ratio test for a change of slope (Willsky & Jones,
1976), with two guards that plain regression lacks: the slope must stand out from the slopes that the same series
showed in its own past over the same span, and the data must look like a ramp, not like a step or a spike.

Nobody knows the onset exactly, so a ramp is not one line but many: each onset and shape with its likelihood.

Shapes: n series, T columns, W onsets, S instants of the past, B shapes, K paths.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from models.grid import DAY, HOUR, WEEK
from models.panel import Panel
from models.robust import MAD_TO_SD, nan_quantile, scale_about_zero
from models.seasonal_profile import season_profile

Float = NDArray[np.float64]
Array32 = NDArray[np.float32]
Index = NDArray[np.int64]

SHAPES = ("level", "peak", "trough")
# Leaks and fills are common, growing peaks less so, deepening troughs rare.
SHAPE_PRIOR = np.array([1.0, 0.1, 0.03])
RAMP_TO_STEP = 4.0  # prior odds of a ramp against a step that explains the data as well
RAMP_TO_ENDED = 300.0  # and against one that ended an hour ago or longer: the noise of an hour looks like an end
SHORTEST, RATIO = HOUR, 1.04  # onsets: from an hour ago, each this much further back than the one before
FEWEST = 12  # cells that a ramp must be made of
WEEKS_KNOWN = 4  # weeks of history from which on a weekend is not taken for a ramp of two days
REFERENCE_EVERY = 5  # past slopes are looked at for every fifth onset; their scale between is interpolated
SAMPLE_EVERY = 30 * 60  # the past is looked at this often, in seconds
SIGNIFICANT = 4.5  # robust standard deviations of the past slopes
EXCEEDS_PAST = 1.2  # times the 99 % quantile of the past slopes
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
class RampReference:
    """What is normal for each series: ``low, high [n]`` of its profile, ``noise [n]`` (standard deviation of a
    deviation), ``inflation [n]`` (variance of a long mean over that of independent points), and the ``bar
    [B, n, W]`` that a slope (unit per cell) must pass, per onset (``onsets [W]``, cells before the end).
    """

    low: Float
    high: Float
    noise: Float
    inflation: Float
    bar: Float
    onsets: Index

    def select(self, rows: Index) -> RampReference:
        """The same of some of the series."""
        of_rows = {name: getattr(self, name)[rows] for name in ("low", "high", "noise", "inflation")}
        return RampReference(**of_rows, bar=self.bar[:, rows], onsets=self.onsets)


@dataclass(frozen=True)
class Ramp:
    """A ramp under way in series ``row``: ``weight`` 0..1 is our belief in it; ``odds [C]`` (sum 1), ``slope``,
    ``slope_error`` (units per second), ``age`` (seconds) and ``shape`` (index into SHAPES) of its C versions.
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

    @property
    def onset(self) -> float:
        """The likeliest age in seconds."""
        return float(self.age[self.odds.argmax()])


def onset_lengths(panel: Panel) -> Index:
    """Distances of the onsets from the end, in cells."""
    count = int(np.log(WEEK / SHORTEST) / np.log(RATIO)) + 1
    cells = np.unique(np.round(SHORTEST * RATIO ** np.arange(count) / panel.step).astype(np.int64))
    longest = WEEK if panel.T * panel.step >= WEEKS_KNOWN * WEEK else DAY
    return cells[(cells >= FEWEST) & (cells <= panel.T // 3) & (cells * panel.step <= longest)]


def profile_between(panel: Panel, first: int, last: int) -> Array32:
    """The seasonal profile over columns ``first .. last-1`` seen from the end of the panel, ``[n, J]``."""
    return season_profile(panel, np.arange(first, last)[None], np.array([panel.T]))[:, 0]


def shapes_of(profile: Array32, low: Float, high: Float) -> Float:
    """The three shapes over the columns of ``profile [n, J]``: ``[B, n, J]``, each within 0..1.2."""
    span = np.where(high > low, high - low, np.inf)[:, None]
    peak = np.clip((profile - low[:, None]) / span, 0, 1.2)
    return np.nan_to_num(np.stack([np.ones(profile.shape), peak, np.clip(1 - peak, 0, 1.2)]))


def past_slopes(deviation: Float, shapes: Float, onsets: Index, at: Index) -> Float:
    """Hinge slopes at the columns ``at [S]`` for every onset, ``[B, n, S, W]``; NaN where too early."""
    return np.moveaxis(_past_slopes(deviation, shapes, onsets, at), 2, 3)


@njit(cache=True)
def _past_slopes(deviation: Float, shapes: Float, onsets: Index, at: Index) -> Float:
    """The same with the instants last, ``[B, n, W, S]``."""
    B, n, T = shapes.shape
    out = np.full((B, n, len(onsets), len(at)), np.nan)
    c0, c1, q0, q1, q2 = np.zeros(T + 1), np.zeros(T + 1), np.zeros(T + 1), np.zeros(T + 1), np.zeros(T + 1)
    for b in range(B):
        for i in range(n):
            for t in range(T):
                there = np.isfinite(deviation[i, t])
                d, s = (deviation[i, t], shapes[b, i, t]) if there else (0.0, 0.0)
                r = t + 0.5
                c0[t + 1] = c0[t] + d * s
                c1[t + 1] = c1[t] + d * s * r
                q0[t + 1] = q0[t] + s * s
                q1[t + 1] = q1[t] + s * s * r
                q2[t + 1] = q2[t] + s * s * r * r
            for w in range(len(onsets)):
                for k in range(len(at)):
                    end, start = at[k], at[k] - onsets[w]
                    if start < 0:
                        continue
                    den = q2[end] - q2[start] - 2 * start * (q1[end] - q1[start]) + start**2 * (q0[end] - q0[start])
                    if den > 1e-9:
                        out[b, i, w, k] = (c1[end] - c1[start] - start * (c0[end] - c0[start])) / den
    return out


def fit_reference(panel: Panel) -> RampReference | None:
    """Learn what is normal; ``None`` where the panel is too short for a season."""
    onsets = onset_lengths(panel)
    if not panel.seasons or not len(onsets):
        return None
    first = panel.seasons[-1]
    profile = profile_between(panel, first, panel.T)
    low, high = np.nan_to_num(nan_quantile(profile, [0.02, 0.98], axis=1))
    deviation = np.where(np.isfinite(panel.observed[:, first:]), panel.values[:, first:] - profile, np.nan)
    T = deviation.shape[1]
    at = np.arange(int(onsets[0]), T + 1, max(1, SAMPLE_EVERY // panel.step))
    coarse = onsets[::REFERENCE_EVERY]
    slopes = np.abs(past_slopes(deviation, shapes_of(profile, low, high), coarse, at))
    # The newest part may hold the ramp that is under way: it must not become its own reference.
    slopes[:, :, at[:, None] > T - np.minimum(2 * coarse + DAY // panel.step, T // 2)] = np.nan
    middle, high_slope = nan_quantile(slopes, [0.5, 0.99], 2)
    bar = np.maximum(SIGNIFICANT * MAD_TO_SD * middle, EXCEEDS_PAST * high_slope)
    bar = _interpolate(bar, coarse, onsets)
    noise = scale_about_zero(deviation, axis=1)
    return RampReference(low, high, noise, _inflation(deviation, noise), bar, onsets)


def _interpolate(bar: Float, coarse: Index, onsets: Index) -> Float:
    """The bar ``[B, n, C]`` at ``coarse`` onsets, interpolated in logarithms to all ``onsets [W]``."""
    if len(coarse) == 1:
        return np.broadcast_to(bar, (*bar.shape[:2], len(onsets)))
    right = np.clip(np.searchsorted(coarse, onsets), 1, len(coarse) - 1)
    span = np.log(coarse[right] / coarse[right - 1])
    share = np.clip(np.log(onsets / coarse[right - 1]) / span, 0, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(bar[:, :, right - 1] ** (1 - share) * bar[:, :, right] ** share)


def _inflation(deviation: Float, noise: Float) -> Float:
    """(1 + phi) / (1 - phi) of an AR(1) with the lag-1 autocorrelation of ``deviation``, ``[n]``; at least 1."""
    limit = 4 * np.where(noise > 0, noise, np.inf)[:, None]
    d = np.nan_to_num(np.clip(deviation, -limit, limit))
    phi = (d[:, 1:] * d[:, :-1]).sum(1) / np.maximum((d * d).sum(1), 1e-30)
    phi = np.clip(phi, 0, 0.97)
    return np.asarray((1 + phi) / (1 - phi))


def find_ramps(panel: Panel, reference: RampReference | None) -> list[Ramp]:
    """The ramps under way at the end of the panel, at most one for each series."""
    if reference is None:
        return []
    first = max(0, panel.T - int(reference.onsets[-1]))
    profile = profile_between(panel, first, panel.T)
    d = np.where(np.isfinite(panel.observed[:, first:]), panel.values[:, first:] - profile, np.nan)
    shapes = shapes_of(profile, reference.low, reference.high)
    onsets = reference.onsets[reference.onsets <= d.shape[1]]
    slope, gain, spread, step_gain = _fit_hinges(d, shapes, onsets)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.abs(slope) / reference.bar[:, :, : len(onsets)]
    ratio = np.where(np.isfinite(ratio), ratio, 0)
    shaped_too_young = np.zeros(ratio.shape[::2], bool)  # [B, W]
    shaped_too_young[1:] = onsets < max(SHAPED_CELLS, SHAPED_CYCLES * panel.seasons[0])
    ratio[np.broadcast_to(shaped_too_young[:, None], ratio.shape)] = 0
    ramps = []
    for i in np.flatnonzero((ratio > 1).any((0, 2))):
        noise = max(float(reference.noise[i] * np.sqrt(reference.inflation[i])), 1e-12)
        support = gain[:, i] / (2 * noise**2) + np.log(SHAPE_PRIOR)[:, None]
        support[shaped_too_young] = -np.inf
        best = _best_candidate(d[i], shapes[:, i], slope[:, i], support, ratio[:, i], onsets, noise)
        if best is not None:
            error = noise / np.sqrt(spread[:, i])
            step_rival = step_gain[i] / (2 * noise**2) - np.log(RAMP_TO_STEP)
            ended_rival = _ended_gain(d[i], onsets) / (2 * noise**2) - np.log(RAMP_TO_ENDED)
            not_a_step = float(expit(support[best] - np.logaddexp(step_rival, ended_rival)))
            ramp = _versions(int(i), best, support, slope[:, i], error, ratio[:, i], onsets, panel.step)
            ramps.append(replace(ramp, weight=ramp.weight * not_a_step))
    return ramps


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


def _best_candidate(
    d: Float, shapes: Float, slope: Float, support: Float, ratio: Float, onsets: Index, noise: float
) -> tuple[int, int] | None:
    """The likeliest (shape, onset) over its bar that looks like a ramp; arrays of one series, ``[B, W]``."""
    ranked = np.argsort(np.where(ratio > 1, -support, np.inf), axis=None)[:CANDIDATES]
    for flat in ranked:
        b, w = divmod(int(flat), len(onsets))
        if ratio[b, w] <= 1:
            return None
        length = int(onsets[w])
        line = slope[b, w] * (np.arange(length) + 0.5) * shapes[b, -length:]
        limit = FORETOLD if b == 0 else FORETOLD_SHAPED
        if _looks_like(d[-length:], line, noise, b == 0) and _foretells(d[-length:], shapes[b, -length:], limit):
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


@njit(cache=True)
def _fit_hinges(d: Float, shapes: Float, onsets: Index) -> tuple[Float, Float, Float, Float]:
    """Slopes, explained sums of squares and sums of squares of hinges that end now, ``[B, n, W]``.

    The last array is what the best step explains, ``[n]``. ``onsets`` ascend.
    """
    B, n, T = shapes.shape
    W = len(onsets)
    slope, gain, spread = np.zeros((B, n, W)), np.zeros((B, n, W)), np.zeros((B, n, W))
    step = np.zeros(n)
    for i in range(n):
        total, count = 0.0, 0
        for back in range(T):
            if np.isfinite(d[i, T - 1 - back]):
                total += d[i, T - 1 - back]
                count += 1
                step[i] = max(step[i], total**2 / count)
        for b in range(B):
            x0 = x1 = q0 = q1 = q2 = 0.0
            w = 0
            for back in range(T):
                v, s, age = d[i, T - 1 - back], shapes[b, i, T - 1 - back], back + 0.5
                if np.isfinite(v):
                    x0 += v * s
                    x1 += v * s * age
                    q0 += s * s
                    q1 += s * s * age
                    q2 += s * s * age * age
                if w < W and onsets[w] == back + 1:
                    length = onsets[w]
                    num = length * x0 - x1
                    den = length**2 * q0 - 2 * length * q1 + q2
                    ok = den > 1e-9
                    slope[b, i, w] = num / den if ok else 0.0
                    gain[b, i, w] = slope[b, i, w] * num
                    spread[b, i, w] = den if ok else 1e-9
                    w += 1
    return slope, gain, spread, step


@njit(cache=True)
def _ended_gain(d: Float, onsets: Index) -> float:
    """What the best ramp that ended an hour ago or longer explains of ``d [T]``: a line up to its end, and since then
    its last value (a plateau) or nothing (a recovery).
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
    best = 0.0
    for onset in onsets:
        for end in onsets:
            height = onset - end
            if height <= 0:
                break
            num = onset * (v0[onset] - v0[end]) - (v1[onset] - v1[end])
            den = onset**2 * (n0[onset] - n0[end]) - 2 * onset * (n1[onset] - n1[end]) + n2[onset] - n2[end]
            if den > 1e-9:
                plateau = (num + height * v0[end]) ** 2 / (den + height**2 * n0[end])
                best = max(best, num**2 / den, plateau)
    return best


def _foretells(d: Float, shape: Float, limit: float) -> bool:
    """Whether the ramp through the older two thirds of ``d [w]`` foretold the newest third better than its end would.

    ``shape [w]``: what the ramp multiplies. What wanders looks like a ramp afterwards; it does not keep to it.
    """
    cut = len(d) - max(len(d) // 3, 2)
    there = np.isfinite(d)
    old, new = np.flatnonzero(there[:cut]), cut + np.flatnonzero(there[cut:])
    weight = shape[new]
    if weight.sum() <= 0:
        return False
    grown = shape * (np.arange(len(d)) + 0.5)
    slope = (d[old] * grown[old]).sum() / max((grown[old] ** 2).sum(), 1e-30)
    on, ended = np.abs(d[new] - slope * grown[new]), np.abs(d[new] - slope * cut * shape[new])
    return bool((on * weight).sum() < limit * (ended * weight).sum())


@njit(cache=True)
def _looks_like(d: Float, line: Float, noise: float, level: bool) -> bool:
    """Whether the deviation ``d [w]`` follows ``line [w]``: medians by thirds, growth in each, and no end to it.

    ``noise``: standard deviation of a point, inflated for autocorrelation.
    """
    size = np.abs(line).max()
    m, e = np.empty(3), np.empty(3)
    begin = 0
    for third in range(3):
        end = begin + len(d) // 3 + (third < len(d) % 3)
        part = d[begin:end]
        known = part[np.isfinite(part)]
        if len(known) < 0.3 * len(part):
            return False
        m[third], e[third] = np.median(known), np.median(line[begin:end])
        begin = end
    slack = 2.5 * noise / np.sqrt(len(d) / 3)
    for third in range(3):
        if abs(m[third] - e[third]) > 0.3 * size + slack:
            return False
    sign = np.sign(e[2])
    for third in range(2):
        grown, wanted = m[third + 1] - m[third], abs(e[third + 1] - e[third])
        if level and grown * sign < 0.3 * wanted - slack:
            return False
    newest = max(3, len(d) // 6)
    total, count = 0.0, 0
    for t in range(len(d) - newest, len(d)):
        if np.isfinite(d[t]):
            total += d[t] - line[t]
            count += 1
    if count == 0:
        return False
    return bool(abs(total / count) <= 0.25 * size + 2.5 * noise / np.sqrt(newest))
