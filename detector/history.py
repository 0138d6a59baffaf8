"""The past of every query: fetched once, kept in memory, saved by the day, extended by what is new.

A column is the absolute number of a step, unix seconds // step. A column is settled when Prometheus'
own clock has passed it: only then is it saved, or served without being asked for again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import numpy as np

from detector.errors import StateError
from detector.frame import SeriesFrame
from detector.grid import Grid
from detector.store import Store, pack, unpack
from detector.stretches import stretches

if TYPE_CHECKING:
    from detector.catalogue.schema import Query

DAY_SECONDS = 86_400
REFETCHED_COLUMNS = 2
"""The newest columns are asked for again: a sample may have arrived late."""
SAVE_EVERY_SECONDS = 900
"""The day that is under way is saved this often; a crash costs a fetch of that much."""
_EPOCH = date(1970, 1, 1).toordinal()
_log = logging.getLogger(__name__)


class RangeSource(Protocol):
    """What a history needs of a source."""

    def range(self, expr: str, start: int, end: int, step: int) -> SeriesFrame:
        """The expression at every step from start to end."""


@dataclass
class _Past:
    """What is known of one query's shard."""

    expr: str
    step: int
    columns: int
    prefix: str
    grid: Grid
    settled: int
    saved: int
    oldest_day: int


