"""The live platform over HTTP: `/metrics` for Prometheus, `/truth` for whoever keeps the score.

Scrape it with `honor_labels: true`: one process speaks for many jobs and instances. `/metrics/NAME` is what one service
or one instance says, and an error while it is down.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Self

import numpy as np

from detector.simulate.exposed import FAMILIES, Counts, Family, Sampled, count, sample_family, series_text
from detector.simulate.fleet import Labels
from detector.simulate.marks import MARKS, Mark, sample_mark
from detector.simulate.metrics import METRICS
from detector.simulate.platform import Platform

_Page = tuple[str, Callable[[], bytes]]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_OF_PART = "/metrics/"


class Exposition:
    """Renders the platform at a moment in Prometheus' text format. Safe to call from several threads."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._lock = threading.Lock()
        self._minute = -1
        self._counts: dict[str, Counts] = {}

    def render(self, at: float, only: str | None = None) -> bytes:
        """The exposition at unix second `at`: gauges hold for the minute, counters grow within it.

        With `only` it is what one service or instance says; nothing where there is none of that name.
        """
        seconds = np.array([int(at)], dtype=np.int64)
        lines: list[str] = []
        with self._lock:
            for family in FAMILIES:
                if only is None or any(_is_of(one.labels, only) for one in self._platform.series(family.query)):
                    samples = sample_family(self._platform, family, seconds, self._counts_of(family, seconds))
                    lines += _block(family, samples, only)
            for mark in MARKS:
                if mark.live:
                    lines += _block(mark, sample_mark(self._platform, mark, seconds), only)
        return "".join(lines).encode()

    def is_down(self, at: float, name: str) -> bool:
        """Whether a scenario has stopped the whole service, or the instance, of that name."""
        minutes = np.array([int(at) // 60], dtype=np.int64)
        return name != "database" and any(
            one.kind == "service-down" and name in one.stopped.values() and bool(one.lasts_at(minutes)[0])
            for one in self._platform.scenarios
        )

    def _counts_of(self, family: Family, seconds: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Counts | None:
        if not METRICS[family.query].windowed:
            return None
        minute = int(seconds[0]) // 60
        if minute != self._minute:
            self._counts.clear()
            self._minute = minute
        if family.query not in self._counts:
            self._counts[family.query] = count(self._platform, family.query, seconds // 60)
        return self._counts[family.query]


def _is_of(labels: Labels, name: str) -> bool:
    return name in (labels["service"], labels["instance"])


def _block(family: Family | Mark, samples: Iterable[Sampled], only: str | None) -> list[str]:
    """The lines of a family, none where it has no sample."""
    lines = [
        f"{series_text(one.name, one.labels)} {one.format % one.values[0]}\n"
        for one in samples
        if not np.isnan(one.values[0]) and (only is None or _is_of(one.labels, only))
    ]
    return [f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.type}\n", *lines] if lines else []


class SimulatorServer:
    """Serves a platform on a loopback port from a background thread; a context manager.

    Parameters
    ----------
    platform
        What to expose.
    port
        0 takes a free one.
    host
        Address to listen on.
    now
        The clock, unix seconds.
    """

    def __init__(
        self, platform: Platform, port: int = 0, host: str = "127.0.0.1", now: Callable[[], float] = time.time
    ) -> None:
        self.platform = platform
        exposition = Exposition(platform)

        def metrics() -> bytes:
            return exposition.render(now())

        def part(name: str) -> bytes | None:
            return None if exposition.is_down(now(), name) else exposition.render(now(), name)

        def index() -> bytes:
            return b"simulated platform: /metrics /metrics/SERVICE /metrics/INSTANCE /truth\n"

        def truth() -> bytes:
            return json.dumps([one.to_json() for one in platform.truth()]).encode()

        class Handler(_Handler):
            pages: ClassVar[dict[str, _Page]] = {
                "/metrics": (CONTENT_TYPE, metrics),
                "/truth": ("application/json", truth),
                "/": ("text/plain; charset=utf-8", index),
            }

            def of_part(self, name: str) -> bytes | None:
                return part(name)

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._warm = metrics

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """Host and port, as a Prometheus target."""
        return f"{self._server.server_address[0]!s}:{self.port}"

    @property
    def url(self) -> str:
        """Where to look."""
        return f"http://{self.address}"

    def start(self) -> Self:
        """Compute the first answer, so that no scrape has to wait for it, and serve."""
        self._warm()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()


class _Handler(BaseHTTPRequestHandler):
    pages: ClassVar[dict[str, _Page]] = {}

    def of_part(self, name: str) -> bytes | None:
        """What one service or instance says; None while it is down."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Answer one request."""
        status, kind, body = self._answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path in self.pages:
            kind, page = self.pages[path]
            return 200, kind, page()
        if path.startswith(_OF_PART):
            body = self.of_part(path.removeprefix(_OF_PART))
            if body is None:
                return 503, "text/plain", b"down\n"
            if body:
                return 200, CONTENT_TYPE, body
        return 404, "text/plain", b"not found\n"

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are no news."""
