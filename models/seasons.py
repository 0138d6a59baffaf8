"""The seasons of a series: how long its cycles are, found and then proved by a backtest.

Three steps. *Candidates*: the calendar's periods, and those that a whitened spectrum and its autocorrelation show.
*Evidence*: a candidate must forecast later cycles from earlier ones, better than the recent level alone, by more than
chance would. *Choice*: of a season and its multiples, the one that says more; both where both have their own.

The spectrum is divided by its own local median first, so that drifting and autocorrelated series, whose power is all
at long periods, do not show a period everywhere. Source of the two-stage search: Vlachos, Yu & Castelli (2005), On
periodicity detection and structural periodic similarity, SIAM International Conference on Data Mining.

Shapes: n series, T columns, F frequencies, L lags, C candidates; one season is p columns, folded into m cells.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from models.grid import DAY, HOUR, MINUTE, WEEK

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Index = NDArray[np.int64]

# What people and their schedulers repeat things by, in seconds.
CALENDAR = (
    *(k * MINUTE for k in (1, 2, 5, 10, 15, 20, 30)),
    *(k * HOUR for k in (1, 2, 3, 4, 6, 8, 12)),
    DAY,
    WEEK,
)
SHORTEST = 4  # columns: fewer do not draw a shape
MIN_CYCLES, MIN_FREE_CYCLES = 2, 3  # a calendar period is plausible before it is seen, a free one is not
BLOCK = 2**21  # values worked on at a time: bounds the memory

CAP = 100.0  # of the whitened spectrum: one line does not hide the others
LINE = 10.0  # times the local median: one in a thousand frequencies of noise gets there
LINES = 8  # strongest lines looked at
SEEN = 6  # cycles from which on the spectrum has a say
HARMONIC_SPACING = 8  # frequencies
MULTIPLES = 8  # times a line's period, where the line is a harmonic of the season
TEETH = 16  # multiples of a lag that tell it from its neighbours
PEAK = 4.0  # standard deviations of an autocorrelation that is a candidate by itself
NEARLY = 0.85  # of the highest autocorrelation: the shortest lag that has this is the season, longer ones repeat it

CELLS = 72  # a cycle's cells at most: divides by 2, 3, 4, 6, 8, 12
CYCLES = 128  # newest cycles that the evidence comes from
MEMORY = 7  # cycles: the profile forgets by 1/6 a cycle, as rhythms shift
AROUND = 3  # cycles
CLIP = 4.0  # mean absolute deviations: an incident counts, but not for all
Z_CALENDAR, Z_FREE, Z_MORE = 3.5, 5.0, 3.5
FEW = 1.0
TRUST = 0.5
SKILL = 0.03
WINS = 0.6  # share of the cycles that must gain
HARMONICS = 3  # a cycle of up to three humps is one cycle
OWN = 0.6  # share of a long season's fine structure that a shorter one inside it must explain
PLAUSIBLE = 1.5  # weight of a calendar period's evidence against a free one's
APART = 0.05  # candidates nearer than this are the same


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
    calendar = np.array([s // step for s in CALENDAR if s % step == 0 and s // step >= SHORTEST], np.int64)
    rows = max(1, BLOCK // T)
    for a in range(0, n, rows):
        cleaned, first = _clean(v[a : a + rows])
        white, acf, size = _spectrum(cleaned, first)
        _search(cleaned, first, white, acf, calendar, size, out[a : a + rows])
    return out


def _clean(values: Float) -> tuple[Float, Index]:
    """Rows in units of their own spread with single spikes cut short, NaN in gaps; first column of each ``[n]``.

    A row without two different values is all NaN and begins at T.
    """
    there = np.isfinite(values)
    known = np.where(there, values, 0.0)
    count = np.maximum(there.sum(1, keepdims=True), 1)
    centre = known.sum(1, keepdims=True) / count
    away = np.where(there, values - centre, 0.0)
    spread = np.abs(away).sum(1, keepdims=True) / count
    flat = ~(spread > 1e-9 * np.abs(centre)) | ~np.isfinite(spread)
    scaled = np.where(there & ~flat, away / np.where(flat, 1.0, spread), np.nan)
    first = np.where(flat[:, 0], values.shape[1], there.argmax(1))
    _cut_spikes(scaled)
    return scaled, first


def _spectrum(cleaned: Float, first: Index) -> tuple[Float32, Float32, int]:
    """Periodogram over its local median ``[n, F]``, and its autocorrelation ``[n, L]``."""
    n, T = cleaned.shape
    size = int(fft.next_fast_len(T + T // 3 + 1, real=True))
    d = np.zeros((n, T), np.float32)
    _taper(cleaned, first, d)
    power = np.abs(fft.rfft(d, size, axis=1)) ** 2
    power[:, 0] = 0
    floor = 1e-6 * power.mean(1, keepdims=True) + np.float32(1e-30)
    centres, medians = [], []
    a = 1
    while a < power.shape[1]:
        b = min(power.shape[1], max(a + 12, int(a * 1.3)))
        centres.append((a + b - 1) / 2)
        medians.append(np.median(power[:, a:b], axis=1))
        a = b
    _whiten(power, np.array(centres), np.stack(medians, 1).astype(np.float32), floor[:, 0])
    acf = fft.irfft(power, size, axis=1)[:, : T // 2 + 2]
    return power, np.ascontiguousarray(acf), size


@njit(cache=True, nogil=True)
def _cut_spikes(v: Float) -> None:
    """Cut, in place, what stands out of its neighbours' median of five by more than 8 mean absolute deviations."""
    n, T = v.shape
    window = np.empty(5)
    for i in range(n):
        mid = v[i].copy()
        for t in range(2, T - 2):
            k = 0
            for u in range(t - 2, t + 3):
                if np.isfinite(v[i, u]):
                    j = k
                    while j > 0 and window[j - 1] > v[i, u]:
                        window[j] = window[j - 1]
                        j -= 1
                    window[j] = v[i, u]
                    k += 1
            if k == 5:
                mid[t] = window[2]
        limit = _clip_limit(v[i] - mid, 2 * CLIP)
        for t in range(T):
            v[i, t] = mid[t] + min(max(v[i, t] - mid[t], -limit), limit)


