"""Does a deviation look like a ramp that is still going on? Fits of hinges, and the shape of what is left.

Shapes: n series, T columns, W onsets, B shapes.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float = NDArray[np.float64]
Index = NDArray[np.int64]


@njit(cache=True)
def fit_hinges(d: Float, shapes: Float, onsets: Index) -> tuple[Float, Float, Float, Float]:
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
def ended_gain(d: Float, onsets: Index) -> float:
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


def foretells(d: Float, shape: Float, limit: float) -> bool:
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
def looks_like(d: Float, line: Float, noise: float, level: bool) -> bool:
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
