"""The receiver of the demo's alerts: what Alertmanager posts to it, in order of arrival."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from detector.conventions import FOR
from detector.render.labels import EVENT, KIND, PREDICTION

MAX_BODY_BYTES = 4 << 20


@dataclass(frozen=True)
class Delivered:
    """One alert as it arrived; `at` in unix seconds."""

    at: float
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def name(self) -> str:
        """The alert's name."""
        return self.labels.get("alertname", "")

    @property
    def query(self) -> str:
        """The query it is about."""
        return self.labels.get(FOR, "")

    @property
    def predictive(self) -> bool:
        """Whether it is about what will be, not what is."""
        return self.labels.get(KIND) == PREDICTION

    @property
    def is_news(self) -> bool:
        """Whether it tells that something happened, and nothing is wrong."""
        return self.labels.get(KIND) == EVENT

    @property
    def firing(self) -> bool:
        """Whether it began; an alert that ended arrives too."""
        return self.status == "firing"

    def is_about(self, query: str, labels: Mapping[str, str]) -> bool:
        """Whether it is about this series. An alert may have more labels than the series."""
        own = {name: value for name, value in labels.items() if name != "__name__"}
        return self.query == query and all(self.labels.get(name) == value for name, value in own.items())


class Receiver:
    """A webhook on a free loopback port; `on_alert` is called from its thread, once for every alert that is new.

    >>> with Receiver() as receiver:
    ...     receiver.delivered
    []
    """

    def __init__(self, on_alert: Callable[[Delivered], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._delivered: list[Delivered] = []
        self._known: set[tuple[str, str, str]] = set()
        self._on_alert = on_alert
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(min(length, MAX_BODY_BYTES))
                receiver._take(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Deliveries are shown, not logged."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def url(self) -> str:
        """Where Alertmanager posts to."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    @property
    def delivered(self) -> list[Delivered]:
        """Everything so far; an alert that Alertmanager repeats stands here once."""
        with self._lock:
            return list(self._delivered)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, notification: Mapping[str, Any]) -> None:
        now = time.time()
        for alert in notification.get("alerts", ()):
            one = Delivered(now, alert["status"], alert["labels"], alert["annotations"])
            key = (alert["fingerprint"], alert["status"], alert["startsAt"])
            with self._lock:
                if key in self._known:
                    continue
                self._known.add(key)
                self._delivered.append(one)
            if self._on_alert is not None:
                self._on_alert(one)
