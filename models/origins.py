"""Where in a history the forecasts of the backtest start.

Shapes: n series, K origins.
"""

from __future__ import annotations

import numpy as np

from models.base import Origins
from models.panel import LEARNS, Index

PATHS = 96  # origins of the backtest and sample paths
ALIGNED = 0.5  # of the origins are at the present phase of the season: noise has its hours too
JITTER = 48  # parts of a season that aligned origins are apart where they share a cycle
RECENT = 1.6  # how much denser newer origins are than older ones: power of their distance
OLDEST_CYCLES, OLDEST_MOST = 2, 0.5  # of the history that no origin may be in, beside LEARNS: members need a past


def choose_origins(seasons: Index, history: Index, coarsest: int, columns: int) -> Origins:
    """Origins of the backtest in columns ``[n, K]``, oldest first, in line with cells of ``coarsest`` steps; 0 where a
    short history has fewer. ``seasons [n]``: the shortest of each series; ``history [n]`` of the ``columns``.
    """
    out = np.zeros((len(history), PATHS), np.int64)
    for i, length in enumerate(history):
        back = origins_back(int(length), int(seasons[i]), coarsest)
        out[i, PATHS - len(back) :] = columns - back
    return out


def origins_back(columns: int, season: int, width: int) -> Index:
    """How many columns before the end the origins of a history of ``columns`` are, farthest first; multiples of
    ``width``, about half of them whole seasons.
    """
    oldest = int(min(max(OLDEST_CYCLES * season, LEARNS * columns), OLDEST_MOST * columns))
    most = (columns - max(oldest, width)) // width
    if most < 1:
        return np.empty(0, np.int64)
    aligned = np.empty(0, np.int64)
    if season and season % width == 0:
        cycle = season // width
        cycles = max(1, most // cycle)
        each = max(1, int(np.ceil(PATHS * ALIGNED / cycles)))
        each += 1 - each % 2
        jitter = (np.arange(each) - each // 2) * max(1, cycle // JITTER)
        aligned = (np.arange(1, cycles + 1)[:, None] * cycle + jitter).ravel()
        aligned = aligned[(aligned >= 1) & (aligned <= most)][:PATHS]
    spread = np.linspace(0, 1, max(1, PATHS - len(aligned))) ** RECENT
    both = np.concatenate([aligned, np.round(1 + (most - 1) * spread).astype(np.int64)])
    return np.unique(both)[::-1][-PATHS:] * width
