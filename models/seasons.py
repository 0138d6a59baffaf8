"""The seasons of a series: how long its cycles are, found and then proved by a backtest.

*Candidates*: the calendar's periods, and those that the spectrum shows (models/spectrum.py). *Evidence*: the profile of
past cycles must forecast later ones, better than the recent level alone, by more than chance would. *Choice*: of a
season and its multiples, the one that says more; both where both have something of their own.

Shapes: n series, T columns, C candidates; a season of p columns is folded into cycles of m cells.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from models.spectrum import SHORTEST, Float, Index, calendar_periods, clean, free_periods, shows, spectrum

MIN_CYCLES = 2  # one to learn from, one to check against
BLOCK = 2**18  # values worked on at a time: bounds the memory
SEEN = 6  # cycles from which on the spectrum has a say about a calendar period

CELLS = 72  # of a cycle at most: divides by 2, 3, 4, 6, 8, 12
CYCLES = 128  # the newest ones, that the evidence comes from: a rhythm of long ago is no season now
MEMORY = 7  # cycles of a profile, as the forecasts' own; older ones fade, for rhythms shift
AROUND = 3  # cycles on either side that say what a season is, where it is taken out: with its own, a week of days
CLIP = 4.0  # mean absolute deviations: an incident counts, but not for all
TRUST = 0.5  # weight of the profile in the forecast that must gain: its noise counts, but not in full
SKILL = 0.03  # share of the squared error that must be gained
WINS = 0.6  # share of the cycles that must gain: two incidents at a distance are no season
# Standard deviations beyond chance, for a period of the calendar, for one of the many others that were not known
# before, and for what a longer season must add to a shorter one; times 1 + FEW / (cycles - 1). White noise, AR(1) up
# to .999, random walks, steps, bursts: about one in a hundred passes.
Z_CALENDAR, Z_FREE, Z_MORE, FEW = 3.5, 5.0, 3.5, 1.2
PLAUSIBLE = 1.5  # weight of the calendar's evidence against that of another period close by
APART = 0.05  # of a period: profiles of MEMORY cycles do not tell nearer ones apart
CLEAN = 0.005  # of what was to be forecast: residuals as small as that are no noise whose correlation matters
ROUNDING = 1e-12  # of a series' mean square: less is no rhythm, but the last digits of one that was taken out
HARMONICS = 3  # a cycle of up to three humps is one cycle
OWN = 0.6  # share of a longer season's fine structure that makes a shorter one more than a part of it


def find_seasons(values: ArrayLike, step: int, *, most: int = 3) -> Index:
    """Cycle lengths in columns of each series, shortest first, ``[n, most]``; 0 where there are no more.

    ``values [n, T]``, one column per ``step`` seconds; NaN is a gap, on the left a shorter history. Each series is
    judged by itself. A calendar period needs two whole cycles, any other three.

    Raises:
        ValueError: not a two-dimensional array, or ``step`` or ``most`` below 1.

    >>> t = np.arange(600)
    >>> find_seasons(np.stack([np.sin(2 * np.pi * t / 42), 0.0 * t]), step=10)
    array([[42,  0,  0],
           [ 0,  0,  0]])
    """
    v = np.asarray(values, np.float64)
    if v.ndim != 2 or step < 1 or most < 1:
        raise ValueError(f"expected values [n, T], step and most >= 1, got shape {v.shape}, {step} and {most}")
    n, T = v.shape
    out = np.zeros((n, most), np.int64)
    if T < MIN_CYCLES * SHORTEST:
        return out
    calendar = calendar_periods(step)
    rows = max(1, BLOCK // T)
    for a in range(0, n, rows):
        cleaned, first = clean(v[a : a + rows])
        white, acf, size = spectrum(cleaned, first)
        known = np.where(shows(white, acf, size, calendar) | (SEEN * calendar > T - first[:, None]), calendar, 0)
        z = _prove(cleaned, first, known, Z_CALENDAR)
        free = free_periods(white, acf, size, T - first, np.where(z > 0, known, 0))
        z = np.concatenate([z, _prove(cleaned, first, free, Z_FREE)], axis=1)
        _choose(cleaned, first, np.concatenate([known, free], axis=1), z, len(calendar), out[a : a + rows])
    return out


@njit(cache=True, nogil=True)
def _prove(cleaned: Float, first: Index, periods: Index, enough: float) -> Float:
    """Evidence for each of ``periods [n, C]``, 0 where it is not ``enough``; ``[n, C]``."""
    z = np.zeros(periods.shape)
    for i in range(len(cleaned)):
        y = cleaned[i, first[i] :]
        for c, p in enumerate(periods[i]):
            if p and MIN_CYCLES * p <= len(y) and not (periods[i, :c] == p).any():
                z[i, c] = _evidence(y, p, enough)
    return z


@njit(cache=True, nogil=True)
def _choose(cleaned: Float, first: Index, periods: Index, z: Float, calendar: int, out: Index) -> None:
    """Fill ``out [n, most]`` from ``periods [n, C]``, the first ``calendar`` of them the calendar's, with evidence."""
    for i in range(len(cleaned)):
        y = cleaned[i, first[i] :]
        apart = _apart(periods[i], z[i], calendar, len(y))
        period, strength = periods[i][apart], z[i][apart]
        keep = _kept(y, period)
        best = np.argsort(-strength[keep], kind="mergesort")[: out.shape[1]]
        out[i, : len(best)] = np.sort(period[keep][best])


