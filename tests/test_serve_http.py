"""`detector serve` as an HTTP server: who is let in, how much may be sent, health, metrics, the page, the command."""

from __future__ import annotations

import contextlib
import html
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from typer.testing import CliRunner

from detector.catalogue import parse_catalogue
from detector.cli import app
from detector.conventions import SERVED, STATES
from detector.errors import ConfigError
from detector.loopback import free_port
from detector.render.remote_read import remote_read
from detector.run import build_store, listening_on
from detector.scorekeeper import record_key
from detector.serve.metering import PATHS
from detector.showing import Line, Showing, showing_key
from detector.store import FileStore, MemoryStore
from tests.certificates import certificate
from tests.serving import catalogue, equal, put, read, series_in, served, wait_for
from tests.waiting import wait_until

POST = {"version": "4", "status": "firing", "alerts": []}


def get(url: str, **options: Any) -> requests.Response:
    return requests.get(url, timeout=10, **options)


def test_probes_are_open_and_everything_else_wants_the_token_of_the_file_which_may_be_rotated(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    with served(catalogue(serve=f"bearer_token_file: '{token}'")) as url:
        assert get(url + "/healthz").status_code == get(url + "/readyz").status_code == 200
        for path in ("/", "/metrics", "/nowhere"):
            refused = get(url + path)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="detector"')
            assert get(url + path, headers={"Authorization": "Bearer second"}).status_code == 401
        for path in ("/api/v1/read", "/notify/teams", "/recover"):
            assert requests.post(url + path, json=POST, timeout=10).status_code == 401
        assert get(url, headers={"Authorization": "Bearer first"}).status_code == 200
        token.write_text("second\n")
        assert get(url, headers={"Authorization": "bearer second"}).status_code == 200
        assert get(url, headers={"Authorization": "Bearer first"}).status_code == 401
        token.write_text("\n")  # an empty secret opens no door
        for said in ("Bearer ", "Bearer", ""):
            assert get(url, headers={"Authorization": said}).status_code == 401


def test_basic_auth_takes_the_one_user_and_password() -> None:
    with served(catalogue(serve="basic_auth: {username: prom, password: geheim}")) as url:
        assert get(url + "/metrics", auth=("prom", "geheim")).status_code == 200
        for pair in (("prom", "wrong"), ("other", "geheim"), ("prom", "")):
            assert get(url + "/metrics", auth=pair).status_code == 401


def test_tls_is_spoken_with_the_given_certificate(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with served(catalogue(serve=f"tls: {{cert_file: '{cert}', key_file: '{key}'}}")) as url:
        assert url.startswith("https://")
        assert get(url + "/healthz", verify=str(cert)).text == "ok\n"
    with pytest.raises(ConfigError, match="cannot be used"):
        served(catalogue(serve=f"tls: {{cert_file: '{key}', key_file: '{cert}'}}")).__enter__()


def test_a_web_page_whose_name_was_pointed_at_this_machine_reads_and_sends_nothing() -> None:
    foreign = {"Host": "rebound.example:9208"}
    with served(catalogue(serve="notify: {teams: {url: 'json://127.0.0.1:9/'}}")) as url:
        for path in ("/", "/metrics", "/nowhere"):
            refused = get(url + path, headers=foreign)
            assert (refused.status_code, "Host of this machine" in refused.text) == (403, True), path
        for path in ("/api/v1/read", "/notify/teams", "/recover"):
            assert requests.post(url + path, json=POST, headers=foreign, timeout=10).status_code == 403
            assert "Host of this machine" in requests.post(url + path, json=POST, headers=foreign, timeout=10).text
        for host in ("localhost", "localhost:1234", "127.0.0.1", "[::1]:9208"):
            assert get(url, headers={"Host": host}).status_code == 200, host
        assert get(url + "/healthz", headers=foreign).text == "ok\n"
    with served(catalogue(serve="bearer_token: abc")) as url:  # behind a proxy it has any name, and a key
        assert get(url, headers=foreign | {"Authorization": "Bearer abc"}).status_code == 200


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "detector:9208"])
def test_nobody_listens_beyond_this_machine_without_credentials(listen: str) -> None:
    with pytest.raises(ConfigError, match="beyond this machine"):
        listening_on(catalogue(), listen)
    guarded = catalogue(serve="bearer_token: abc")
    assert listening_on(guarded, listen).settings.serve.listen == listen


