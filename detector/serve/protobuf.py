"""As much of Prometheus' remote-read messages as is needed: requests in, samples out.

Written by hand because the messages are small and fixed, and because a sample always takes the same 18 bytes: n series
are encoded with a few array operations, and a stretch of time is a slice of bytes. The messages and field numbers are
those of `prometheus/prompb` (remote.proto, types.proto). Shapes: n series, P points.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLES: Final = 0
"""The response type that every Prometheus understands."""
SAMPLE_BYTES: Final = 18

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LATEST_MS = 1 << 42
_LONGEST_VARINT = 10


class MalformedMessageError(ValueError):
    """The bytes are no message of the kind that was expected."""


@dataclass(frozen=True)
class Matcher:
    """One condition on a label; ``type`` 0 is ``=``, 1 ``!=``, 2 ``=~``, 3 ``!~``."""

    type: int
    name: str
    value: str


@dataclass(frozen=True)
class ReadQuery:
    """Series and a time range in milliseconds, both ends included."""

    start_ms: int = 0
    end_ms: int = 0
    matchers: tuple[Matcher, ...] = ()


@dataclass(frozen=True)
class ReadRequest:
    """Several queries, and the response types that the client takes (none: samples)."""

    queries: tuple[ReadQuery, ...] = ()
    accepts: tuple[int, ...] = field(default=())


def decode_read_request(data: bytes) -> ReadRequest:
    """Read a remote-read request. Raises MalformedMessageError where it is none."""
    queries: list[ReadQuery] = []
    accepts: list[int] = []
    for number, value in _fields(data):
        if number == 1:
            queries.append(_query(_as_bytes(value)))
        elif number == 2:
            accepts += [value] if isinstance(value, int) else _packed(value)
    return ReadRequest(tuple(queries), tuple(accepts))


def _query(data: bytes) -> ReadQuery:
    start = end = 0
    matchers = []
    for number, value in _fields(data):
        if number == 1:
            start = _signed(value)
        elif number == 2:
            end = _signed(value)
        elif number == 3:
            matchers.append(_matcher(_as_bytes(value)))
    return ReadQuery(start, end, tuple(matchers))


def _matcher(data: bytes) -> Matcher:
    kind, name, text = 0, "", ""
    for number, value in _fields(data):
        if number == 1:
            kind = _signed(value)
        elif number == 2:
            name = _text(value)
        elif number == 3:
            text = _text(value)
    if not 0 <= kind <= 3:
        raise MalformedMessageError(f"expected a matcher of type 0 to 3, got {kind}")
    return Matcher(kind, name, text)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of every field of a message, in order."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise MalformedMessageError(f"expected wire type 0, 1, 2 or 5, got {kind}")
        if number == 0 or at + length > len(data):
            raise MalformedMessageError(f"field {number} has no number, or is cut short")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(data[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at + place + 1
    raise MalformedMessageError("a number is cut short or too long")


def _packed(data: bytes) -> list[int]:
    found, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        found.append(value)
    return found


def _signed(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise MalformedMessageError("expected a number, got bytes")
    return value - (1 << 64) if value >= 1 << 63 else value


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise MalformedMessageError("expected bytes, got a number")
    return value


def _text(value: int | bytes) -> str:
    try:
        return _as_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise MalformedMessageError("expected UTF-8 text") from error


def encode_samples(times: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The field `samples` of n time series, one row of bytes a sample: ``[n, P, 18]``.

    ``times [P]``: unix seconds; ``values [n, P]``. A time is written in six bytes whatever its size: it lies between
    1970 and 2109.
    """
    milliseconds = times * 1000
    if milliseconds.size and not 0 <= milliseconds.min() <= milliseconds.max() < _LATEST_MS:
        raise ValueError(f"expected times from 1970 to 2109, got {times.min()} to {times.max()}")
    out = np.empty((*values.shape, SAMPLE_BYTES), np.uint8)
    out[..., :3] = (0x12, SAMPLE_BYTES - 2, 0x09)  # samples (field 2), its length, value (field 1, a double)
    out[..., 3:11] = values.astype("<f8")[..., None].view(np.uint8)
    out[..., 11] = 0x10  # timestamp (field 2, a varint)
    groups = milliseconds[:, None] >> (7 * np.arange(6))
    out[..., 12:18] = (groups & 0x7F) | np.array([0x80] * 5 + [0])
    return out


def encode_labels(labels: Mapping[str, str]) -> bytes:
    """The field `labels` of a time series, sorted by name; an empty value is no label."""
    pairs = sorted((name, value) for name, value in labels.items() if value)
    return b"".join(_field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in pairs)


def encode_read_response(results: Sequence[Sequence[tuple[bytes, bytes]]]) -> bytes:
    """A response of several results, each of time series given as (labels, samples), both encoded already."""
    return b"".join(_field(1, b"".join(_series(*one) for one in result)) for result in results)


def _series(labels: bytes, samples: bytes) -> bytes:
    return b"\x0a" + _encoded_varint(len(labels) + len(samples)) + labels + samples


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | _BYTES]) + _encoded_varint(len(data)) + data


def _encoded_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
