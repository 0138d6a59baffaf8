"""One HTTP server of the catalogue, behind a session that never raises another library's exception.

`source` and `sink` say which of our errors an unreachable server, a broken body and an oversized body are.
Identity, TLS, timeouts, retries and the cap on the body live here, once.
"""

from __future__ import annotations

import base64
import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util.retry import Retry

from detector.errors import DetectorError

if TYPE_CHECKING:
    from urllib3.connectionpool import ConnectionPool

    from detector.catalogue.schema import Endpoint, Tls

CONNECT_SECONDS = 3.0
DEADLINE_FACTOR = 4
"""A whole answer may take this many timeouts: a body that drips byte by byte ends here."""
RETRY_STATUSES = (429, 502, 503, 504)
READ_BYTES = 1 << 20
SHORTEST_SECRET = 4
"""Shorter texts are left in messages: hiding every `1` would hide the message."""


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer, of whatever status."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        """The beginning of the body, in one line, for a message."""
        return " ".join(self.body[:500].decode(errors="replace").split())


@dataclass(frozen=True)
class Failures:
    """The errors that a caller raises for each way in which an exchange can fail."""

    unavailable: type[DetectorError]
    broken: type[DetectorError]
    too_large: type[DetectorError]


class HttpClient:
    """Exchanges with one server. `name` is what messages call it, such as `Prometheus`."""

    def __init__(self, endpoint: Endpoint, name: str, failures: Failures, *, retries: int, max_body_bytes: int) -> None:
        self.url = endpoint.url.rstrip("/")
        self.name = name
        self.timeout = (min(CONNECT_SECONDS, float(endpoint.timeout)), float(endpoint.timeout))
        self._failures = failures
        self._max_body_bytes = max_body_bytes
        self._identity = _Identity(endpoint)
        self._session = _session(endpoint, self._identity, retries)

    def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and read its whole answer. Raises only the three failures."""
        deadline = time.monotonic() + DEADLINE_FACTOR * self.timeout[1]
        try:
            with self._session.request(
                method,
                self.url + path,
                params=params,
                data=data,
                headers=dict(headers or {}),
                timeout=self.timeout,
                verify=self._session.verify,  # said here, or a REQUESTS_CA_BUNDLE would win over the catalogue
                stream=True,
                allow_redirects=False,
            ) as response:
                body = self._read(response, deadline)
                return Answer(response.status_code, body, response.headers)
        except _FOREIGN as error:
            self._fail(error)

    def close(self) -> None:
        """Close every connection."""
        self._session.close()

    def redact(self, text: str) -> str:
        """The text without the identity we present to the server."""
        for secret in self._identity.secrets():
            text = text.replace(secret, "***")
        return text

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        body = bytearray()
        while True:
            piece = response.raw.read1(READ_BYTES, decode_content=True)
            if not piece:
                return bytes(body)
            body += piece
            if len(body) > self._max_body_bytes:
                limit = self._max_body_bytes
                raise self._failures.too_large(
                    f"{self.name} at {self.url}: expected an answer of at most {limit} bytes, got more"
                )
            if time.monotonic() > deadline:
                seconds = DEADLINE_FACTOR * self.timeout[1]
                raise self._failures.unavailable(f"{self.name} at {self.url} did not finish its answer in {seconds:g}s")

    def _fail(self, error: Exception) -> NoReturn:
        kind: type[DetectorError] = self._failures.unavailable
        if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
            said = f"did not answer in {self.timeout[1]:g}s"
            if isinstance(error, requests.ConnectTimeout):
                said = f"took no connection in {self.timeout[0]:g}s"
        elif isinstance(error, _BROKEN):
            kind, said = self._failures.broken, f"broke off its answer: {_cause(error)}"
        elif isinstance(error, requests.exceptions.SSLError):
            said = f"failed the TLS handshake: {_cause(error)}"
        elif isinstance(error, requests.ConnectionError):
            said = f"cannot be reached: {_cause(error)}"
        else:
            said = f"cannot be used: {_cause(error)}"
        raise kind(self.redact(f"{self.name} at {self.url} {said}")) from error


