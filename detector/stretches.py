"""Where something holds without a break."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stretches(flags: NDArray[np.bool_], gap: int = 0) -> list[tuple[int, int]]:
    """[first, end) of every run of true flags; runs with at most `gap` others between them are one.

    >>> stretches(np.array([True, False, True, True, False, False])), stretches(np.array([True, False, True]), gap=1)
    ([(0, 1), (2, 4)], [(0, 3)])
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    found: list[tuple[int, int]] = []
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if found and first - found[-1][1] <= gap:
            found[-1] = found[-1][0], end
        else:
            found.append((first, end))
    return found
