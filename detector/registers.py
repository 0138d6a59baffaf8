"""Keeps the alerts of every query and shard in the worker's store, and lets one worker at a time publish them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from detector.errors import StateError
from detector.verdict import Register

if TYPE_CHECKING:
    from detector.catalogue import Query
    from detector.store import Store

log = logging.getLogger(__name__)


class Registers:
    """The registers of one process, by query and shard.

    Args:
        store: where they are kept between runs, and what the workers of a catalogue share.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[str, bytes] = {}

    def load(self, query: Query, shard: str, slot: int) -> Register:
        """The register as any worker left it; as it stands in memory, or empty, where the store has lost it.

        ``slot``: for which it is wanted, for the log.
        """
        key = register_key(query.name, shard)
        try:
            data = self._store.load(key)
            return Register.from_bytes(data) if data is not None else Register()
        except (StateError, ValueError) as error:
            fields = {"metric_type": query.name, "shard": shard, "slot": slot}
            log.warning("alert states are lost, starting again from the data: %s", error, extra=fields)
            kept = self._kept.get(key)
            return Register.from_bytes(kept) if kept is not None else Register()

    @contextmanager
    def alone(self, query: Query, shard: str, slot: int) -> Iterator[bool]:
        """Keep other workers of the store from publishing the query and shard meanwhile.

        Gives whether one of them has published a later slot before. Where the store cannot lock, nobody is kept out.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self._store.exclusive(f"publish/{query.name}/{shard}"))
            except StateError as error:
                log.debug("published without a lock: %s", error, extra={"metric_type": query.name, "shard": shard})
            yield self._is_overtaken(query, shard, slot)

    def save(self, query: Query, shard: str, register: Register) -> None:
        """Keep the register.

        Raises:
            StateError: the store cannot keep it; it is kept in memory.
        """
        key, data = register_key(query.name, shard), register.to_bytes()
        self._kept[key] = data
        self._store.save(key, data)

    def _is_overtaken(self, query: Query, shard: str, slot: int) -> bool:
        try:
            data = self._store.load(register_key(query.name, shard))
            return data is not None and Register.from_bytes(data).is_past(slot, query.every)
        except (StateError, ValueError):  # told when it was loaded
            return False


def register_key(query: str, shard: str) -> str:
    """Where the alerts of one query and shard are kept in the store."""
    return f"alerts/{query}/{shard}"