@njit(cache=True, nogil=True)
def _apart(period: Index, z: Float, calendar: int, T: int) -> Index:
    """Which to look at, shortest first: of proven ones close together the strongest."""
    strength = z.copy()
    strength[:calendar] *= PLAUSIBLE
    for j in np.argsort(-strength, kind="mergesort"):
        for k in range(len(period)):
            if k != j and strength[j] > 0 and abs(period[k] - period[j]) <= _room(period[j], T):
                strength[k] = 0
    order = np.argsort(period, kind="mergesort")
    return order[strength[order] > 0]


@njit(cache=True, nogil=True)
def _room(p: int, T: int) -> float:
    """Columns by which another period may differ from ``p`` and be the same: what T columns cannot tell apart."""
    return p * (APART + p / (3 * T))


@njit(cache=True, nogil=True)
def _kept(y: Float, period: Index) -> NDArray[np.bool_]:
    """Which of the proven seasons to keep, ``[C]``: a longer one that adds to every shorter one, and a shorter one
    that is more than a part of a longer one.
    """
    keep = np.ones(len(period), np.bool_)
    for i in range(len(period) - 1):
        if keep[i]:
            rest = _without(y, period[i])
            for j in range(i + 1, len(period)):
                keep[j] = keep[j] and _evidence(rest, period[j], Z_MORE) > 0
    for i in range(len(period) - 1, -1, -1):
        for j in range(i + 1, len(period)):
            times = round(period[j] / period[i])
            off = abs(period[j] - times * period[i])
            if keep[i] and keep[j] and off <= min(_room(period[j], len(y)), period[i] / 4):
                keep[i] = times > HARMONICS and _own_share(y, period[i], period[j]) > OWN
    return keep


