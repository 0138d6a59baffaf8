"""One block of series on a uniform grid, with its gaps filled for fitting.

Shapes: n series, T columns. NaN on the left of a row means that the series began later.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.grid import DAY, WEEK
from models.robust import nan_quantile, scale_about_zero

Float = NDArray[np.float64]

# A season is used from this many whole cycles on: one to learn from, one to check against.
MIN_CYCLES = 2
# Half widths in seconds of the moving means that profiles are made of: keep the edges of a trading session, or see
# the level of an hour.
NARROW, WIDE = 300, 1800


@dataclass(frozen=True)
class Panel:
    """``values [n, T]`` filled (NaN only before a series begins), ``observed [n, T]`` what was there,
    ``seasons``: cycle lengths in cells that fit into T, shortest first.
    """

    values: NDArray[np.float32]
    observed: Float
    step: int
    seasons: tuple[int, ...]

    @property
    def n(self) -> int:
        """Number of series."""
        return int(self.values.shape[0])

    @property
    def T(self) -> int:  # noqa: N802 - the letter of array code
        """Number of columns."""
        return int(self.values.shape[1])

    def select(self, rows: list[int]) -> Panel:
        """The panel of some of the series."""
        return Panel(self.values[rows], self.observed[rows], self.step, self.seasons)

    @cached_property
    def reached(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Smallest and largest value up to and with each column, ``[n, T]`` each."""
        return np.fmin.accumulate(self.values, axis=1), np.fmax.accumulate(self.values, axis=1)

    @cached_property
    def smoothed(self) -> tuple[NDArray[np.float32], int]:
        """Moving mean over 10 minutes or three cells ``[n, T]``; its half width in cells: how far it looks ahead."""
        return moving_mean(self.values, NARROW // self.step), NARROW // self.step

    @cached_property
    def hourly(self) -> tuple[NDArray[np.float32], int]:
        """Moving mean over an hour ``[n, T]``, and its half width in cells."""
        return moving_mean(self.values, WIDE // self.step), WIDE // self.step

    @cached_property
    def cycle_scale(self) -> Float:
        """Robust standard deviation of an hour's mean from one of the longest seasons to the next, ``[n]``; above 0."""
        values, season = self.hourly[0], self.seasons[-1]
        scale = scale_about_zero(values[:, season:] - values[:, :-season], axis=1) / np.sqrt(2)
        return np.where(scale > 0, scale, 1e-9)


def season_lengths(seasons: tuple[int, ...] | None, step: int, T: int) -> tuple[int, ...]:
    """Cycle lengths in cells that divide evenly and of which ``T`` holds at least two; ``seasons`` in seconds,
    ``None`` means a day and a week.
    """
    wanted = (DAY, WEEK) if seasons is None else tuple(sorted(seasons))
    return tuple(s // step for s in wanted if s % step == 0 and s // step >= 4 and MIN_CYCLES * (s // step) <= T)


def row_centre(values: Float) -> Float:
    """Median of each row, ``[n, 1]``; 0 where nothing is there.

    >>> row_centre(np.array([[1.0, 5.0, 6.0], [np.nan, np.nan, np.nan]]))
    array([[5.], [0.]])
    """
    return np.nan_to_num(nan_quantile(values, 0.5, axis=1))[:, None]


def coarsen(values: Float, width: int) -> Float:
    """Means of ``width`` columns, aligned to the right end, of what is there; NaN where nothing is.

    >>> coarsen(np.array([[9.0, 1.0, 3.0, 5.0, 7.0]]), 2)
    array([[2., 6.]])
    """
    if width == 1:
        return values
    n, T = values.shape
    cells = T // width
    blocks = values[:, T - cells * width :].reshape(n, cells, width)
    there = np.isfinite(blocks)
    count = there.sum(2)
    total = np.where(there, blocks, 0.0).sum(2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def fill(values: Float, season: int | None) -> Float:
    """Fill gaps causally; before a series begins: NaN.

    A gap gets the values one season before, moved by as much as the last observation was from its own (a level that
    has shifted since yesterday stays shifted); without a season before it, the last value.
    """
    filled = values.copy()
    if season is not None:
        moved = np.zeros((len(values), 1))
        for a in range(season, values.shape[1], season):
            block = filled[:, a : a + season]
            before = filled[:, a - season : a - season + block.shape[1]]
            apart = np.concatenate([moved, block - before], axis=1)
            last = np.maximum.accumulate(np.where(np.isfinite(apart), np.arange(apart.shape[1]), 0), axis=1)
            apart = np.take_along_axis(apart, last, axis=1)
            np.copyto(block, before + apart[:, 1:], where=np.isnan(block))
            moved = apart[:, -1:]
    index = np.where(np.isfinite(filled), np.arange(filled.shape[1]), 0)
    np.maximum.accumulate(index, axis=1, out=index)
    return np.take_along_axis(filled, index, axis=1)


def moving_mean(values: NDArray[np.float32], half: int) -> NDArray[np.float32]:
    """Centred mean over ``2 half + 1`` columns; near the ends over what is there; NaN only where all are.

    >>> moving_mean(np.array([[1.0, 3.0, np.nan, 5.0]], np.float32), 1)
    array([[2., 2., 4., 5.]], dtype=float32)
    """
    if half == 0:
        return values
    n, T = values.shape
    there = np.isfinite(values)
    total, count = np.zeros((n, T + 1)), np.zeros((n, T + 1))
    np.cumsum(np.where(there, values, 0.0), axis=1, out=total[:, 1:], dtype=np.float64)
    np.cumsum(there, axis=1, out=count[:, 1:], dtype=np.float64)
    a, b = np.maximum(np.arange(T) - half, 0), np.minimum(np.arange(T) + half + 1, T)
    c = count[:, b] - count[:, a]
    return np.where(c > 0, (total[:, b] - total[:, a]) / np.maximum(c, 1), np.nan).astype(np.float32)


def make_panel(
    values: Float, step: int, width: int, seasons: tuple[int, ...] | None, like: Panel | None = None
) -> Panel:
    """The panel of ``values`` (on ``step`` seconds) on cells of ``width`` steps; with the seasons of ``like``, if
    given: the same series some columns earlier.
    """
    observed = coarsen(values, width)
    lengths = like.seasons if like else season_lengths(seasons, step * width, observed.shape[1])
    filled = fill(observed, lengths[0] if lengths else None)
    return Panel(filled.astype(np.float32), observed, step * width, lengths)
