"""Which periods a series may have: the lines of its whitened spectrum, and the peaks of the autocorrelation.

The spectrum is divided by its own local median, so that drifting and autocorrelated series, whose power is all at long
periods, do not show a period everywhere; its inverse transform is an autocorrelation without their slow decay. A
period found here is a candidate, not yet a season. Source of the search in two stages: Vlachos, Yu & Castelli (2005),
On periodicity detection and structural periodic similarity, SIAM International Conference on Data Mining.

Shapes: n series, T columns, F frequencies, L lags, C candidates.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
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
SHORTEST = 4  # columns of a period: fewer do not draw a shape
FREE_CYCLES = 3  # whole cycles of a period that no calendar suggests
SPIKE = 8.0  # mean absolute deviations from the median of five columns: beyond it, one or two columns are a spike
BAND, WIDER = 12, 1.3  # frequencies of the local median's bands: at least so many, and so much wider each time
CAP = 100.0  # times the local median, for the autocorrelation: one line does not hide the others
LINE = 10.0  # times the local median: noise gets there at one frequency in a thousand
LINES = 8  # strongest lines looked at
MULTIPLES = 8  # a line is up to this harmonic of its season
SPACING, BESIDE = 8, 1.5  # frequencies between harmonics that can be told apart, and how near to one belongs to it
TEETH = 16  # multiples of a lag that tell it from its neighbours
PEAK = 4.0  # standard deviations of an autocorrelation that is a candidate by itself
NEARLY = 0.85  # of the highest autocorrelation: the shortest lag that has this is the period, longer ones repeat it


def calendar_periods(step: int) -> Index:
    """The calendar's periods that are whole columns of ``step`` seconds, in columns, shortest first, ``[C]``.

    >>> calendar_periods(4 * HOUR)
    array([ 6, 42])
    """
    return np.array([s // step for s in CALENDAR if s % step == 0 and s // step >= SHORTEST], np.int64)


def clean(values: Float) -> tuple[Float, Index]:
    """Rows in units of their own spread with single spikes cut short, NaN in gaps; first column of each ``[n]``.

    A row without two different values is all NaN and begins at T.
    """
    there = np.isfinite(values)
    known = np.where(there, values, 0.0)
    count = np.maximum(there.sum(1, keepdims=True), 1)
    with np.errstate(over="ignore", invalid="ignore"):  # a row beyond the range of its type counts as flat
        centre = known.sum(1, keepdims=True) / count
        away = np.where(there, values - centre, 0.0)
        spread = np.abs(away).sum(1, keepdims=True) / count
    flat = ~np.isfinite(spread) | ~(spread > 1e-9 * np.abs(centre)) | ~(spread > np.finfo(np.float64).tiny)
    scaled = np.where(there & ~flat, away / np.where(flat, 1.0, spread), np.nan)
    first = np.where(flat[:, 0], values.shape[1], there.argmax(1))
    middle = scaled.copy()
    _median_of_five(scaled, middle)
    away = scaled - middle
    size = np.where(np.isfinite(away), np.abs(away), 0.0)
    limit = np.full((len(values), 1), np.inf)
    for _ in range(2):  # the mean of what is within the limit: spikes do not widen it
        limit = SPIKE * np.minimum(size, limit).sum(1, keepdims=True) / count
    return middle + np.clip(away, -limit, limit), first


@njit(cache=True, nogil=True)
def _median_of_five(v: Float, out: Float) -> None:
    """Fill ``out [n, T]`` with medians of five columns, as central as the ends allow, where five are known."""
    n, T = v.shape
    window = np.empty(5)
    for i in range(n):
        for t in range(T if T >= 5 else 0):
            k, start = 0, min(max(t - 2, 0), T - 5)
            for u in range(start, start + 5):
                j = k
                while j > 0 and window[j - 1] > v[i, u]:
                    window[j] = window[j - 1]
                    j -= 1
                window[j] = v[i, u]
                k += not np.isnan(v[i, u])
            if k == 5:
                out[i, t] = window[2]


def spectrum(cleaned: Float, first: Index) -> tuple[Float32, Float32, int]:
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
        b = min(power.shape[1], max(a + BAND, int(a * WIDER)))
        centres.append((a + b - 1) / 2)
        medians.append(np.median(power[:, a:b], axis=1))
        a = b
    _whiten(power, np.array(centres), np.stack(medians, 1).astype(np.float32), floor[:, 0])
    acf = fft.irfft(np.minimum(power, np.float32(CAP)), size, axis=1)[:, : T // 2 + 2]
    return power, np.ascontiguousarray(acf), size


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
            power[i, k] /= max(level, floor[i])


@njit(cache=True, nogil=True)
def free_periods(white: Float32, acf: Float32, size: int, length: Index, known: Index) -> Index:
    """Periods that each series' spectrum shows beside the ``known [n, C]`` ones, in columns ``[n, C]``; 0 for none."""
    out = np.zeros((len(white), 2 * LINES + 1), np.int64)
    for i in range(len(white)):
        out[i] = _free_periods_of(white[i], acf[i], size, length[i], known[i])
    return out


@njit(cache=True, nogil=True)
def _free_periods_of(white: Float32, acf: Float32, size: int, length: int, known: Index) -> Index:
    """The same of one series of ``length`` columns, ``[C]``."""
    out = np.zeros(2 * LINES + 1, np.int64)
    longest = min(length // FREE_CYCLES, len(acf) - 1)
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
        if p and size >= SPACING * p and abs(k * p / size - round(k * p / size)) * size <= BESIDE * p:
            return True
    return False


@njit(cache=True, nogil=True)
def _multiple(acf: Float32, period: float, longest: int) -> int:
    """The first multiple of a line's period that correlates nearly as well as the best of them."""
    best = 0.0
    for k in range(1, MULTIPLES + 1):
        if k * period <= longest:
            best = max(best, _comb(acf, round(k * period), longest))
    for k in range(1, MULTIPLES + 1):
        if k * period <= longest and _comb(acf, round(k * period), longest) >= NEARLY * best:
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
def _refine(acf: Float32, period: float, longest: int) -> int:
    """The whole number of columns near ``period`` whose multiples correlate best."""
    room = max(1, int(period * period / (2 * longest) / 2))
    middle = round(period)
    best, at = -np.inf, 0
    for lag in range(max(SHORTEST, middle - room), min(longest, middle + room) + 1):
        value = _comb(acf, lag, longest)
        if value > best:
            best, at = value, lag
    return at


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
def shows(white: Float32, acf: Float32, size: int, periods: Index) -> NDArray[np.bool_]:
    """Whether the spectrum does not speak against each of ``periods [C]``, ``[n, C]``: an autocorrelation that is not
    negative, or one of the first harmonics a line.
    """
    out = np.zeros((len(white), len(periods)), np.bool_)
    for i in range(len(white)):
        for c, p in enumerate(periods):
            out[i, c] = p >= acf.shape[1] or acf[i, p] >= 0
            for h in range(1, MULTIPLES + 1):
                k = round(h * size / p)
                if k + 1 < white.shape[1] and max(white[i, k - 1], white[i, k], white[i, k + 1]) > LINE:
                    out[i, c] = True
    return out
