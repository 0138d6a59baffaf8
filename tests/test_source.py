from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.catalogue.schema import BasicAuth, Endpoint, Tls
from detector.errors import (
    BadResponse,
    PartialData,
    QueryRejected,
    ResponseTooLarge,
    SourceError,
    SourceUnavailable,
    TooManySeries,
)
from detector.exposition import Family, render
from detector.frame import SeriesFrame, merge_frames
from detector.http import Answer
from detector.loopback import free_port
from detector.programs import find_program
from detector.prometheus_syntax import matcher
from detector.response import decode, loads, parse_instant, parse_matrix
from detector.servers import Prometheus
from detector.source import PrometheusSource
from tests.certificates import certificate
from tests.misbehaving import Behaviour, Loopback

START = 1_700_000_040 // 60 * 60
POINTS = 12_000
MANY, LEFT = 3000, 2000
"""Of 40 series of `many` one has so many points, the others left before."""
NASTY = 'C:\\dir "x"\nü{}='


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Give a Prometheus with a past: `wave` (one of two has a hole), 40 of `many`, one nasty label, NaN and Inf."""
    directory = tmp_path_factory.mktemp("past")
    lines = ["# TYPE wave gauge"]
    for instance in ("a", "b"):
        for i in range(POINTS):
            if instance == "a" or not 5000 <= i < 5100:
                lines.append(f'wave{{instance="{instance}"}} {wave(instance, i)!r} {START + 60 * i}')
    lines.append("# TYPE many gauge")
    for n in range(40):
        lines += [f'many{{n="{n}"}} {n + i / MANY!r} {START + 60 * i}' for i in range(LEFT if n else MANY)]
    lines += ["# TYPE wave2 gauge", f'wave2{{instance="a"}} 1 {START}', "# TYPE odd gauge"]
    for i, value in enumerate(["1", "NaN", "+Inf", "-Inf", "2"]):
        lines.append(f'odd{{kind="x"}} {value} {START + 60 * i}')
    sample = render([Family("nasty", "h").add({"path": NASTY}, 7)]).decode().splitlines()[-1]
    lines += ["# TYPE nasty gauge", f"{sample} {START}", "# EOF", ""]
    (directory / "past.om").write_text("\n".join(lines))
    command = ["tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=744h", "-q"]
    subprocess.run(
        [find_program("promtool"), *command, str(directory / "past.om"), str(directory / "data")], check=True
    )
    with Prometheus("", data=directory / "data", retention="100y") as prometheus:
        yield prometheus


def wave(instance: str, i: int) -> float:
    return float(np.sin(i / 100) + (instance == "b"))


def source_of(url: str, *, timeout: int = 5, **options: Any) -> PrometheusSource:
    return PrometheusSource(Endpoint(url=url, timeout=timeout), **options)


def test_a_range_has_the_values_of_the_series_on_the_grid(server: Prometheus) -> None:
    frame = source_of(server.url).range("wave", START + 59, START + 60 * 99 + 30, 60)
    assert (frame.start, frame.end, frame.T) == (START, START + 60 * 99, 100)
    assert frame.labels == ({"instance": "a"}, {"instance": "b"})
    np.testing.assert_array_equal(frame.values[0], [wave("a", i) for i in range(100)])
    np.testing.assert_array_equal(frame.values[1], [wave("b", i) for i in range(100)])


def test_more_points_than_one_request_may_have_come_as_one_frame(server: Prometheus) -> None:
    frame = source_of(server.url).range("wave", START, START + 60 * (POINTS - 1), 60)
    assert frame.T == POINTS
    np.testing.assert_array_equal(frame.values[0], [wave("a", i) for i in range(POINTS)])
    hole = np.flatnonzero(np.isnan(frame.values[1]))
    assert 5000 <= hole.min() <= 5005, "Prometheus looks back five minutes at most"
    assert hole.max() == 5099


@pytest.mark.parametrize("end", [LEFT, MANY])  # at the end of the whole range all series but one are gone
def test_a_long_range_of_many_series_is_read_in_answers_under_the_cap(server: Prometheus, end: int) -> None:
    end = START + 60 * (end - 1)
    whole = source_of(server.url).range("many", START, end, 60)
    assert whole.n == 40
    capped = source_of(server.url, max_body_bytes=200_000).range("many", START, end, 60)
    assert (capped.start, capped.labels) == (whole.start, whole.labels)
    np.testing.assert_array_equal(capped.values, whole.values)


def test_a_single_moment_that_is_larger_than_the_cap_is_an_error(server: Prometheus) -> None:
    with pytest.raises(ResponseTooLarge, match="at most 1000 bytes"):
        source_of(server.url, max_body_bytes=1000).range("many", START, START + 60 * 100, 60)


def test_nan_and_infinities_are_gaps(server: Prometheus) -> None:
    frame = source_of(server.url).range("odd", START, START + 240, 60)
    np.testing.assert_array_equal(frame.values, [[1, np.nan, np.nan, np.nan, 2]])


def test_nothing_found_is_a_frame_without_series(server: Prometheus) -> None:
    frame = source_of(server.url).range("no_such_metric", START, START + 600, 60)
    assert frame.values.shape == (0, 11)
    assert source_of(server.url).range("wave", START, START - 60, 60).T == 0


def test_a_matcher_with_an_escaped_value_finds_its_series(server: Prometheus) -> None:
    frame = source_of(server.url).range("nasty{" + matcher("path", NASTY) + "}", START, START, 60)
    assert frame.labels == ({"path": NASTY},)
    assert source_of(server.url).instant("nasty", START) == [({"__name__": "nasty", "path": NASTY}, 7.0)]


def test_an_instant_query_of_a_scalar_is_one_value_without_labels(server: Prometheus) -> None:
    assert source_of(server.url).instant("scalar(vector(3))") == [({}, 3.0)]
    assert np.isnan(source_of(server.url).instant("vector(NaN)")[0][1])


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        ("wave[", "parse error"),
        ("sum(wave", "unclosed left parenthesis"),
        ("wave * on(x) wave", "many-to-many"),
        ('"text"', "text|type"),
    ],
)
def test_a_bad_expression_is_rejected_in_prometheus_own_words_with_the_query(
    server: Prometheus, expr: str, said: str
) -> None:
    with pytest.raises(QueryRejected, match=said) as caught:
        source_of(server.url).range(expr, START, START + 60, 60)
    assert expr in str(caught.value)
    assert caught.value.exit_code == 1


def test_more_series_than_allowed_is_an_error_that_counts_them(server: Prometheus) -> None:
    with pytest.raises(TooManySeries, match="at most 1 series, got 2") as caught:
        source_of(server.url, max_series=1).range("wave", START, START + 60, 60)
    assert (caught.value.expected, caught.value.got) == (1, 2)


def test_series_that_differ_in_their_name_only_are_rejected(server: Prometheus) -> None:
    with pytest.raises(QueryRejected, match="metric name only"):
        source_of(server.url).range('{__name__=~"wave|wave2"}', START, START + 60, 60)


def test_flags_retention_names_and_readiness_are_prometheus_own(server: Prometheus) -> None:
    source = source_of(server.url)
    assert source.ready()
    assert source.flags()["storage.tsdb.retention.time"] == "100y"
    assert source.retention() == 100 * 365 * 86400
    assert {"nasty", "odd", "wave"} <= set(source.metric_names())
    assert abs((source.now() or 0) - time.time()) < 5


def test_a_server_that_is_not_there_is_unavailable_and_not_ready() -> None:
    source = source_of(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(SourceUnavailable, match="cannot be reached: Connection refused") as caught:
        source.range("up", 0, 60, 60)
    assert caught.value.exit_code == 3
    assert not source.ready()


def test_a_server_that_hangs_costs_its_timeout_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(SourceUnavailable, match="did not answer in 1s"):
            source_of(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=1).range("up", 0, 60, 60)
    assert time.monotonic() - start < 3


def test_a_body_that_drips_is_given_up() -> None:
    said = "did not finish its answer in 4s"
    with Loopback([Behaviour(200, b"x" * 1000, drip=0.1)]) as server, pytest.raises(SourceUnavailable, match=said):
        source_of(server.url, timeout=1).range("up", 0, 60, 60)


GOOD = orjson.dumps(
    {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[60, "1"]]}]}}
)
HISTOGRAM = {"metric": {"a": "b"}, "histograms": [[60, {"count": "1", "sum": "2"}]]}


def envelope(**fields: Any) -> bytes:
    return orjson.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}, **fields})


def error_body(kind: str, message: str) -> bytes:
    return orjson.dumps({"status": "error", "errorType": kind, "error": message})


def matrix(*result: Any) -> bytes:
    return envelope(data={"resultType": "matrix", "result": list(result)})


@pytest.mark.parametrize(
    ("behaviour", "error", "said"),
    [
        (Behaviour(200, b"<html>login</html>"), BadResponse, "expected JSON, got '<html>login"),
        (Behaviour(200, b""), BadResponse, "expected JSON"),
        (Behaviour(200, b"null"), BadResponse, "API answer"),
        (Behaviour(200, b'"a"'), BadResponse, "API answer"),
        (Behaviour(200, GOOD[:-20]), BadResponse, "expected JSON"),
        (Behaviour(200, GOOD[:-20], length=len(GOOD)), BadResponse, "broke off"),
        (Behaviour(200, GOOD, headers={"Content-Encoding": "gzip"}), BadResponse, "broke off"),
        (Behaviour(raw=b"SSH-2.0-OpenSSH\r\n\r\n"), SourceUnavailable, "cannot be reached"),
        (Behaviour(raw=b""), SourceUnavailable, "cannot be reached"),
        (Behaviour(200, error_body("timeout", "query timed out")), SourceUnavailable, "query timed out"),
        (Behaviour(200, error_body("bad_data", "parse error: x")), QueryRejected, "parse error: x"),
        (Behaviour(422, error_body("execution", "many-to-many")), QueryRejected, r"many-to-many \(query: up\)"),
        (Behaviour(400, b"a proxy's page"), BadResponse, "HTTP 400 a proxy's page"),
        (Behaviour(401, b"who are you"), SourceUnavailable, "refused our credentials: HTTP 401"),
        (Behaviour(404, b"not here"), BadResponse, "no query API there: HTTP 404"),
        (Behaviour(302, headers={"Location": "http://sso/?token=abc"}), BadResponse, r"moved to http://sso/\?token=\*"),
        (Behaviour(500, error_body("internal", "boom")), SourceUnavailable, "boom"),
        (Behaviour(200, envelope(warnings=["store gateway down"])), PartialData, "store gateway down"),
        (Behaviour(200, matrix(HISTOGRAM)), QueryRejected, "native histogram"),
        (Behaviour(200, matrix({"metric": {}, "values": [[61, "1"]]})), BadResponse, "off the grid"),
        (Behaviour(200, matrix({"metric": {}, "values": [[60, "x"]]})), BadResponse, "unknown shape"),
        (Behaviour(200, matrix({"metric": {"a": 1}, "values": []})), BadResponse, "unknown shape"),
        (Behaviour(200, matrix({"values": []})), BadResponse, "unknown shape"),
        (Behaviour(200, envelope(data={"resultType": "string", "result": [1, "x"]})), QueryRejected, "got string"),
        (Behaviour(200, envelope(data={})), BadResponse, "without a list"),
    ],
)
def test_every_bad_answer_is_an_error_of_ours_that_says_what_came(
    behaviour: Behaviour, error: type[SourceError], said: str
) -> None:
    with Loopback([behaviour]) as server, pytest.raises(error, match=said):
        source_of(server.url, timeout=2).range("up", 60, 120, 60)


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_says_later_is_asked_again(status: int) -> None:
    with Loopback([Behaviour(status, headers={"Retry-After": "3600"}), Behaviour(200, GOOD)]) as server:
        assert source_of(server.url).range("up", 60, 60, 60).values.tolist() == [[1.0]]
        assert len(server.requests) == 2


def test_a_server_that_always_says_later_is_unavailable_after_three_requests() -> None:
    with Loopback([Behaviour(503, b"overloaded")]) as server:
        with pytest.raises(SourceUnavailable, match="cannot answer now: HTTP 503 overloaded"):
            source_of(server.url).range("up", 60, 60, 60)
        assert len(server.requests) == 3


def test_an_answer_larger_than_the_cap_is_dropped() -> None:
    blank = b" " * 5_000_000
    for answer in (Behaviour(200, blank), Behaviour(200, gzip.compress(blank), headers={"Content-Encoding": "gzip"})):
        with Loopback([answer]) as server, pytest.raises(ResponseTooLarge, match="at most 1000000 bytes"):
            source_of(server.url, max_body_bytes=1_000_000).range("up", 60, 60, 60)


def test_remarks_are_no_warnings() -> None:
    body = envelope(warnings=["PromQL info: metric might not be a counter"], infos=["x"])
    with Loopback([Behaviour(200, body)]) as server:
        assert source_of(server.url).range("up", 60, 60, 60).n == 0


def test_a_server_that_does_not_tell_its_retention_is_no_error() -> None:
    with Loopback([Behaviour(404)]) as server:
        assert source_of(server.url).retention() is None
    for text, seconds in (("15d", 15 * 86400), ("1y or 10GB", 365 * 86400), ("10GB", None), ("1y1w", 372 * 86400)):
        with Loopback([Behaviour(200, envelope(data={"storageRetention": text}))]) as server:
            assert source_of(server.url).retention() == seconds


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        ({"basic_auth": BasicAuth(username="me", password="hunter2")}, "Basic bWU6aHVudGVyMg=="),
        ({"bearer_token": "s3cret-token"}, "Bearer s3cret-token"),
        ({"bearer_token_file": "FILE"}, "Bearer s3cret-token"),
        ({"basic_auth": {"username": "me", "password_file": "FILE"}}, "Basic bWU6czNjcmV0LXRva2Vu"),
    ],
)
def test_credentials_are_sent_but_never_told(settings_: Any, expected: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret-token\n")
    text = json.dumps(settings_, default=lambda model: model.model_dump(exclude_none=True))
    given_settings = json.loads(text.replace("FILE", str(tmp_path / "secret")))
    with Loopback([Behaviour(401, b"bad s3cret-token hunter2")]) as server:
        source = PrometheusSource(Endpoint(url=server.url, headers={"X-Scope-OrgID": "t"}, **given_settings))
        with pytest.raises(SourceUnavailable) as caught:
            source.instant("up")
        (request,) = server.requests
    assert request.headers["Authorization"] == expected
    assert request.headers["X-Scope-OrgID"] == "t"
    assert request.headers["Accept-Encoding"] == "identity"
    assert str(caught.value).endswith(
        "bad *** hunter2" if "basic" not in text or "FILE" in text else "s3cret-token ***"
    )


def test_a_missing_token_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    source = PrometheusSource(Endpoint(url="http://127.0.0.1:9", bearer_token_file=str(tmp_path / "none")))
    with pytest.raises(SourceUnavailable, match=str(tmp_path / "none")):
        source.instant("up")


def test_a_netrc_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login thief password x\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Loopback([Behaviour(200, envelope(data=[]))]) as server:
        source_of(server.url).metric_names()
        assert "Authorization" not in server.requests[0].headers


def test_a_password_in_the_url_is_used_and_redacted() -> None:
    with Loopback([Behaviour(200, envelope(data=[]))]) as server:
        source_of(server.url.replace("//", "//me:hunter2@")).metric_names()
        assert server.requests[0].headers["Authorization"] == "Basic bWU6aHVudGVyMg=="
    with pytest.raises(SourceUnavailable) as caught:
        source_of("http://me:hunter2@127.0.0.1:9").metric_names()
    assert "hunter2" not in str(caught.value)
    assert "***@127.0.0.1:9" in str(caught.value)


def test_tls_verifies_the_server_and_presents_our_certificate(
    prometheus: Callable[..., Prometheus], tmp_path: Path
) -> None:
    ca, key = certificate(tmp_path, address=False)
    with tls_server(ca, key) as url:
        with pytest.raises(SourceUnavailable, match="TLS handshake"):
            source_of(url).instant("up")
        with pytest.raises(SourceUnavailable, match=r"TLS handshake|broke off|cannot be reached"):
            PrometheusSource(Endpoint(url=url, tls=Tls(ca_file=str(ca), server_name="prom.test"))).metric_names()
        identity = {"cert_file": str(ca), "key_file": str(key)}
        with pytest.raises(SourceUnavailable, match=r"TLS handshake.*127\.0\.0\.1'"):
            PrometheusSource(Endpoint(url=url, tls=Tls(ca_file=str(ca), **identity))).metric_names()
        for tls in (
            Tls(ca_file=str(ca), server_name="prom.test", **identity),
            Tls(insecure_skip_verify=True, **identity),
        ):
            with contextlib.nullcontext() if tls.ca_file else pytest.warns(Warning, match="Unverified"):
                assert PrometheusSource(Endpoint(url=url, tls=tls)).metric_names() == ["up"]
    with pytest.raises(SourceUnavailable, match=r"none\.pem"):
        PrometheusSource(Endpoint(url="https://127.0.0.1:9", tls=Tls(ca_file="/none.pem"))).metric_names()


@contextlib.contextmanager
def tls_server(cert: Path, key: Path) -> Iterator[str]:
    """Serve over TLS, for clients that have the certificate too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(cert)
    context.verify_mode = ssl.CERT_REQUIRED
    server = Loopback([Behaviour(200, envelope(data=["up"]))])
    server.wrap(context)
    with server:
        yield server.url.replace("http:", "https:")