@njit(cache=True, nogil=True)
def _clip_limit(x: Float, times: float) -> float:
    """``times`` the mean absolute value of what is within that limit, twice refined; NaN ignored."""
    limit = np.inf
    for _ in range(3):
        total, count = 0.0, 0
        for v in x:
            if v == v:  # not NaN
                total += min(abs(v), limit)
                count += 1
        limit = times * total / max(count, 1)
    return limit


@njit(cache=True, nogil=True)
def _taper(v: Float, first: Index, out: Float32) -> None:
    """Each series less its mean, gaps bridged by straight lines, faded in and out (a Hann window): what a trend, a
    drift or a step leaves at the ends would hide the short periods.
    """
    n, T = v.shape
    for i in range(n):
        length = T - first[i]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(length) + 0.5) / max(length, 1))
        last, total, mass = 0, 0.0, 0.0
        x = v[i, first[i] :].copy()
        for t in range(length):
            if np.isfinite(x[t]):
                for u in range(last + 1, t):
                    x[u] = x[last] + (x[t] - x[last]) * (u - last) / (t - last)
                last = t
        for t in range(last + 1, length):
            x[t] = x[last]
        for t in range(length):
            total += window[t] * x[t]
            mass += window[t]
        for t in range(length):
            out[i, first[i] + t] = window[t] * (x[t] - total / mass)


@njit(cache=True, nogil=True)
def _whiten(power: Float32, centres: Float, medians: Float32, floor: Float32) -> None:
    """Divide, in place, by the medians of the bands, interpolated between their centres."""
    n, F = power.shape
    for i in range(n):
        b = 0
        for k in range(1, F):
            while b < len(centres) - 2 and k > centres[b + 1]:
                b += 1
            level = medians[i, b]
            if len(centres) > 1:
                u = min(max((k - centres[b]) / (centres[b + 1] - centres[b]), 0.0), 1.0)
                level = (1 - u) * medians[i, b] + u * medians[i, b + 1]
            power[i, k] = min(power[i, k] / max(level, floor[i]), CAP)


