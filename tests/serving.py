"""A worker's store with forecasts in it, and `detector serve` on a free loopback port, for the tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import cramjam
import numpy as np
import requests

from detector.catalogue import Catalogue, parse_catalogue
from detector.curves import Curves, curves_key
from detector.run import listening_on
from detector.serve.protobuf import Matcher
from detector.serve.server import HttpServer
from detector.showing import Line, Showing, showing_key
from detector.store import MemoryStore, Store

CATALOGUE = """
settings:
  timezone: Asia/Tokyo
  serve: {{listen: "127.0.0.1:0"{serve}}}
  recovery: {recovery}
queries:
  accuracy:
    expr: accuracy
    unit: ratio
    objective: {{above: 0.93}}
    every: 1m
    horizons: [1h, 24h]
"""
QUANTILES = (0.1, 0.5, 0.9)


def catalogue(serve: str = "", recovery: str = "{}") -> Catalogue:
    return parse_catalogue(CATALOGUE.format(serve=serve and f", {serve}", recovery=recovery), "test.yaml")


def with_free_port(of: Catalogue) -> Catalogue:
    return listening_on(of, "127.0.0.1:0")


@contextlib.contextmanager
def served(of: Catalogue | None = None, store: Store | None = None) -> Iterator[str]:
    """The URL of a `detector serve` in this process."""
    with HttpServer(of or catalogue(), store or MemoryStore()).in_background() as server:
        yield server.url  # it listens already; who asks too early waits


def wait_for(url: str) -> None:
    from tests.waiting import wait_until

    def answers() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(url + "/healthz", timeout=5).ok
        return False

    wait_until(answers, within=20, what="detector serve")


def put(
    store: Store,
    slot: int,
    values: Sequence[Sequence[float]],
    labels: Sequence[dict[str, str]],
    *,
    step: int = 60,
    query: str = "accuracy",
    shard: str = "0",
    valid: int = 180,
) -> None:
    """Save curves of a median ``values [n, P]``, one point a step after the slot; the band is 0.01 wide each way."""
    median = np.array(values, np.float32)
    curves = Curves(
        slot=slot,
        valid_until=slot + valid,
        labels=tuple(labels),
        quantiles=QUANTILES,
        times=slot + step * np.arange(1, median.shape[1] + 1),
        values=np.stack([median - np.float32(0.01), median, median + np.float32(0.01)], axis=1),
    )
    store.save(curves_key(query, shard), curves.to_bytes())
    lines = [Line(dict(one), "ok", now=float(row[0])) for one, row in zip(labels, median, strict=True)]
    showing = Showing(slot, slot + valid, ["1h", "24h"], lines, has_curves=True)
    store.save(showing_key(query, shard), showing.to_bytes())


# -- Prometheus' messages, written down a second time: slowly, and field by field ---------------------


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    head = b""
    while value > 0x7F:
        head += bytes([value & 0x7F | 0x80])
        value >>= 7
    return head + bytes([value])


def part(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def request_of(start: float, end: float, *matchers: Matcher, accepts: Sequence[int] = (0,)) -> bytes:
    """A compressed read request for one query; seconds."""
    conditions = b"".join(
        part(3, part(1, one.type) + part(2, one.name.encode()) + part(3, one.value.encode())) for one in matchers
    )
    query = part(1, int(start * 1000)) + part(2, int(end * 1000)) + conditions + part(4, part(1, 60_000))
    return bytes(cramjam.snappy.compress_raw(part(1, query) + b"".join(part(2, one) for one in accepts)))


def equal(**labels: str) -> list[Matcher]:
    return [Matcher(0, "for" if name == "for_" else name, value) for name, value in labels.items()]


def parts(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        kind = key & 7
        if kind == 0:
            yield key >> 3, number()
        else:
            size = 8 if kind == 1 else number()
            yield key >> 3, data[at : at + size]
            at += size


def series_in(body: bytes) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
    """Labels and (unix seconds, value) points of every series of the first result of a compressed response."""
    [(_, result), *_] = list(parts(bytes(cramjam.snappy.decompress_raw(body)))) or [(1, b"")]
    found = []
    for _, series in parts(result):
        labels, points = {}, []
        for number, value in parts(series):
            inside = dict(parts(value))
            if number == 1:
                labels[inside[1].decode()] = inside[2].decode()
            else:
                points.append((inside[2] / 1000, float(np.frombuffer(inside[1], "<f8")[0])))
        found.append((labels, points))
    return found


def read(url: str, *matchers: Matcher, start: float, end: float, **options: Any) -> requests.Response:
    """Ask as Prometheus does."""
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", **options.pop("headers", {})}
    body = options.pop("body", None) or request_of(start, end, *matchers)
    return requests.post(url + "/api/v1/read", data=body, headers=headers, timeout=30, **options)
