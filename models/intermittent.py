"""Series that rest: mostly at one value (no error, an empty queue), now and then elsewhere.

Whether something comes and how much it is are followed apart (Croston, 1972), the chance at every column, not only
where something came, so that it falls while nothing does: Teunter, Syntetos & Babai (2011), Intermittent demand:
linking forecasting to inventory obsolescence, European Journal of Operational Research 214.

They multiply the two, which gives the mean. The members of the ensemble are weighed by absolute error and its paths
are errors about what they say, and both want the median: the value at rest where the chance is below a half, else that
plus the size. What comes at other times is in the errors, as often and as large as it was.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.base import Array32, Fitted, Member, Origins
from models.panel import Float, Index, Panel
from models.recursions import cycle_mean, exponential_mean, profile_ahead

CHANCE_MEMORY, SIZE_MEMORY = 288.0, 24.0  # columns, and columns away from rest
SHARE = 0.15  # of the newest cycle in chance and size at a phase
LIKELY = 0.5


class Intermittent(Member):
    """The value at rest, plus the size of what comes where that is likely.

    ``which`` picks the season at whose phases chance and size are learned (0 the shortest); None: none.
    """

    def __init__(self, name: str, which: int | None = None) -> None:
        self.name, self.which = name, which

    def serves(self, panel: Panel) -> NDArray[np.bool_]:  # noqa: D102 - as in the base class
        rests = super().serves(panel) & np.isfinite(panel.resting)
        return rests if self.which is None else rests & (panel.season(self.which) > 0)

    def _predict(self, panel: Panel, fitted: Fitted, origins: Origins, rows: NDArray[np.int64], out: Array32) -> None:
        if self.which is None:
            _at_any_time(panel.values, panel.resting, origins, rows, out)
        else:
            _at_phases(panel.values, panel.resting, panel.season(self.which), origins, rows, out)


@njit(cache=True)
def _apart(y: Float, rest: float) -> tuple[Float, Float]:
    """Whether each column is away from rest (0 or 1), and how far where it is (elsewhere NaN), ``[T]`` each."""
    away, size = np.full(len(y), np.nan), np.full(len(y), np.nan)
    for t in range(len(y)):
        if np.isfinite(y[t]):
            away[t] = 1.0 if y[t] != rest else 0.0
            if away[t] > 0:
                size[t] = y[t] - rest
    return away, size


@njit(cache=True)
def _at_any_time(values: Float, rest: Float, origins: Origins, rows: Index, out: Array32) -> None:
    for i in rows:
        away, size = _apart(values[i], rest[i])
        chance, much = exponential_mean(away, CHANCE_MEMORY), exponential_mean(size, SIZE_MEMORY)
        for k in range(origins.shape[1]):
            o = origins[i, k]
            if o > 0 and np.isfinite(chance[o - 1]):
                out[i, k] = rest[i] + (much[o - 1] if chance[o - 1] > LIKELY else 0.0)


@njit(cache=True)
def _at_phases(values: Float, rest: Float, season: Index, origins: Origins, rows: Index, out: Array32) -> None:
    H = out.shape[2]
    for i in rows:
        away, size = _apart(values[i], rest[i])
        chance, much = cycle_mean(away, season[i], SHARE), cycle_mean(size, season[i], SHARE)
        for k in range(origins.shape[1]):
            o = origins[i, k]
            if o == 0:
                continue
            likely = profile_ahead(chance, season[i], 0, o, H)
            ahead = profile_ahead(much, season[i], 0, o, H)
            for h in range(H):
                if np.isfinite(likely[h]):
                    out[i, k, h] = rest[i] + (ahead[h] if likely[h] > LIKELY else 0.0)
