"""Grid: a growing array of series, addressed by absolute columns (unix seconds // step).

Axes: n series, T time. Appending columns is cheap: room is made ahead, and the whole is copied only when
that is used up, or when a series appears or disappears.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.frame import LabelKey, Labels, SeriesFrame, label_key

SLACK = 4
"""Room made ahead: a quarter of the window."""
MIN_SLACK_COLUMNS = 64


class Grid:
    """The last `columns` columns of several series, in the order of their labels.

    Parameters
    ----------
    step : seconds between columns.
    columns : how many columns are kept.
    first : absolute column of the oldest one.

    >>> grid = Grid(step=60, columns=3, first=10)
    >>> grid.write(SeriesFrame(np.array([[1.0, 2.0]]), ({"i": "a"},), start=600, step=60))
    >>> grid.read(10, 12).values
    array([[1., 2.]])
    """

    def __init__(self, step: int, columns: int, first: int) -> None:
        self.step = step
        self.columns = columns
        self.first = first
        self.end = first
        """One past the newest column."""
        self._keys: list[LabelKey] = []
        self._labels: tuple[Labels, ...] = ()
        self._last_seen = np.empty(0, dtype=np.int64)
        self._capacity = columns + max(columns // SLACK, MIN_SLACK_COLUMNS)
        self._buffer = np.full((0, self._capacity), np.nan)

    @property
    def labels(self) -> tuple[Labels, ...]:
        """The labels of every series held."""
        return self._labels

    def write(self, frame: SeriesFrame) -> None:
        """Put the columns of the frame in place of what was there; a series not in it has gaps there.

        Columns older than `first` are ignored. Series without a point in the window are forgotten.
        """
        begin, end = frame.start // self.step, frame.start // self.step + frame.T
        skipped = max(0, self.first - begin)
        if skipped >= frame.T:
            return
        begin += skipped
        values = frame.values[:, skipped:]
        self._make_room(end)
        if begin < self.first:  # the room was made by moving the window past the frame's beginning
            values, begin = values[:, self.first - begin :], self.first
        keys = [label_key(labels) for labels in frame.labels]
        self._add_rows(keys)
        place = slice(begin - self.first, end - self.first)
        rows = self._rows(keys)
        self._buffer[:, place] = np.nan
        self._buffer[rows, place] = values
        self._see(rows, values, begin)
        self._forget_rows(self.end - self.columns)

    def read(self, begin: int, end: int) -> SeriesFrame:
        """Columns begin to end (exclusive) of every series that has a point there.

        A read-only view where that is possible; a later `write` may show through it. Columns that the
        grid does not hold are gaps.
        """
        alive = self._last_seen >= begin
        low, high = max(begin, self.first), min(end, self.end)
        later = np.flatnonzero(self._last_seen >= end)
        if later.size:
            block = self._buffer[later, max(0, low - self.first) : max(0, high - self.first)]
            alive[later] = ~np.isnan(block).all(axis=1)
        labels = self._labels
        if alive.all():
            values = self._buffer[:, max(0, low - self.first) : max(0, high - self.first)]
        else:
            values = self._buffer[alive, max(0, low - self.first) : max(0, high - self.first)]
            labels = tuple(labels[row] for row in np.flatnonzero(alive))
        if (low, high) != (begin, end):
            padded = np.full((len(labels), end - begin), np.nan)
            if high > low:
                padded[:, low - begin : high - begin] = values
            values = padded
        values = values.view()
        values.flags.writeable = False
        return SeriesFrame(values, labels, begin * self.step, self.step)

    def _make_room(self, end: int) -> None:
        if end - self.first > self._capacity:
            first = max(self.first, end - self.columns)
            kept = self._buffer[:, first - self.first : self.end - self.first]
            self._buffer = np.full((len(self._keys), self._capacity), np.nan)
            self._buffer[:, : kept.shape[1]] = kept
            self.first = first
        self.end = max(self.end, end)

    def _add_rows(self, keys: list[LabelKey]) -> None:
        fresh = set(keys).difference(self._keys)
        if not fresh:
            return
        merged = sorted([*self._keys, *fresh])
        buffer = np.full((len(merged), self._capacity), np.nan)
        last_seen = np.full(len(merged), np.iinfo(np.int64).min)
        if self._keys:
            place = {key: row for row, key in enumerate(merged)}
            rows = [place[key] for key in self._keys]
            buffer[rows] = self._buffer
            last_seen[rows] = self._last_seen
        self._set_rows(merged, buffer, last_seen)

    def _forget_rows(self, begin: int) -> None:
        alive = self._last_seen >= begin
        if not alive.all():
            keys = [key for key, is_alive in zip(self._keys, alive, strict=True) if is_alive]
            self._set_rows(keys, self._buffer[alive], self._last_seen[alive])

    def _set_rows(self, keys: list[LabelKey], buffer: NDArray[np.float64], last_seen: NDArray[np.int64]) -> None:
        self._keys, self._buffer, self._last_seen = keys, buffer, last_seen
        self._labels = tuple(dict(key) for key in keys)

    def _rows(self, keys: list[LabelKey]) -> slice | list[int]:
        if keys == self._keys:
            return slice(None)
        place = {key: row for row, key in enumerate(self._keys)}
        return [place[key] for key in keys]

    def _see(self, rows: slice | list[int], values: NDArray[np.float64], begin: int) -> None:
        there = ~np.isnan(values)
        newest = begin + values.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
        newest[~there.any(axis=1)] = np.iinfo(np.int64).min
        self._last_seen[rows] = np.maximum(self._last_seen[rows], newest)
