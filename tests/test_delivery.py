"""Alerts arrive: by every medium they are promised on, in time, once, and their end too.

Alertmanager, Prometheus and the simulated platform are real, the receivers are on loopback. Every duration of the
rendered configuration is divided by 60: a minute is a second here. promtool and the routing table check the real ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from detector.catalogue import Catalogue
from detector.render.alertmanager import alertmanager_files, render_alertmanager
from detector.render.rules import render_rules
from detector.servers import Alertmanager, Prometheus, prometheus_config
from detector.simulate import Platform, Scenario
from detector.simulate.scraping import scrape_configs
from detector.simulate.server import SimulatorServer
from tests.receivers import Inbox, catalogue_for, open_inbox
from tests.waiting import wait_until

MINUTE = 1.0
"""Seconds that stand for a minute."""
SCALE = 60.0
SLACK = 3.0
"""Seconds for the machine itself: a busy one, and Alertmanager's own dispatch."""
TEAM, ONCALL = "team@day-trade.example", "oncall-devops@day-trade.example"
EXPERTS = {name: f"{name}-team@day-trade.example" for name in ("ml", "infrastructure", "product")}


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with open_inbox() as opened:
        yield opened


@pytest.fixture
def catalogue(inbox: Inbox, tmp_path: Path) -> Catalogue:
    return catalogue_for(inbox, tmp_path)


@pytest.fixture
def delivering(catalogue: Catalogue, tmp_path: Path, alertmanager: Callable[..., Alertmanager]) -> Alertmanager:
    """An Alertmanager of the production environment in which a minute is a second."""
    (tmp_path / "templates").mkdir()
    words = alertmanager_files(catalogue, "production")["alertmanager/templates/messages.tmpl"]
    (tmp_path / "templates" / "messages.tmpl").write_text(words)
    return alertmanager(render_alertmanager(catalogue, "production", SCALE), directory=tmp_path)


def alert(catalogue: Catalogue, name: str, **labels: str) -> dict[str, Any]:
    """An alert as Prometheus would send it: the labels and annotations of its rule."""
    groups = yaml.safe_load(render_rules(catalogue))["groups"]
    rule = next(rule for group in groups for rule in group["rules"] if rule.get("alert") == name)
    own = {key: value for key, value in rule["labels"].items() if "{{" not in value}
    notes = {
        "summary": f"{name} is here",
        "description": "The value is 7.",
        "runbook_url": rule["annotations"]["runbook_url"],
    }
    return {"labels": own | labels | {"alertname": name}, "annotations": notes}


def send(server: Alertmanager, *alerts: dict[str, Any], over: bool = False) -> None:
    now = datetime.now(UTC)
    end = {"endsAt": (now if over else now + timedelta(hours=1)).isoformat()}
    requests.post(f"{server.url}/api/v2/alerts", json=[one | end for one in alerts], timeout=5).raise_for_status()


def arrived(inbox: Inbox, *wanted: tuple[str, str], within: float, firing: bool = True) -> None:
    """Wait until each (medium, to) has a message, and check that it came in time."""
    for medium, to in wanted:
        wait_until(lambda m=medium, t=to: inbox.of(m, t, firing=firing), within=within + 5, what=f"a message to {to}")
        [first, *_] = inbox.of(medium, to, firing=firing)
        assert first.after <= within + SLACK, (medium, to, first.after)


def pause_until(inbox: Inbox, minutes: float) -> None:
    """Let the time pass in which nothing more may come."""
    time.sleep(max(0.0, inbox.started + minutes * MINUTE - time.monotonic()))


CRITICAL = [("slack", "#day-trade-critical"), ("slack", "#day-trade-accuracy"), ("email", TEAM), ("sms", "sms"),
            ("teams", "teams")]  # fmt: skip


def test_a_critical_alert_reaches_chat_mail_and_phone_at_once_exactly_once_and_its_end_too(
    catalogue: Catalogue, delivering: Alertmanager, inbox: Inbox
) -> None:
    breach = alert(catalogue, "EnsembleAccuracyDegraded", instance="ml-service-0", service="ml-service")
    inbox.start_clock()
    send(delivering, breach)
    arrived(inbox, *CRITICAL, within=0.0)
    pause_until(inbox, 3.5)
    assert sorted((one.medium, one.to) for one in inbox.messages) == sorted(CRITICAL)
    for one in inbox.messages:
        assert "EnsembleAccuracyDegraded is here" in one.text
        assert one.medium in ("sms", "teams") or "/EnsembleAccuracyDegraded.md" in one.text
    inbox.messages.clear()
    inbox.start_clock()
    send(delivering, breach, over=True)
    arrived(inbox, *CRITICAL, within=1.0, firing=False)
    pause_until(inbox, 4.0)
    assert sorted((one.medium, one.to) for one in inbox.messages) == sorted(CRITICAL)


@pytest.mark.slow
def test_what_lasts_is_repeated_in_chat_every_five_minutes_and_by_sms_not_before_thirty(
    catalogue: Catalogue, delivering: Alertmanager, inbox: Inbox
) -> None:
    inbox.start_clock()
    send(delivering, alert(catalogue, "EnsembleAccuracyDegraded", service="ml-service"))
    pause_until(inbox, 13.0)
    chat = [one.after for one in inbox.of("slack", "#day-trade-critical")]
    assert len(chat) == 3
    assert all(5 <= later - earlier <= 6 + SLACK for earlier, later in pairwise(chat)), chat
    assert len(inbox.of("sms")) == len(inbox.of("email")) == 1


