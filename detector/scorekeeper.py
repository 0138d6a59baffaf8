"""Keeps the record of what was published in the worker's store, and scores it at every slot."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detector.errors import StateError
from detector.quality import Quality, lost, score
from detector.store import Store
from detector.track_record import TrackRecord
from detector.verdict import series_key

if TYPE_CHECKING:
    from detector.catalogue import Query
    from detector.frame import SeriesFrame

log = logging.getLogger(__name__)

SHOWN = 3
"""Series that a log line names."""


@dataclass(frozen=True)
class Standing:
    """How the forecasts of n series did up to a slot: the record, its scores, and ``lost [n]``, not skilful."""

    series: tuple[str, ...]
    record: TrackRecord
    quality: Quality
    lost: NDArray[np.bool_]


class Scorekeeper:
    """The track records of one process, by query and shard.

    Args:
        store: where they are kept between runs.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[str, tuple[bytes, TrackRecord]] = {}
        self._unsaved: set[str] = set()

    def standing(self, query: Query, shard: str, frame: SeriesFrame, column: int) -> Standing:
        """Score what was published for the series of ``frame``, as far as its truth is in it; ``column``: now."""
        series = tuple(series_key(labels) for labels in frame.labels)
        record = self._load(query, shard).as_of(query, column)
        quality = score(query, frame, record, series)
        losing = lost(query, quality, series, record.lost)
        away = record.lost - frozenset(series)
        here = record.lost & frozenset(series)
        _tell(query, shard, column, "lose to the seasonal naive one: no predictive alert", losing - here)
        _tell(query, shard, column, "are no worse than the seasonal naive one again", here - losing)
        now = np.array([key in losing for key in series], np.bool_)
        return Standing(series, replace(record, lost=losing | away), quality, now)

    def remember(
        self, query: Query, shard: str, column: int, standing: Standing, figures: NDArray[np.float64] | None
    ) -> None:
        """Keep what was published, ``figures [4, n, H]`` (None: nothing), where it is time for a record.

        Raises:
            StateError: the store cannot keep it; it is kept in memory.
        """
        key, record = record_key(query.name, shard), standing.record
        if figures is not None:
            record = record.with_forecast(query, column, standing.series, figures)
        known = self._kept.get(key, (b"", TrackRecord()))[1]
        if record is standing.record and record.lost == known.lost and key not in self._unsaved:
            return
        data = record.to_bytes(query)
        self._kept[key] = (data, record)
        self._unsaved.add(key)
        self._store.save(key, data)
        self._unsaved.discard(key)

    def _load(self, query: Query, shard: str) -> TrackRecord:
        """The record as another worker may have left it in the store, or as it stands in memory."""
        key = record_key(query.name, shard)
        kept = self._kept.get(key)
        try:
            data = self._store.load(key) if key not in self._unsaved else None
            if data is not None and (kept is None or kept[0] != data):
                kept = self._kept[key] = (data, TrackRecord.from_bytes(data, query))
        except StateError as error:
            log.warning(
                "the record of published forecasts is lost, %s: %s",
                "scores begin again" if kept is None else "it is written again",
                error,
                extra={"metric_type": query.name, "shard": shard},
            )
            self._unsaved.add(key)
        return kept[1] if kept is not None else TrackRecord()


def record_key(query: str, shard: str) -> str:
    """Where the record of one query and shard is kept in the store."""
    return f"forecasts/{query}/{shard}"


def _tell(query: Query, shard: str, column: int, what: str, series: frozenset[str]) -> None:
    """One line for all series of a query that changed."""
    if series:
        shown = ", ".join(sorted(series)[:SHOWN]) + (f" and {len(series) - SHOWN} more" if len(series) > SHOWN else "")
        fields = {"metric_type": query.name, "shard": shard, "slot": column}
        log.warning("forecasts of %d series %s: %s", len(series), what, shown, extra=fields)
