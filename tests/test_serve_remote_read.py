"""Curves by remote read: exact matchers and times, limits, and a real Prometheus with future samples."""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.catalogue import parse_catalogue
from detector.curves import Curves
from detector.render.remote_read import remote_read
from detector.run import build_store, build_worker
from detector.serve.protobuf import MalformedMessageError, Matcher, decode_read_request
from detector.serve.remote_read import BadRequestError, Limits, answer
from detector.serve.sheet import issued_sheets, latest_sheet
from detector.servers import Prometheus, Redis, prometheus_config
from detector.store import MemoryStore, RedisStore
from detector.track_record import TrackRecord
from tests.certificates import certificate
from tests.serving import QUANTILES, catalogue, equal, put, read, request_of, series_in, served, varint, with_free_port
from tests.waiting import wait_until

SLOT = 1_800_000_000
LIMITS = Limits(series=10_000, body_bytes=1 << 26)
ALL = equal(__name__="forecast_curve", source="forecast")


def sheet(values: Any, labels: Any, step: int = 60) -> Any:
    median = np.array(values, np.float32)
    curves = Curves(
        SLOT,
        SLOT + 180,
        tuple(labels),
        QUANTILES,
        SLOT + step * np.arange(1, median.shape[1] + 1),
        np.stack([median - 1, median, median + 1], axis=1),
    )
    return latest_sheet(catalogue().query("accuracy"), curves)


def ask(*matchers: Matcher, sheets: Any = None, start: int = SLOT, end: int = SLOT + 10**6, now: int = SLOT) -> Any:
    sheets = sheets or [sheet([[1, 2, 3], [4, np.nan, 6]], [{"job": "b"}, {"job": "a", "source": "x"}])]
    return series_in(answer(request_of(start, end, *matchers), sheets, now, LIMITS))


def medians(found: Any) -> dict[str, list[float]]:
    return {labels["job"]: [value for _, value in points] for labels, points in found if labels["quantile"] == "0.5"}


def test_a_curve_has_the_labels_of_its_series_and_one_point_a_cell_in_order() -> None:
    found = ask(*ALL)
    assert [labels for labels, _ in found] == sorted(
        (labels for labels, _ in found), key=lambda one: sorted(one.items())
    )
    assert len(found) == 6
    labels, points = next(one for one in found if one[0]["job"] == "a" and one[0]["quantile"] == "0.5")
    assert labels == {
        "__name__": "forecast_curve",
        "exported_source": "x",
        "for": "accuracy",
        "job": "a",
        "quantile": "0.5",
        "source": "forecast",
    }
    assert points == [(SLOT + 60, 4.0), (SLOT + 180, 6.0)]  # NaN is no point


@pytest.mark.parametrize(
    ("matcher", "expected"),
    [
        (Matcher(0, "job", "a"), ["a"]),
        (Matcher(1, "job", "a"), ["b"]),
        (Matcher(2, "job", "a|c"), ["a"]),
        (Matcher(2, "job", "."), ["a", "b"]),
        (Matcher(2, "job", "a.+"), []),
        (Matcher(3, "job", "a|c"), ["b"]),
        (Matcher(0, "exported_source", ""), ["b"]),
        (Matcher(1, "exported_source", ""), ["a"]),
        (Matcher(0, "missing", ""), ["a", "b"]),
        (Matcher(2, "missing", ".+"), []),
        (Matcher(2, "job", "(?i)A"), ["a"]),
        (Matcher(2, "job", "[[:alpha:]]"), ["a", "b"]),  # as RE2 has it, and Python has not
        (Matcher(0, "issued", "24h"), []),
        (Matcher(1, "issued", ""), []),
        (Matcher(0, "for", "other"), []),
        (Matcher(0, "source", "Forecast"), []),
    ],
)
def test_a_matcher_means_what_it_means_in_prometheus(matcher: Matcher, expected: list[str]) -> None:
    assert sorted(medians(ask(*ALL, matcher))) == expected


