from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.catalogue.schema import BasicAuth, Endpoint
from detector.errors import SinkError, SinkRejected, SinkUnavailable
from detector.loopback import free_port
from detector.servers import Pushgateway
from detector.sink import DryRunSink, PushgatewaySink, group_path
from tests.misbehaving import Behaviour, Loopback

BODY = b"# TYPE forecast_value gauge\nforecast_value 1\n"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Pushgateway]:
    with Pushgateway() as server:
        yield server


def sink_to(*urls: str, timeout: int = 5) -> PushgatewaySink:
    return PushgatewaySink([Endpoint(url=url, timeout=timeout) for url in urls])


def exposed(server: Any) -> str:
    return requests.get(f"{server.url}/metrics", timeout=5).text


def test_a_push_replaces_the_whole_group(pushgateway: Any) -> None:
    sink = sink_to(pushgateway.url)
    assert sink.push({"for": "cpu", "shard": "0"}, b"a 1\nb 2\n") == []
    sink.push({"for": "cpu", "shard": "0"}, b"a 3\n")
    sink.push({"for": "disk", "shard": "0"}, b"a 4\n")
    text = exposed(pushgateway)
    assert 'a{for="cpu",instance="",job="detector",shard="0"} 3' in text
    assert 'a{for="disk",instance="",job="detector",shard="0"} 4' in text
    assert "\nb{" not in text


def test_a_deleted_group_is_gone_and_the_others_stay(pushgateway: Any) -> None:
    sink = sink_to(pushgateway.url)
    for name in ("cpu", "disk"):
        sink.push({"for": name, "shard": "0"}, BODY)
    sink.delete({"for": "cpu", "shard": "0"})
    sink.delete({"for": "never", "shard": "0"})
    assert sink.groups() == [{"for": "disk", "shard": "0"}]
    assert 'for="cpu"' not in exposed(pushgateway)


def test_an_empty_exposition_removes_the_group(pushgateway: Any) -> None:
    sink = sink_to(pushgateway.url)
    sink.push({"for": "cpu"}, BODY)
    sink.push({"for": "cpu"}, b"")
    assert sink.groups() == []


def test_only_groups_of_our_own_job_are_listed(pushgateway: Any) -> None:
    sink = sink_to(pushgateway.url)
    sink.push({"for": "cpu", "shard": "0"}, BODY)
    requests.put(f"{pushgateway.url}/metrics/job/backup/for/cpu", data=BODY, timeout=5)
    assert sink.groups() == [{"for": "cpu", "shard": "0"}]
    assert sink.groups("backup") == [{"for": "cpu"}]


@pytest.mark.parametrize(
    "shard", ["", "/", "a/b", ".", "..", "a b", "a%2Fb", "ü", "日本", "a?b#c", "a+b", "@base64", "="]
)
def test_a_group_of_any_name_can_be_pushed_listed_and_deleted(gateway: Pushgateway, shard: str) -> None:
    sink = sink_to(gateway.url)
    group = {"for": "cpu", "shard": shard}
    sink.push(group, BODY)
    assert {name: value for name, value in sink.groups()[0].items() if value} == {
        name: value for name, value in group.items() if value
    }
    sink.delete(group)
    assert sink.groups() == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_what_is_pushed_under_any_text_is_found_under_it(gateway: Pushgateway, value: str) -> None:
    sink = sink_to(gateway.url)
    sink.push({"shard": value}, BODY)
    assert sink.groups() == [{"shard": value}]
    sink.delete({"shard": value})
    assert sink.groups() == []


def test_a_group_without_a_usable_label_is_an_error() -> None:
    for group in ({"a-b": "1"}, {"job": ""}):
        with pytest.raises(SinkError):
            group_path(group)


def test_a_refusal_carries_the_gateways_own_words(pushgateway: Any) -> None:
    sink = sink_to(pushgateway.url)
    sink.push({"for": "cpu"}, BODY)
    with pytest.raises(SinkRejected, match=r"HTTP 400: .*pushed metrics are invalid or inconsistent") as caught:
        sink.push({"for": "cpu"}, b"a 1\na 1\n")
    assert caught.value.exit_code == 4
    assert "forecast_value{" in exposed(pushgateway)


def test_one_gateway_down_is_a_warning_and_the_other_has_the_data(
    pushgateway: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with caplog.at_level(logging.WARNING):
        (warning,) = sink_to(dead, pushgateway.url).push({"for": "cpu"}, BODY)
    assert dead in warning
    assert dead in caplog.text
    assert 'for="cpu"' in exposed(pushgateway)


def test_all_gateways_down_is_an_error() -> None:
    with pytest.raises(SinkUnavailable, match="cannot be reached") as caught:
        sink_to(*(f"http://127.0.0.1:{free_port()}" for _ in range(2))).push({"for": "cpu"}, BODY)
    assert caught.value.exit_code == 4


def test_a_gateway_that_hangs_costs_its_timeout_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(SinkUnavailable, match="did not answer in 1s"):
            sink_to(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=1).push({"for": "cpu"}, BODY)
    assert time.monotonic() - start < 3


def test_a_gateway_that_says_later_is_asked_once_more() -> None:
    with Loopback([Behaviour(503), Behaviour(202)]) as server:
        assert sink_to(server.url).push({"for": "cpu"}, BODY) == []
        assert [request.method for request in server.requests] == ["PUT", "PUT"]
    with Loopback([Behaviour(503)]) as server, pytest.raises(SinkUnavailable, match="503"):
        sink_to(server.url).push({"for": "cpu"}, BODY)
    assert len(server.requests) == 2


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"data":[1]}', b'{"data":{"labels":2}}', b"<html>"])
def test_a_server_that_is_no_gateway_is_our_error(body: bytes) -> None:
    with Loopback([Behaviour(200, body)]) as server, pytest.raises(SinkError):
        sink_to(server.url).groups()


def test_credentials_are_sent_but_never_told() -> None:
    endpoint = {"basic_auth": BasicAuth(username="me", password="hunter2"), "headers": {"X-Scope-OrgID": "tenant-9"}}
    with Loopback([Behaviour(403, b"no hunter2 for tenant-9")]) as server:
        with pytest.raises(SinkRejected) as caught:
            PushgatewaySink(Endpoint(url=server.url, **endpoint)).push({"for": "cpu"}, BODY)
        (request,) = server.requests
    assert request.headers["Authorization"] == "Basic bWU6aHVudGVyMg=="
    assert request.headers["X-Scope-OrgID"] == "tenant-9"
    assert "hunter2" not in str(caught.value)
    assert "tenant-9" not in str(caught.value)


def test_a_dry_run_shows_what_would_be_pushed() -> None:
    shown: list[str] = []
    sink = DryRunSink(shown.append)
    sink.push({"for": "cpu", "shard": "0"}, BODY)
    assert shown == ["# PUT /metrics/job/detector/for/cpu/shard/0\n" + BODY.decode()]
    assert sink.groups() == [{"for": "cpu", "shard": "0"}]
    sink.delete({"for": "cpu", "shard": "0"})
    assert sink.groups() == []
    assert sink.pushed == {}