@given(st.data())
def test_chunks_merged_equal_one_fetch(data: st.DataObject) -> None:
    n, T, points = (data.draw(st.integers(0, 4)), data.draw(st.integers(1, 40)), data.draw(st.integers(1, 15)))
    cell = st.one_of(st.none(), st.floats(-10, 10))
    table = [data.draw(st.lists(cell, min_size=T, max_size=T)) for _ in range(n)]
    answer = lambda a, b: parse_matrix(served(table, a, b), a, b, 60)  # noqa: E731
    end = 60 * (T - 1)
    whole = answer(0, end)
    merged = merge_frames([answer(60 * i, min(end, 60 * (i + points - 1))) for i in range(0, T, points)])
    assert (merged.start, merged.T, merged.labels) == (whole.start, whole.T, whole.labels)
    np.testing.assert_array_equal(merged.values, whole.values)


def served(table: list[list[float | None]], start: int, end: int) -> Any:
    """Give what Prometheus would answer: series without a point in the range are not there."""
    result = []
    for i, row in enumerate(table):
        columns = range(start // 60, end // 60 + 1)
        values = [[60 * c, repr(row[c])] for c in columns if row[c] is not None]
        if values:
            result.append({"metric": {"__name__": "m", "i": str(i)}, "values": values})
    return {"resultType": "matrix", "result": result[::-1]}


KEYS = ["status", "data", "result", "resultType", "metric", "values", "value", "error", "warnings", "histogram"]
WORDS = st.sampled_from(["success", "error", "matrix", "vector", "scalar", "1", "NaN", "+Inf"])
scraps = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=25,
)
entries = st.fixed_dictionaries({"metric": scraps, "values": scraps | st.lists(scraps), "value": scraps})
results = st.lists(entries | scraps, max_size=3) | scraps
kinds = st.sampled_from(["matrix", "vector", "scalar", "string"])
almost = st.fixed_dictionaries(
    {"status": st.just("success"), "data": st.fixed_dictionaries({"resultType": kinds, "result": results})}
)