@given(st.integers(-100, 400), st.integers(-100, 400))
@settings(max_examples=60, deadline=None)
def test_only_points_within_the_time_range_leave_both_ends_included(start: int, end: int) -> None:
    times = SLOT + 60 * np.arange(1, 6)
    got = ask(*ALL, sheets=[sheet([[1, 2, 3, 4, 5]], [{"job": "a"}])], start=SLOT + start, end=SLOT + end)
    inside = [float(i + 1) for i, t in enumerate(times) if SLOT + start <= t <= SLOT + end]
    assert medians(got) == ({"a": inside} if inside else {})


def test_a_coarse_curve_has_a_point_at_least_every_five_minutes_on_straight_lines_whatever_the_range() -> None:
    coarse = [sheet([[0, 6, 12]], [{"job": "a"}], step=3600)]
    whole = dict(next(points for labels, points in ask(*ALL, sheets=coarse) if labels["quantile"] == "0.5"))
    times = sorted(whole)
    assert max(b - a for a, b in itertools.pairwise(times)) == 300
    assert whole[SLOT + 3600 + 1800] == pytest.approx(3.0)
    piece = ask(*ALL, sheets=coarse, start=SLOT + 4000, end=SLOT + 5000)
    points = next(points for labels, points in piece if labels["quantile"] == "0.5")
    assert points == [(t, v) for t, v in whole.items() if SLOT + 4000 <= t <= SLOT + 5000]
    assert len(points) == 3


def test_a_forecast_that_is_no_longer_valid_is_not_offered() -> None:
    assert ask(*ALL, now=SLOT + 180)
    assert ask(*ALL, now=SLOT + 181) == []


def test_what_was_forecast_an_hour_ago_for_a_moment_stands_at_that_moment() -> None:
    query = catalogue().query("accuracy")
    record = TrackRecord()
    for i in range(8):
        figures = np.array([[[0.1 + i, 0.0]], [[0.5 + i, 0.0]], [[0.9 + i, 0.0]], [[0.0, 0.0]]])
        record = record.with_forecast(query, SLOT + 900 * i, ['{"job":"a"}'], figures)
    found = ask(*ALL, *equal(issued="1h", quantile="0.9"), sheets=issued_sheets(query, record), now=SLOT + 10**6)
    [(labels, points)] = found
    assert labels["issued"] == "1h"
    at = dict(points)
    assert [at[SLOT + 3600 + 900 * i] for i in range(8)] == pytest.approx([0.9 + i for i in range(8)])
    assert len(points) == 7 * 3 + 1
    both = [*issued_sheets(query, record), sheet([[1]], [{"job": "a"}])]
    for matchers, issues in ((), [""]), ([Matcher(2, "issued", ".*")], ["", "1h", "24h"]), (equal(issued=""), [""]):
        drawn = ask(*ALL, *matchers, *equal(quantile="0.5"), sheets=both)
        assert sorted(labels.get("issued", "") for labels, _ in drawn) == issues


# -- limits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"no snappy at all", "snappy"),
        (b"", "snappy"),
        (varint(1 << 31) + b"\x00\x61", f"at most {1 << 20} bytes, got {1 << 31}"),
        (bytes(cramjam.snappy.compress_raw(b"\x0a\xff")), "cut short"),
        (request_of(0, 1, Matcher(2, "job", "a(")), "expected a regular expression"),
        (request_of(0, 1, Matcher(2, "job", "a)(b")), "expected a regular expression"),
        (request_of(0, 1, Matcher(3, "job", r"(a)\1")), "expected a regular expression"),
        (request_of(0, 1, Matcher(9, "job", "a")), "type 0 to 3"),
        (request_of(0, 1, *ALL, accepts=[1]), "takes samples"),
    ],
)
def test_what_is_no_request_is_refused_with_what_was_expected(body: bytes, said: str) -> None:
    with pytest.raises(BadRequestError, match=re.escape(said)):
        answer(body, [sheet([[1]], [{}])], SLOT, LIMITS)


