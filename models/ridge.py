"""Ridge regression of a series on its own lags, run recursively.

Four views of a series: its values, their logarithms above a floor, their differences from a cycle before, and their
deviations from the seasonal profile. Source of the regularised normal equations: Hoerl & Kennard (1970), Ridge
regression, Technometrics 12.

The backtest must not know what came after an origin: a forecast from within a fold of the history has coefficients
learned on all folds but that one and the next; only the forecast from now uses all of them.

Shapes: n series, T columns, L lags, K origins, H cells. Coefficients: ``[n, 1 + FOLDS, L + 1]`` (all rows,
then without each fold; constant last), on lags ``[n, L]``, 0 where a series has fewer.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.base import Array32, Fitted, Member, Origins
from models.panel import Float, Panel
from models.profile_level import half_width
from models.recursions import add_profile_ahead, from_profile, profile_of
from models.robust import edges

View = Literal["values", "logs", "seasonal", "deviation"]

SHORT_LAGS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24)
ALWAYS = 3  # the lags up to this one are never left out for those of a season
# Views that keep the lags of the seasons before the short ones: two look one way and two the other.
SEASONS_FIRST: tuple[View, ...] = ("logs", "deviation")
SHORT_SEASON = 48  # cells: a shorter season has every lag up to it, and more of its multiples
MULTIPLES_SHORT, MULTIPLES_FIRST, MULTIPLES_OTHER = 8, 3, 1
DEEPEST = 0.25  # of the history: the farthest lag
ROWS_PER_LAG = 25
FEWEST_LAGS = 8
MAX_ROWS = 4000  # rows to learn from: two weeks of 5-minute cells
PENALTY = 0.1 / 700  # on the normal equations of standardised data, per row
STIFFER = 10.0  # times that where the view has no seasonal level left to learn
FOLDS = 6  # parts of the rows
FLOOR = 0.3  # of the range: logarithms are of the distance to a floor this far under the 1 % quantile
SEASONS_FOR_DIFFERENCES = 7
PROFILE_SHARE = 0.15
TOGETHER = 48  # origins that are recursed side by side: as many as the processor's cache holds
WILD = 1e6  # standard deviations: where a recursion is stopped


def lags_for(length: int, seasons: tuple[int, ...], window: int = 0, seasons_first: bool = False) -> NDArray[np.int64]:
    """Short lags, each season with its multiples and neighbours, and the ends of a window; as far as ``length`` allows.

    Where there are more than the rows can teach, the farthest are left out; with ``seasons_first``, before them the
    short ones that belong to no season.

    >>> lags_for(2000, (24,))[-5:]
    array([ 96, 120, 144, 168, 192])
    >>> lags_for(400, (24,))[-3:], lags_for(400, (24,), seasons_first=True)[-6:]
    (array([13, 14, 15]), array([23, 24, 25, 48, 72, 96]))
    """
    short, seasonal = set(SHORT_LAGS), set()
    if seasons and seasons[0] <= SHORT_SEASON:
        short |= set(range(1, seasons[0] + 1))
    for s in seasons:
        most = MULTIPLES_SHORT if s <= SHORT_SEASON else MULTIPLES_FIRST if s == seasons[0] else MULTIPLES_OTHER
        short |= {k * s + 1 for k in range(1, min(most, 2) + 1)}
        seasonal |= {k * s for k in range(1, most + 1)} | {s - 1, s + 1}
    if window:
        seasonal |= {window - 1, window, window + 1}
    found = sorted(lag for lag in short | seasonal if 1 <= lag <= DEEPEST * length)
    spare = [lag for lag in found if lag not in seasonal and lag > ALWAYS] if seasons_first else []
    while len(found) > FEWEST_LAGS and length - found[-1] < ROWS_PER_LAG * len(found):
        found.remove(spare.pop() if spare else found[-1])
    return np.array(found, np.int64)


class Ridge(Member):
    """Autoregression with seasonal lags, L2-regularised, on one view of the series."""

    def __init__(self, name: str, view: View) -> None:
        self.name, self.view = name, view
        self.windowed = None if view == "values" else False
        self.penalty = PENALTY * (STIFFER if view == "deviation" else 1.0)

    def serves(self, panel: Panel) -> NDArray[np.bool_]:  # noqa: D102 - as in the base class
        season, length = panel.season(0), panel.T - panel.first
        enough = length >= 2 * FEWEST_LAGS
        if self.view == "seasonal":
            enough &= (season > 0) & (length > SEASONS_FOR_DIFFERENCES * season)
        if self.view == "deviation":
            enough &= (season > 0) & (length > 3 * season)
        return super().serves(panel) & enough

    def _fit(self, panel: Panel) -> Fitted:
        rows = np.flatnonzero(self.serves(panel))
        lags = [np.empty(0, np.int64)] * panel.n
        for i in rows:
            lost = self._lost(int(panel.season(0)[i]))
            length, window = panel.T - int(panel.first[i]) - lost, int(panel.windows[i])
            lags[i] = lags_for(length, panel.seasons_of(int(i)), window, self.view in SEASONS_FIRST)
        widest = max((len(x) for x in lags), default=0)
        table = np.zeros((panel.n, widest), np.int64)
        coefficients = np.full((panel.n, 1 + FOLDS, widest + 1), np.nan)
        scale = np.ones((panel.n, 4))
        for i in rows:
            table[i, : len(lags[i])] = lags[i]
            z, scale[i] = self._view(panel, int(i))
            coefficients[i] = _learn(z, lags[i], self.penalty, widest)
        return {"lags": table.astype(np.float64), "coefficients": coefficients, "scale": scale}

    def _lost(self, season: int) -> int:
        """Columns at the beginning that the view does not have."""
        if self.view == "seasonal":
            return season
        return season * (1 if half_width(season) < season else 2) if self.view == "deviation" else 0

    def _view(self, panel: Panel, i: int, scale: Float | None = None) -> tuple[Float, Float]:
        """What is regressed, standardised, ``[T]``; and its centre, scale, floor and smallest distance from it."""
        if scale is not None and (known := panel.kept.get((self.view, i, scale.tobytes()))) is not None:
            return known, scale
        y, season = panel.values[i], int(panel.season(0)[i])
        low, high = 0.0, 0.0
        if self.view == "seasonal":
            z = np.full_like(y, np.nan)
            z[season:] = y[season:] - y[:-season]
        elif self.view == "deviation":
            z = from_profile(y, self._profile(panel, i), season, half_width(season))
        elif self.view == "logs":
            if scale is None:
                low, high = edges(y, 0.01)
                low, high = low - FLOOR * (high - low), FLOOR * (high - low) / 4
            else:
                low, high = scale[2:]
            z = np.log(np.maximum(y - low, max(high, 1e-300)))
        else:
            z = y
        if scale is None:
            there = z[np.isfinite(z)]
            centre = float(there.mean()) if there.size and self.view != "seasonal" else 0.0
            size = float(np.sqrt(((there - centre) ** 2).mean())) if there.size else 0.0
            scale = np.array([centre, size if size > 0 else 1.0, low, high])
        standard: Float = (z - scale[0]) / scale[1]
        panel.kept[self.view, i, scale.tobytes()] = standard  # for the forecasts of what was learned from it
        return standard, scale

    def _profile(self, panel: Panel, i: int) -> Float:
        """The profile of the first season as it is known after each column, ``[T]``."""
        season = int(panel.season(0)[i])
        if (known := panel.kept.get((self.view, i, "profile"))) is None:
            known = profile_of(panel.values[i], season, PROFILE_SHARE, half_width(season))
            panel.kept[self.view, i, "profile"] = known
        return known

    def _predict(self, panel: Panel, fitted: Fitted, origins: Origins, rows: NDArray[np.int64], out: Array32) -> None:
        for i in rows:
            lags = fitted["lags"][i].astype(np.int64)
            lags = lags[lags > 0]
            coefficients = fitted["coefficients"][i]
            scale = fitted["scale"][i]
            if not len(lags) or not np.isfinite(coefficients[0, 0]) or (self.view == "logs" and scale[3] <= 0):
                continue
            z, _ = self._view(panel, int(i), scale)
            _recurse(z, lags, coefficients, origins[i], out[i])
            self._restore(panel, int(i), scale, origins[i], out[i])

    def _restore(self, panel: Panel, i: int, scale: Float, origins: NDArray[np.int64], out: Array32) -> None:
        """From the view back to the series, in place; ``out [K, H]``."""
        out *= np.float32(scale[1])
        out += np.float32(scale[0])
        y, season = panel.values[i], int(panel.season(0)[i])
        if self.view == "logs":
            np.clip(out, -80, 80, out=out)
            np.exp(out, out=out)
            out += np.float32(scale[2])
        elif self.view == "seasonal":
            _add_cycle_before(y, season, origins, out)
        elif self.view == "deviation":
            _add_profile(self._profile(panel, i), season, half_width(season), origins, out)


@njit(cache=True)
def _first_row(z: Float, deepest: int) -> int:
    """First column whose value and lags are all there; no more than MAX_ROWS before the end."""
    start = max(deepest, len(z) - MAX_ROWS)
    while start < len(z) and not np.isfinite(z[start - deepest]):
        start += 1
    return start


@njit(cache=True)
def _learn(z: Float, lags: NDArray[np.int64], penalty: float, widest: int) -> Float:
    """Coefficients of ``z[t]`` on ``z[t - lags]`` and a constant, ``[1 + FOLDS, widest + 1]``: of all rows, and of
    those outside each fold and the one after it; NaN with too few rows.
    """
    out = np.full((1 + FOLDS, widest + 1), np.nan)
    L = len(lags)
    if L == 0:
        return out
    start = _first_row(z, lags[-1])
    rows = len(z) - start
    if rows < max(8, 3 * L // 2):
        return out
    X = np.ones((L + 2, rows), np.float32)  # the lags, the constant, what follows
    for j in range(L):
        X[j] = z[start - lags[j] : len(z) - lags[j]]
    X[L + 1] = z[start:]
    grams = np.empty((FOLDS, L + 2, L + 2))
    edges = np.empty(FOLDS + 1, np.int64)
    for f in range(FOLDS + 1):
        edges[f] = f * rows // FOLDS
    for f in range(FOLDS):
        part = np.ascontiguousarray(X[:, edges[f] : edges[f + 1]])
        grams[f] = part @ part.T
    for j in range(1 + FOLDS):
        gram, used = np.zeros((L + 2, L + 2)), 0
        for f in range(FOLDS):
            if j == 0 or not j - 1 <= f <= j:
                gram += grams[f]
                used += edges[f + 1] - edges[f]
        if used < max(8, 3 * L // 2):
            continue
        for i in range(L):
            gram[i, i] += penalty * used + 1e-3
        gram[L, L] += 1e-3
        found = np.linalg.solve(gram[: L + 1, : L + 1], gram[: L + 1, L + 1])
        out[j, :L], out[j, widest] = found[:L], found[L]
    return out


@njit(cache=True)
def _recurse(
    z: Float,
    lags: NDArray[np.int64],
    coefficients: Float,
    origins: NDArray[np.int64],
    out: Array32,
) -> None:
    H, L, deepest = out.shape[1], len(lags), lags[-1]
    start = _first_row(z, deepest)
    there = np.flatnonzero(origins > 0)
    for begin in range(0, len(there), TOGETHER):
        group = there[begin : begin + TOGETHER]
        at, size = origins[group], len(group)
        own, buffer = np.empty((L + 1, size)), np.empty((deepest + H, size))
        for g in range(size):  # the forecast from now, and one that ends before the first row, may use all
            o = at[g]
            fold = 0 if o == len(z) or o + H <= start else 1 + max(0, o - start) * FOLDS // max(1, len(z) - start)
            own[:L, g], own[L, g] = coefficients[fold, :L], coefficients[fold, -1]
        for t in range(deepest):
            for g in range(size):
                before = at[g] - deepest + t
                buffer[t, g] = z[before] if before >= 0 else np.nan
        _run(buffer, lags, own)
        for h in range(H):
            for g in range(size):
                out[group[g], h] = buffer[deepest + h, g]


@njit(cache=True, fastmath={"contract", "reassoc"})
def _run(buffer: Float, lags: NDArray[np.int64], own: Float) -> None:
    """Fill ``buffer [rows, G]`` from the deepest lag on, each row from those before, by ``own [L + 1, G]``."""
    L, G = own.shape[0] - 1, own.shape[1]
    value = np.empty(G)
    for now in range(lags[-1], len(buffer)):
        value[:] = own[L]
        for j in range(0, L - 2, 3):  # three at a time: each sum is fetched and put back less often
            c0, c1, c2 = own[j], own[j + 1], own[j + 2]
            x0, x1, x2 = buffer[now - lags[j]], buffer[now - lags[j + 1]], buffer[now - lags[j + 2]]
            for g in range(G):
                value[g] = value[g] + c0[g] * x0[g] + c1[g] * x1[g] + c2[g] * x2[g]
        for j in range(L - L % 3, L):
            c0, x0 = own[j], buffer[now - lags[j]]
            for g in range(G):
                value[g] += c0[g] * x0[g]
        row = buffer[now]
        for g in range(G):  # what is not a number stays none
            v = -WILD if value[g] < -WILD else value[g]
            row[g] = WILD if v > WILD else v


@njit(cache=True)
def _add_cycle_before(y: Float, season: int, origins: NDArray[np.int64], out: Array32) -> None:
    for k in range(len(origins)):
        for h in range(out.shape[1]):
            column = origins[k] + h - season
            if h >= season:
                out[k, h] += out[k, h - season]
            elif column >= 0:
                out[k, h] += np.float32(y[column])
            else:
                out[k, h] = np.nan


@njit(cache=True)
def _add_profile(profile: Float, season: int, half: int, origins: NDArray[np.int64], out: Array32) -> None:
    for k in range(len(origins)):
        if origins[k] > 0:
            deviation = out[k].astype(np.float64)
            out[k] = np.nan
            add_profile_ahead(profile, season, half, origins[k], deviation, out[k])
