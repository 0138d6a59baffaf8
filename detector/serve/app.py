"""The HTTP application: which path does what. Everything slow runs in a thread, never in the loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from detector.serve.counts import Counts
from detector.serve.guard import Guard, read_body
from detector.serve.metering import Meter
from detector.serve.page import status_page
from detector.serve.recovery import Recoverer
from detector.serve.relay import NotRelayedError, Relay
from detector.serve.remote_read import CONTENT_TYPE, MAX_REQUEST_BYTES, BadRequestError, Limits, answer
from detector.serve.shelf import Shelf
from detector.serve.webhook import CONTENT_TYPE as JSON
from detector.serve.webhook import MAX_BYTES, parse

if TYPE_CHECKING:
    from detector.catalogue import Catalogue
    from detector.serve.queue import Queue
    from detector.store import Store

REFRESH_SECONDS = 2.0
"""How often the store is asked for something new."""
OPEN_PATHS = ("/healthz", "/readyz")
"""Probes have no credentials; what they learn is a word."""
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Endpoints:
    """The paths of one catalogue and store."""

    def __init__(self, catalogue: Catalogue, store: Store, queue: Queue | None = None) -> None:
        settings = catalogue.settings
        self._queue = queue
        self.counts = Counts()
        self.shelf = Shelf(catalogue, store)
        self.relay = Relay(settings.serve.targets, settings.environment, self.counts)
        self.recoverer = Recoverer(settings.recovery, store, self.counts)
        self._limits = Limits(settings.serve.max_curves, settings.serve.max_response_mib << 20)

    def routes(self) -> list[Route]:
        """Paths and what answers them."""
        return [
            Route("/", self.status),
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/metrics", self.metrics),
            Route("/api/v1/read", self.read, methods=["POST"]),
            Route("/notify/{name}", self.notify, methods=["POST"]),
            Route("/recover", self.recover, methods=["POST"]),
        ]

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Keep the shelf up to date while the application runs."""
        await asyncio.to_thread(self.shelf.refresh)
        await asyncio.to_thread(self.relay.prepare)
        keeper = asyncio.create_task(self._keep_up_to_date())
        try:
            yield
        finally:
            keeper.cancel()
            await self.recoverer.finish()

    async def _keep_up_to_date(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await asyncio.to_thread(self.shelf.refresh)

    async def status(self, _: Request) -> Response:
        """The page for people."""
        page = await asyncio.to_thread(status_page, self.shelf, time.time())
        return HTMLResponse(page, headers=_SAFE)

    async def healthz(self, _: Request) -> Response:
        """Whether the process answers."""
        return PlainTextResponse("ok\n")

    async def readyz(self, _: Request) -> Response:
        """Whether the worker's store can be read; the reason is on the page and in the log."""
        ready = not self.shelf.problem
        return PlainTextResponse("ok\n" if ready else "the store cannot be read\n", 200 if ready else 503)

    async def metrics(self, _: Request) -> Response:
        """Own metrics."""
        body = await asyncio.to_thread(self.counts.body, self.shelf, self._queue)
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def read(self, request: Request) -> Response:
        """Prometheus' remote read."""
        body = await read_body(request, CONTENT_TYPE, MAX_REQUEST_BYTES, encoding="snappy")
        try:
            packed = await asyncio.to_thread(answer, body, self.shelf.sheets, time.time(), self._limits)
        except BadRequestError as error:
            raise HTTPException(400, str(error)) from error
        return Response(packed, headers={"Content-Type": CONTENT_TYPE, "Content-Encoding": "snappy"})

    async def notify(self, request: Request) -> Response:
        """Alertmanager's webhook, relayed to one target."""
        name = request.path_params["name"]
        if name not in self.relay.targets:
            raise HTTPException(
                404, f"no such target; settings.serve.notify has {', '.join(self.relay.targets) or 'none'}"
            )
        post = parse(await read_body(request, JSON, MAX_BYTES))
        try:
            await self.relay.send(name, post)
        except NotRelayedError as error:  # a 5xx is what Alertmanager tries again on
            raise HTTPException(502, str(error)) from error
        return PlainTextResponse("sent\n")

    async def recover(self, request: Request) -> Response:
        """Alertmanager's webhook, for automatic recovery. What was started goes on after the answer."""
        if not self.recoverer.settings.enabled:
            raise HTTPException(403, "automatic recovery is off (settings.recovery.enabled)")
        post = parse(await read_body(request, JSON, MAX_BYTES))
        return JSONResponse({"results": await self.recoverer.handle(post)}, 202)


def build_app(catalogue: Catalogue, store: Store, queue: Queue | None = None) -> Starlette:
    """The application over a catalogue and the store that its workers share; ``queue`` is where their work waits."""
    endpoints = Endpoints(catalogue, store, queue)
    return Starlette(
        routes=endpoints.routes(),
        middleware=[
            Middleware(Meter, counts=endpoints.counts),
            Middleware(Guard, settings=catalogue.settings.serve, open_paths=OPEN_PATHS),
        ],
        exception_handlers={HTTPException: _refuse},
        lifespan=endpoints.lifespan,
    )


async def _refuse(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    # The rest of a refused body is not waited for.
    return PlainTextResponse(f"{error.detail}\n", error.status_code, {**(error.headers or {}), "Connection": "close"})
