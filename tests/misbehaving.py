"""A loopback HTTP server that answers what a test tells it to, byte for byte, and remembers the requests."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Behaviour:
    """One answer. `length` lies about the body's length; `drip` seconds pass between its bytes."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    drip: float = 0.0
    raw: bytes | None = None


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]


class Loopback:
    """Gives the behaviours in turn; the last one for ever."""

    def __init__(self, behaviours: Sequence[Behaviour]) -> None:
        self.requests: list[Request] = []
        outer, queue = self, list(behaviours)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append(Request(self.command, self.path, dict(self.headers)))
                behave(self, queue.pop(0) if len(queue) > 1 else queue[0], outer.stopping)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the base class' names

            def log_message(self, *args: Any) -> None:
                """Keep the test's output quiet."""

        self.stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS; the handshake is made in the connection's own thread."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def behave(handler: BaseHTTPRequestHandler, what: Behaviour, stopping: threading.Event) -> None:
    handler.close_connection = what.length is not None or what.raw is not None or what.drip > 0
    if what.raw is not None:
        handler.wfile.write(what.raw)
        return
    handler.send_response(what.status)
    for name, value in what.headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(what.body) if what.length is None else what.length))
    handler.end_headers()
    if not what.drip:
        handler.wfile.write(what.body)
        return
    for i in range(len(what.body)):
        if stopping.is_set():
            return
        handler.wfile.write(what.body[i : i + 1])
        time.sleep(what.drip)
