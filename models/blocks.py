"""The blocks of a forecaster as one: their paths, their extremes and what calibrates the odds.

As the blocks are now: a later fit makes others.

Shapes: n series, K sample paths, H cells of the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from models.base import Array32
from models.block import Block
from models.calibration import Calibrator, Learned
from models.origins import PATHS
from models.panel import Index

Placed = Sequence[tuple[Index, Block]]  # which of the series each block is about, and the block


def joined(parts: Sequence[Array32], blocks: Placed, n: int, cells: int) -> Array32:
    """The blocks' ``parts [., K, .]`` in one ``[n, K, cells]``; NaN in the cells (or series) that they do not have."""
    out = np.full((n, PATHS, cells), np.nan, np.float32)
    for (rows, _), part in zip(blocks, parts, strict=True):
        out[rows, :, : part.shape[2]] = part
    return out


def lifts_of(blocks: Placed, n: int, cells: int) -> Callable[[bool, int], Array32 | None]:
    """What turns paths into the extremes of their cells, ``[n, K, cells]``; None where every cell is a step."""
    of = _by_block(blocks)

    def lifts(above: bool, run: int) -> Array32 | None:
        parts = of(above, run)
        return None if parts is None else joined(parts, blocks, n, cells)

    return lifts


def calibrator_of(blocks: Placed, learned_to: Index, ends: Index, learned: Learned) -> Calibrator:
    """What calibrates the odds of series whose last columns of the fit were at ``learned_to [n]``; ``ends [H]`` of the
    cells in steps. Questions that are in ``learned`` stay learned.
    """
    of = _by_block(blocks)
    order = np.argsort(np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in blocks)]))

    def lifts(above: bool, run: int) -> list[Array32] | None:
        parts = of(above, run)
        if parts is None:
            return None
        rows = [row for part in parts for row in part]
        return [rows[i] for i in order]

    past = [one for _, block in blocks for one in block.past]
    return Calibrator([past[i] for i in order], learned_to, ends, lifts, learned)


def _by_block(blocks: Placed) -> Callable[[bool, int], list[Array32] | None]:
    those = [block for _, block in blocks]
    wide = any((b.terms.near.widths > 1).any() for b in those)

    def of(above: bool, run: int) -> list[Array32] | None:
        return [b.library.lifts(b.terms.near.widths, above, run) for b in those] if wide else None

    return of
