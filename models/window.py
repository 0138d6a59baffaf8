"""Series that are trailing means: `rate(x[1h])`, an accuracy over the last 500 predictions, `avg_over_time`.

What enters such a window must leave it W columns later: ``y[t] - y[t-1] = (x[t] - x[t-W]) / W``. The differences have
an autocorrelation of -1/2 at W, which finds the window; undoing the mean gives what is in it now, and so how the series
moves while that leaves. A level forecast of x does the rest.

Shapes: n series, T columns, W columns of the window, K origins, H cells.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import fft

from models.base import Array32, Fitted, Member, Origins
from models.panel import Float, Panel
from models.recursions import exponential_mean
from models.robust import edges

SHORTEST_WINDOW = 4
NEWEST = 2000  # columns that the window is found from
CLIPPED = 0.02  # of the differences, at either end: two spikes at a distance are no window
# The theory says -0.5 at W and nothing elsewhere: how near to it is near enough, how much the next best lag may have,
# what twice the window may have (an oscillation of period 2 W has +1 there), and standard errors from zero.
NEGATIVE, SECOND, TWICE, SIGNIFICANT = -0.3, 0.65, 0.25, 6.0
ENOUGH_WINDOWS = 1.5  # that a history must hold
MEMORY = 7  # earlier windows whose content says where the mean of a place in the window lies


def find_windows(values: Float) -> NDArray[np.int64]:
    """Columns of the trailing mean that each row of ``values [n, T]`` is, ``[n]``; 0 where it is none."""
    return np.array([_window_of(row) for row in values], np.int64)


def _window_of(row: Float) -> int:
    newest = row[-NEWEST:]
    y = newest if np.isfinite(newest).all() else row[np.isfinite(row)][-NEWEST:]
    if len(y) < 6 * SHORTEST_WINDOW:
        return 0
    change = np.diff(y)
    low, high = edges(change, CLIPPED)
    change = np.clip(change, low, high) if high > low else change
    change = change - change.mean()
    size, variance = len(change), float((change**2).mean())
    if variance <= 0:
        return 0
    lags = np.arange(size // 2 + 1)
    padded = int(fft.next_fast_len(size + len(lags), real=True))  # no lag of these wraps around
    spectrum = fft.rfft(change, padded)
    power = spectrum.real**2 + spectrum.imag**2
    acf = fft.irfft(power, padded)[: len(lags)] / (size - lags) / variance
    window = int(acf.argmin())  # of all lags: what alternates is most negative at the first
    if window < SHORTEST_WINDOW:
        return 0
    value = float(acf[window])
    other = acf.copy()
    near = max(SHORTEST_WINDOW + 2, window // 8)
    other[:SHORTEST_WINDOW] = 0
    other[max(0, window - near) : window + near + 1] = 0
    twice = float(acf[2 * window]) if 2 * window < len(acf) else 0.0
    found = (
        value < NEGATIVE
        and other.min() > SECOND * value
        and twice < TWICE
        and value * np.sqrt(size - window) < -SIGNIFICANT
        and len(y) > ENOUGH_WINDOWS * window
    )
    return window if found else 0


class WindowLevel(Member):
    """What is in the window leaves it; what enters is the mean of the last ``memory`` windows (None: of all)."""

    windowed = True

    def __init__(self, name: str, memory: float | None) -> None:
        self.name, self.memory = name, memory

    def _predict(self, panel: Panel, fitted: Fitted, origins: Origins, rows: NDArray[np.int64], out: Array32) -> None:
        _replace(panel.values, panel.windows, 1e9 if self.memory is None else self.memory, origins, rows, out)


@njit(cache=True)
def _replace(
    values: Float, windows: Origins, memory: float, origins: Origins, rows: NDArray[np.int64], out: Array32
) -> None:
    H = out.shape[2]
    for i in rows:
        y, W = values[i], windows[i]
        level = exponential_mean(y, memory * W)
        moved = np.zeros(W)  # how far each place of the window has moved since the beginning
        offset = np.zeros(W)  # and where it began: the mean of level minus movement over the windows so far
        count = np.zeros(W)
        order = np.argsort(origins[i])
        next_origin = 0
        inside = np.empty(W)
        first = 0
        while first < len(y) and not np.isfinite(y[first]):
            first += 1
        for t in range(first + 1, len(y) + 1):
            if t > first + 1:
                place = (t - 1) % W
                moved[place] += W * (y[t - 1] - y[t - 2])
                seen = min(count[place], MEMORY)
                offset[place] = (offset[place] * seen + y[t - 1] - moved[place]) / (seen + 1)
                count[place] += 1
            while next_origin < len(order) and origins[i, order[next_origin]] <= t:
                k = order[next_origin]
                next_origin += 1
                if origins[i, k] != t:
                    continue
                for w in range(W):
                    place = (t + w) % W
                    inside[w] = moved[place] + offset[place] if count[place] > 0 else y[t - 1]
                inside += y[t - 1] - inside.mean()  # the mean of the window is known
                now = y[t - 1]
                for h in range(H):
                    now += (level[t - 1] - (inside[h] if h < W else level[t - 1])) / W
                    out[i, k, h] = now
