"""SeriesFrame: several series on one regular time grid.

Axes: n series, T time. Column `i` stands for unix second `start + i * step`; NaN is a gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Labels = Mapping[str, str]
LabelKey = tuple[tuple[str, str], ...]


def label_key(labels: Labels) -> LabelKey:
    """The labels as a sorted, hashable key. An empty value means no such label, as in Prometheus.

    >>> label_key({"b": "2", "a": "1", "c": ""})
    (('a', '1'), ('b', '2'))
    """
    return tuple(sorted((name, value) for name, value in labels.items() if value))


@dataclass(frozen=True, eq=False)
class SeriesFrame:
    """n series of T points on one grid.

    Parameters
    ----------
    values : float64 [n, T], NaN where there is no point.
    labels : n mappings; `__name__` is not among them, no two are equal.
    start : unix seconds of column 0.
    step : seconds between columns.

    Raises ValueError where the shapes contradict each other.

    >>> frame = SeriesFrame(np.array([[1.0, 2.0, 3.0]]), ({"instance": "a"},), start=600, step=60)
    >>> frame.n, frame.T, frame.end, frame.tail(2).start
    (1, 3, 720, 660)
    """

    values: NDArray[np.float64]
    labels: tuple[Labels, ...]
    start: int
    step: int

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        if values.ndim != 2:
            raise ValueError(f"values must be [series, time], got {values.ndim} dimensions")
        if len(self.labels) != values.shape[0]:
            raise ValueError(f"expected {values.shape[0]} label sets, one a series, got {len(self.labels)}")
        if self.step < 1:
            raise ValueError(f"step must be 1 second or more, got {self.step}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "start", int(self.start))
        object.__setattr__(self, "step", int(self.step))

    def __repr__(self) -> str:
        grid = f"every {self.step}s from {self.start} to {self.end}"
        return f"<SeriesFrame: {self.n} series x {self.T} points, {grid}>"

    @classmethod
    def empty(cls, start: int, step: int, columns: int = 0) -> SeriesFrame:
        """A frame without series."""
        return cls(np.empty((0, columns)), (), start, step)

    @property
    def n(self) -> int:
        """Number of series."""
        return int(self.values.shape[0])

    @property
    def T(self) -> int:  # noqa: N802 - the field's name for the time axis
        """Number of columns."""
        return int(self.values.shape[1])

    @property
    def end(self) -> int:
        """Unix seconds of the last column; `start - step` where there is none."""
        return self.start + (self.T - 1) * self.step

    @property
    def times(self) -> NDArray[np.int64]:
        """Unix seconds of every column, int64 [T]."""
        return self.start + self.step * np.arange(self.T, dtype=np.int64)

    @property
    def label_names(self) -> list[str]:
        """The name of every label that a series has, sorted."""
        return sorted({name for labels in self.labels for name in labels})

    @property
    def newest(self) -> NDArray[np.int64]:
        """Unix seconds of the newest point of each series, int64 [n]; `start - step` where it has none."""
        return self.start + _newest_columns(self.values) * self.step

    @property
    def now(self) -> NDArray[np.float64]:
        """The newest value of each series, [n]; NaN where it has none."""
        if not self.T:
            return np.full(self.n, np.nan)
        columns = _newest_columns(self.values)
        return np.where(columns < 0, np.nan, self.values[np.arange(self.n), columns])

    def tail(self, columns: int) -> SeriesFrame:
        """The last `columns` columns (a view); all of them where there are fewer."""
        first = max(0, self.T - max(0, columns))
        return SeriesFrame(self.values[:, first:], self.labels, self.start + first * self.step, self.step)

    def slice_time(self, start: int, end: int) -> SeriesFrame:
        """The columns with `start <= time <= end` (a view)."""
        first = min(max(0, -((self.start - start) // self.step)), self.T)
        last = min(max(first, (end - self.start) // self.step + 1), self.T)
        return SeriesFrame(self.values[:, first:last], self.labels, self.start + first * self.step, self.step)

    def select(self, rows: Any) -> SeriesFrame:
        """The chosen series: indices or a boolean mask over n."""
        index = np.arange(self.n)[rows]
        return SeriesFrame(self.values[index], tuple(self.labels[i] for i in index), self.start, self.step)

    def concat(self, other: SeriesFrame) -> SeriesFrame:
        """Both frames on one grid: every label set of either, NaN where neither has a point.

        Where both have a column, the points of `other` win; its gaps do not erase ours.
        Raises ValueError where the grids do not fit together.
        """
        return merge_frames([self, other])

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame [T, n]: UTC times down, one column a series (a MultiIndex over the label names).

        A label that a series does not have is an empty string.
        """
        import pandas as pd

        index = pd.to_datetime(self.times, unit="s", utc=True)
        index.name = "time"
        columns = series_index(self.labels, self.label_names)
        return pd.DataFrame(self.values.T.copy(), index=index, columns=columns)

    @classmethod
    def from_pandas(cls, data: pd.DataFrame | pd.Series[Any], step: int | None = None) -> SeriesFrame:
        """Back from a DataFrame with a time index (naive times are UTC).

        Labels come from the column index: its level names, or `series` for a nameless one.
        Missing times become gaps. `step` is the smallest distance between rows where not given.
        Raises ValueError for an index that is not time or does not fit a grid.
        """
        return _from_pandas(data, step)


