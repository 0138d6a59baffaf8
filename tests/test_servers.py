from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from detector.child import stop_all
from detector.loopback import free_port
from detector.programs import PACKAGES, ServerError, find_program
from detector.servers import Alertmanager, NodeExporter, Prometheus, Pushgateway, Redis, prometheus_config
from tests.waiting import wait_until


@pytest.mark.parametrize("program", sorted(PACKAGES))
def test_every_program_the_tests_need_is_here(program: str) -> None:
    assert os.access(find_program(program), os.X_OK)


def test_a_missing_program_names_its_debian_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "prometheus-nowhere", "prometheus-nowhere-package")
    with pytest.raises(ServerError, match="Debian package prometheus-nowhere-package"):
        find_program("prometheus-nowhere")


def test_a_folder_named_by_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = tmp_path / "prometheus"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    monkeypatch.setenv("DETECTOR_TOOLS", str(tmp_path))
    assert find_program("prometheus") == mine


def test_prometheus_scrapes_node_exporter(prometheus: Callable[..., Prometheus], node_exporter: NodeExporter) -> None:
    server = prometheus(prometheus_config({"node": node_exporter.address}))

    def scraped() -> bool:
        found = requests.get(server.url + "/api/v1/query", params={"query": 'up{job="node"}'}, timeout=5)
        return any(row["value"][1] == "1" for row in found.json()["data"]["result"])

    assert wait_until(scraped, within=20, what="the first scrape")


def test_an_alert_travels_from_alertmanager_to_the_webhook(
    alertmanager: Callable[..., Alertmanager], webhook: Any
) -> None:
    server = alertmanager(webhook.url)
    alert = [{"labels": {"alertname": "Test"}}]
    requests.post(server.url + "/api/v2/alerts", json=alert, timeout=5).raise_for_status()
    webhook.wait(lambda hook: hook.alerts)
    assert webhook.alerts[0]["labels"] == {"alertname": "Test"}


def test_a_pushgateway_keeps_its_groups_over_a_restart_on_the_same_address(pushgateway: Pushgateway) -> None:
    requests.put(pushgateway.url + "/metrics/job/x", data=b"a 1\n", timeout=5).raise_for_status()
    address = pushgateway.address
    pushgateway.restart()
    assert pushgateway.address == address
    assert 'a{instance="",job="x"} 1' in requests.get(pushgateway.url + "/metrics", timeout=5).text


def test_a_killed_server_is_gone_and_comes_back(redis: Redis) -> None:
    redis.kill()
    assert not redis.running
    assert not redis.is_ready()
    assert redis.start().is_ready()


def test_a_paused_server_accepts_connections_but_does_not_answer(redis: Redis) -> None:
    redis.pause()
    try:
        with socket.create_connection(("127.0.0.1", redis.port), timeout=0.3) as connection:
            connection.sendall(b"PING\r\n")
            with pytest.raises(TimeoutError):
                connection.recv(16)
    finally:
        redis.resume()
    assert redis.is_ready()


def test_a_paused_server_can_be_stopped() -> None:
    server = Redis().start()
    server.pause()
    began = time.monotonic()
    server.stop()
    assert not server.running
    assert time.monotonic() - began < 5


def test_a_bad_configuration_fails_at_once_and_shows_the_log() -> None:
    server = Prometheus("nonsense: [")
    began = time.monotonic()
    with pytest.raises(ServerError, match="prometheus is not ready") as caught:
        server.start()
    server.stop()
    assert "yaml" in str(caught.value)
    assert time.monotonic() - began < 10


def test_a_port_somebody_took_meanwhile_is_replaced() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = Pushgateway()
        server.port = taken.getsockname()[1]
        with server:
            assert server.port != taken.getsockname()[1]
            assert server.is_ready()


def test_stopping_leaves_no_process_and_no_directory() -> None:
    server = Pushgateway().start()
    pid, directory = server.pid, server.directory
    server.stop()
    assert pid is not None
    assert not _lives(pid)
    assert not directory.exists()


def test_stop_all_stops_what_was_started() -> None:
    server = Redis().start()
    stop_all()
    assert not server.running


def test_two_servers_get_two_ports() -> None:
    assert len({free_port() for _ in range(20)}) > 1


_PARENT = """
    import time
    from detector.child import leaving_on_signals
    from detector.servers import Redis
    with leaving_on_signals(), Redis() as server:
        print(server.pid, server.directory, flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_children_end_with_their_parent(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_PARENT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid, directory = parent.stdout.readline().split()
        assert _lives(int(pid))
        parent.send_signal(number)
        parent.wait(20)
    wait_until(lambda: not _lives(int(pid)), within=10, what="the child's end")
    if number != signal.SIGKILL:  # after SIGKILL nobody is left to tidy up
        assert not Path(directory).exists()


def test_stopping_ours_leaves_a_foreign_server_alone() -> None:
    with Redis() as theirs:
        subprocess.run(
            [sys.executable, "-c", "from detector.servers import Redis; Redis().start()"],
            check=True,
            timeout=60,
        )
        assert theirs.is_ready()


def _lives(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