@settings(max_examples=400)
@given(scraps | almost, st.sampled_from([200, 200, 200, 400, 422, 503, 302]))
def test_any_json_gives_a_frame_or_an_error_of_ours(document: Any, status: int) -> None:
    answer = Answer(status, orjson.dumps(document), {})
    for parse in (lambda data: parse_matrix(data, 0, 600, 60), parse_instant):
        with contextlib.suppress(SourceError):
            parse(decode(answer, url="http://x"))


numbers = st.floats(-1e300, 1e300).map(repr) | st.sampled_from(["NaN", "+Inf", "-Inf", "1e-5", "0"])
point = st.tuples(st.integers(0, 10).map(lambda i: 60 * i), numbers)
odd_point = point | st.tuples(st.integers(0, 5), st.integers(0, 5)) | st.tuples(numbers, numbers) | st.tuples(numbers)


@given(
    st.lists(st.tuples(st.text(max_size=20) | st.just('"values":[[1,"2"]]'), st.lists(point, max_size=5)), max_size=4)
    | st.lists(st.tuples(st.text(max_size=5), st.lists(odd_point, max_size=3)), max_size=3)
)
def test_the_quick_way_to_read_points_gives_what_the_general_one_gives(series: list[Any]) -> None:
    result = [{"metric": {"x": label, "n": str(i)}, "values": points} for i, (label, points) in enumerate(series)]
    body = matrix(*result)
    outcomes = []
    for document in (loads(body), orjson.loads(body)):
        try:
            outcomes.append(parse_matrix(document["data"], 0, 600, 60))
        except SourceError as error:
            outcomes.append(type(error))
    if isinstance(outcomes[1], SeriesFrame):
        assert outcomes[0].labels == outcomes[1].labels
        np.testing.assert_array_equal(outcomes[0].values, outcomes[1].values)
    else:
        assert outcomes[0] == outcomes[1]


@given(st.binary(max_size=60))
def test_any_bytes_are_an_error_of_ours(body: bytes) -> None:
    with pytest.raises(SourceError):
        decode(Answer(200, body, {}), url="http://x")


def test_a_million_points_are_parsed_quickly() -> None:
    row = [[60 * i, repr(i / 7)] for i in range(10_000)]
    result = [{"metric": {"i": str(i)}, "values": row} for i in range(100)]
    body = envelope(data={"resultType": "matrix", "result": result})
    began = time.perf_counter()
    frame = parse_matrix(decode(Answer(200, body, {}), url="http://x"), 0, 60 * 9_999, 60)
    assert time.perf_counter() - began < 4
    assert frame.values.shape == (100, 10_000)
    assert isinstance(frame, SeriesFrame)
