"""The embedded runner: every query of the catalogue at its own pace, in one process, without Redis."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from detector.clock import Clock, WallClock, due_at, slot_at
from detector.conventions import JOB
from detector.wording import count_text

if TYPE_CHECKING:
    from detector.catalogue import Catalogue
    from detector.cycle import CycleResult
    from detector.pipeline import Worker
    from detector.sink import Sink
    from detector.store import Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""The loop looks at the clock at least this often, so that a clock that is set does not stop it for long."""

OnCycle = Callable[[list["CycleResult"]], None]


def build_worker(catalogue: Catalogue, *, sinks: Sequence[Sink] | None = None, remember: bool = True) -> Worker:
    """A worker on the servers and the store that the catalogue's settings name.

    Args:
        catalogue: settings and queries.
        sinks: where results go; without it the Pushgateways of the settings.
        remember: False reads the store and leaves it as it is.
    """
    from detector.pipeline import Worker
    from detector.sink import PushgatewaySink
    from detector.source import PrometheusSource

    settings = catalogue.settings
    source = PrometheusSource(settings.prometheus, max_series=settings.max_series)
    store = build_store(catalogue)
    if sinks is None:
        sinks = [PushgatewaySink(settings.pushgateways)]
    return Worker(catalogue, source, store if remember else ForgetfulStore(store), sinks)


def with_servers(catalogue: Catalogue, *, url: str | None = None, pushgateway: str | None = None) -> Catalogue:
    """The catalogue with another Prometheus or Pushgateway.

    Raises:
        ConfigError: no URL.
    """
    from detector.catalogue.check import endpoint_at, endpoint_of

    settings, changed = catalogue.settings, {}
    if url is not None:
        changed["prometheus"] = endpoint_of(url, settings)
    if pushgateway is not None:
        changed["pushgateway"] = endpoint_at(pushgateway)
    return catalogue.model_copy(update={"settings": settings.model_copy(update=changed)}) if changed else catalogue


def listening_on(catalogue: Catalogue, listen: str | None, option: str = "--listen") -> Catalogue:
    """The catalogue with another address to serve on; ``option`` is where it was given.

    Raises:
        ConfigError: no address, or one beyond this machine that nobody guards.
    """
    if listen is None:
        return catalogue
    from pydantic import ValidationError

    from detector.catalogue.serving import Serve
    from detector.errors import ConfigError, Problem

    settings = catalogue.settings
    try:
        serve = Serve.model_validate({**dict(settings.serve), "listen": listen})
    except ValidationError as error:
        found = error.errors()[0]
        wanted = found["msg"].removeprefix("expected ")
        got = listen if found["loc"] else "none of them in settings.serve"
        raise ConfigError(Problem("", key=option, expected=wanted, got=got)) from error
    return catalogue.model_copy(update={"settings": settings.model_copy(update={"serve": serve})})


@contextlib.contextmanager
def serving(catalogue: Catalogue, listen: str | None) -> Iterator[None]:
    """Do what `detector serve` does from a thread of this process, while the context lasts; nothing without address."""
    if listen is None:
        yield
        return
    from detector.serve.server import HttpServer

    with HttpServer(listening_on(catalogue, listen, "--serve"), build_store(catalogue)).in_background():
        yield


def keeping_state_at(catalogue: Catalogue, broker: str | None) -> Catalogue:
    """The catalogue, with the broker's Redis as the store where its settings name no other."""
    settings = catalogue.settings
    if settings.redis or settings.state_dir or not (broker or "").startswith(("redis://", "rediss://", "unix://")):
        return catalogue
    return catalogue.model_copy(update={"settings": settings.model_copy(update={"redis": broker})})


