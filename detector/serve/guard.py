"""Who may ask, and how much they may send: checked before anything is read or unpacked."""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from detector.catalogue.serving import is_loopback

if TYPE_CHECKING:
    from detector.catalogue.serving import Serve

log = logging.getLogger(__name__)

BODY_SECONDS = 10.0
"""A whole body has to arrive within this time."""
FOREIGN = PlainTextResponse(
    "expected a Host of this machine (localhost, 127.0.0.1), got another: asking under another name needs "
    "settings.serve.bearer_token_file or basic_auth\n",
    status_code=403,
    headers={"Connection": "close"},
)


class Guard:
    """ASGI middleware that answers 401 to who does not say who it is; some paths are open to all.

    Secrets in files are read anew for each request, so they may be rotated. Without credentials only this machine
    reaches us, but so does a web page in its browser whose name was pointed at it: a request must ask for this
    machine by a name or address of its own, or is answered 403.
    """

    def __init__(self, app: ASGIApp, settings: Serve, open_paths: Collection[str]) -> None:
        self._app = app
        self._settings = settings
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in self._open:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._settings.is_guarded:
            await (self._app if _names_this_machine(headers.get("host", "")) else FOREIGN)(scope, receive, send)
            return
        if self._knows(headers):
            await self._app(scope, receive, send)
            return
        scheme = "Basic" if self._settings.basic_auth is not None else "Bearer"
        refusal = PlainTextResponse(
            f"expected {scheme.lower()} credentials, got none that are known\n",
            status_code=401,
            headers={"WWW-Authenticate": f'{scheme} realm="detector"', "Connection": "close"},
        )
        await refusal(scope, receive, send)

    def _knows(self, headers: Headers) -> bool:
        try:
            expected = self._expected()
        except OSError as error:
            log.error("nobody is let in: cannot read %s: %s", error.filename, error.strerror)
            return False
        said = headers.get("authorization", "").encode("latin-1")
        scheme, _, rest = said.partition(b" ")
        return hmac.compare_digest(scheme.capitalize() + b" " + rest.strip(), expected)

    def _expected(self) -> bytes:
        basic = self._settings.basic_auth
        if basic is not None:
            password = basic.password or _secret(basic.password_file)
            return b"Basic " + base64.b64encode(f"{basic.username}:{password}".encode())
        return b"Bearer " + (self._settings.bearer_token or _secret(self._settings.bearer_token_file)).encode()


def _names_this_machine(host: str) -> bool:
    """Whether a Host header names the loopback interface.

    >>> [_names_this_machine(one) for one in ("localhost:9208", "127.0.0.1", "[::1]:9208", "LOCALHOST")]
    [True, True, True, True]
    >>> [_names_this_machine(one) for one in ("evil.example:9208", "localhost.evil.example", "10.0.0.1", "")]
    [False, False, False, False]
    """
    name, colon, port = host.rpartition(":")
    bare = name if colon and port.isdecimal() else host
    return is_loopback(bare.strip("[]").lower())


def _secret(path: str | None) -> str:
    """The content of a secret's file. Raises OSError, also where it is empty: that must open no door."""
    file = Path(path or "").expanduser()
    try:
        text = file.read_text().strip()
    except UnicodeDecodeError as error:
        raise OSError(0, "it is no text", str(file)) from error
    if not text:
        raise OSError(0, "it is empty", str(file))
    return text


async def read_body(request: Request, kind: str, most: int, encoding: str = "identity") -> bytes:
    """The body of a request of media type ``kind``, at most ``most`` bytes, still encoded.

    A media type that browsers do not send without asking first also keeps web pages from calling us.

    Raises:
        HTTPException: 415 for another type or encoding, 413 for too much, 408 for too slow, 400 for cut short.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    packed = request.headers.get("content-encoding", "identity").strip().lower()
    if given != kind or packed != encoding:
        want = kind + (f" in {encoding}" if encoding != "identity" else "")
        raise HTTPException(415, f"expected {want}, got {given or 'nothing'} in {packed}")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
        raise HTTPException(413, f"expected a body of at most {most} bytes, got {length}")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise HTTPException(413, f"expected a body of at most {most} bytes, got more")
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {BODY_SECONDS:g} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the body was cut short") from None
    return bytes(body)
