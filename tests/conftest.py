"""Real servers on free loopback ports. A missing program is an error, never a skip."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from detector.servers import Alertmanager, NodeExporter, Prometheus, Pushgateway, Redis, alertmanager_config
from detector.simulate import Platform, Scenario
from detector.simulate.backfill import backfill
from tests.waiting import wait_until

PAST_QUERIES = ("ml_ensemble_accuracy", "ml_model_performance", "node_disk_usage", "ml_cpu_usage")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep a test away from the user's catalogue, state and proxies."""
    for name in ("DETECTOR_CATALOGUE", "DETECTOR_REDIS", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg-state"))


@pytest.fixture
def prometheus(request: pytest.FixtureRequest) -> Callable[..., Prometheus]:
    """Start a Prometheus: ``prometheus(config_text, data=…, retention=…, flags=…)``."""

    def start(config: str = "", **options: Any) -> Prometheus:
        server = Prometheus(config, **options)
        request.addfinalizer(server.stop)
        return server.start()

    return start


@pytest.fixture
def pushgateway() -> Iterator[Pushgateway]:
    """Give an empty Pushgateway; ``kill``, ``pause`` and ``restart`` are the test's to use."""
    with Pushgateway() as server:
        yield server


@pytest.fixture
def alertmanager(request: pytest.FixtureRequest) -> Callable[..., Alertmanager]:
    """Start an Alertmanager with a configuration text, or one that posts everything to a webhook's URL."""

    def start(config: str, **options: Any) -> Alertmanager:
        text = alertmanager_config(config) if config.startswith("http") else config
        server = Alertmanager(text, **options)
        request.addfinalizer(server.stop)
        return server.start()

    return start


@pytest.fixture
def redis() -> Iterator[Redis]:
    """Give an empty Redis; ``redis.url`` is a broker URL."""
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def node_exporter() -> Iterator[NodeExporter]:
    """Give this host's own node_exporter."""
    with NodeExporter() as server:
        yield server


@pytest.fixture(scope="session")
def failing_past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of :func:`failing_platform`; a server of one's own takes a copy."""
    now = int(time.time()) // 300 * 300
    wrong = [Scenario("accuracy-slide", now - 4 * 3600, 0.6), Scenario("disk-fill", now - 4 * 3600, 0.6)]
    data = tmp_path_factory.mktemp("failing-platform")
    platform = Platform(seed=3, scenarios=wrong, clock="around_the_clock")
    backfill(platform, data, start=now - 15 * 86400, end=now + 1800, queries=PAST_QUERIES)
    return data


@pytest.fixture(scope="session")
def failing_platform(failing_past: Path) -> Iterator[str]:
    """Give the URL of a Prometheus with 15 days of a platform whose accuracy slides and whose disk fills up.

    Its samples reach half an hour past now, so that they are fresh however long the tests take. It has
    ``PAST_QUERIES`` only.
    """
    with Prometheus(data=failing_past) as server:
        yield server.url


@dataclass
class Webhook:
    """A loopback HTTP receiver that keeps what is posted to it.

    ``posts`` holds (path, headers, body) in order of arrival; ``status`` is what the next answers say.
    """

    url: str
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    status: int = 200

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """Every alert of every Alertmanager notification, in order of arrival."""
        return [alert for _, _, body in self.posts for alert in json.loads(body)["alerts"]]

    def wait(self, condition: Callable[[Webhook], Any], *, within: float = 30.0) -> Any:
        """Wait until the condition over this receiver is true and return its answer."""
        return wait_until(lambda: condition(self), within=within, what="the expected notification")


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Receive notifications on a free loopback port."""
    receiver = Webhook(url="")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            receiver.posts.append((self.path, dict(self.headers), body))
            self.send_response(receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Keep the test's output quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        receiver.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()
