"""Reads series from the Prometheus HTTP API into a SeriesFrame, and raises nothing but our own errors.

The queries go through `prometheus_api_client`; the session under it is ours: it checks every answer
(status, warnings, shape) and decodes it quickly, because the library does neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from detector.catalogue.durations import parse_duration
from detector.errors import (
    BadResponse,
    ResponseTooLarge,
    SourceError,
    SourceUnavailable,
    TooManySeries,
)
from detector.frame import SeriesFrame, merge_frames
from detector.http import Failures, HttpClient
from detector.response import decode, excerpt, parse_instant, parse_matrix

if TYPE_CHECKING:
    from prometheus_api_client import PrometheusConnect

    from detector.catalogue.schema import Endpoint

POINTS_PER_REQUEST = 10_000
"""Prometheus answers at most 11,000 points a series."""
FIRST_POINTS = 240
"""A long range begins with so many points: their size tells how many fit into the next request."""
MAX_BODY_BYTES = 256 << 20
BODY_SHARE = 4
"""Requests are cut for answers of this part of what is allowed: reading one takes several times its size of memory."""
RETRIES = 2
YEAR_SECONDS = 365 * 86400
"""A year as Prometheus counts it in durations."""


class PrometheusSource:
    """One Prometheus, or anything that speaks its query API.

    Raises SourceUnavailable, QueryRejected, PartialData, BadResponse, ResponseTooLarge or TooManySeries,
    and no other exception.
    """

    def __init__(
        self, endpoint: Endpoint, *, max_series: int | None = None, max_body_bytes: int = MAX_BODY_BYTES
    ) -> None:
        failures = Failures(SourceUnavailable, BadResponse, ResponseTooLarge)
        self._http = HttpClient(endpoint, "Prometheus", failures, retries=RETRIES, max_body_bytes=max_body_bytes)
        self._session = _QuerySession(self._http)
        self._max_series = max_series
        self._max_body_bytes = max_body_bytes
        self._library: PrometheusConnect | None = None

    @property
    def url(self) -> str:
        """Where Prometheus is."""
        return self._http.url

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def now(self) -> int | None:
        """Unix seconds of Prometheus' own clock at its last answer, or None before the first."""
        return self._session.now

    def range(self, expr: str, start: int, end: int, step: int) -> SeriesFrame:
        """The expression at every multiple of `step` from `start` to `end` (both floored to one).

        Series are in the order of their labels; nothing found is a frame without series. NaN and ±Inf
        are gaps.
        """
        first, last = start // step * step, end // step * step
        chunks = self._chunks(expr, first, last, step)
        if len(chunks) < 2:
            return chunks[0] if chunks else SeriesFrame.empty(first, step)
        frame = merge_frames(chunks)
        self._cap(frame.n, expr)
        return frame

    def instant(self, expr: str, at: int | None = None) -> list[tuple[dict[str, str], float]]:
        """The expression at one time (now, if not given): labels and value of each element."""
        params = {} if at is None else {"time": at}
        data = self._connect().custom_query(expr, params=params)
        return parse_instant(data, expr=expr)

    def flags(self) -> dict[str, str]:
        """Prometheus' command line flags, by name."""
        data = self._get("/api/v1/status/flags")
        if not isinstance(data, dict):
            raise BadResponse(f"Prometheus at {self.url}: expected flags, got {excerpt(data)}")
        return {str(name): str(value) for name, value in data.items()}

    def retention(self) -> int | None:
        """Seconds of history that Prometheus keeps; None where it does not say or goes by size."""
        try:
            data = self._get("/api/v1/status/runtimeinfo")
        except BadResponse:
            return None
        text = data.get("storageRetention") if isinstance(data, dict) else None
        return _parse_retention(text) if isinstance(text, str) else None

    def metric_names(self) -> list[str]:
        """Every metric name Prometheus knows, sorted."""
        data = self._get("/api/v1/label/__name__/values")
        if not isinstance(data, list):
            raise BadResponse(f"Prometheus at {self.url}: expected names, got {excerpt(data)}")
        return sorted(str(name) for name in data)

    def ready(self) -> bool:
        """Whether it answers queries now."""
        try:
            return bool(self.instant("vector(1)"))
        except SourceError:
            return False

    def _chunks(self, expr: str, first: int, last: int, step: int) -> list[SeriesFrame]:
        """The range in pieces, in order, each of them so short that its answer should fit.

        The newest piece is read first: the series that are there now say how large the others will be.
        """
        points = FIRST_POINTS if (last - first) // step >= 2 * FIRST_POINTS else POINTS_PER_REQUEST
        chunks: list[SeriesFrame] = []
        clock: int | None = None
        while last >= first:
            begin = max(first, last - (points - 1) * step)
            try:
                chunk = self._range_once(expr, begin, last, step)
            except ResponseTooLarge:
                if begin == last:
                    raise
                points = (1 + (last - begin) // step) // 2
                continue
            clock = clock if chunks else self._session.now
            chunks.append(chunk)
            room = self._max_body_bytes // BODY_SHARE * chunk.T // max(1, self._session.size)
            points = max(1, min(POINTS_PER_REQUEST, room))
            last = begin - step
        self._session.now = clock or self._session.now
        return chunks[::-1]

    def _range_once(self, expr: str, start: int, end: int, step: int) -> SeriesFrame:
        first, last = (datetime.fromtimestamp(seconds, UTC) for seconds in (start, end))
        data = self._connect().custom_query_range(expr, first, last, str(step))
        return parse_matrix(data, start, end, step, max_series=self._max_series, expr=expr)

    def _get(self, path: str) -> Any:
        return self._session.request("GET", self.url + path).json()["data"]["result"]

    def _cap(self, n: int, expr: str) -> None:
        if self._max_series is not None and n > self._max_series:
            raise TooManySeries(expected=self._max_series, got=n, expr=expr)

    def _connect(self) -> PrometheusConnect:
        if self._library is None:
            from prometheus_api_client import PrometheusConnect  # imports pandas

            self._library = PrometheusConnect(self.url, session=self._session)
        return self._library


class _Envelope:
    """What `prometheus_api_client` takes for an answer. Under `result` it finds the whole of `data`."""

    status_code = 200

    def __init__(self, data: Any) -> None:
        self._data = data

    def json(self) -> Mapping[str, Any]:
        return {"data": {"result": self._data}}


class _QuerySession:
    """The session under `prometheus_api_client`: sends, checks and decodes; raises SourceError only."""

    verify = True
    cert = None

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self.now: int | None = None
        self.size = 0
        """Bytes of the last answer."""

    def request(self, method: str, url: str, params: Mapping[str, Any] | None = None, **_: Any) -> _Envelope:
        answer = self._http.exchange(method, url.removeprefix(self._http.url), params=params)
        self.size = len(answer.body)
        self.now = _date(answer.headers.get("Date")) or self.now
        expr = str(params["query"]) if params and "query" in params else None
        try:
            return _Envelope(decode(answer, url=self._http.url, expr=expr))
        except SourceError as error:
            error.args = (self._http.redact(str(error)),)
            raise

    def mount(self, *_: Any) -> None:
        """Keep the library's own adapter out: retries are the client's."""

    def close(self) -> None:
        self._http.close()


def _date(header: str | None) -> int | None:
    try:
        return int(parsedate_to_datetime(header).timestamp()) if header else None
    except (ValueError, TypeError, OverflowError):
        return None


def _parse_retention(text: str) -> int | None:
    """Seconds of `15d`, `1y2w`, `30d or 10GB`; None for a size alone."""
    match = re.fullmatch(r"(?:(\d+)y)?([^ ]*)", text.partition(" or ")[0])
    if match is None:
        return None
    years, rest = int(match[1] or 0), parse_duration(match[2])
    return years * YEAR_SECONDS + (rest or 0) if years or rest else None