def test_recovery_is_not_enabled_where_anybody_may_ask() -> None:
    with pytest.raises(ConfigError, match="where recovery is enabled"):
        catalogue(recovery="{enabled: true}")


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"cannot listen on {address}"):
            served(listening_on(catalogue(), address)).__enter__()


def test_too_much_too_slow_and_the_wrong_kind_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.serve.guard.BODY_SECONDS", 0.5)
    target = catalogue(serve="notify: {teams: {url: 'json://127.0.0.1:9/'}}")
    with served(target) as url:
        post = url + "/notify/teams"
        plain = requests.post(post, data="{}", headers={"Content-Type": "text/plain"}, timeout=10)
        assert (plain.status_code, plain.text) == (415, "expected application/json, got text/plain in identity\n")
        packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        assert requests.post(post, data=b"\x1f\x8b", headers=packed, timeout=10).status_code == 415
        head = "POST /notify/teams HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        assert raw(url, f"{head}Content-Length: 99999999\r\n\r\n").startswith("HTTP/1.1 413 ")
        endless = "400000\r\n" + "x" * 0x400000 + "\r\n1\r\nx\r\n"
        assert raw(url, f"{head}Transfer-Encoding: chunked\r\n\r\n{endless}").startswith("HTTP/1.1 413 ")
        assert raw(url, f"{head}Content-Length: 10\r\n\r\n{{").startswith("HTTP/1.1 408 ")
        broken = requests.post(post, json={"version": "3"}, timeout=10)
        assert broken.status_code == 400
        assert "expected Alertmanager's webhook (version 4): version" in broken.text


