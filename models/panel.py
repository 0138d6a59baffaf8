"""One block of series on a uniform grid, ready for the members: gaps filled, spikes clipped, rhythms known.

Shapes: n series, T columns, S seasons. NaN on the left of a row means that the series began later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.grid import DAY, WEEK
from models.robust import nan_quantile, scale_about_zero

Float = NDArray[np.float64]
Index = NDArray[np.int64]

MOST_SEASONS = 3
# A season is used from this many whole cycles on: one to learn from, one to check against.
MIN_CYCLES = 2
SHORTEST_SEASON = 4
# Half widths in seconds of the moving means that profiles are made of: keep the edges of a trading session, or see
# the level of an hour.
NARROW, WIDE = 300, 1800
# What lies further out than half the range between these quantiles is clipped for fitting: a spike teaches no member
# (its error still counts).
SPIKE_QUANTILE, SPIKE_ROOM = 0.01, 0.5
SPIKE_SAMPLE = 4000  # columns that the quantiles are taken from
# Observations in a row that are still a spike, and how many of the newest may be one: more are a new level.
SPIKE_LASTS, SPIKE_NEWEST = 12, 2
LEARNS = 0.3  # of a history: its beginning, in which no origin of a backtest lies; members may learn from it at once
RESTS, FEWEST_RESTING = 0.7, 12  # share of columns at one value from which a series rests there, and of how many


@dataclass(frozen=True)
class Panel:
    """``values [n, T]`` filled and clipped (NaN only before a series begins), ``observed [n, T]`` what was there,
    ``lengths [n, S]``: cycle lengths in cells, shortest first, 0 where there are no more; ``windows [n]``: cells of
    the trailing mean that a series is, 0 where it is none. ``kept``: what members have made of it and share.
    """

    values: Float
    observed: Float
    step: int
    lengths: Index
    windows: Index
    kept: dict[Any, Float] = field(default_factory=dict, repr=False, compare=False)

    @property
    def n(self) -> int:
        """Number of series."""
        return int(self.values.shape[0])

    @property
    def T(self) -> int:  # noqa: N802 - the letter of array code
        """Number of columns."""
        return int(self.values.shape[1])

    @cached_property
    def first(self) -> Index:
        """Column in which each series begins, ``[n]``; T where it never does."""
        there = np.isfinite(self.values)
        return np.where(there.any(1), there.argmax(1), self.T)

    @cached_property
    def resting(self) -> Float:
        """The value that each series is mostly at, ``[n]``; NaN where there is none. The first LEARNS of it decide, so
        that no forecast of a backtest knows it from what came later.
        """
        return _resting(self.values, self.first)

    @property
    def seasons(self) -> tuple[int, ...]:
        """The seasons that all series share, shortest first."""
        return tuple(int(s) for s in self.lengths[0] if s) if self.n else ()

    def season(self, which: int) -> Index:
        """The series' season number ``which`` (0 the shortest), ``[n]``; 0 where there is none."""
        return np.ascontiguousarray(self.lengths[:, which])

    def seasons_of(self, row: int) -> tuple[int, ...]:
        """The seasons of one series, shortest first."""
        return tuple(int(s) for s in self.lengths[row] if s)

    def select(self, rows: list[int]) -> Panel:
        """The panel of some of the series."""
        return Panel(self.values[rows], self.observed[rows], self.step, self.lengths[rows], self.windows[rows])

    @cached_property
    def reached(self) -> tuple[Float, Float]:
        """Smallest and largest value up to and with each column, ``[n, T]`` each."""
        return np.fmin.accumulate(self.values, axis=1), np.fmax.accumulate(self.values, axis=1)

    @cached_property
    def smoothed(self) -> tuple[NDArray[np.float32], int]:
        """Moving mean over 10 minutes or three cells ``[n, T]``; its half width in cells: how far it looks ahead."""
        return moving_mean(self.values.astype(np.float32), NARROW // self.step), NARROW // self.step

    @cached_property
    def hourly(self) -> tuple[NDArray[np.float32], int]:
        """Moving mean over an hour ``[n, T]``, and its half width in cells."""
        return moving_mean(self.values.astype(np.float32), WIDE // self.step), WIDE // self.step

    @cached_property
    def cycle_scale(self) -> Float:
        """Robust standard deviation of an hour's mean from one of the longest seasons to the next, ``[n]``; above 0."""
        values, season = self.hourly[0], self.seasons[-1]
        scale = scale_about_zero(values[:, season:] - values[:, :-season], axis=1) / np.sqrt(2)
        return np.where(scale > 0, scale, 1e-9)


def calendar_lengths(seasons: tuple[int, ...] | None, step: int, T: int) -> tuple[int, ...]:
    """Cycle lengths in cells that divide evenly and of which ``T`` holds at least two; ``seasons`` in seconds,
    ``None`` means a day and a week.

    >>> calendar_lengths(None, 3600, 400)
    (24, 168)
    """
    wanted = (DAY, WEEK) if seasons is None else tuple(sorted(seasons))
    return tuple(s // step for s in wanted if s % step == 0 and SHORTEST_SEASON <= s // step <= T // MIN_CYCLES)


def lengths_table(found: Index | None, seasons: tuple[int, ...] | None, step: int, history: Index) -> Index:
    """Candidate seasons of each series in cells, ``[n, MOST_SEASONS]``, shortest first, 0 where there are no more.

    Those found in the series itself (``found [n, S]``) and those of the calendar that its ``history [n]`` in columns
    holds twice; which of them are used, and how much, the backtest of the members decides.
    """
    table = np.zeros((len(history), MOST_SEASONS), np.int64)
    for i, columns in enumerate(history):
        own = set() if found is None else {int(s) for s in found[i] if s}
        both = sorted(own | set(calendar_lengths(seasons, step, int(columns))))[:MOST_SEASONS]
        table[i, : len(both)] = both
    return table


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


@njit(cache=True)
def _resting(values: Float, first: Index) -> Float:
    """As :attr:`Panel.resting`: a majority vote (Boyer & Moore, 1991), then a count."""
    n, T = values.shape
    out = np.full(n, np.nan)
    for i in range(n):
        end = first[i] + max(int(LEARNS * (T - first[i])), FEWEST_RESTING)
        if end > T:
            continue
        candidate, lead = np.nan, 0
        for v in values[i, first[i] : end]:
            if lead == 0:
                candidate = v
            lead += 1 if v == candidate else -1
        if (values[i, first[i] : end] == candidate).sum() >= RESTS * (end - first[i]):
            out[i] = candidate
    return out


@njit(cache=True)
def fill(values: Float, seasons: Index) -> Float:
    """Fill gaps of ``values [n, T]`` causally; before a series begins: NaN. ``seasons [n]`` in columns, 0: none.

    A gap gets the values one season before, moved by as much as the last observation was from its own (a level that
    has shifted since yesterday stays shifted); without a season before it, the last value.
    """
    out = values.copy()
    for i in range(len(out)):
        season, moved, started = seasons[i], 0.0, False
        for t in range(out.shape[1]):
            before = out[i, t - season] if season > 0 and t >= season else np.nan
            if np.isfinite(out[i, t]):
                moved = out[i, t] - before if np.isfinite(before) else 0.0
                started = True
            elif started:
                out[i, t] = before + moved if np.isfinite(before) else out[i, t - 1]
    return out


def clip_spikes(values: Float) -> Float:
    """``values [n, T]`` with what is far beyond the bulk of its row brought to the edge, unless it lasts.

    >>> y = np.linspace(0, 1, 200)[None].copy()
    >>> y[0, 100] = 50.0
    >>> clip_spikes(y).max().round(1)
    np.float64(1.5)
    """
    sample = values[:, :: 1 + values.shape[1] // SPIKE_SAMPLE]
    low, high = nan_quantile(sample, [SPIKE_QUANTILE, 1 - SPIKE_QUANTILE], axis=1)
    room = np.where(high > low, SPIKE_ROOM * (high - low), np.inf)
    return _clipped(values, low - room, high + room)


@njit(cache=True)
def _clipped(values: Float, low: Float, high: Float) -> Float:
    out = values.copy()
    for i in range(len(out)):
        run = 0  # observations beyond the edge in a row
        for t in range(out.shape[1] + 1):
            at_end = t == out.shape[1]
            if not at_end and not np.isfinite(out[i, t]):
                continue
            if not at_end and (values[i, t] < low[i] or values[i, t] > high[i]):
                run += 1
                continue
            if 0 < run <= (SPIKE_NEWEST if at_end else SPIKE_LASTS):
                back = t - 1
                while run > 0:
                    if np.isfinite(values[i, back]) and (values[i, back] < low[i] or values[i, back] > high[i]):
                        out[i, back] = min(max(values[i, back], low[i]), high[i])
                        run -= 1
                    back -= 1
            run = 0
    return out


def moving_mean(values: NDArray[np.float32], half: int) -> NDArray[np.float32]:
    """Centred mean over ``2 half + 1`` columns; near the ends over what is there; NaN only where all are.

    >>> moving_mean(np.array([[1.0, 3.0, np.nan, 5.0]], np.float32), 1)
    array([[2., 2., 4., 5.]], dtype=float32)
    """
    if half == 0:
        return values
    return _moving_mean(values, half)


@njit(cache=True)
def _moving_mean(values: NDArray[np.float32], half: int) -> NDArray[np.float32]:
    n, T = values.shape
    out = np.full((n, T), np.float32(np.nan))
    total, count = np.zeros(T + 1), np.zeros(T + 1, np.int64)
    for i in range(n):
        for t in range(T):
            there = np.isfinite(values[i, t])
            total[t + 1] = total[t] + (values[i, t] if there else 0.0)
            count[t + 1] = count[t] + there
        for t in range(T):
            a, b = max(t - half, 0), min(t + half + 1, T)
            if count[b] > count[a]:
                out[i, t] = (total[b] - total[a]) / (count[b] - count[a])
    return out


def make_panel(values: Float, step: int, width: int, lengths: Index, windows: Index | None = None) -> Panel:
    """The panel of ``values`` (on ``step`` seconds) on cells of ``width`` steps.

    ``lengths [n, S]``: seasons in cells, as of :func:`lengths_table`; ``windows [n]``: None: no series is a mean.
    """
    observed = coarsen(values, width)
    filled = fill(clip_spikes(observed), np.ascontiguousarray(lengths[:, 0]))
    none = np.zeros(len(values), np.int64)
    return Panel(filled, observed, step * width, lengths, none if windows is None else windows)
