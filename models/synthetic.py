"""Seeded series whose truth is known: seasons, autocorrelated noise, and planted ramps, steps and spikes.

Shapes: n series, T columns. All of them are functions of the arguments alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from models.grid import DAY, WEEK

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Made:
    """``values [n, T]`` and what they are made of: ``clean [n, T]`` without noise; ``planted [n, T]`` the event."""

    values: Float
    clean: Float
    planted: Float
    step: int

    def breach_column(self, threshold: float, above: bool = True, run: int = 1) -> NDArray[np.int64]:
        """First column of the first ``run`` consecutive values beyond ``threshold``, ``[n]``; T where there is none."""
        beyond = self.values > threshold if above else self.values < threshold
        windows = runs(beyond, run)
        return np.asarray(np.where(windows.any(1), windows.argmax(1), self.values.shape[1]), np.int64)


def runs(beyond: NDArray[np.bool_], run: int) -> NDArray[np.bool_]:
    """Whether ``run`` consecutive columns from each column on are all beyond, ``[n, T - run + 1]``."""
    out = beyond[:, : beyond.shape[1] - run + 1].copy()
    for k in range(1, run):
        out &= beyond[:, k : beyond.shape[1] - run + 1 + k]
    return out


def ar_noise(n: int, columns: int, *, phi: float = 0.8, sd: float = 1.0, seed: int = 0) -> Float:
    """First-order autoregressive noise ``x[t] = phi x[t-1] + e`` with stationary standard deviation ``sd``, ``[n, T]``.

    >>> bool(abs(ar_noise(1, 50000, sd=2.0).std() - 2) < 0.1)
    True
    """
    shock = np.random.default_rng(seed).normal(size=(n, columns)) * sd
    shock[:, 1:] *= np.sqrt(1 - phi**2)
    return np.asarray(lfilter([1.0], [1.0, -phi], shock, axis=1))


def ramp(columns: int, at: int, slope: float, until: int | None = None) -> Float:
    """Zero, from column ``at`` a straight line of ``slope`` per column, from column ``until`` a plateau; ``[T]``."""
    t = np.arange(columns)
    return np.asarray(slope * (np.minimum(t, columns if until is None else until) - at).clip(0), float)


def step_change(columns: int, at: int, size: float) -> Float:
    """Zero, from column ``at`` on ``size``; ``[T]``."""
    return np.where(np.arange(columns) >= at, size, 0.0)


def spike(columns: int, at: int, size: float, width: int = 1) -> Float:
    """``size`` for ``width`` columns from ``at``, else zero; ``[T]``."""
    t = np.arange(columns)
    return np.where((t >= at) & (t < at + width), size, 0.0)


def make_series(
    n: int,
    columns: int,
    *,
    step: int = 300,
    level: float = 50.0,
    daily: float = 10.0,
    weekly: float = 0.0,
    noise: float = 1.0,
    phi: float = 0.8,
    planted: Float | None = None,
    seed: int = 0,
) -> Made:
    """``level`` + half of ``daily`` (and of ``weekly``) times a sine + noise + ``planted [T]`` or ``[n, T]``.

    >>> make_series(2, 600, planted=step_change(600, 500, 30.0)).values.shape
    (2, 600)
    """
    seconds = np.arange(columns) * step
    season = daily / 2 * np.sin(2 * np.pi * seconds / DAY) + weekly / 2 * np.sin(2 * np.pi * seconds / WEEK)
    event = np.broadcast_to(0.0 if planted is None else planted, (n, columns))
    clean = level + season + event
    return Made(clean + ar_noise(n, columns, phi=phi, sd=noise, seed=seed), clean, event, step)