_BROKEN = (
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.DecodeError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    http.client.HTTPException,
)
_FOREIGN = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)


class _Identity(AuthBase):
    """Presents basic or bearer credentials; files are read anew for each request, so they may be rotated.

    Being set, it also keeps `requests` from adding whatever it finds in a `.netrc`.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        value = self._authorization()
        if value is not None:
            request.headers["Authorization"] = value
        return request

    def secrets(self) -> list[str]:
        """Everything that must not stand in a message."""
        found = list(self._endpoint.headers.values())
        try:
            value, password = self._authorization(), self._password()
        except OSError:
            value = password = None
        if value is not None:
            found += [value, value.partition(" ")[2]]
        if password is not None:
            found.append(password)
        return [secret for secret in found if len(secret) >= SHORTEST_SECRET]

    def _authorization(self) -> str | None:
        endpoint, url = self._endpoint, urlsplit(self._endpoint.url)
        if endpoint.bearer_token_file is not None:
            return "Bearer " + _secret_file(endpoint.bearer_token_file)
        if endpoint.bearer_token is not None:
            return "Bearer " + endpoint.bearer_token
        user = endpoint.basic_auth.username if endpoint.basic_auth is not None else url.username
        if user is None:
            return None
        pair = f"{user if endpoint.basic_auth is not None else unquote(user)}:{self._password() or ''}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def _password(self) -> str | None:
        basic = self._endpoint.basic_auth
        if basic is None:
            password = urlsplit(self._endpoint.url).password
            return unquote(password) if password is not None else None
        return basic.password if basic.password_file is None else _secret_file(basic.password_file)


def _secret_file(path: str) -> str:
    try:
        return Path(path).expanduser().read_text().strip()
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror}") from error


class _PatientRetry(Retry):
    """Tries again on lost connections and on `try later`, but not after a timeout or a bad certificate."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: urllib3.response.BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """Count one failure; raises where there must be no further attempt."""
        if isinstance(error, urllib3.exceptions.ReadTimeoutError | urllib3.exceptions.SSLError):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


class _Adapter(HTTPAdapter):
    """Asks for, and verifies, the server name of the catalogue where that differs from the URL's."""

    def __init__(self, retry: Retry, server_name: str | None) -> None:
        self._server_name = server_name
        super().__init__(max_retries=retry)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._server_name is not None:
            kwargs["server_hostname"] = kwargs["assert_hostname"] = self._server_name
        super().init_poolmanager(*args, **kwargs)


def _session(endpoint: Endpoint, identity: _Identity, retries: int) -> requests.Session:
    session = requests.Session()
    session.auth = identity
    session.headers["Accept-Encoding"] = "identity"
    session.headers["User-Agent"] = "detector"
    session.headers.update(endpoint.headers)
    tls: Tls | None = endpoint.tls
    if tls is not None:
        session.verify = not tls.insecure_skip_verify if tls.ca_file is None else tls.ca_file
        if tls.insecure_skip_verify:
            session.verify = False
        if tls.cert_file is not None and tls.key_file is not None:
            session.cert = (tls.cert_file, tls.key_file)
    retry = _PatientRetry(
        total=retries,
        backoff_factor=0.5,
        status_forcelist=RETRY_STATUSES,
        allowed_methods=None,
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    adapter = _Adapter(retry, tls.server_name if tls is not None else None)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _cause(error: BaseException) -> str:
    """The innermost reason, without the libraries' wrappings."""
    while isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError):
        wrapped = [getattr(error, "reason", None), *error.args, error.__cause__, error.__context__]
        inner = next((one for one in wrapped if isinstance(one, BaseException)), None)
        if inner is None:
            break
        error = inner
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