def test_a_pattern_that_makes_backtracking_engines_hang_is_answered_at_once() -> None:
    began = time.perf_counter()
    assert ask(*ALL, Matcher(2, "job", "(a+)+b"), sheets=[sheet([[1]], [{"job": "a" * 40}])]) == []
    assert time.perf_counter() - began < 1


def test_more_series_or_bytes_than_allowed_are_refused_before_they_are_made() -> None:
    many = [sheet(np.ones((40, 10)), [{"job": str(i)} for i in range(40)])]
    with pytest.raises(BadRequestError, match="at most 100 curves, got 120"):
        answer(request_of(SLOT, SLOT + 9999, *ALL), many, SLOT, Limits(100, 1 << 20))
    with pytest.raises(BadRequestError, match="at most 5000 bytes of samples"):
        answer(request_of(SLOT, SLOT + 9999, *ALL), many, SLOT, Limits(1000, 5000))
    assert answer(request_of(SLOT, SLOT + 60, *ALL), many, SLOT, Limits(1000, 5000))
    assert many[0].most_points(SLOT + 9999, SLOT) == 0  # a range that ends before it begins earns no credit


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_request_or_our_error(data: bytes) -> None:
    with contextlib.suppress(MalformedMessageError):
        decode_read_request(data)


def test_a_thousand_curves_of_a_day_leave_in_a_tenth_of_a_second() -> None:
    values = np.random.default_rng(0).random((1000, 289))
    big = [sheet(values, [{"job": "node", "instance": f"host-{i}:9100"} for i in range(1000)], step=300)]
    body = request_of(SLOT, SLOT + 90_000, *ALL, *equal(quantile="0.5"))
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        packed = answer(body, big, SLOT, LIMITS)
        seconds.append(time.perf_counter() - began)
    began = time.perf_counter()
    found = series_in(packed)
    naive = time.perf_counter() - began  # one point after the other, as this test's own decoder works
    assert (len(found), len(found[0][1])) == (1000, 289)
    print(f"1,000 series x 289 points: {1000 * sorted(seconds)[2]:.0f} ms, {len(packed):,} bytes")
    assert sorted(seconds)[2] < max(0.1, naive / 10)


# -- over HTTP -------------------------------------------------------------------------------------------


def test_the_endpoint_says_what_prometheus_expects_and_refuses_the_rest() -> None:
    store = MemoryStore()
    now = int(time.time())
    put(store, now, [[0.95, 0.94]], [{"job": "a"}])
    with served(store=store) as url:
        good = read(url, *ALL, start=now, end=now + 600)
        assert (good.status_code, good.headers["Content-Type"]) == (200, "application/x-protobuf")
        assert len(series_in(good.content)) == 3
        bad = read(url, *ALL, Matcher(2, "job", "("), start=now, end=now)
        assert bad.status_code == 400
        assert "regular expression" in bad.text
        assert read(url, start=0, end=0, headers={"Content-Encoding": "gzip"}).status_code == 415
        assert read(url, start=0, end=0, body=b"x" * ((1 << 20) + 1)).status_code == 413
        assert requests.get(url + "/api/v1/read", timeout=5).status_code == 405


def test_new_curves_and_new_shards_are_served_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.serve.shelf.LIST_SECONDS", 0.0)
    store, now = MemoryStore(), int(time.time())
    with served(store=store) as url:

        def points() -> dict[str, list[float]]:
            return medians(series_in(read(url, *ALL, start=now, end=now + 9999).content))

        assert points() == {}
        put(store, now, [[1.0, 2.0]], [{"job": "a"}])
        wait_until(lambda: points() == {"a": [1.0, 2.0]}, within=20, what="the first curve")
        put(store, now + 1, [[3.0]], [{"job": "a"}])
        put(store, now + 1, [[4.0]], [{"job": "b"}], shard="1")
        wait_until(lambda: points() == {"a": [3.0], "b": [4.0]}, within=20, what="the new curves")


