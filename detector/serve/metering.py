"""Counts every request: path, status code, seconds. Unknown paths are one, so that nobody can make up labels."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detector import conventions as names
from detector.serve.counts import Counts

PATHS = ("/", "/healthz", "/readyz", "/metrics", "/api/v1/read", "/notify", "/recover")
OTHER = "other"


class Meter:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, counts: Counts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        code, began = 500, time.perf_counter()

        async def observe(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observe)
        finally:
            path = _known(scope["path"])
            self._counts.add(names.SERVE_REQUESTS, path=path, code=str(code))
            self._counts.add(names.SERVE_SECONDS, time.perf_counter() - began, path=path)


def _known(path: str) -> str:
    if path.startswith("/notify/"):
        return "/notify"
    return path if path in PATHS else OTHER