class History:
    """Windows over the past of queries, fetched from `source` only where `store` and memory have nothing.

    Safe to use from several threads. Failures of the store are logged, never raised: what it cannot
    give is fetched.
    """

    def __init__(self, source: RangeSource, store: Store) -> None:
        self._source = source
        self._store = store
        self._pasts: dict[tuple[str, str], _Past] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._guard = threading.Lock()

    def window(self, query: Query, shard: str, end: int) -> SeriesFrame:
        """The last `query.history` seconds up to `end` (floored to the step), on the grid.

        The frame has `history // step` columns, gaps where there is nothing; series without a point in
        the window are not in it. Its values are a read-only view that is right until the next call for
        the same query. An `end` that is already settled is served from memory. Raises SourceError.
        """
        name = (query.name, shard)
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            last, columns = end // query.step, max(1, query.history // query.step)
            past = self._pasts.get(name)
            if past is None or (past.expr, past.step, past.columns) != (query.expr, query.step, columns):
                past = self._open(query, shard, last, columns)
                self._pasts[name] = past
            elif last > past.settled:
                self._extend(past, last)
            return past.grid.read(last - columns + 1, last + 1)

    def flush(self) -> None:
        """Save everything that is settled and not saved yet."""
        for name, past in list(self._pasts.items()):
            with self._locks[name]:
                self._save(past)

    def _open(self, query: Query, shard: str, last: int, columns: int) -> _Past:
        step, first = query.step, last - columns + 1
        digest = hashlib.sha256(f"{step}\n{query.expr}".encode()).hexdigest()[:12]
        folder = f"history/{query.name}/{quote(shard, safe='')}/"
        grid = Grid(step, columns, first)
        past = _Past(query.expr, step, columns, f"{folder}{digest}/", grid, last, first - 1, _day_of(first, step))
        covered = self._load(past, folder, first, last)
        known = np.flatnonzero(covered)
        if known.size and known[-1] < columns - 1:
            covered[max(0, known[-1] + 1 - REFETCHED_COLUMNS) : known[-1] + 1] = False
        missing = stretches(~covered)
        for begin, until in missing:
            grid.write(self._fetch(past, first + begin, first + until - 1))
        if missing:
            past.settled = min(last, self._source_column(step, last))
            self._save(past, {_day_of(first + i, step) for begin, until in missing for i in range(begin, until)})
        else:
            past.saved = past.settled
        return past

    def _extend(self, past: _Past, last: int) -> None:
        begin = max(past.settled + 1 - REFETCHED_COLUMNS, last - past.columns + 1)
        past.grid.write(self._fetch(past, begin, last))
        past.settled = max(past.settled, min(last, self._source_column(past.step, last)))
        if (past.settled - past.saved) * past.step >= SAVE_EVERY_SECONDS:
            self._save(past)

    def _fetch(self, past: _Past, begin: int, last: int) -> SeriesFrame:
        return self._source.range(past.expr, begin * past.step, last * past.step, past.step)

    def _source_column(self, step: int, last: int) -> int:
        """The newest column that the source's own clock has reached; `last` where it has none."""
        clock = getattr(self._source, "now", None)
        now = clock() if clock is not None else None
        return last if now is None else int(now) // step

    def _load(self, past: _Past, folder: str, first: int, last: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Fill the grid from the store; returns which of the columns first to last are there."""
        covered = np.zeros(last - first + 1, dtype=np.bool_)
        try:
            keys = self._store.keys(folder)
        except StateError as error:
            _log.warning("history is fetched again, its store cannot be read: %s", error)
            return covered
        for key in keys:
            day = _day_of_key(key, past.prefix)
            if day is None or day < past.oldest_day:
                self._delete(key)
                continue
            frame = self._load_chunk(key, past.step)
            if frame is None:
                continue
            part = frame.slice_time(first * past.step, last * past.step)
            if part.T:
                past.grid.write(part)
                begin = part.start // past.step - first
                covered[begin : begin + part.T] = True
        return covered

    def _load_chunk(self, key: str, step: int) -> SeriesFrame | None:
        try:
            data = self._store.load(key)
            return None if data is None else _unpack_chunk(data, step)
        except StateError as error:
            _log.warning("saved history %s is dropped and fetched again: %s", key, error)
            self._delete(key)
            return None

    def _save(self, past: _Past, days: Iterable[int] | None = None) -> None:
        """Save the days given, or those that changed since the last time; forget those out of the window."""
        if past.settled <= past.saved:
            return
        newest = _day_of(past.settled, past.step)
        if days is None:
            changed = max(past.saved + 1 - REFETCHED_COLUMNS, past.settled - past.columns + 1)
            days = range(_day_of(changed, past.step), newest + 1)
        try:
            for day in sorted(days):
                if day <= newest:
                    self._save_day(past, day)
            oldest = _day_of(past.settled - past.columns + 1, past.step)
            for day in range(past.oldest_day, oldest):
                self._store.delete(past.prefix + _date(day))
            past.oldest_day = max(past.oldest_day, oldest)
            past.saved = past.settled
        except StateError as error:
            _log.warning("history is not saved, a restart will fetch it again: %s", error)

    def _save_day(self, past: _Past, day: int) -> None:
        begin = max(_first_column(day, past.step), past.settled - past.columns + 1)
        end = min(_first_column(day + 1, past.step), past.settled + 1)
        frame = past.grid.read(begin, end)
        header = {"first": begin, "step": past.step, "expr": past.expr, "labels": [dict(one) for one in frame.labels]}
        self._store.save(past.prefix + _date(day), pack(header, values=np.ascontiguousarray(frame.values)))

    def _delete(self, key: str) -> None:
        with contextlib.suppress(StateError):
            self._store.delete(key)


def _unpack_chunk(data: bytes, step: int) -> SeriesFrame:
    header, arrays = unpack(data)
    try:
        labels = tuple({str(name): str(value) for name, value in one.items()} for one in header["labels"])
        if header["step"] != step:
            raise ValueError(f"expected step {step}, got {header['step']}")
        return SeriesFrame(arrays["values"], labels, int(header["first"]) * step, step)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateError(f"not a day of history: {error!r}") from error


def _day_of(column: int, step: int) -> int:
    return column * step // DAY_SECONDS


def _first_column(day: int, step: int) -> int:
    return -(-day * DAY_SECONDS // step)


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC).date().isoformat()


def _day_of_key(key: str, prefix: str) -> int | None:
    """The day of a key under the prefix; None for a key of another expression, or none of ours."""
    if not key.startswith(prefix):
        return None
    try:
        return date.fromisoformat(key.removeprefix(prefix)).toordinal() - _EPOCH
    except ValueError:
        return None