def test_a_warning_reaches_chat_and_mail_within_five_minutes_and_no_phone(
    catalogue: Catalogue, delivering: Alertmanager, inbox: Inbox
) -> None:
    wanted = [("slack", "#day-trade-data"), ("email", TEAM), ("teams", "teams")]
    slow = alert(catalogue, "DataQualityDegraded", instance="data-service-0", service="data-service")
    inbox.start_clock()
    send(delivering, slow)
    arrived(inbox, *wanted, within=5.0)
    pause_until(inbox, 4.5)
    assert sorted((one.medium, one.to) for one in inbox.messages) == sorted(wanted)
    inbox.messages.clear()
    inbox.start_clock()
    send(delivering, slow, over=True)
    arrived(inbox, *wanted, within=1.5, firing=False)


@pytest.mark.slow
def test_info_is_gathered_for_fifteen_minutes_into_one_message_in_chat_alone(
    catalogue: Catalogue, delivering: Alertmanager, inbox: Inbox
) -> None:
    inbox.start_clock()
    send(delivering, *(alert(catalogue, "DataRefreshed", dataset=name) for name in ("prices", "news", "orderbook")))
    pause_until(inbox, 13.0)
    assert inbox.messages == []
    arrived(inbox, ("slack", "#day-trade-data"), within=15.0)
    pause_until(inbox, 20.0)
    [one] = inbox.messages
    assert one.text.count("DataRefreshed is here") == 3


def test_the_dead_mans_switch_hears_from_the_watchdog_every_minute(
    catalogue: Catalogue, delivering: Alertmanager, inbox: Inbox
) -> None:
    inbox.start_clock()
    send(delivering, alert(catalogue, "Watchdog"))
    wait_until(lambda: len(inbox.of("watchdog")) >= 4, within=10, what="the watchdog")
    times = [one.after for one in inbox.of("watchdog")]
    assert max(later - earlier for earlier, later in pairwise(times)) <= 1 + SLACK
    assert {one.medium for one in inbox.messages} == {"watchdog"}


@pytest.fixture
def stopped(
    catalogue: Catalogue, delivering: Alertmanager, tmp_path: Path, prometheus: Callable[..., Prometheus]
) -> Iterator[Callable[[], Prometheus]]:
    """Start a Prometheus with the platform's rules, a minute a second, on a platform whose ml-service has stopped."""
    rules = tmp_path / "rules.yml"
    rules.write_text(render_rules(catalogue, SCALE))
    platform = Platform(5, [Scenario("service-down", time.time() - 120)])
    with SimulatorServer(platform) as server:

        def start() -> Prometheus:
            ml = [one for one in scrape_configs(server.address) if one["job_name"] == "ml-service"]
            return prometheus(
                prometheus_config(scrape_configs=ml, rule_files=[rules], alertmanagers=[delivering.address])
            )

        yield start


def of_ml(inbox: Inbox, medium: str, to: str) -> list[Any]:
    return [one for one in inbox.of(medium, to, firing=True) if "MLServiceDown" in one.title + one.text]


@pytest.mark.slow
def test_nobody_answers_so_the_on_call_is_asked_after_five_minutes_and_the_experts_after_fifteen(
    stopped: Callable[[], Prometheus], inbox: Inbox
) -> None:
    stopped()
    wait_until(lambda: of_ml(inbox, "email", TEAM), within=20, what="the first message")
    first = of_ml(inbox, "email", TEAM)[0].after
    wait_until(lambda: of_ml(inbox, "email", EXPERTS["ml"]), within=30, what="a message to the experts")
    oncall, experts = of_ml(inbox, "email", ONCALL), of_ml(inbox, "email", EXPERTS["ml"])
    assert len(oncall) == len(experts) == 1
    assert 5 - 1 <= oncall[0].after - first <= 5 + 1 + SLACK
    assert 15 - 1 <= experts[0].after - first <= 15 + 1 + SLACK
    assert "L2" in oncall[0].title
    assert "L3" in experts[0].title
    assert not of_ml(inbox, "email", EXPERTS["infrastructure"])


@pytest.mark.slow
def test_a_silence_on_the_first_alert_is_the_acknowledgement_and_stops_every_level(
    stopped: Callable[[], Prometheus], delivering: Alertmanager, inbox: Inbox
) -> None:
    stopped()
    wait_until(lambda: of_ml(inbox, "email", TEAM), within=20, what="the first message")
    base = next(
        one["labels"]
        for one in requests.get(f"{delivering.url}/api/v2/alerts", timeout=5).json()
        if one["labels"]["alertname"] == "MLServiceDown"
    )
    assert "level" not in base
    now = datetime.now(UTC)
    silence = {
        "matchers": [{"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in base.items()],
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "operator",
        "comment": "I am on it",
    }
    requests.post(f"{delivering.url}/api/v2/silences", json=silence, timeout=5).raise_for_status()

    def levels() -> set[str] | None:
        found = requests.get(f"{delivering.url}/api/v2/alerts", timeout=5).json()
        told = {
            one["labels"].get("level", ""): one["status"]["state"]
            for one in found
            if one["labels"]["alertname"] == "MLServiceDown"
        }
        return set(told.values()) if set(told) == {"", "L2", "L3"} and "unprocessed" not in told.values() else None

    assert wait_until(levels, within=40, what="both levels to be due") == {"suppressed"}
    time.sleep(2 * MINUTE)
    assert not of_ml(inbox, "email", ONCALL)
    assert not of_ml(inbox, "email", EXPERTS["ml"])