# -- a real Prometheus -----------------------------------------------------------------------------------

Start = Callable[..., Prometheus]


def ask_prometheus(server: Prometheus, expr: str, start: int, end: int, step: int = 300) -> tuple[Any, dict[str, Any]]:
    params: dict[str, str | int] = {"query": expr, "start": start, "end": end, "step": step}
    said = requests.get(server.url + "/api/v1/query_range", params=params, timeout=30).json()
    assert said["status"] == "success", said
    return said["data"]["result"], said


def config_for(url: str, **external: str) -> str:
    blocks: dict[str, Any] = {"remote_read": remote_read(url)}
    config = prometheus_config({}, **blocks)
    if external:
        config = config.replace("global:", "global:\n  external_labels: " + repr(external))
    return config


@pytest.fixture
def falling() -> Iterator[tuple[str, int]]:
    """Serve two curves over a day that fall from 0.95, one under 0.93 after eight hours; the URL and the slot."""
    store, now = MemoryStore(), int(time.time()) // 300 * 300
    ahead = np.arange(1, 289) * 300.0
    falls = [0.95 - 0.02 * ahead / (8 * 3600), np.full(288, 0.95)]
    put(store, now, falls, [{"instance": "a", "job": "ml"}, {"instance": "b", "job": "ml"}], step=300, valid=9999)
    with served(store=store) as url:
        yield url, now


def test_prometheus_shows_future_samples_and_promql_works_on_them(prometheus: Start, falling: tuple[str, int]) -> None:
    url, now = falling
    server = prometheus(config_for(url, cluster="tokyo"))
    curve = 'forecast_curve{source="forecast",quantile="0.5"}'
    result, said = ask_prometheus(server, curve, now - 3600, now + 86_400)
    assert "warnings" not in said
    assert [(one["metric"]["instance"], len(one["values"])) for one in result] == [("a", 288), ("b", 288)]
    assert result[0]["values"][-1][0] == now + 86_400
    lowest, _ = ask_prometheus(server, f"min by (instance) ({curve}) < 0.93", now, now + 86_400)
    assert [one["metric"]["instance"] for one in lowest] == ["a"]
    first = f"min_over_time(timestamp(({curve} < 0.93))[24h:5m] offset -24h) - {now}"
    crossing, _ = ask_prometheus(server, first, now, now)
    assert float(crossing[0]["values"][0][1]) == pytest.approx(8 * 3600 + 300)
    width = f"{curve.replace('0.5', '0.9')} - ignoring(quantile) {curve.replace('0.5', '0.1')}"
    band, _ = ask_prometheus(server, width, now + 300, now + 300)
    assert [float(one["values"][0][1]) for one in band] == pytest.approx([0.02, 0.02])


