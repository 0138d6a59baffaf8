"""Several workers on one Redis and one Pushgateway: what is late, what is whose."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import requests

from detector.catalogue import Catalogue, Query, parse_catalogue
from detector.frame import SeriesFrame
from detector.history import History
from detector.pipeline import Worker
from detector.run import build_store
from detector.servers import Prometheus, Pushgateway, Redis
from detector.sink import PushgatewaySink
from detector.source import PrometheusSource

SLOT = 1_790_000_040 // 60 * 60
CATALOGUE = """
settings: {{prometheus: '{prometheus}', pushgateway: '{gateway}', redis: '{redis}'}}
queries:
  load: {{expr: 50 + 20 * sin(vector(time() / 13750.98)), unit: percent, history: 24h, horizons: [1h]}}
"""


@pytest.fixture
def catalogue(prometheus: Callable[..., Prometheus], pushgateway: Pushgateway, redis: Redis) -> Catalogue:
    text = CATALOGUE.format(prometheus=prometheus("").url, gateway=pushgateway.url, redis=redis.url)
    return parse_catalogue(text, "fleet.yaml")


class Slow:
    """A history that lets something else happen before it answers."""

    def __init__(self, history: History, meanwhile: Callable[[], object]) -> None:
        self._history = history
        self._meanwhile = meanwhile

    def window(self, query: Query, shard: str, end: int) -> SeriesFrame:
        self._meanwhile()
        return self._history.window(query, shard, end)

    def flush(self) -> None:
        """Save nothing."""


def worker_of(catalogue: Catalogue, meanwhile: Callable[[], object] = lambda: None) -> Worker:
    source, store = PrometheusSource(catalogue.settings.prometheus), build_store(catalogue)
    history = Slow(History(source, store), meanwhile)
    return Worker(catalogue, source, store, [PushgatewaySink(catalogue.settings.pushgateways)], history=history)


def published_slot(gateway: Pushgateway) -> float:
    text = requests.get(gateway.url + "/metrics", timeout=10).text
    [line] = [line for line in text.splitlines() if line.startswith("forecast_generated_timestamp_seconds{")]
    return float(line.split()[-1])


def test_a_slot_that_ends_late_does_not_replace_a_newer_one(catalogue: Catalogue, pushgateway: Pushgateway) -> None:
    quick = worker_of(catalogue)
    late = worker_of(catalogue, lambda: quick.run_query("load", SLOT + 60))
    result = late.run_query("load", SLOT)
    assert result.superseded and result.failure is None
    assert published_slot(pushgateway) == SLOT + 60
    assert late.run_query("load", SLOT).superseded
    assert not quick.run_query("load", SLOT + 120).superseded
    assert published_slot(pushgateway) == SLOT + 120


def test_a_slot_that_fails_late_does_not_replace_a_newer_one(catalogue: Catalogue, pushgateway: Pushgateway) -> None:
    quick = worker_of(catalogue)

    def overtaken_and_broken() -> None:
        quick.run_query("load", SLOT + 60)
        raise RuntimeError("as ill luck would have it")

    result = worker_of(catalogue, overtaken_and_broken).run_query("load", SLOT)
    assert result.superseded
    assert published_slot(pushgateway) == SLOT + 60


def test_two_workers_never_publish_the_same_query_at_once_and_a_lock_left_behind_stops_nobody(
    catalogue: Catalogue, pushgateway: Pushgateway
) -> None:
    one, other = build_store(catalogue), build_store(catalogue)
    inside, order = threading.Event(), []

    def push_slowly() -> None:
        with one.exclusive("publish/load/0"):
            inside.set()
            threading.Event().wait(0.5)
            order.append("first")

    thread = threading.Thread(target=push_slowly)
    thread.start()
    inside.wait(10)
    with other.exclusive("publish/load/0"):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_without_its_redis_a_worker_goes_on(catalogue: Catalogue, pushgateway: Pushgateway, redis: Redis) -> None:
    worker = worker_of(catalogue)
    worker.run_query("load", SLOT)
    redis.kill()
    result = worker.run_query("load", SLOT + 60)
    assert result.error is None and result.push_error is None
    assert published_slot(pushgateway) == SLOT + 60


def test_the_own_metrics_of_a_worker_that_left_are_deleted_after_an_hour_and_of_one_that_lives_are_not(
    catalogue: Catalogue, pushgateway: Pushgateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = PushgatewaySink(catalogue.settings.pushgateways)
    for process in ("gone-0", "alive-0"):
        worker_of(catalogue).publish_telemetry(process)
    now = time.time()
    for passed in (1800, 3601):  # the clock of the whole machine
        monkeypatch.setattr(time, "time", lambda passed=passed: now + passed)
        worker_of(catalogue).publish_telemetry("alive-0")
        shards = [group["shard"].rpartition("fleet-")[2].partition("-")[2] for group in sink.groups()]
        assert shards == (["alive-0", "gone-0"] if passed == 1800 else ["alive-0"])