@njit(cache=True, nogil=True)
def _own_share(y: Float, p: int, q: int) -> float:
    """Share that a rhythm of ``p`` columns has of what a season of ``q`` does within ``p`` columns.

    Products of the profiles of even and of odd cycles: noise, which they do not share, counts nowhere.
    """
    start = len(y) - min(len(y) // q, 2 * MEMORY) * q
    fine = np.zeros((2, q))
    for half in range(2):
        number = np.zeros(q)
        for t in range(start, len(y)):
            if ((t - start) // q) % 2 == half and np.isfinite(y[t]):
                fine[half, (t - start) % q] += y[t]
                number[(t - start) % q] += 1
        d = fine[half] / np.maximum(number, 1)
        around = np.cumsum(np.concatenate((np.zeros(1), d, d)))
        for t in range(q):
            fine[half, (t + p // 2) % q] = d[(t + p // 2) % q] - (around[t + p] - around[t]) / p
    short = np.zeros((2, p))
    for t in range(q):
        short[:, t % p] += fine[:, t] * p / q
    whole = (fine[0] * fine[1]).mean()
    return (short[0] * short[1]).mean() / whole if whole > 0 else 0.0


@njit(cache=True, nogil=True)
def _evidence(y: Float, p: int, enough: float) -> float:
    """How many standard deviations the profile of past cycles predicts later ones better than by chance; 0 where that
    is not ``enough``, or does not gain ``SKILL`` on the level alone, or not in most cycles. The
    residuals' own correlation says how many independent values stand behind the figure.
    """
    m = min(p, CELLS)
    x = _clipped(_from_level(_fold(y, p, m), m // 2))
    s = _replay(x, m)
    vv, vs, ss, ee, lagged, before = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    count, wins, tried = 0, 0, 0
    for c in range(0, len(x), m):
        gain, there = 0.0, 0
        for t in range(c, c + m):
            if not np.isnan(s[t]):
                e = x[t] - s[t]
                gain += s[t] * (2 * x[t] - TRUST * s[t])
                there += 1
                vv += x[t] * x[t]
                vs += x[t] * s[t]
                ss += s[t] * s[t]
                ee += e * e
                lagged += e * before
                before = e
        count += there
        tried += 2 * there >= m
        wins += 2 * there >= m and gain > 0
    if (
        tried == 0
        or vv <= ROUNDING * count
        or ss <= 0
        or TRUST * (2 * vs - TRUST * ss) <= SKILL * vv
        or wins < WINS * tried
    ):
        return 0.0
    rho = max(lagged / (ee + CLEAN * vv), 0.0)
    independent = count * (1 - rho * rho) / (1 + rho * rho)
    r = min(vs / np.sqrt(vv * ss), 0.999)
    z = r * np.sqrt(max(independent - 2, 0.0) / (1 - r * r))
    return z if z > enough * (1 + FEW / (len(y) // p - 1)) else 0.0


@njit(cache=True, nogil=True)
def _fold(y: Float, p: int, cells: int) -> Float:
    """Means of ``cells`` stretches of each of the newest cycles of ``p`` columns, in a row; NaN where none is known."""
    cycles = min(len(y) // p, CYCLES)
    start = len(y) - cycles * p
    edges = np.arange(cells + 1) * p // cells
    out = np.empty(cycles * cells)
    for c in range(cycles):
        at = start + c * p
        for j in range(cells):
            total, count = 0.0, 0
            for t in range(at + edges[j], at + edges[j + 1]):
                if np.isfinite(y[t]):
                    total += y[t]
                    count += 1
            out[c * cells + j] = total / count if count else np.nan
    return out


@njit(cache=True, nogil=True)
def _from_level(z: Float, width: int) -> Float:
    """Each value minus the mean of the ``width`` before it, less the mean of all that; NaN where unknown."""
    x = np.full(len(z), np.nan)
    total, count = 0.0, 0
    for t in range(len(z)):
        if t >= width:
            if 2 * count >= width:
                x[t] = z[t] - total / count
            if np.isfinite(z[t - width]):
                total -= z[t - width]
                count -= 1
        if np.isfinite(z[t]):
            total += z[t]
            count += 1
    x -= np.nanmean(x)
    return x


@njit(cache=True, nogil=True)
def _clipped(x: Float) -> Float:
    """Clipped at ``CLIP`` times the mean absolute value of what is within that limit; NaN stays."""
    limit = np.inf
    for _ in range(2):
        total, count = 0.0, 0
        for v in x:
            if not np.isnan(v):
                total += min(abs(v), limit)
                count += 1
        limit = CLIP * total / max(count, 1)
    out: Float = np.clip(x, -limit, limit)
    return out


@njit(cache=True, nogil=True)
def _replay(x: Float, m: int) -> Float:
    """What the profile of the cycles before says of each value of ``x``; NaN before there is a profile."""
    cycles = len(x) // m
    profile, seen, total, phases = np.zeros(m), np.zeros(m, np.int64), 0.0, 0
    said = np.full(len(x), np.nan)
    begin = min(max(cycles // 4, 1), 3)
    for c in range(cycles):
        for j in range(m):
            v = x[c * m + j]
            if np.isnan(v):
                continue
            if c >= begin and seen[j]:
                said[c * m + j] = profile[j] - total / phases
            phases += seen[j] == 0
            seen[j] = min(seen[j] + 1, MEMORY)
            change = (v - profile[j]) / seen[j]
            profile[j] += change
            total += change
    return said


@njit(cache=True, nogil=True)
def _without(y: Float, p: int) -> Float:
    """The series without its season of ``p`` columns: less the mean of the ``AROUND`` cycles before and after, not its
    own; NaN where there are none.
    """
    T, reach = len(y), AROUND * p
    raw = _from_level(y, p)
    v, known = _clipped(raw), np.isfinite(raw)
    total, count = np.zeros(p), np.zeros(p)
    out = np.full(T, np.nan)
    for t in range(-reach, T):
        j = t % p
        if t + reach < T and known[t + reach]:
            total[j] += v[t + reach]
            count[j] += 1
        if t - reach - p >= 0 and known[t - reach - p]:
            total[j] -= v[t - reach - p]
            count[j] -= 1
        if t >= 0:
            own, cut = (v[t], raw[t] - v[t]) if known[t] else (0.0, 0.0)
            if count[j] > known[t]:
                out[t] = y[t] - cut - (total[j] - own) / (count[j] - known[t])
    return out
