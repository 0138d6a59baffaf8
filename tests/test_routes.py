"""Where each alert goes: a table for every alert of the rules, asked of amtool in both environments."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from detector.catalogue import Catalogue, load_catalogue, parse_catalogue
from detector.catalogue.load import built_in_text
from detector.programs import find_program
from detector.render.alertmanager import render_alertmanager, render_small_alertmanager
from detector.render.prometheus import render_prometheus
from detector.render.rules import render_rules
from detector.render.tree import render_tree
from tests.waiting import wait_until

DEPLOY = Path(__file__).parent.parent / "deploy"
ENVIRONMENTS = ("production", "staging")

CHANNEL = {
    "accuracy": ("EnsembleAccuracyDegraded", "EnsembleAccuracyForecast", "AccuracyBudgetBurn"),
    "ml": ("MLServiceDown", "PredictionsSlow", "PredictionsSlowForecast", "HighMemoryUsage", "HighCPUUsage",
           "MLMemoryForecast", "MLCPUForecast", "ModelRetrained"),
    "data": ("DataServiceDown", "DataQualityDegraded", "DataQualityForecast", "DataFetchFailing", "DataFetchForecast",
             "DataRefreshed"),
    "scheduler": ("SchedulerServiceDown", "SchedulerTaskFailure", "SchedulerTaskForecast", "SchedulerQueueLong",
                  "SchedulerQueueForecast"),
    "infra": ("DatabaseDown", "LogCollectionStopped", "HighMemoryUsage", "HighCPUUsage", "HighDiskUsage",
              "NodeCPUForecast", "NodeMemoryForecast", "NodeDiskForecast", "PostgreSQLConnectionsHigh",
              "PostgreSQLConnectionsForecast", "RedisMemoryHigh", "RedisMemoryForecast", "BackupCompleted"),
    "business": ("AvailabilityBudgetBurn", "LatencyBudgetBurn"),
    "alerts": ("FalseAlertBudgetBurn", "DetectorDown", "DetectorCycleLate", "DetectorPushFailing",
               "DetectorQueryFailing", "DetectorSeriesLost", "DetectorNoData", "PushgatewayDown",
               "RuleEvaluationFailing", "AlertmanagerUnreachable", "AlertDeliveryFailing"),
}  # fmt: skip
"""The Slack channel in which each alert is told; HighMemoryUsage and HighCPUUsage are of hosts and of one service."""
MEDIA = {
    "critical": {"email", "sms", "teams", "slack-critical"},
    "warning": {"email", "teams"},
    "info": set[str](),
}
CRITICAL = {
    "EnsembleAccuracyDegraded": "ml", "MLServiceDown": "ml", "DataServiceDown": "infrastructure",
    "SchedulerServiceDown": "product", "DatabaseDown": "infrastructure", "AvailabilityBudgetBurn": None,
    "AccuracyBudgetBurn": "ml", "LatencyBudgetBurn": "ml", "FalseAlertBudgetBurn": None,
}  # fmt: skip
"""Every critical alert, and the experts who are asked last; None: all of them."""
INFO = {"ModelRetrained", "DataRefreshed", "BackupCompleted"}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue("day_trade")


def alerts_of(catalogue: Catalogue) -> list[dict[str, str]]:
    """The labels of every alert of the rules, as Alertmanager gets them from a series without a service of its own."""
    rules = [rule for group in yaml.safe_load(render_rules(catalogue))["groups"] for rule in group["rules"]]
    found = []
    for rule in rules:
        if "alert" in rule:
            labels = rule["labels"] | {"alertname": rule["alert"]}
            if "{{" in labels["service"]:
                labels["service"] = labels["service"].split('"')[1]
            found.append(labels)
    return found


def receivers_of(config: Path, labels: dict[str, str]) -> set[str]:
    found = every_receiver_of(config, labels)
    assert len(found) == len(set(found)), f"told twice: {found}"
    return set(found)


def every_receiver_of(config: Path, labels: dict[str, str]) -> list[str]:
    command = [find_program("amtool"), "config", "routes", "test", f"--config.file={config}"]
    said = subprocess.run(
        [*command, *(f"{name}={value}" for name, value in labels.items())], capture_output=True, text=True, timeout=30
    )
    assert said.returncode == 0, said.stderr
    return said.stdout.strip().split(",")


def expected_receivers(labels: dict[str, str]) -> set[str]:
    alert, severity = labels["alertname"], labels["severity"]
    if alert == "Watchdog":
        return {"dead-mans-switch"}
    experts = CRITICAL.get(alert)
    if labels.get("level") == "L2":
        return {"escalation-L2"}
    if labels.get("level") == "L3":
        return {f"escalation-L3-{experts}" if experts else "escalation-L3"}
    [channel] = [name for name, alerts in CHANNEL.items() if alert in alerts and name == labels["channel"]]
    return MEDIA[severity] | {f"slack-{channel}"}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_alert_of_the_rules_reaches_whom_the_table_says(catalogue: Catalogue, environment: str) -> None:
    config = DEPLOY / environment / "alertmanager" / "alertmanager.yml"
    alerts = alerts_of(catalogue)
    assert {one["alertname"] for one in alerts} - {"Watchdog"} == {name for group in CHANNEL.values() for name in group}
    for labels in alerts:
        assert receivers_of(config, labels) == expected_receivers(labels), labels


def test_the_levels_of_severity_and_of_escalation_are_the_ones_agreed(catalogue: Catalogue) -> None:
    alerts = alerts_of(catalogue)
    assert {one["alertname"] for one in alerts if one["severity"] == "critical"} == set(CRITICAL)
    assert {one["alertname"] for one in alerts if one["severity"] == "info"} == INFO
    for alert in CRITICAL:
        levels = [one.get("level") for one in alerts if one["alertname"] == alert and one["severity"] == "critical"]
        assert levels == [None, "L2", "L3"], alert


def test_what_belongs_nowhere_else_is_told_in_the_fallback_channel() -> None:
    config = DEPLOY / "production" / "alertmanager" / "alertmanager.yml"
    assert receivers_of(config, {"alertname": "Foreign"}) == {"slack-alerts"}
    assert receivers_of(config, {"alertname": "Foreign", "severity": "info", "channel": "x"}) == {"slack-alerts"}
    foreign = {"alertname": "Foreign", "severity": "critical", "channel": "x"}
    assert receivers_of(config, foreign) == {"email", "sms", "teams", "slack-critical", "slack-alerts"}


@pytest.mark.parametrize("fallback", ["alerts", "critical"])
def test_a_critical_alert_is_told_once_in_the_critical_channel_whatever_its_own(tmp_path: Path, fallback: str) -> None:
    text = built_in_text("day_trade")
    assert "\n  fallback: alerts " in text
    told = parse_catalogue(text.replace("\n  fallback: alerts ", f"\n  fallback: {fallback} "), "mine.yaml")
    config = tmp_path / "alertmanager.yml"
    config.write_text(render_alertmanager(told, "production"))
    everyone = {"email", "sms", "teams", "slack-critical"}
    for channel, own in (("critical", set()), ("ml", {"slack-ml"}), ("x", {f"slack-{fallback}"})):
        alert = {"alertname": "Mine", "severity": "critical", "channel": channel}
        assert receivers_of(config, alert) == everyone | own, channel
    assert receivers_of(config, {"alertname": "Mine", "severity": "critical"}) == everyone | {f"slack-{fallback}"}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_servers_own_tools_accept_both_environments(environment: str) -> None:
    place = DEPLOY / environment
    for program, *arguments in (
        ("amtool", "check-config", "alertmanager/alertmanager.yml"),
        ("promtool", "check", "config", "--syntax-only", "prometheus/prometheus.yml"),
        ("promtool", "check", "rules", "prometheus/rules/detector.yml"),
    ):
        done = subprocess.run(
            [find_program(program), *arguments], cwd=place, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_an_environment_that_scrapes_more_often_than_a_scrape_may_last(tmp_path: Path) -> None:
    text = "queries: {up: {expr: up, unit: count}}\nenvironments: {lab: {prometheus: {scrape_interval: 5s}}}"
    (tmp_path / "prometheus.yml").write_text(render_prometheus(parse_catalogue(text, "mine.yaml"), "lab"))
    command = [find_program("promtool"), "check", "config", "--syntax-only", "prometheus.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_environment_has_its_own_times_and_only_these() -> None:
    def times(environment: str) -> tuple[Any, ...]:
        prometheus = yaml.safe_load((DEPLOY / environment / "prometheus" / "prometheus.yml").read_text())
        flags = (DEPLOY / environment / "prometheus" / "flags").read_text().split()
        route = yaml.safe_load((DEPLOY / environment / "alertmanager" / "alertmanager.yml").read_text())["route"]
        [chat] = [one for one in route["routes"] if one["receiver"] == "slack-critical"]
        [sms] = [one for one in route["routes"] if one["receiver"] == "sms"]
        [info] = [one for one in route["routes"] if one["matchers"] == ['severity="info"']]
        [retention] = [flag for flag in flags if "retention" in flag]
        return (
            retention.partition("=")[2], prometheus["global"]["scrape_interval"], chat["group_wait"],
            chat["repeat_interval"], chat["group_interval"], sms["repeat_interval"], info["group_wait"],
        )  # fmt: skip

    assert times("production") == ("15d", "15s", "0s", "5m", "1m", "30m", "15m")
    assert times("staging") == ("7d", "30s", "10s", "15m", "1m", "30m", "15m")


def test_secrets_are_files_and_never_values() -> None:
    for environment in ENVIRONMENTS:
        text = "".join(path.read_text() for path in (DEPLOY / environment).rglob("*") if path.is_file())
        for key in ("slack_api_url_file:", "smtp_auth_password_file:", "credentials_file:"):
            assert key in text
        for key in ("slack_api_url:", "api_url:", "smtp_auth_password:", "credentials:", "password:"):
            assert key not in text


def states(url: str, wanted: int) -> dict[tuple[str, ...], str] | None:
    found = requests.get(f"{url}/api/v2/alerts", timeout=5).json()
    told = {
        tuple(a["labels"].get(name, "") for name in ("alertname", "instance", "severity")): a["status"]["state"]
        for a in found
    }
    return told if len(told) == wanted and "unprocessed" not in told.values() else None


def test_an_instance_that_is_down_silences_its_own_warnings_and_forecasts_and_no_other(
    catalogue: Catalogue, alertmanager: Any, tmp_path: Path
) -> None:
    (tmp_path / "slack-url").write_text("http://127.0.0.1:1/")
    text = built_in_text("day_trade").replace("/etc/alertmanager/secrets", str(tmp_path))
    config = render_alertmanager(parse_catalogue(text, "mine.yaml"), "production")
    server = alertmanager(config.replace("templates/*.tmpl", str(tmp_path / "*.tmpl")))
    labels = [one for one in alerts_of(catalogue) if "level" not in one]

    def alert(name: str, instance: str | None, service: str = "") -> dict[str, Any]:
        own = next(one for one in labels if one["alertname"] == name)
        place = {"instance": instance} if instance else {}
        return {"labels": own | place | ({"service": service} if service else {})}

    alerts = [
        alert("MLServiceDown", "ml-0"),
        alert("PredictionsSlow", "ml-0"),
        alert("PredictionsSlowForecast", "ml-0"),
        alert("EnsembleAccuracyDegraded", "ml-0"),
        alert("PredictionsSlow", "ml-1"),
        alert("PredictionsSlow", None),
        alert("DataQualityDegraded", "ml-0"),
    ]
    requests.post(f"{server.url}/api/v2/alerts", json=alerts, timeout=5).raise_for_status()

    def suppressed() -> set[tuple[str, ...]]:
        found = states(server.url, len(alerts)) or {}
        return {key[:2] for key, state in found.items() if state == "suppressed"}

    # The rules see an alert a moment after its route does, so the first answers may name fewer.
    expected = {("PredictionsSlow", "ml-0"), ("PredictionsSlowForecast", "ml-0")}
    wait_until(lambda: suppressed() >= expected, within=20, what=f"{expected} being suppressed")
    assert suppressed() == expected


def test_a_critical_forecast_is_silenced_by_nothing_that_is_less_than_critical(alertmanager: Any) -> None:
    server = alertmanager(render_small_alertmanager(load_catalogue("day_trade"), "http://127.0.0.1:1/"))

    def alert(kind: str, severity: str, instance: str) -> dict[str, Any]:
        own = {"alertname": kind, "kind": kind, "severity": severity, "instance": instance, "service": "s"}
        return {"labels": own | ({"for": "q"} if kind in ("threshold", "prediction") else {})}

    alerts = [
        *(alert("prediction", "critical", name) for name in ("breach", "minor", "down", "logs")),
        alert("threshold", "critical", "breach"),
        alert("threshold", "warning", "minor"),
        alert("availability", "critical", "down"),
        alert("threshold", "critical", "down"),
        alert("availability", "warning", "logs"),
        alert("threshold", "warning", "logs"),
    ]
    requests.post(f"{server.url}/api/v2/alerts", json=alerts, timeout=5).raise_for_status()

    def suppressed() -> set[tuple[str, ...]]:
        found = states(server.url, len(alerts)) or {}
        return {key for key, state in found.items() if state == "suppressed"}

    expected = {
        ("prediction", "breach", "critical"),
        ("prediction", "down", "critical"),
        ("threshold", "logs", "warning"),
    }
    wait_until(lambda: suppressed() >= expected, within=20, what=f"{expected} being suppressed")
    assert suppressed() == expected


NEW = """
  gpu_memory_usage:
    description: Memory of a graphics card, percent.
    expr: gpu_memory_usage
    unit: percent
    objective: {below: 93.25}
    service: ml-service
    team: ml
    channel: ml
    threshold_alert: {name: GPUMemoryHigh, severity: critical, for: 5m}
    alert: {name: GPUMemoryForecast, severity: warning}
