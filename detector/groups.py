"""Which groups of the Pushgateway are this catalogue's: its workers remember what they push, and delete only that.

Several catalogues, each with workers of its own, may share a gateway.
"""

from __future__ import annotations

import json
import logging
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from detector import conventions as names
from detector.catalogue.load import BUILT_IN
from detector.errors import SinkError, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.catalogue import Catalogue
    from detector.sink import Group, Sink
    from detector.store import Store

log = logging.getLogger(__name__)

REMEMBER_SECONDS = 600.0
"""A group that is still pushed is noted again after this long, and what was left behind is looked for."""
LEFT_SECONDS = 3600.0
"""A worker whose own metrics were not pushed for so long has left."""
_WITHOUT_PATH = ("catalogue", *(f"{name}.yaml" for name in BUILT_IN))


class Groups:
    """The groups that workers of one catalogue push, kept in their store.

    Args:
        store: what these workers share.
        catalogue: whose groups they are.
    """

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self.owner = owner_of(catalogue)
        self._store = store
        self._queries = frozenset(catalogue.queries)
        self._noted: dict[str, float] = {}
        self._tidy_until = 0.0

    def note(self, group: Group) -> None:
        """Remember a group before it is pushed: one that was never pushed is deleted at no cost."""
        key, now = self._key(group), time.time()
        if abs(now - self._noted.get(key, -LEFT_SECONDS)) < REMEMBER_SECONDS:
            return
        self._noted[key] = now  # also where it fails: a store that hangs must not hold up every push
        try:
            self._store.save(key, json.dumps({"group": dict(group), "at": now}).encode())
        except StateError as error:
            log.debug("not remembered that a group was pushed: %s", error, extra={"group": str(group)})

    def tidy(self, sinks: Sequence[Sink]) -> None:
        """Delete the groups of queries that left the catalogue and of workers that left; every ten minutes at most.

        A store or gateway that fails is logged; what could not be deleted is tried again the next time.
        """
        now = time.monotonic()
        if now < self._tidy_until:
            return
        self._tidy_until = now + REMEMBER_SECONDS
        try:
            for key, group in self._left():
                for sink in sinks:
                    sink.delete(group)
                self._store.delete(key)
                log.info("deleted a group from the gateway", extra={"group": str(group)})
        except (SinkError, StateError) as error:
            log.warning("groups of removed queries could not be deleted: %s", error)

    def _left(self) -> Iterator[tuple[str, dict[str, str]]]:
        now = time.time()
        for key in self._store.keys(f"groups/{self.owner}/"):
            try:
                known = json.loads(self._store.load(key) or b"")
                group, at = {str(name): str(value) for name, value in known["group"].items()}, float(known["at"])
            except (StateError, ValueError, KeyError, TypeError, AttributeError):
                self._store.delete(key)  # damaged; a group still pushed is noted again
                continue
            query = group.get(names.FOR)
            if now - at > LEFT_SECONDS if query is None else query not in self._queries:
                yield key, group

    def _key(self, group: Group) -> str:
        return f"groups/{self.owner}/{quote(group.get(names.FOR, ''), safe='')}/{quote(group[names.SHARD], safe='')}"


def owner_of(catalogue: Catalogue) -> str:
    """A name for a catalogue by the path of its file, the same in every process that has it there.

    >>> from detector.catalogue import load_catalogue
    >>> owner_of(load_catalogue("day_trade"))
    'day_trade'
    """
    origin = catalogue.origin or "catalogue"
    if origin in _WITHOUT_PATH:
        return Path(origin).stem
    return f"{Path(origin).stem}-{zlib.crc32(str(Path(origin).absolute()).encode()):08x}"