@njit(cache=True, nogil=True)
def _comb(acf: Float32, lag: int, longest: int) -> float:
    """Mean autocorrelation at the first multiples of a lag, as far as there are."""
    total, count = 0.0, 0
    for k in range(1, TEETH + 1):
        if k * lag <= longest:
            total += acf[k * lag]
            count += 1
    return total / max(count, 1)


@njit(cache=True, nogil=True)
def _refine(acf: Float32, period: float, longest: int) -> int:
    """The whole number of columns near ``period`` whose multiples correlate best."""
    room = max(1, int(period * period / (2 * longest) / 2))
    middle = int(round(period))
    best, at = -np.inf, 0
    for lag in range(max(SHORTEST, middle - room), min(longest, middle + room) + 1):
        value = _comb(acf, lag, longest)
        if value > best:
            best, at = value, lag
    return at


@njit(cache=True, nogil=True)
def _free_periods(white: Float32, acf: Float32, size: int, length: int, known: Index) -> Index:
    """Periods that the spectrum of one series shows, in columns, ``[C]``; 0 for none."""
    out = np.zeros(2 * LINES + 1, np.int64)
    longest = min(length // MIN_FREE_CYCLES, len(acf) - 1)
    if longest < SHORTEST:
        return out
    low, high = int(size / longest), min(size // SHORTEST, len(white) - 2)
    height = np.zeros(LINES)
    where = np.zeros(LINES, np.int64)
    for k in range(max(low, 1), high + 1):
        w = white[k]
        if w > LINE and w > height[-1] and w >= white[k - 1] and w >= white[k + 1] and not _explained(k, size, known):
            j = LINES - 1
            while j > 0 and height[j - 1] < w:
                height[j], where[j] = height[j - 1], where[j - 1]
                j -= 1
            height[j], where[j] = w, k
    for j in range(LINES):
        if where[j]:
            period = size / where[j]
            out[2 * j] = _refine(acf, period, longest)
            out[2 * j + 1] = _multiple(acf, period, longest)
    out[-1] = _highest(acf, longest, length)
    return out


@njit(cache=True, nogil=True)
def _explained(k: int, size: int, known: Index) -> bool:
    """Whether frequency k is a harmonic of a known period, as far as the spectrum resolves them."""
    for p in known:
        if p and size >= HARMONIC_SPACING * p and abs(k * p / size - round(k * p / size)) * size <= 1.5 * p:
            return True
    return False


@njit(cache=True, nogil=True)
def _multiple(acf: Float32, period: float, longest: int) -> int:
    """The first multiple of a line's period that correlates nearly as well as the best of them."""
    best = 0.0
    for k in range(1, MULTIPLES + 1):
        if k * period <= longest:
            best = max(best, _comb(acf, int(round(k * period)), longest))
    for k in range(1, MULTIPLES + 1):
        if k * period <= longest and _comb(acf, int(round(k * period)), longest) >= NEARLY * best:
            return _refine(acf, k * period, longest)
    return 0


@njit(cache=True, nogil=True)
def _highest(acf: Float32, longest: int, length: int) -> int:
    """The first local peak of the autocorrelation that is nearly the highest, if it is beyond chance; else 0."""
    best = PEAK / np.sqrt(length) * acf[0]
    found = False
    for lag in range(SHORTEST, longest + 1):
        if acf[lag] > best and acf[lag] >= acf[lag - 1] and acf[lag] >= acf[min(lag + 1, longest)]:
            best, found = acf[lag], True
    if found:
        for lag in range(SHORTEST, longest + 1):
            if acf[lag] >= NEARLY * best and acf[lag] >= acf[lag - 1] and acf[lag] >= acf[min(lag + 1, longest)]:
                return lag
    return 0


@njit(cache=True, nogil=True)
def _search(
    cleaned: Float, first: Index, white: Float32, acf: Float32, calendar: Index, size: int, out: Index
) -> None:
    """Fill ``out [n, most]``, a series at a time."""
    for i in range(len(cleaned)):
        y = cleaned[i, first[i] :]
        period, z = _verified(y, white[i], acf[i], calendar, size)
        keep = _chosen(y, period, z)
        found = np.sort(period[keep][np.argsort(-z[keep], kind="mergesort")[: out.shape[1]]])
        out[i, : len(found)] = found


@njit(cache=True, nogil=True)
def _verified(y: Float, white: Float32, acf: Float32, calendar: Index, size: int) -> tuple[Index, Float]:
    """Candidates with evidence, shortest first, of those close together the strongest; and their z, ``[C]`` each."""
    T = len(y)
    free = np.zeros(2 * LINES + 1, np.int64)
    period = np.zeros(len(calendar) + len(free), np.int64)
    z = np.zeros(len(period))
    for j in range(len(period)):
        if j == len(calendar):
            free[:] = _free_periods(white, acf, size, T, period)
        p = calendar[j] if j < len(calendar) else free[j - len(calendar)]
        if p == 0 or p * MIN_CYCLES > T or (period == p).any():
            continue
        if j < len(calendar) and T >= SEEN * p and acf[p] < 0 and not _has_line(white, size / p):
            continue
        value = _evidence(y, p)
        if value > (Z_CALENDAR if j < len(calendar) else Z_FREE) * (1 + FEW / (T // p - 1)):
            period[j], z[j] = p, value
    trust = z.copy()
    trust[: len(calendar)] *= PLAUSIBLE
    for j in np.argsort(-trust, kind="mergesort"):
        for k in range(len(period)):
            if k != j and period[j] and abs(period[k] - period[j]) <= _room(period[j], T):
                period[k] = 0
    order = np.argsort(period, kind="mergesort")
    order = order[period[order] > 0]
    return period[order], z[order]


@njit(cache=True, nogil=True)
def _room(p: int, T: int) -> float:
    """How many columns another period may differ from ``p`` and be the same: what T columns cannot tell apart."""
    return p * (APART + p / (3 * T))


@njit(cache=True, nogil=True)
def _has_line(white: Float32, spacing: float) -> bool:
    """Whether one of the first harmonics, ``spacing`` frequencies apart, is a line."""
    for h in range(1, MULTIPLES + 1):
        k = int(round(h * spacing))
        if k + 1 < len(white) and max(white[k - 1], white[k], white[k + 1]) > LINE:
            return True
    return False


@njit(cache=True, nogil=True)
def _chosen(y: Float, period: Index, z: Float) -> NDArray[np.bool_]:
    """Which of the verified seasons to keep, ``[C]``: a longer one that adds to every shorter one, and a shorter one
    that is more than a part of a longer one.
    """
    keep = np.ones(len(period), np.bool_)
    for i in range(len(period) - 1):
        if not keep[i]:
            continue
        rest = _without(y, period[i])
        for j in range(i + 1, len(period)):
            if keep[j] and not _evidence(rest, period[j]) > Z_MORE * (1 + FEW / (len(y) // period[j] - 1)):
                keep[j] = False
    for i in range(len(period) - 1, -1, -1):
        for j in range(i + 1, len(period)):
            times = int(round(period[j] / period[i]))
            if keep[i] and keep[j] and abs(period[j] - times * period[i]) <= min(_room(period[j], len(y)), period[i] / 4):
                keep[i] = times > HARMONICS and _own_share(y, period[i], period[j]) > OWN
    return keep


@njit(cache=True, nogil=True)
def _fold(y: Float, p: int, cells: int) -> Float:
    """Means of ``cells`` stretches of each of the newest whole cycles of ``p`` columns, in a row; NaN where a stretch
    is empty.
    """
    cycles = min(len(y) // p, CYCLES)
    start = len(y) - cycles * p
    out = np.empty(cycles * cells)
    for c in range(cycles):
        for j in range(cells):
            total, count = 0.0, 0
            for t in range(start + c * p + j * p // cells, start + c * p + (j + 1) * p // cells):
                if not np.isnan(y[t]):
                    total += y[t]
                    count += 1
            out[c * cells + j] = total / count if count else np.nan
    return out


@njit(cache=True, nogil=True)
def _from_level(z: Float, width: int) -> Float:
    """Each value minus the mean of the ``width`` before it, less the mean of all that, clipped; NaN where unknown."""
    x = np.full(len(z), np.nan)
    total, count, all_x, known = 0.0, 0, 0.0, 0
    for t in range(len(z)):
        if t >= width:
            if 2 * count >= width and np.isfinite(z[t]):
                x[t] = z[t] - total / count
                all_x += x[t]
                known += 1
            if np.isfinite(z[t - width]):
                total -= z[t - width]
                count -= 1
        if np.isfinite(z[t]):
            total += z[t]
            count += 1
    x -= all_x / max(known, 1)
    limit = _clip_limit(x, CLIP)
    for t in range(len(x)):
        x[t] = min(max(x[t], -limit), limit)
    return x


@njit(cache=True, nogil=True)
def _evidence(y: Float, p: int) -> float:
    """How many standard deviations the profile of past cycles predicts later ones better than by chance; 0 where it
    does not gain ``SKILL`` on the level alone, or not in most cycles.

    The residuals' own correlation says how many independent values stand behind the figure.
    """
    m = min(p, CELLS)
    x, s = _replay(_from_level(_fold(y, p, m), max(m // 2, 1)), m)
    vv, vs, ss, ee, lagged, count, before = 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0.0
    wins, tried = 0, 0
    for c in range(0, len(x), m):
        gain, there = 0.0, 0
        for t in range(c, c + m):
            if not np.isnan(s[t]):
                gain += s[t] * (2 * x[t] - TRUST * s[t])
                there += 1
                vv += x[t] * x[t]
                vs += x[t] * s[t]
                ss += s[t] * s[t]
                residual = x[t] - s[t]
                ee += residual * residual
                lagged += residual * before
                before = residual
        count += there
        if 2 * there >= m:
            tried += 1
            wins += gain > 0
    if tried == 0 or vv <= 0 or ss <= 0 or TRUST * (2 * vs - TRUST * ss) <= SKILL * vv or wins < WINS * tried:
        return 0.0
    rho = min(max(lagged / ee, 0.0), 0.999) if ee > 1e-9 * vv else 0.0
    independent = count * (1 - rho * rho) / (1 + rho * rho)
    r = min(vs / np.sqrt(vv * ss), 0.999)
    return r * np.sqrt(max(independent - 2, 0.0) / (1 - r * r))


@njit(cache=True, nogil=True)
def _replay(x: Float, m: int) -> tuple[Float, Float]:
    """``x``, and what the profile of the cycles before says of each of its values; NaN before there is a profile."""
    cycles = len(x) // m
    profile, seen = np.zeros(m), np.zeros(m, np.int64)
    said = np.full(len(x), np.nan)
    mean = 0.0
    begin = min(max(cycles // 4, 1), 3)
    for c in range(cycles):
        for j in range(m):
            v = x[c * m + j]
            if np.isnan(v):
                continue
            if c >= begin and seen[j]:
                said[c * m + j] = profile[j] - mean
            seen[j] = min(seen[j] + 1, MEMORY)
            change = (v - profile[j]) / seen[j]
            profile[j] += change
            mean += change / m
    return x, said


@njit(cache=True, nogil=True)
def _without(y: Float, p: int) -> Float:
    """The series without its season of ``p`` columns: less the mean of the ``AROUND`` cycles before and after, not its
    own; NaN where there are none.
    """
    T, reach = len(y), AROUND * p
    v = _from_level(y, p)
    known = np.isfinite(v)
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
            own = 1 if known[t] else 0
            if count[j] > own:
                out[t] = y[t] - (total[j] - (v[t] if own else 0.0)) / (count[j] - own)
    return out


@njit(cache=True, nogil=True)
def _own_share(y: Float, p: int, q: int) -> float:
    """Share that a rhythm of ``p`` columns has of what a season of ``q`` does within ``p`` columns.

    Products of the profiles of even and of odd cycles: noise, which they do not share, counts nowhere.
    """
    cycles = min(len(y) // q, 2 * MEMORY)
    start = len(y) - cycles * q
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
    for half in range(2):
        for t in range(q):
            short[half, t % p] += fine[half, t] * p / q
    whole = (fine[0] * fine[1]).mean()
    return (short[0] * short[1]).mean() / whole if whole > 0 else 0.0