"""


def test_a_new_metric_is_one_entry_of_the_catalogue_and_is_found_everywhere(tmp_path: Path) -> None:
    grown = parse_catalogue(built_in_text("day_trade") + NEW, "grown.yaml")
    tree = render_tree(grown, "production")
    rules = tree["prometheus/rules/detector.yml"]
    assert rules.count("- alert: GPUMemoryHigh\n") == 3, "the alert, and two levels of escalation"
    assert rules.count("- alert: GPUMemoryForecast\n") == 1
    assert "> 93.25" in rules
    assert "is above 93.25%" in rules
    judged = [line for line in rules.splitlines() if "offset 7d" in line]
    assert judged
    assert all("GPUMemoryForecast" in line for line in judged)
    assert "| GPUMemoryHigh | threshold | critical | gpu_memory_usage > 93.25% | 5m | ml-service |" in tree["alerts.md"]
    assert (
        "| GPUMemoryForecast | prediction | warning | P(gpu_memory_usage > 93.25%) ≥ 0.8 within 7d |"
        in tree["alerts.md"]
    )
    config = tmp_path / "alertmanager.yml"
    config.write_text(tree["alertmanager/alertmanager.yml"])
    for labels in alerts_of(grown):
        if labels["alertname"] == "GPUMemoryHigh" and "level" not in labels:
            assert receivers_of(config, labels) == MEDIA["critical"] | {"slack-ml"}
        if labels["alertname"] == "GPUMemoryForecast":
            assert receivers_of(config, labels) == MEDIA["warning"] | {"slack-ml"}


def test_another_threshold_in_the_catalogue_leaves_no_trace_of_the_old_one() -> None:
    text = built_in_text("day_trade")
    assert text.count("0.93") == 1, "the number stands once"
    before = render_tree(load_catalogue("day_trade"), "production")
    after = render_tree(parse_catalogue(text.replace("0.93", "0.8765"), "changed.yaml"), "production")
    old = ("0.93", "93%", "93 %")
    assert any(number in told for told in before.values() for number in old)
    for path, told in after.items():
        assert not [number for number in old if number in told], path
    rules = after["prometheus/rules/detector.yml"]
    assert "< 0.8765" in rules
    assert "is below 87.65%" in rules
    assert "<= bool 0.8765" in rules
