"""The time grid of a forecast: fine cells near the origin, coarse ones far from it.

A *cell* is a stretch of whole steps. A :class:`Segment` is a run of cells of one width; a :class:`Grid` is a row of
segments that follow each other without a gap. A forecast one hour ahead on a one-minute step and seven days ahead on
one-hour cells is one grid of about 480 cells instead of 10,080.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MINUTE, HOUR, DAY, WEEK = 60, 3600, 86400, 604800

# Where the cells get wider: (from this offset in seconds, cells are at least this wide in seconds).
COARSER_FROM = ((0, 0), (HOUR, 5 * MINUTE), (DAY, HOUR))


@dataclass(frozen=True)
class Segment:
    """Cells ``first .. last-1`` of a uniform grid whose cells are ``width`` steps wide, counted from the origin."""

    width: int
    first: int
    last: int

    @property
    def cells(self) -> int:
        """Number of cells in the segment."""
        return self.last - self.first


@dataclass(frozen=True)
class Grid:
    """Segments in order; ``step`` is the length of one step in seconds."""

    step: int
    segments: tuple[Segment, ...]

    @property
    def cells(self) -> int:
        """Number of cells, H."""
        return sum(s.cells for s in self.segments)

    @property
    def widths(self) -> NDArray[np.int64]:
        """Width of each cell in steps, ``[H]``."""
        return np.concatenate([np.full(s.cells, s.width, np.int64) for s in self.segments])

    @property
    def ends(self) -> NDArray[np.int64]:
        """End of each cell in steps after the origin, ``[H]``."""
        return np.cumsum(self.widths)

    @property
    def coarsest(self) -> int:
        """Width of the widest cell in steps."""
        return max(s.width for s in self.segments)


def within_history(grid: Grid, columns: int) -> Grid:
    """The segments of ``grid`` that begin within as many steps as the history has, each cell three times in it."""
    near = (s for s in grid.segments if s.first * s.width < columns and 3 * s.width <= columns)
    return Grid(grid.step, tuple(near))


def uniform_grid(step: int, cells: int) -> Grid:
    """A grid of ``cells`` cells of one step each.

    >>> uniform_grid(300, 12).ends[-1]
    np.int64(12)
    """
    return Grid(step, (Segment(1, 0, cells),))


def nested_grid(step: int, horizon: int) -> Grid:
    """The worker's grid: steps to 1 h, 5 minutes to 24 h, 1 h beyond, as near to that as whole steps allow;
    ``horizon`` in seconds.

    >>> g = nested_grid(60, 7 * 86400)
    >>> [(s.width, s.cells) for s in g.segments], int(g.ends[-1]) * g.step == 7 * 86400
    ([(1, 60), (5, 276), (60, 144)], True)
    """
    segments: list[Segment] = []
    done = 0  # steps covered so far
    width = 1
    for i, (_, coarse) in enumerate(COARSER_FROM):
        width *= max(1, coarse // (step * width))  # a multiple of the width before, so that segments meet
        last = -(-horizon // (step * width))
        if i + 1 < len(COARSER_FROM):
            stop, coarser = COARSER_FROM[i + 1]
            wider = width * max(1, coarser // (step * width))
            last = min(last, -(-stop // (step * wider)) * (wider // width))
        first = done // width
        if done * step >= horizon or last <= first:
            continue
        if segments and segments[-1].width == width:
            segments[-1] = Segment(width, segments[-1].first, last)
        else:
            segments.append(Segment(width, first, last))
        done = last * width
    return Grid(step, tuple(segments))
