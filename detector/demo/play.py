"""One performance: the scene is chosen, the servers start, the worker works, and what it says is shown and judged."""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detector import conventions as names
from detector.child import leaving_on_signals
from detector.demo.board import Announcement, Board, published_about
from detector.demo.deliveries import Delivered, Deliveries, alerts_at
from detector.demo.receiver import Receiver
from detector.demo.scene import Scene, choose_scene
from detector.demo.stage import INTERVAL_SECONDS, WAITS_DIVIDED_BY, Stage, open_stage
from detector.errors import DetectorError
from detector.logs import silence_retries

if TYPE_CHECKING:
    from detector.demo.screen import Screen
    from detector.pipeline import Worker
    from detector.source import PrometheusSource

DEADLINE_SECONDS = 180.0
"""So long after the start of the servers a demo with --once has succeeded, or says why not."""
GATHER_SECONDS = 60.0
"""In production every alert but info is told after at most so long a gathering."""
SETTLE_SECONDS = 2 * INTERVAL_SECONDS + GATHER_SECONDS / WAITS_DIVIDED_BY + 2.0
"""From numbers in Prometheus to what follows from them at the receivers: two evaluations, gathering, and the post."""
LOOK_SECONDS = 0.25
LOOK_AT_PROMETHEUS_SECONDS = 1.0
_KEPT_WARNINGS = 10


class DemoFailedError(DetectorError):
    """A demo with --once did not come out as it must; the message says which condition, expected and got."""


@dataclass
class Performance:
    """Everything that is at hand while a demo runs."""

    stage: Stage
    board: Board
    receiver: Receiver
    deliveries: Deliveries
    source: PrometheusSource
    screen: Screen
    seen: int = 0
    published: float | None = None
    """When all queries of a full cycle were first seen in Prometheus; monotonic."""

    @property
    def seconds(self) -> float:
        """Since the start of the servers."""
        return time.monotonic() - self.stage.started

    def look(self) -> None:
        """Take in what happened since the last look, and show it."""
        if self.board.fault is not None:
            raise self.board.fault
        self.deliveries.take(self.receiver.messages, time.time())
        self.board.watchdog_at = self.deliveries.watchdog_at
        arrived = self.deliveries.delivered
        for alert in arrived[self.seen :]:
            seconds = self.seconds - (time.time() - alert.at)
            self.board.announcements.append(self._announce(alert, seconds))
        self.seen = len(arrived)
        self.screen.show(self.board, self.stage, self.seconds)

    def complete(self) -> bool:
        """Whether all queries are in Prometheus and what follows from them had the time to arrive."""
        if self.published is None and self.board.cycles and self._all_published():
            self.published = time.monotonic()
        return self.published is not None and time.monotonic() >= self.published + SETTLE_SECONDS

    def _all_published(self) -> bool:
        slot = max(result.slot for result in self.board.current())
        # a cycle begun meanwhile may have pushed some queries anew: the one before counts as well
        fresh = self.source.instant(f"count({names.GENERATED} >= {slot - 60})")
        return bool(fresh) and fresh[0][1] >= self.board.queries

    def _announce(self, alert: Delivered, seconds: float) -> Announcement:
        from detector.demo.board import parse_eta

        victim = next((one for one in self.board.scene.victims if alert.is_about(one.query.name, one.labels)), None)
        if victim is None or not alert.predictive:
            return Announcement(alert, seconds, victim if alert.predictive else None)
        eta = parse_eta(alert.description)
        return Announcement(alert, seconds, victim, eta, published_about(victim, self.source))


