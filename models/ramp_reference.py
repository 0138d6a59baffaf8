"""What is normal for a series: its profile, its noise, and the slopes that it showed in its own past.

A slope counts as a ramp (models/ramp.py) only when it stands out from the *hinge* slopes that the same series showed
over the same span before: zero before the onset, and after it a straight line times a shape.

Shapes: n series, T columns, W onsets, S instants of the past, B shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.grid import DAY, HOUR, WEEK
from models.panel import Panel
from models.robust import MAD_TO_SD, nan_quantile, scale_about_zero
from models.seasonal_profile import season_profile

Float = NDArray[np.float64]
Array32 = NDArray[np.float32]
Index = NDArray[np.int64]

SHORTEST, RATIO = HOUR, 1.04  # onsets: from an hour ago, each this much further back than the one before
FEWEST = 12  # cells that a ramp must be made of
WEEKS_KNOWN = 4  # weeks of history from which on a weekend is not taken for a ramp of two days
REFERENCE_EVERY = 5  # past slopes are looked at for every fifth onset; their scale between is interpolated
SAMPLE_EVERY = 30 * 60  # the past is looked at this often, in seconds
SIGNIFICANT = 4.5  # robust standard deviations of the past slopes
EXCEEDS_PAST = 1.2  # times the 99 % quantile of the past slopes


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


def bar_at(reference: RampReference, row: int, onsets: Index) -> Float:
    """The bar ``[B, 1, W]`` of one series at other ``onsets [W]`` than the reference's."""
    return _interpolate(reference.bar[:, row : row + 1], reference.onsets, onsets)


def _inflation(deviation: Float, noise: Float) -> Float:
    """(1 + phi) / (1 - phi) of an AR(1) with the lag-1 autocorrelation of ``deviation``, ``[n]``; at least 1."""
    limit = 4 * np.where(noise > 0, noise, np.inf)[:, None]
    d = np.nan_to_num(np.clip(deviation, -limit, limit))
    phi = (d[:, 1:] * d[:, :-1]).sum(1) / np.maximum((d * d).sum(1), 1e-30)
    phi = np.clip(phi, 0, 0.97)
    return np.asarray((1 + phi) / (1 - phi))