def _newest_columns(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the newest point of each series, [n], in `values` [n, T]; -1 where there is none."""
    there = np.isfinite(values)
    if not there.size:
        return np.full(len(values), -1, np.int64)
    last = values.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
    return np.where(there.any(axis=1), last, -1).astype(np.int64)


def merge_frames(frames: list[SeriesFrame]) -> SeriesFrame:
    """Several frames on one grid, outer union of series and times; a later frame's points win.

    The series are in the order of their sorted labels. Raises ValueError for different or shifted grids.
    """
    if not frames:
        raise ValueError("expected at least one frame, got none")
    step = frames[0].step
    for frame in frames:
        if frame.step != step or (frame.start - frames[0].start) % step:
            grids = " and ".join(f"{one.start}+k*{one.step}s" for one in (frames[0], frame))
            raise ValueError(f"expected grids that share their points, got {grids}")
    keys = sorted({label_key(labels) for frame in frames for labels in frame.labels})
    rows = {key: row for row, key in enumerate(keys)}
    filled = [frame for frame in frames if frame.T] or frames[:1]
    start = min(frame.start for frame in filled)
    columns = (max(frame.end for frame in filled) - start) // step + 1
    values = np.full((len(keys), columns), np.nan)
    for frame in filled:
        first = (frame.start - start) // step
        index = [rows[label_key(labels)] for labels in frame.labels]
        if index:
            block = values[index, first : first + frame.T]
            values[index, first : first + frame.T] = np.where(np.isnan(frame.values), block, frame.values)
    return SeriesFrame(values, tuple(dict(key) for key in keys), start, step)


def series_index(labels: Sequence[Labels], names: list[str]) -> pd.Index[Any]:
    """Series as a pandas index: a level for each label name, also where there are no series, "" for no such label.

    Plain numbers where there are no names.
    """
    import pandas as pd

    if not names:
        return pd.RangeIndex(len(labels))
    return pd.MultiIndex.from_arrays([[one.get(name, "") for one in labels] for name in names], names=names)


def _from_pandas(data: pd.DataFrame | pd.Series[Any], step: int | None) -> SeriesFrame:
    import pandas as pd

    table = data.to_frame() if isinstance(data, pd.Series) else data
    if not isinstance(table.index, pd.DatetimeIndex):
        raise ValueError(f"expected a DatetimeIndex, got {type(table.index).__name__}")
    index = table.index.tz_localize("UTC") if table.index.tz is None else table.index.tz_convert("UTC")
    seconds = index.as_unit("s").asi8
    if step is None:
        gaps = np.diff(np.unique(seconds))
        step = int(gaps.min()) if gaps.size else 60
    start = int(seconds.min()) if seconds.size else 0
    places, off = np.divmod(seconds - start, step)
    if np.any(off) or np.unique(places).size != places.size:
        raise ValueError(f"expected times on a grid of {step}s without repetition, got others")
    values = np.full((table.shape[1], int(places.max()) + 1 if places.size else 0), np.nan)
    values[:, places] = table.to_numpy(dtype=np.float64).T
    return SeriesFrame(values, _labels_of(table.columns), start, step)


def _labels_of(columns: pd.Index[Any]) -> tuple[Labels, ...]:
    names = [str(name) if name is not None else f"level_{i}" for i, name in enumerate(columns.names)]
    if columns.nlevels == 1:
        if columns.dtype.kind in "iu" and len(columns) == 1 and columns.names == [None]:
            return ({},)
        name = str(columns.names[0]) if columns.names[0] is not None else "series"
        return tuple({name: str(value)} for value in columns)
    return tuple({name: str(value) for name, value in zip(names, row, strict=True) if str(value)} for row in columns)