def build_store(catalogue: Catalogue) -> Store:
    """Where state is kept: Redis, the directory of the settings, or this user's own state directory.

    Each Prometheus has a place of its own there: what one has seen says nothing about another.
    """
    from detector.store import FileStore, RedisStore

    settings = catalogue.settings
    place = place_of(settings.prometheus.url)
    if settings.redis:
        return RedisStore(settings.redis, prefix=f"detector:{place}:")
    if settings.state_dir:
        return FileStore(Path(settings.state_dir) / place)
    import platformdirs

    return FileStore(Path(platformdirs.user_state_dir("detector", appauthor=False)) / place)


def place_of(url: str) -> str:
    """A name for a Prometheus that is safe in a path and the same in every process; no credentials in it.

    >>> place_of("http://user:secret@prom:9090/a")
    'prom-9090-c170f257'
    """
    parts = urlsplit(url)
    where = f"{parts.hostname or 'none'}-{parts.port or parts.scheme}"
    bare = f"{parts.scheme}://{parts.hostname}:{parts.port}{parts.path.rstrip('/')}"
    return "".join(c if c.isalnum() or c in "-." else "_" for c in where) + f"-{zlib.crc32(bare.encode()):08x}"


class ForgetfulStore:
    """A store that reads from another and keeps what is saved to itself: for a dry run."""

    def __init__(self, behind: Store) -> None:
        self._behind = behind
        self._own: dict[str, bytes | None] = {}

    def load(self, key: str) -> bytes | None:
        """The bytes saved under the key, or None."""
        return self._own[key] if key in self._own else self._behind.load(key)

    def save(self, key: str, data: bytes) -> None:
        """Replace what is saved under the key, as long as this process lives."""
        self._own[key] = bytes(data)

    def delete(self, key: str) -> None:
        """Forget the key, as long as this process lives."""
        self._own[key] = None

    def keys(self, prefix: str = "") -> list[str]:
        """Every key that begins with the prefix, sorted."""
        behind = {key for key in self._behind.keys(prefix) if key not in self._own}
        own = {key for key, data in self._own.items() if data is not None and key.startswith(prefix)}
        return sorted(behind | own)

    def exclusive(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Keep nobody out: nothing is changed."""
        return contextlib.nullcontext()


def run_once(worker: Worker, clock: Clock | None = None) -> list[CycleResult]:
    """One cycle of every query, at the slot it has now."""
    now = (clock or WallClock()).now()
    return [result for every in _paces(worker) for result in _run(worker, every, slot_at(now, every))]


def run_forever(
    worker: Worker, stop: threading.Event, *, clock: Clock | None = None, on_cycle: OnCycle | None = None
) -> None:
    """Run every query at each of its slots until ``stop`` is set; the cycle under way is finished first.

    A slot that began while an earlier one was still computed is skipped when a newer one has begun: the past is never
    computed. Pushes that failed are repeated until the next slot. ``on_cycle`` gets the results of each round. The
    history is saved at the end.
    """
    try:
        _run_slots(worker, stop, clock or WallClock(), on_cycle)
    finally:
        worker.flush()


def delete_groups(sink: Sink) -> list[dict[str, str]]:
    """Delete every group of every worker and return them.

    Raises:
        SinkError: no gateway can be reached, or one refuses.
    """
    deleted = sink.groups(JOB)
    for group in deleted:
        sink.delete(group)
        log.info("deleted a group from the gateway", extra={"group": str(group)})
    return deleted


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on SIGTERM and SIGINT; a second one has its usual effect. For the main thread."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}

    def handle(number: int, frame: FrameType | None) -> None:
        log.info("stopping after this cycle", extra={"signal": signal.Signals(number).name})
        stop.set()
        for one in numbers:
            signal.signal(one, signal.SIG_DFL if one == signal.SIGTERM else signal.default_int_handler)

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(results: Sequence[CycleResult]) -> int:
    """The exit code of one round: 0 ok, 1 some failed, 3 no Prometheus, 4 no Pushgateway, 5 no state."""
    from detector.errors import SourceUnavailable

    read = [result.error for result in results]
    if read and all(isinstance(error, SourceUnavailable) for error in read):
        return SourceUnavailable.exit_code
    pushed = [result.push_error for result in results if result.push_error]
    if pushed:
        return max(error.exit_code for error in pushed)
    if any(read):
        return 1
    return max((result.state_error.exit_code for result in results if result.state_error), default=0)


def failures(results: Sequence[CycleResult]) -> list[str]:
    """What went wrong in one round, in a sentence each, and what to do; a fault of several queries is told once."""
    from detector.errors import next_step

    by_message: dict[str, list[str]] = {}
    advice: dict[str, None] = {}
    for result in results:
        for error in (result.error, result.push_error, result.state_error):
            if error is not None:
                by_message.setdefault(str(error), []).append(result.query.name)
                advice |= {said: None for said in [next_step(error)] if said}
    told = []
    for message, queries in by_message.items():
        more = f" and {len(queries) - 1} more" if len(queries) > 1 else ""
        told.append(f"{queries[0]}{more}: {message}")
    return [*told, *advice]


def _run_slots(worker: Worker, stop: threading.Event, clock: Clock, on_cycle: OnCycle | None) -> None:
    done: dict[int, int] = {}
    _say_what_runs(worker)
    worker.tidy()
    while not stop.is_set():
        results = []
        for every in _paces(worker):
            slot = _due(clock.now(), every, done.get(every))
            if slot is not None and not stop.is_set():
                _count_missed(worker, every, done.get(every), slot)
                results += _run(worker, every, slot)
                done[every] = slot
        if results:
            _say_how_it_went(results)
            worker.publish_telemetry()
            if on_cycle is not None:
                on_cycle(results)
        _wait(worker, [result for result in results if result.push_error], done, clock, stop)


def _say_what_runs(worker: Worker) -> None:
    settings = worker.catalogue.settings
    log.info(
        "watching %s of %s; the first cycle learns and takes longest",
        count_text(len(worker.catalogue.queries), "query", "queries"),
        place_of(settings.prometheus.url).rpartition("-")[0],
    )


def _say_how_it_went(results: list[CycleResult]) -> None:
    firing = sum(decision.firing for result in results for decision in result.decisions)
    log.info(
        "a cycle of %d queries: %d series, %d predictive alerts, %d queries failed, %.1f s",
        len(results),
        sum(len(result.states) for result in results),
        firing,
        sum(result.failure is not None for result in results),
        sum(sum(result.seconds.values()) for result in results),
    )


def _paces(worker: Worker) -> list[int]:
    return sorted({query.every for query in worker.catalogue.queries.values()})


def _run(worker: Worker, every: int, slot: int) -> list[CycleResult]:
    names = [query.name for query in worker.catalogue.queries.values() if query.every == every]
    return worker.run_slot(slot, names)


def _due(now: float, every: int, last: int | None) -> int | None:
    """The slot to compute now, if there is one that was not: also one before the last, where the clock was set back."""
    slot = slot_at(now - (due_at(0, every) - every), every)
    if last is None:
        return slot
    return slot if slot > last or slot < last - every else None


def _count_missed(worker: Worker, every: int, last: int | None, slot: int) -> None:
    missed = (slot - last) // every - 1 if last is not None else 0
    if missed > 0:
        log.warning("the worker is late: %d slots were skipped", missed, extra={"slot": slot})
        for query in worker.catalogue.queries.values():
            if query.every == every:
                worker.telemetry.missed(query.name, missed)


def _wait(
    worker: Worker, unpublished: list[CycleResult], done: dict[int, int], clock: Clock, stop: threading.Event
) -> None:
    """Wait for the next slot, at most LOOK_SECONDS; meanwhile repeat pushes that failed."""
    pause = 1.0
    while not stop.is_set():
        left = min(due_at(slot, every) for every, slot in done.items()) - clock.now() if done else 1.0
        if left <= 0:
            return
        clock.wait(min(left, pause if unpublished else LOOK_SECONDS), stop)
        pause *= 2
        if not unpublished:
            return
        for result in unpublished:
            worker.publish(result)
        unpublished = [result for result in unpublished if result.push_error]