def test_a_connection_that_says_nothing_or_never_ends_its_head_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.serve.server.HEAD_SECONDS", 0.5)
    with served() as url:
        began = time.monotonic()
        assert raw(url, "") == raw(url, "GET / HTTP/1.1\r\nHost: a\r\n") == ""
        again = raw(url, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HT")  # a second one, begun and left
        assert again.count("HTTP/1.1 200") == 1
        assert time.monotonic() - began < 10


def raw(url: str, said: str, then: str = "") -> str:
    """What comes back until the server closes the connection; ``then`` is said after the first answer."""
    host, port = url.removeprefix("http://").split(":")
    heard = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(said.encode())
        while piece := connection.recv(65_536):
            heard += piece
            connection.sendall(then.encode())
            then = ""
    return heard.decode()


def test_it_is_ready_only_while_the_store_can_be_read(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    put(store, int(time.time()), [[1.0]], [{}])
    with served(store=store) as url:
        assert get(url + "/readyz").status_code == 200
        [file] = tmp_path.rglob("showing/**/*.state")
        whole = file.read_bytes()
        file.write_bytes(whole[:-3])
        wait_until(lambda: get(url + "/readyz").status_code == 503, within=20, what="not ready")
        assert "is damaged" in get(url).text
        assert "detector_serve_store_up 0.0" in get(url + "/metrics").text
        assert get(url + "/healthz").status_code == 200
        file.write_bytes(whole)
        wait_until(lambda: get(url + "/readyz").status_code == 200, within=20, what="ready again")


def test_its_own_metrics_are_those_of_the_document_and_count_what_happened() -> None:
    store, now = MemoryStore(), int(time.time())
    put(store, now, [[1.0]], [{"job": "a"}])
    with served(store=store) as url:
        read(url, *equal(__name__="forecast_curve", source="forecast"), start=now, end=now + 60)
        read(url, start=0, end=0, body=b"garbage")
        get(url + "/made-up")
        text = get(url + "/metrics").text
    found = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    assert found <= {metric.name for metric in SERVED} | {"detector_build_info"}
    assert 'detector_serve_requests_total{code="200",path="/api/v1/read"} 1.0' in text
    assert 'detector_serve_requests_total{code="400",path="/api/v1/read"} 1.0' in text
    assert 'detector_serve_requests_total{code="404",path="other"} 1.0' in text
    assert 'detector_serve_curves{for="accuracy"} 3.0' in text
    assert f'detector_serve_newest_slot_timestamp_seconds{{for="accuracy"}} {float(now)}' in text


# -- the page --------------------------------------------------------------------------------------------


def test_the_page_shows_every_query_with_odds_time_and_state_and_escapes_what_it_shows() -> None:
    store, now = MemoryStore(), int(time.time())
    lines = [
        Line({"model": "<b>calm</b>"}, "ok", False, 0.95, [0.95, 0.951], [0.001, 0.03], [-1.0, -1.0, -1.0]),
        Line({"model": "slides"}, "ok", True, 0.94, [0.935, 0.91], [0.21, 0.97], [3600.0, 18_000.0, -1.0]),
        Line({"model": "young"}, "insufficient_history", False, 0.94),
    ]
    showing = Showing(now - 30, now + 150, ["1h", "24h"], lines)
    store.save(showing_key("accuracy", "0"), showing.to_bytes())
    with served(store=store) as url:
        answer = get(url)
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    page = re.sub(r"<[^>]+>", "|", answer.text)
    assert "1 query, 3 series" in page
    assert "1 predictive alert" in page
    assert "objective: above 93 %" in page
    assert re.search(r"newest slot [\d:]+, 3\d s ago", page)
    assert page.index("slides") < page.index("model=&lt;b&gt;calm")  # the most worrying first
    for shown in (
        "94.00 %",
        "91.00 %",
        "97 %",
        "21 %",
        "&lt;1 %",
        "5 h",
        "(1 h … &gt; 24h)",
        "not within 24h",
        "ALERT",
    ):
        assert shown in page, shown
    assert "insufficient_history" in page


def test_the_page_says_of_every_state_but_ok_what_it_means_and_what_to_do() -> None:
    store, now = MemoryStore(), int(time.time())
    lines = [Line({"model": f"{state}-{i}"}, state, now=1.0) for state in STATES for i in range(2)]
    store.save(showing_key("accuracy", "0"), Showing(now, now + 180, ["1h", "24h"], lines).to_bytes())
    with served(store=store) as url:
        page = html.unescape(re.sub(r"<[^>]+>", "", get(url).text))
    for said in (
        "insufficient_history (2 of 12): under 48 points of history; forecasts begin when it reaches back 48m",
        "no_data (2 of 12): no point in the last 14d; detector check-config FILE --against settings tells what",
        "stale (2 of 12): no new point for more than 5m: is it still scraped?",
        "not_skilful (2 of 12): recent forecasts were worse than repeating the day or week before",
        "error (2 of 12): the cycle failed; the worker's log says why",
    ):
        assert said in page, said
    assert "ok (2 of 12)" not in page


def test_the_page_says_what_a_query_without_series_or_without_a_cycle_needs() -> None:
    store, now = MemoryStore(), int(time.time())
    with served(store=store) as url:
        assert "No cycle of the worker has left anything" in get(url).text
    store.save(showing_key("accuracy", "0"), Showing(now, now + 180, ["1h", "24h"], []).to_bytes())
    with served(store=store) as url:
        page = get(url).text
    assert "no point in the last 14d" in page
    assert "No cycle of the worker" not in page


def test_the_page_says_what_failed_what_is_late_and_what_is_still_to_come() -> None:
    text = "queries: {one: {expr: up, unit: count}, two: {expr: up, unit: count}, three: {expr: up, unit: count}}"
    several = listening_on(parse_catalogue(text, "test.yaml"), "127.0.0.1:0")
    store, now = MemoryStore(), int(time.time())
    failed = Showing(now, now + 180, ["1h"], [], error="Prometheus cannot be reached <&>")
    store.save(showing_key("one", "0"), failed.to_bytes())
    late = Showing(now - 7200, now - 7000, ["1h"], [Line({}, "ok", now=1.0, median=[1.0])])
    store.save(showing_key("two", "0"), late.to_bytes())
    with served(several, store) as url:
        page = get(url).text
    assert "error: Prometheus cannot be reached &lt;&amp;&gt;" in page
    assert re.search(r"late: newest slot [\d:]+, 2 h ago", page)
    assert "raise no alert; is the worker running?" in page
    assert 'Not computed yet</h2><p class="dim">three<' in page


# -- the command -----------------------------------------------------------------------------------------


def test_the_command_serves_what_a_worker_left_in_the_state_directory_and_ends_on_sigterm(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(f"settings: {{state_dir: '{tmp_path}/state'}}\nqueries: {{load: {{expr: up, unit: count}}}}\n")
    place = build_store(parse_catalogue(path.read_text(), path.name))
    now = int(time.time())
    put(place, now, [[41.5]], [{"instance": "a"}], query="load")
    url = f"http://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "detector", "serve", "--catalogue", path, "--listen", url.removeprefix("http://")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(url)
        assert "41.5" in get(url).text
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0, said
        assert url in said
    finally:
        process.kill()


def test_the_worker_serves_itself_when_it_is_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(
        f"settings: {{state_dir: '{tmp_path}/state', prometheus: 'http://127.0.0.1:9', "
        "pushgateway: 'http://127.0.0.1:9'}\n"
        "queries: {load: {expr: up, unit: count}}\n"
    )
    url = f"http://127.0.0.1:{free_port()}"
    address = url.removeprefix("http://")
    process = subprocess.Popen(
        [sys.executable, "-m", "detector", "run", "--catalogue", path, "--serve", address],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(url)
        wait_until(lambda: "error: Prometheus at" in get(url).text, within=60, what="the failed cycle on the page")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()


@pytest.mark.parametrize("option", ["--once", "--dry-run"])
def test_a_worker_that_leaves_at_once_or_remembers_nothing_cannot_serve(option: str) -> None:
    refused = CliRunner().invoke(app, ["run", option, "--serve", ":0"])
    assert refused.exit_code == 2
    assert "got --once or --dry-run" in refused.output


@pytest.mark.parametrize(("command", "option"), [("run", "--serve"), ("serve", "--listen")])
def test_an_address_that_nobody_guards_is_refused_by_the_name_of_its_option(command: str, option: str) -> None:
    refused = CliRunner().invoke(app, [command, option, "0.0.0.0:9300"])
    assert refused.exit_code == 2
    assert f"key '{option}': expected bearer_token_file, bearer_token or basic_auth" in refused.output
    assert "got none of them in settings.serve" in refused.output


def test_a_damaged_record_of_past_forecasts_does_not_keep_the_newest_from_being_served() -> None:
    store, now = MemoryStore(), int(time.time())
    store.save(record_key("accuracy", "0"), b"nonsense")
    put(store, now, [[1.0]], [{"job": "a"}])
    with served(store=store) as url:
        answer = read(url, *equal(__name__="forecast_curve", source="forecast"), start=now, end=now + 60)
        assert len(series_in(answer.content)) == 3
        assert "1 query, 1 series" in get(url).text


# -- the document ----------------------------------------------------------------------------------------


def test_the_examples_of_the_document_are_what_the_tools_take() -> None:
    text = (Path(__file__).parents[1] / "docs/serve.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    for example in examples:
        if "queries:" in example:
            parse_catalogue(example, "docs/serve.md")
    [block] = [yaml.safe_load(example)["remote_read"] for example in examples if "remote_read:" in example]
    assert block == remote_read("http://127.0.0.1:9208")
    for path in PATHS:
        assert f"`{path}" in text or f"`POST {path}" in text, path
