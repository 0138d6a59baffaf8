"""Answers Prometheus' remote read with forecast curves: exactly the series and the time that it asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cramjam

from detector import conventions as names
from detector.serve.matching import BadMatcherError, Selection
from detector.serve.protobuf import (
    SAMPLE_BYTES,
    SAMPLES,
    MalformedMessageError,
    ReadQuery,
    ReadRequest,
    decode_read_request,
    encode_read_response,
)
from detector.serve.sheet import Curve, Sheet

MAX_REQUEST_BYTES = 1 << 20
"""Of a request after decompression. Prometheus' own have a few hundred."""
MAX_QUERIES, MAX_MATCHERS = 32, 128
CONTENT_TYPE = "application/x-protobuf"


class BadRequestError(ValueError):
    """The request cannot be answered; the message says what was expected and what came."""


@dataclass(frozen=True)
class Limits:
    """How much one answer may hold."""

    series: int
    body_bytes: int


def answer(body: bytes, sheets: Iterable[Sheet], now: float, limits: Limits) -> bytes:
    """The compressed response to a compressed request.

    ``now``: unix seconds; what is no longer valid is not offered.

    Raises:
        BadRequestError: not a read request, a bad regular expression, or more than the limits allow.
    """
    request = _read(body)
    offered = [sheet for sheet in sheets if sheet.valid_until >= now]
    results = []
    series = size = 0
    for query in request.queries:
        chosen = _select(query, offered)
        series += sum(len(curves) for _, curves in chosen)
        if series > limits.series:
            raise BadRequestError(f"expected at most {limits.series} curves, got {series}; narrow the selector")
        start, end = -(-query.start_ms // 1000), query.end_ms // 1000
        size += sum(sheet.most_points(start, end) * len(curves) * SAMPLE_BYTES for sheet, curves in chosen)
        if size > limits.body_bytes:  # known before a byte of it is there
            raise BadRequestError(
                f"expected at most {limits.body_bytes} bytes of samples, got {size}; ask for less time"
            )
        results.append(_result(chosen, start, end))
    return bytes(cramjam.snappy.compress_raw(encode_read_response(results)))


def _read(body: bytes) -> ReadRequest:
    try:
        size = cramjam.snappy.decompress_raw_len(body)
        if size > MAX_REQUEST_BYTES:  # known before a byte of it is unpacked
            raise BadRequestError(f"expected a request of at most {MAX_REQUEST_BYTES} bytes, got {size}")
        request = decode_read_request(bytes(cramjam.snappy.decompress_raw(body)))
    except (cramjam.DecompressionError, MalformedMessageError) as error:
        raise BadRequestError(f"expected a remote-read request in snappy, got something else: {error}") from error
    if len(request.queries) > MAX_QUERIES or any(len(one.matchers) > MAX_MATCHERS for one in request.queries):
        raise BadRequestError(f"expected at most {MAX_QUERIES} queries of {MAX_MATCHERS} matchers each, got more")
    if request.accepts and SAMPLES not in request.accepts:
        raise BadRequestError(f"expected a client that takes samples (type {SAMPLES}), got {list(request.accepts)}")
    return request


def _select(query: ReadQuery, sheets: list[Sheet]) -> list[tuple[Sheet, list[Curve]]]:
    try:
        wanted = Selection(query.matchers)
    except BadMatcherError as error:
        raise BadRequestError(str(error)) from error
    if all(matcher.name != names.ISSUED for matcher in query.matchers):
        # Past forecasts only for who asks for them: else every plain selector would find a series several times.
        sheets = [sheet for sheet in sheets if names.ISSUED not in sheet.common]
    found = ((sheet, sheet.select(wanted)) for sheet in sheets)
    return [(sheet, curves) for sheet, curves in found if curves]


def _result(chosen: list[tuple[Sheet, list[Curve]]], start: int, end: int) -> list[tuple[bytes, bytes]]:
    """Series in Prometheus' order; those without a sample in the time range are left out."""
    found = []
    for sheet, curves in chosen:
        for curve, samples in zip(curves, sheet.samples(curves, start, end), strict=True):
            if samples:
                found.append((curve, samples))
    found.sort(key=lambda one: one[0].order)
    return [(curve.encoded, samples) for curve, samples in found]
