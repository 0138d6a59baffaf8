"""What the worker has left in its store, kept at hand and up to date."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from detector.curves import Curves, curves_key
from detector.errors import StateError
from detector.scorekeeper import record_key
from detector.serve.sheet import Sheet, issued_sheets, latest_sheet
from detector.showing import Showing, showing_key
from detector.track_record import TrackRecord

if TYPE_CHECKING:
    from detector.catalogue import Catalogue, Query
    from detector.store import Store

log = logging.getLogger(__name__)

LIST_SECONDS = 30.0
"""How often new shards are looked for."""
ONE_SHARD = "0"


@dataclass
class Place:
    """All that is known of one query and shard; the bytes are what it was read from."""

    query: Query
    shard: str
    seen: bytes = b""
    showing: Showing | None = None
    latest: Sheet | None = None
    recorded: bytes = b""
    issued: list[Sheet] = field(default_factory=list)


class Shelf:
    """The curves and figures of a catalogue's queries, from the store that its workers share.

    ``refresh`` is for one thread, everything else for any.
    """

    def __init__(self, catalogue: Catalogue, store: Store) -> None:
        self.catalogue = catalogue
        self._store = store
        self._places: dict[tuple[str, str], Place] = {}
        self._listed = -LIST_SECONDS
        self.problem = "nothing was read yet"

    @property
    def places(self) -> list[Place]:
        """Every query and shard that has been computed, in the catalogue's order."""
        order = {name: place for place, name in enumerate(self.catalogue.queries)}
        known = [one for one in list(self._places.values()) if one.showing is not None]
        return sorted(known, key=lambda one: (order[one.query.name], one.shard))

    @property
    def sheets(self) -> list[Sheet]:
        """Every curve on offer."""
        return [
            sheet
            for place in list(self._places.values())
            for sheet in ([place.latest] if place.latest is not None else []) + place.issued
        ]

    def refresh(self) -> None:
        """Read what has changed; where the store fails, what was read before stays, and `problem` says why."""
        before, problem = self.problem, ""
        try:
            self._look_for_shards()
        except StateError as error:
            problem = str(error)
        for place in list(self._places.values()) if not problem else ():
            try:
                self._read(place)
            except StateError as error:  # damaged, or between two versions; the worker writes it again
                problem = str(error)
        self.problem = problem
        if problem and problem != before:
            log.warning("the worker's store cannot be read: %s", problem)

    def _look_for_shards(self) -> None:
        if not self._places:
            for query in self.catalogue.queries.values():
                self._places[query.name, ONE_SHARD] = Place(query, ONE_SHARD)
        if time.monotonic() - self._listed < LIST_SECONDS:
            return
        self._listed = time.monotonic()
        for key in self._store.keys("showing/"):
            _, name, shard = (*key.split("/", 2), "")[:3]
            known = self.catalogue.queries.get(name)
            if known is not None and (name, shard) not in self._places:
                self._places[name, shard] = Place(known, shard)

    def _read(self, place: Place) -> None:
        name, shard = place.query.name, place.shard
        seen = self._store.load(showing_key(name, shard))
        if seen is None or seen == place.seen:
            return
        showing = Showing.from_bytes(seen)
        if showing.has_curves:
            curves = self._store.load(curves_key(name, shard))
            if curves is not None:
                place.latest = latest_sheet(place.query, Curves.from_bytes(curves), place.latest)
        place.showing, place.seen = showing, seen
        recorded = self._store.load(record_key(name, shard))
        if recorded is not None and recorded != place.recorded:
            place.issued = issued_sheets(place.query, TrackRecord.from_bytes(recorded, place.query))
            place.recorded = recorded
