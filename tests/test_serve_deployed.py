"""`detector serve` as compose starts it: the real command with the service's environment, beside the workers' Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_client
import requests
import yaml

from detector.catalogue import parse_catalogue
from detector.catalogue.load import built_in_text
from detector.loopback import free_port
from detector.run import build_store, keeping_state_at
from detector.servers import Redis
from tests.serving import put, wait_for
from tests.waiting import wait_until

COMPOSE = Path(__file__).parent.parent / "deploy" / "compose.yaml"
TOKEN = {"Authorization": "Bearer hush"}


def deployed(redis: Redis, secrets: Path) -> dict[str, str]:
    """The environment that compose gives `detector-serve`, on this machine."""
    told = dict(yaml.safe_load(COMPOSE.read_text())["services"]["detector-serve"]["environment"])
    assert told["DETECTOR_LISTEN"].split(":")[0] == "0.0.0.0"
    for name, content in (("detector_token", "hush\n"), ("teams_url", "json://127.0.0.1:1"), ("sms_url", "")):
        (secrets / name).write_text(content)
    here = {name: value.replace("/run/secrets", str(secrets)) for name, value in told.items()}
    return here | {"DETECTOR_LISTEN": f"127.0.0.1:{free_port()}", "DETECTOR_BROKER_URL": redis.url}


@pytest.fixture
def told(redis: Redis, tmp_path: Path) -> dict[str, str]:
    return deployed(redis, tmp_path)


@pytest.fixture
def url(told: dict[str, str]) -> Iterator[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DETECTOR_")}
    process = subprocess.Popen([sys.executable, "-m", "detector", "serve"], env={**inherited, **told})
    try:
        where = f"http://{told['DETECTOR_LISTEN']}"
        wait_for(where)
        yield where
    finally:
        process.terminate()
        process.wait(30)


def test_it_takes_the_token_alone_and_shows_what_the_workers_left_in_their_broker(
    url: str, told: dict[str, str], redis: Redis
) -> None:
    for path in ("/", "/metrics"):
        assert requests.get(url + path, timeout=10).status_code == 401
        assert requests.get(url + path, headers={"Authorization": "Bearer other"}, timeout=10).status_code == 401
    assert requests.post(url + "/api/v1/read", timeout=10).status_code == 401
    assert requests.post(url + "/notify/sms", json={}, timeout=10).status_code == 401

    def metrics() -> str:
        answer = requests.get(url + "/metrics", headers=TOKEN, timeout=10)
        assert answer.status_code == 200
        return answer.text

    assert 'detector_queue_length{queue="celery"} 0.0' in metrics()
    redis_client.Redis.from_url(redis.url).lpush("celery", "a", "b", "c")
    assert 'detector_queue_length{queue="celery"} 3.0' in metrics()
    catalogue = keeping_state_at(parse_catalogue(built_in_text("day_trade"), "day_trade.yaml", told), redis.url)
    put(build_store(catalogue), int(time.time()), [[1.0]], [{"job": "a"}], query="ml_cpu_usage")
    wait_until(lambda: 'detector_serve_curves{for="ml_cpu_usage"} 3.0' in metrics(), within=20, what="the curves")


def test_a_broker_that_is_gone_leaves_the_other_metrics(url: str, redis: Redis) -> None:
    redis.kill()
    text = requests.get(url + "/metrics", headers=TOKEN, timeout=10).text
    assert "detector_queue_length" not in text
    assert "detector_serve_store_up" in text
