"""Runs the application: a socket of our own, TLS, and no patience with who says nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from detector.catalogue.serving import is_loopback
from detector.errors import ConfigError
from detector.serve.app import build_app

if TYPE_CHECKING:
    from detector.catalogue import Catalogue
    from detector.catalogue.serving import Serve
    from detector.serve.queue import Queue
    from detector.store import Store

log = logging.getLogger(__name__)

HEAD_SECONDS = 10.0
"""A request's head has to arrive within this time of its first byte, or of the connection."""
MAX_HEAD_BYTES = 16 << 10
MAX_CONNECTIONS = 128
FAREWELL_SECONDS = 10


class Impatient(H11Protocol):
    """HTTP/1.1 that closes a connection on which a request was begun and does not arrive."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on while the head is not complete."""
        super().data_received(data)
        if self._is_busy():
            self._wait_no_more()
        elif self._timer is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if not self._is_busy():
            self.transport.close()


class HttpServer:
    """`detector serve` on one address.

    Raises ConfigError where it cannot listen, or a certificate cannot be used.
    """

    def __init__(self, catalogue: Catalogue, store: Store, queue: Queue | None = None) -> None:
        serve = catalogue.settings.serve
        tls = serve.tls
        if tls:
            _check_certificate(tls.cert_file, tls.key_file)
        self._socket = _listen(serve)
        host, port = self._socket.getsockname()[:2]
        self.url = f"{'https' if serve.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        options: dict[str, Any] = {"ssl_certfile": tls.cert_file, "ssl_keyfile": tls.key_file} if tls else {}
        self._server = uvicorn.Server(
            uvicorn.Config(
                build_app(catalogue, store, queue),
                http=Impatient,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=FAREWELL_SECONDS,
                **options,
            )
        )
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        if not serve.is_guarded and is_loopback(serve.host):
            log.info("anybody on this machine may ask; settings.serve has bearer_token_file and basic_auth")

    @contextlib.contextmanager
    def in_background(self) -> Iterator[HttpServer]:
        """Serve from a thread of its own while the context lasts."""
        log.info("serving at %s", self.url)
        thread = threading.Thread(target=self._server.run, args=([self._socket],), name="serve", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.should_exit = True
            thread.join(FAREWELL_SECONDS + 5)


def _listen(serve: Serve) -> socket.socket:
    family = socket.AF_INET6 if ":" in serve.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((serve.host, serve.port))
        made.listen(MAX_CONNECTIONS)
    except OSError as error:
        made.close()
        raise ConfigError(f"cannot listen on {serve.listen}: {error.strerror or error}") from error
    return made


def _check_certificate(cert_file: str, key_file: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"settings.serve.tls: {cert_file} with {key_file} cannot be used: {error}") from error
