"""How restless a series is: the size of its recent deviations from its profile.

Shapes: n series, T columns.
"""

from __future__ import annotations

import numpy as np

from models.library import CALM, RESTLESS_MEMORY, VOLATILE_MEMORY
from models.panel import Float, Panel
from models.recursions import cycle_mean, exponential_mean, from_profile

PROFILE_SHARE = 0.15


def deviations(panel: Panel) -> Float:
    """Observations from what the profile of the shortest season (without one: the last value) said, ``[n, T]``."""
    out = np.full(panel.observed.shape, np.nan)
    for i, season in enumerate(panel.season(0)):
        y = panel.values[i]
        if season and panel.T - panel.first[i] > 2 * season:
            # Not smoothed: where the profile is steep, a smooth one would lend its slope to the noise.
            expected = y - from_profile(y, cycle_mean(y, int(season), PROFILE_SHARE), int(season), 0)
        else:
            expected = np.concatenate([[np.nan], y[:-1]])
        out[i] = panel.observed[i] - expected
    return out


def restlessness(deviation: Float) -> Float:
    """Recent mean absolute deviation, never far below that of all, ``[n, T]``."""
    size = np.abs(deviation)
    there = np.isfinite(size)
    mean = np.where(there, size, 0).sum(1) / np.maximum(there.sum(1), 1)
    recent = np.stack([exponential_mean(row, RESTLESS_MEMORY) for row in size]) if len(size) else size
    now = np.where(np.isfinite(recent), recent, mean[:, None])
    return np.asarray(now + CALM * mean[:, None] + 1e-30)


def volatility(deviation: Float) -> Float:
    """Mean absolute change of the deviation from point to point, over a longer while, ``[n, T]``; NaN unknown."""
    change = np.abs(np.diff(deviation, axis=1, prepend=np.nan))
    return np.stack([exponential_mean(row, VOLATILE_MEMORY) for row in change]) if len(change) else change
