"""Who is up on the simulated platform, what happened when, and what a service that is down no longer says."""

from __future__ import annotations

import numpy as np
import pytest
import requests

from detector.catalogue import load_catalogue
from detector.simulate import Platform, Scenario
from detector.simulate.fleet import LABELS, SERVICES
from detector.simulate.marks import LOG_EVENTS_PER_SECOND, MARKS, sample_mark
from detector.simulate.scenarios import OF_ANY_QUERY
from detector.simulate.server import Exposition, SimulatorServer

START = 1_789_344_000 + 2 * 86_400 + 3 * 3600  # a Wednesday, 12:00 in Tokyo
BY_NAME = {mark.name: mark for mark in MARKS}
HAPPENED = {
    "retrain": "ml_model_retrained_timestamp_seconds",
    "data-refresh": "data_refreshed_timestamp_seconds",
    "backup": "backup_completed_timestamp_seconds",
}


def values(name: str, *scenarios: Scenario, until: int = 600) -> np.ndarray:
    """Every series of a mark each minute from ten before START."""
    seconds = np.arange(START - 600, START + until + 1, 60)
    return np.stack([one.values for one in sample_mark(Platform(1, scenarios), BY_NAME[name], seconds)])


def test_the_services_are_the_catalogues_and_every_series_belongs_to_one() -> None:
    assert set(load_catalogue("day_trade").services) == set(SERVICES)
    assert {one["service"] for group in LABELS.values() for one in group} <= set(SERVICES)


@pytest.mark.parametrize(("kind", "name"), HAPPENED.items())
def test_an_event_moves_its_time_to_now_and_is_no_news_before(kind: str, name: str) -> None:
    healthy, told = values(name), values(name, Scenario(kind, START))
    assert (np.diff(healthy) == 0).all(), "nothing happens by itself at noon on a Wednesday"
    assert (told[:, :10] == healthy[:, :10]).all()
    assert (told[:, 10:] == START).all()


def test_only_the_target_of_an_event_hears_of_it() -> None:
    name = "ml_model_retrained_timestamp_seconds"
    told = values(name, Scenario("retrain", START, target={"model": "lstm"}))
    assert [labels["model"] for labels, row in zip(BY_NAME[name].series, told, strict=True) if row[-1] == START] == [
        "lstm"
    ]


def test_a_store_that_is_down_says_so_and_its_own_series_are_gone() -> None:
    down = Scenario("service-down", START, target={"instance": "redis-1"}, duration=300)
    up = values("redis_up", down)
    assert up[0].all()
    assert up[1].tolist() == [1.0] * 10 + [0.0] * 5 + [1.0] * 6
    gone = Platform(1, [down]).query("redis_memory_usage", START - 60, START + 300, 60).values
    assert np.isnan(gone[1]).tolist() == [False] + [True] * 5 + [False]
    assert np.isfinite(gone[0]).all()


def test_log_events_grow_by_the_second_until_collection_stops() -> None:
    shipped = values("logstash_events_out_total", Scenario("log-stop", START))[0]
    assert (np.diff(shipped[:11]) == 60 * LOG_EVENTS_PER_SECOND).all()
    assert (np.diff(shipped[10:]) == 0).all()


@pytest.mark.parametrize("kind", OF_ANY_QUERY)
def test_a_kind_that_takes_a_query_moves_every_series_of_it(kind: str) -> None:
    one = Platform(1, [Scenario(kind, START, query="data_fetch_success_rate")], clock="around_the_clock")
    minutes = np.arange(START // 60, START // 60 + 3)
    healthy = Platform(1, clock="around_the_clock").process("data_fetch_success_rate", minutes)
    moved = one.process("data_fetch_success_rate", minutes)[:, 1:] != healthy[:, 1:]
    assert moved.all()


def test_each_service_and_each_instance_has_a_page_of_its_own() -> None:
    pages = Exposition(Platform(1))
    whole = set(pages.render(START).decode().splitlines())
    parts = [set(pages.render(START, name).decode().splitlines()) for name in SERVICES]
    assert set().union(*parts) == whole
    assert pages.render(START, "ml-service-1").count(b'instance="ml-service-1"') > 10
    assert pages.render(START, "ml-service-1").count(b'instance="ml-service-0"') == 0
    assert pages.render(START, "nobody") == b""


def test_the_page_of_a_service_that_is_down_is_an_error_and_the_others_go_on() -> None:
    platform = Platform(1, [Scenario("service-down", START, target={"service": "data-service"})])
    with SimulatorServer(platform, now=lambda: START + 60) as server:
        status = {name: requests.get(f"{server.url}/metrics/{name}", timeout=10).status_code for name in SERVICES}
        assert status == {name: 503 if name == "data-service" else 200 for name in SERVICES}
        assert requests.get(f"{server.url}/metrics/nobody", timeout=10).status_code == 404
        assert 'service="data-service"' not in requests.get(f"{server.url}/metrics", timeout=10).text
