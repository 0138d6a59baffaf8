"""How many outcomes stand behind each point of a ratio: points with none say nothing.

Shapes: n series, T columns.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detector.errors import SourceError
from detector.frame import SeriesFrame

if TYPE_CHECKING:
    from detector.catalogue import Query
    from detector.frame import Labels
    from detector.interfaces import HistoryLike

log = logging.getLogger(__name__)


class Outcomes:
    """Takes out the points of a query behind which there are no outcomes, by its key ``samples``.

    Args:
        history: where the counts come from, as a query of their own beside the one they belong to.
    """

    def __init__(self, history: HistoryLike) -> None:
        self._history = history
        self._told: dict[str, str] = {}

    def of(self, query: Query, shard: str, end: int, frame: SeriesFrame) -> SeriesFrame:
        """The frame of ``query`` up to ``end``, without the points that stand on nothing.

        When the counts cannot be read or belong to no series, all points count, and the log says so once.
        """
        if query.samples is None or not frame.n:
            return frame
        name = f"{query.name}:samples"
        reading = query.model_copy(update={"name": name, "expr": query.samples, "history": frame.T * frame.step})
        try:
            counts = self._history.window(reading, shard, end)
        except SourceError as error:
            self._tell(query, f"cannot be read: {error}")
            return frame
        rows = align(frame.labels, counts)
        if not np.isfinite(rows).any():
            self._tell(query, "belong to no series" if counts.n else "find nothing")
            return frame
        self._told.pop(query.name, None)
        return without_outcomes(frame, SeriesFrame(rows, frame.labels, counts.start, counts.step))

    def _tell(self, query: Query, what: str) -> None:
        if self._told.get(query.name) != what:
            self._told[query.name] = what
            log.warning("samples %r %s: every point counts", query.samples, what, extra={"metric_type": query.name})


def align(labels: tuple[Labels, ...], counts: SeriesFrame) -> NDArray[np.float64]:
    """The counts behind each of n series, ``[n, T]``; NaN where there are none, or none that belong to it.

    A series has the counts with its own labels; else, where there is a single series of counts, that one; else those
    that agree in every label name that all series of both sides have, added up.
    """
    found = np.full((len(labels), counts.T), np.nan)
    shared = sorted(set.intersection(*(set(one) for one in (*labels, *counts.labels)))) if counts.n else []
    for row, one in enumerate(labels):
        same = [i for i, other in enumerate(counts.labels) if dict(other) == dict(one)]
        if not same and counts.n == 1:
            same = [0]
        if not same and shared:
            same = [i for i, other in enumerate(counts.labels) if all(other[name] == one[name] for name in shared)]
        if same:
            mine = counts.values[same]
            found[row] = np.where(np.isfinite(mine).any(axis=0), np.nansum(mine, axis=0), np.nan)
    return found


def without_outcomes(frame: SeriesFrame, counts: SeriesFrame) -> SeriesFrame:
    """The frame with gaps where its series' counts ``[n, T]`` are 0, or missing between the first and the last.

    >>> values = SeriesFrame(np.array([[1.0, 2, 3, 4, 5]]), ({"i": "a"},), start=0, step=60)
    >>> counts = SeriesFrame(np.array([[np.nan, 9, 0, np.nan, 9]]), ({"i": "a"},), start=0, step=60)
    >>> without_outcomes(values, counts).values
    array([[ 1.,  2., nan, nan,  5.]])
    """
    known = np.isfinite(counts.values)
    columns = np.arange(counts.T)
    first = np.where(known.any(axis=1), known.argmax(axis=1), counts.T)[:, None]
    last = np.where(known.any(axis=1), counts.T - 1 - known[:, ::-1].argmax(axis=1), -1)[:, None]
    with np.errstate(invalid="ignore"):
        empty = (columns >= first) & (columns <= last) & ~(counts.values > 0)
    values = frame.values.copy()
    values[empty] = np.nan
    return SeriesFrame(values, frame.labels, frame.start, frame.step)