def play(screen: Screen, *, seed: int | None, once: bool) -> Board:
    """Run the demo: with `once` until it is judged, else until a signal; returns what came of it.

    Raises:
        DemoFailedError: with `once`, when a condition does not hold within DEADLINE_SECONDS.
        DetectorError: a server is missing or does not start.
        KeyboardInterrupt: Ctrl-C; the servers are gone by then.
        SystemExit: SIGTERM; the same.
    """
    from detector.catalogue import load_catalogue

    seed = secrets.randbelow(1_000_000) if seed is None else seed
    catalogue = load_catalogue("day_trade")
    with leaving_on_signals(), _warnings_kept() as warnings, _loopback_without_proxy():
        scene = choose_scene(seed, int(time.time()) // 60 * 60, catalogue)
        screen.begin(scene)
        board = Board(scene, len(catalogue.queries))
        with Receiver() as receiver, open_stage(scene, catalogue, receiver, screen.tell) as stage:
            performance = _performance(stage, board, receiver, screen)
            stop = threading.Event()
            threading.Thread(target=_work, args=(stage, board, stop), daemon=True, name="worker").start()
            try:
                with screen:
                    problems = _watch(performance, once)
            finally:
                stop.set()
        if problems:
            raise DemoFailedError("\n".join([f"the demo failed (seed {seed}):", *problems, *warnings]))
    return board


def first_names(scene: Scene, queries: Sequence[str]) -> list[str]:
    """The order of the first cycle: the queries that something happens to come first, so that nobody waits."""
    first = [victim.query.name for victim in scene.victims]
    return [*first, *(name for name in queries if name not in first)]


def _performance(stage: Stage, board: Board, receiver: Receiver, screen: Screen) -> Performance:
    from detector.source import PrometheusSource

    screen.tell(f"servers ready {time.monotonic() - stage.started:.1f} s after their start")
    if not screen.live_picture:
        for name, url in stage.urls.items():
            screen.tell(f"until it ends: {name} {url}")
    deliveries = Deliveries(lambda: alerts_at(stage.alertmanager))
    source = PrometheusSource(stage.catalogue.settings.prometheus)
    return Performance(stage, board, receiver, deliveries, source, screen)


def _watch(performance: Performance, once: bool) -> list[str]:
    """Look until it is over; the problems found."""
    board, looked = performance.board, 0.0
    while True:
        performance.look()
        if once and time.monotonic() - looked >= LOOK_AT_PROMETHEUS_SECONDS:
            looked = time.monotonic()
            complete = performance.complete()
            if (complete and board.delivered) or performance.seconds > DEADLINE_SECONDS:
                performance.look()
                return board.problems(complete)
        time.sleep(LOOK_SECONDS)


def _work(stage: Stage, board: Board, stop: threading.Event) -> None:
    """The worker's thread: a first cycle query by query, then production's own loop."""
    from detector.clock import slot_at
    from detector.run import run_forever

    try:
        worker = _worker(stage)
        slot = slot_at(time.time(), 60)
        for name in first_names(board.scene, list(stage.catalogue.queries)):
            if stop.is_set():
                return
            board.add([worker.run_query(name, slot)])
        run_forever(worker, stop, on_cycle=board.add_cycle)
    except BaseException as error:
        board.fault = error


def _worker(stage: Stage) -> Worker:
    """Production's worker; what it remembers is gone with the demo."""
    from detector.pipeline import Worker
    from detector.sink import PushgatewaySink
    from detector.source import PrometheusSource

    settings = stage.catalogue.settings
    source = PrometheusSource(settings.prometheus, max_series=settings.max_series)
    return Worker(stage.catalogue, source, stage.store, [PushgatewaySink(settings.pushgateways)])


@contextlib.contextmanager
def _warnings_kept() -> Iterator[collections.deque[str]]:
    """Keep the last warnings of the log away from the screen, for the message of a failure."""
    kept: collections.deque[str] = collections.deque(maxlen=_KEPT_WARNINGS)

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(f"{record.levelname.lower()}: {record.getMessage()}")

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = [Keeper(logging.WARNING)]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    silence_retries()
    try:
        yield kept
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before
        root.setLevel(level)


@contextlib.contextmanager
def _loopback_without_proxy() -> Iterator[None]:
    """Keep a proxy of the environment out of the way between our own servers."""
    before = {name: os.environ.get(name) for name in ("NO_PROXY", "no_proxy")}
    for name, value in before.items():
        os.environ[name] = ",".join(filter(None, (value, "127.0.0.1,localhost")))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def write_svg(text: str, file: Path) -> None:
    """Write a picture.

    Raises:
        DetectorError: it cannot be written.
    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DetectorError(f"cannot write {file}: {error.strerror}") from error