def test_prometheus_reads_over_tls_with_a_token_from_redis(prometheus: Start, redis: Redis, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    token = tmp_path / "token"
    token.write_text("prometheus-token\n")
    store, now = RedisStore(redis.url), int(time.time()) // 60 * 60
    put(store, now, [[0.95, 0.94]], [{"job": "a"}])
    guarded = catalogue(serve=f"bearer_token_file: '{token}', tls: {{cert_file: '{cert}', key_file: '{key}'}}")
    with served(guarded, store) as url:
        known = remote_read(url, bearer_token_file=str(token), ca_file=str(cert))
        server = prometheus(prometheus_config({}, remote_read=known))
        result, said = ask_prometheus(server, 'forecast_curve{source="forecast"}', now, now + 120, step=60)
        assert "warnings" not in said
        assert len(result) == 3
        stranger = prometheus(prometheus_config({}, remote_read=remote_read(url, ca_file=str(cert))))
        result, said = ask_prometheus(stranger, 'forecast_curve{source="forecast"}', now, now + 120, step=60)
        assert result == []
        assert "401" in said["warnings"][0]


def test_other_queries_are_unaffected_while_the_endpoint_is_down_hangs_or_talks_garbage(prometheus: Start) -> None:
    def garbage(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Encoding: snappy\r\n\r\ngarbage")

    def silence(connection: socket.socket) -> None:
        connection.recv(65_536)
        time.sleep(8)

    now = int(time.time())
    for behave in (None, garbage, silence):
        with speaking(behave) as (url, calls):
            server = prometheus(config_for(url))
            began = time.monotonic()
            result, said = ask_prometheus(server, 'forecast_curve{source="forecast"}', now, now + 600)
            assert result == []
            assert said["warnings"]
            assert time.monotonic() - began < 7
            asked = len(calls)
            began = time.monotonic()
            for expr in ("vector(1)", "up", 'forecast_curve{quantile="0.5"}', "forecast_value"):
                assert "warnings" not in ask_prometheus(server, expr, now, now + 600)[1]
            assert time.monotonic() - began < 3
            assert len(calls) == asked
            server.stop()


@contextlib.contextmanager
def speaking(behave: Any) -> Iterator[tuple[str, list[int]]]:
    """A loopback port that treats each connection so; None: nobody listens."""
    calls: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if behave is None:
            listener.close()
            yield f"http://127.0.0.1:{port}", calls
            return

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    calls.append(1)
                    threading.Thread(target=treat, args=(connection,), daemon=True).start()

        def treat(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                behave(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{port}", calls
        listener.shutdown(socket.SHUT_RDWR)


def test_the_block_for_prometheus_asks_only_for_curves_and_shows_a_token_from_a_file() -> None:
    assert remote_read("https://detector:9208/", bearer_token_file="/run/secrets/detector", ca_file="/ca.pem") == [
        {
            "url": "https://detector:9208/api/v1/read",
            "name": "detector",
            "required_matchers": {"source": "forecast"},
            "read_recent": True,
            "remote_timeout": "5s",
            "filter_external_labels": False,
            "authorization": {"credentials_file": "/run/secrets/detector"},
            "tls_config": {"ca_file": "/ca.pem"},
        }
    ]


def test_the_worker_leaves_curves_that_agree_with_what_it_publishes_and_join_with_their_series(
    prometheus: Start, failing_platform: str, failing_past: Path, tmp_path: Path
) -> None:
    text = f"""
settings: {{prometheus: '{failing_platform}'}}
queries:
  accuracy: {{expr: ml_ensemble_accuracy, unit: ratio, step: 1m, history: 3d, horizons: [1h, 24h]}}
"""
    loaded = parse_catalogue(text, "test.yaml")
    worker = build_worker(loaded, sinks=[])
    slot = int(time.time()) // 60 * 60
    [result] = worker.run_slot(slot)
    assert result.failure is None and result.values is not None
    assert result.frame is not None
    with served(with_free_port(loaded), build_store(loaded)) as url:
        server = prometheus(config_for(url), data=shutil.copytree(failing_past, tmp_path / "past"))
        curve = 'forecast_curve{source="forecast",for="accuracy",quantile="0.5"}'
        found, _ = ask_prometheus(server, curve, slot, slot + 86_400, step=60)
        error = f"{curve} - ignoring(source, for, quantile) ml_ensemble_accuracy"
        joined, _ = ask_prometheus(server, error, slot + 300, slot + 300)
    assert len(joined) == result.frame.n
    assert all(abs(float(one["values"][0][1])) < 0.05 for one in joined)
    assert len(found) == result.frame.n
    for row, labels in enumerate(result.frame.labels):
        own = {name: value for name, value in labels.items() if name != "__name__"}
        [drawn] = [dict(one["values"]) for one in found if own.items() <= one["metric"].items()]
        assert float(drawn[slot + 3600]) == pytest.approx(result.values[row, 1, 0], abs=1e-6)
        assert float(drawn[slot + 86_400]) == pytest.approx(result.values[row, 1, 1], abs=1e-6)
