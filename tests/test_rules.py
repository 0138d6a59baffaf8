"""Rules are tested with promtool on series that went through a real Pushgateway."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from detector import conventions as names
from detector.catalogue import Query, load_catalogue, parse_catalogue
from detector.demo.board import parse_eta
from detector.exposition import Family, render
from detector.programs import find_program
from detector.prometheus_syntax import matcher
from detector.render.alertmanager import render_small_alertmanager
from detector.render.objectives import bad_now
from detector.render.rules import render_rules
from detector.servers import Pushgateway
from tests.waiting import wait_until

ALIVE, DEAD = 600.0, 30.0
"""`valid_until` in promtool's time, which starts at 0; the alerts are looked at after a minute."""
RUNBOOKS = "https://runbooks.day-trade.example/docs/runbooks"
SOURCE = {"job": "ml-service", "instance": "host-0", "model": "ensemble", "service": "ml-service"}


def exposition(
    query: Query,
    source: Mapping[str, str],
    *,
    alert: float,
    valid_until: float,
    eta: float = 6 * 3600,
    probability: float = 0.92,
    decided_on: int | None = None,
) -> bytes:
    """What the worker pushes about one series, as far as the rules read it."""
    assert query.alert
    own = {names.FOR: query.name}
    series = own | names.published_labels(source)
    horizon = {names.HORIZON: names.horizon_label(decided_on or query.alert_horizon)}
    decision = {names.ALERT: query.alert.name, names.SEVERITY: query.alert.severity}
    samples = [
        (names.BREACH_PROBABILITY, series | horizon, probability),
        (names.TIME_TO_BREACH, series | {names.QUANTILE: "0.5"}, eta),
        (names.TIME_TO_BREACH, series | {names.QUANTILE: "0.1"}, eta / 2),
        (names.FORECAST_ALERT, series | decision, alert),
        (names.VALID_UNTIL, own, valid_until),
        *([(names.ALERT_HORIZON, series, decided_on)] if decided_on else []),
    ]
    families = {metric.name: Family.of(metric) for metric, _, _ in samples}
    for metric, labels, value in samples:
        families[metric.name].add(labels, value)
    return render(families.values())


def scraped(gateway: Pushgateway, query: Query, body: bytes) -> list[dict[str, str]]:
    """Push to the gateway, read back what a scrape with honor_labels sees, as promtool's input series."""
    group = f"{gateway.url}/metrics/job/{names.JOB}/{names.FOR}/{query.name}/{names.SHARD}/0"
    requests.put(group, data=body, timeout=5).raise_for_status()
    text = requests.get(f"{gateway.url}/metrics", timeout=5).text
    requests.delete(group, timeout=5).raise_for_status()
    found = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("job") == names.JOB:
                labels = ",".join(matcher(name, value) for name, value in sample.labels.items() if value)
                value = "Inf" if math.isinf(sample.value) else repr(sample.value)
                found.append({"series": f"{sample.name}{{{labels}}}", "values": " ".join([value] * 6)})
    assert any(series["series"].startswith("forecast_alert{") for series in found)
    return found


def expected_alert(
    query: Query, source: Mapping[str, str], when: str, odds: str = "92%", within: str = ""
) -> dict[str, Any]:
    runbook = (
        {"runbook_url": f"{RUNBOOKS}/PredictedBreach.md"}
        if load_catalogue("day_trade").queries.get(query.name) == query
        else {}
    )
    assert query.alert and query.threshold
    units = {"percent": "%", "seconds": " s", "count": ""}
    level = f"{100 * query.threshold:g}%" if query.unit == "ratio" else f"{query.threshold:g}{units[query.unit]}"
    beyond = ("above " if query.breach_above else "below ") + level
    horizon = within or names.horizon_label(query.alert_horizon)
    whom = {"service": query.service, "team": query.team, "channel": query.channel}
    thing = " ".join(
        source[name] for name in ("instance", "model", "mountpoint", "queue", "source", "dataset") if name in source
    )
    return {
        "exp_labels": {
            **whom,
            **source,
            "for": query.name,
            "severity": query.alert.severity,
            "kind": "prediction",
        },
        "exp_annotations": {
            "summary": f"{query.name} of {thing} is predicted to go {beyond} within {horizon}",
            "description": f"{query.description} It is expected {beyond} {when}; "
            f"the probability within {horizon} is {odds}.",
            **runbook,
        },
    }


def promtool(directory: Path, rules: str, cases: list[dict[str, Any]]) -> None:
    (directory / "rules.yml").write_text(rules)
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": cases}
    (directory / "tests.yml").write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    for command in (["check", "rules", "rules.yml"], ["test", "rules", "tests.yml"]):
        done = subprocess.run(
            [find_program("promtool"), *command], cwd=directory, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def case(name: str, series: list[dict[str, str]], alert: str, expected: list[dict[str, Any]]) -> dict[str, Any]:
    looks = [{"eval_time": "1m", "alertname": alert, "exp_alerts": expected}]
    return {"name": name, "interval": "1m", "input_series": series, "alert_rule_test": looks}


@pytest.mark.parametrize("catalogue", ["day_trade", "node_exporter"])
def test_every_prediction_fires_when_decided_and_is_quiet_when_not_or_when_the_worker_is_dead(
    catalogue: str, pushgateway: Pushgateway, tmp_path: Path
) -> None:
    loaded = load_catalogue(catalogue)
    cases = []
    for query in loaded.queries.values():
        if query.alert is None:
            continue
        firing = [expected_alert(query, SOURCE, "in about 6 h (median)")]
        for title, alert, valid_until, expected in (
            ("fires", 1.0, ALIVE, firing),
            ("quiet", 0.0, ALIVE, []),
            ("worker dead", 1.0, DEAD, []),
        ):
            body = exposition(query, SOURCE, alert=alert, valid_until=valid_until)
            series = scraped(pushgateway, query, body)
            cases.append(case(f"{query.name} {title}", series, query.alert.name, expected))
    assert len(cases) >= 3 * 7
    promtool(tmp_path, render_rules(loaded), cases)


def test_a_time_to_the_breach_is_told_in_two_units_at_most_and_no_seconds_from_a_minute_on(
    pushgateway: Pushgateway, tmp_path: Path
) -> None:
    loaded = load_catalogue("day_trade")
    query = loaded.query("ml_ensemble_accuracy")
    cases = []
    for eta, said in (
        (45.5, "45.5 s"),
        (60, "1 min"),
        (754, "12 min"),
        (4 * 3600 + 180, "4 h 3 min"),
        (4 * 3600 + 192.6, "4 h 3 min"),
        (4 * 3600 + 59, "4 h"),
        (20 * 3600 + 1800, "20 h 30 min"),
        (24 * 3600 + 59, "1 d"),
        (56 * 3600 + 600, "2 d 8 h"),
    ):
        body = exposition(query, SOURCE, alert=1, valid_until=ALIVE, eta=eta)
        read = parse_eta(f"in about {said} (median)")  # as the demo does
        assert read is not None
        assert 0 <= eta - read < (3600 if eta >= 86400 else 60)
        expected = [expected_alert(query, SOURCE, f"in about {said} (median)")]
        cases.append(case(said, scraped(pushgateway, query, body), "EnsembleAccuracyForecast", expected))
    promtool(tmp_path, render_rules(loaded), cases)


@pytest.mark.parametrize(
    ("value", "said"), [(0.25, "250 ms"), (2.5, "2.5 s"), (100, "1 min 40 s"), (600, "10 min"), (7999, "2 h 13 min")]
)
def test_a_measured_time_keeps_its_seconds_below_an_hour(value: float, said: str, tmp_path: Path) -> None:
    text = """
queries:
  age: {expr: age_seconds, unit: seconds, objective: {below: 0.1}, threshold_alert: {name: Old, severity: warning}}
"""
    found = case(said, [{"series": "age_seconds", "values": f"{value}x20"}], "Old", [])
    labels = {"for": "age", "kind": "threshold", "severity": "warning", "channel": "alerts"}
    annotations = {"summary": "age is above 0.1 s", "description": f"It is {said}."}
    found["alert_rule_test"][0] |= {
        "eval_time": "19m",
        "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}],
    }
    promtool(tmp_path, render_rules(parse_catalogue(text, "ages.yaml")), [found])


def test_a_prediction_without_a_median_time_says_so(pushgateway: Pushgateway, tmp_path: Path) -> None:
    loaded = load_catalogue("day_trade")
    query = loaded.query("ml_ensemble_accuracy")
    body = exposition(query, SOURCE, alert=1, valid_until=ALIVE, eta=math.inf, probability=0.4567)
    when = "at a time that cannot be told, the median lies beyond the forecast"
    expected = [expected_alert(query, SOURCE, when, "45%")]
    series = scraped(pushgateway, query, body)
    promtool(tmp_path, render_rules(loaded), [case("+Inf", series, "EnsembleAccuracyForecast", expected)])


@pytest.mark.parametrize(("decided_on", "within"), [(3600, "1h"), (86400, "24h"), (7 * 86400, "7d"), (None, "7d")])
def test_a_prediction_names_the_horizon_that_was_decided_on_and_its_labels_do_not(
    decided_on: int | None, within: str, pushgateway: Pushgateway, tmp_path: Path
) -> None:
    loaded = load_catalogue("day_trade")
    query = loaded.query("node_disk_usage")
    body = exposition(query, SOURCE, alert=1, valid_until=ALIVE, decided_on=decided_on)
    expected = [expected_alert(query, SOURCE, "in about 6 h (median)", within=within)]
    series = scraped(pushgateway, query, body)
    promtool(tmp_path, render_rules(loaded), [case("horizon", series, "NodeDiskForecast", expected)])


@pytest.mark.parametrize(
    "source",
    [
        {"instance": "no-job"},
        {"job": "a", "instance": 'quote " backslash \\ percent % brace {{ . }}'},
        {"job": "ä/ö", "instance": "i", "region": "東京", "service": "other-service"},
    ],
)
def test_a_prediction_carries_the_labels_of_its_source_whatever_they_hold(
    source: dict[str, str], pushgateway: Pushgateway, tmp_path: Path
) -> None:
    loaded = load_catalogue("day_trade")
    query = loaded.query("node_disk_usage")
    series = scraped(pushgateway, query, exposition(query, source, alert=1, valid_until=ALIVE))
    expected = [expected_alert(query, source, "in about 6 h (median)")]
    promtool(tmp_path, render_rules(loaded), [case("labels", series, "NodeDiskForecast", expected)])


def test_the_alert_on_the_metric_itself_fires_at_its_own_level_and_carries_the_query(tmp_path: Path) -> None:
    cpu = "ml_cpu_usage{instance='host-0', job='ml-service'}"
    fires = {
        "exp_labels": {
            "for": "ml_cpu_usage",
            "kind": "threshold",
            "severity": "warning",
            "service": "ml-service",
            "team": "ml",
            "channel": "ml",
            "instance": "host-0",
            "job": "ml-service",
        },
        "exp_annotations": {
            "runbook_url": f"{RUNBOOKS}/HighCPUUsage.md",
            "summary": "ml_cpu_usage of host-0 is above 85%",
            "description": "CPU of the prediction service, percent of its limit. It is 86.5%.",
        },
    }
    cases = []
    for value, expected in ((86.5, [fires]), (84.0, [])):
        found = case(str(value), [{"series": cpu, "values": f"{value}x10"}], "HighCPUUsage", expected)
        found["alert_rule_test"][0]["eval_time"] = "6m"
        cases.append(found)
    promtool(tmp_path, render_rules(load_catalogue("day_trade")), cases)


def test_a_while_without_traffic_is_no_verdict_and_does_not_hide_what_is_bad_later(tmp_path: Path) -> None:
    quiet, busy = "0x20 ", "100+100x60"  # nobody asks for 20 minutes, then all answers are late
    series = [
        {"series": "ml_prediction_duration_count", "values": quiet + busy},
        {"series": "ml_prediction_duration_bucket{le='0.1'}", "values": "0x80"},
    ]
    catalogue = load_catalogue("day_trade")
    threshold = catalogue.query("ml_prediction_duration").threshold
    series[1]["series"] = f"ml_prediction_duration_bucket{{le='{threshold!r}'}}"
    looks = [
        {"expr": "slo:sli_error:ratio{slo='latency'}", "eval_time": "15m", "exp_samples": []},
        {
            "expr": "group(ALERTS{alertname='LatencyBudgetBurn', alertstate='firing', level=''})",
            "eval_time": "75m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        },
    ]
    found = {"name": "quiet", "interval": "1m", "input_series": series, "promql_expr_test": looks}
    promtool(tmp_path, render_rules(catalogue), [found])


def test_a_service_whose_exporter_does_not_answer_is_down_though_it_has_a_sign_of_life_of_its_own(
    tmp_path: Path,
) -> None:
    labels = "job='log-pipeline', instance='logstash', service='log-pipeline'"
    series = [
        {"series": f"up{{{labels}}}", "values": "1x5 0x30"},
        {"series": f"logstash_node_pipeline_events_out_total{{{labels}}}", "values": "0+60x5 stale"},
    ]
    asked = "count(ALERTS{alertname='LogCollectionStopped', alertstate='firing'})"
    looks = [{"expr": asked, "eval_time": "20m", "exp_samples": [{"labels": "{}", "value": 1}]}]
    found = {"name": "gone", "interval": "1m", "input_series": series, "promql_expr_test": looks}
    promtool(tmp_path, render_rules(load_catalogue("day_trade")), [found])


def test_an_escalated_prediction_is_judged_once(tmp_path: Path) -> None:
    catalogue = load_catalogue("day_trade")
    query = next(one for one in catalogue.queries.values() if one.alert and one.threshold_alert)
    assert query.alert and query.threshold_alert

    def firing(alert: str, kind: str, instance: str, **labels: str) -> dict[str, str]:
        told = {"alertname": alert, "alertstate": "firing", "kind": kind, "for": query.name, "instance": instance}
        matchers = ",".join(matcher(name, value) for name, value in (told | labels).items())
        return {"series": f"ALERTS{{{matchers}}}", "values": "1x60"}

    series = [
        firing(query.alert.name, "prediction", "true"),
        firing(query.threshold_alert.name, "threshold", "true"),
        *(firing(query.alert.name, "prediction", "false", **at) for at in ({}, {"level": "L2"}, {"level": "L3"})),
    ]
    hours = query.alert_horizon // 3600 + 1
    asked, expected = bad_now(catalogue, "alert_precision"), [{"labels": "{}", "value": 0.5}]
    looks = [{"expr": asked, "eval_time": f"{hours}h", "exp_samples": expected}]
    found = {"name": "once", "interval": "1h", "input_series": series, "promql_expr_test": looks}
    promtool(tmp_path, "groups: []", [found])


@pytest.mark.parametrize(
    ("cause", "false"),
    [
        ({}, 0.5),
        ({"alertname": "ModelRetrained", "kind": "event", "service": "ml-service"}, 0.0),
        ({"alertname": "MLServiceDown", "kind": "availability", "service": "ml-service"}, 0.0),
        ({"alertname": "BackupCompleted", "kind": "event", "service": "ml-service"}, 0.5),
        ({"alertname": "ModelRetrained", "kind": "event", "service": "other"}, 0.5),
    ],
)
def test_a_prediction_that_may_have_been_averted_is_no_false_alarm(
    tmp_path: Path, cause: dict[str, str], false: float
) -> None:
    catalogue = load_catalogue("day_trade")
    query = catalogue.query("ml_ensemble_accuracy")
    assert query.alert
    assert query.threshold_alert

    def firing(values: str, **labels: str) -> dict[str, str]:
        matchers = ",".join(matcher(name, value) for name, value in ({"alertstate": "firing"} | labels).items())
        return {"series": f"ALERTS{{{matchers}}}", "values": values}

    def about(instance: str, name: str, kind: str) -> dict[str, str]:
        place = {"instance": instance, "for": query.name, "service": "ml-service"}
        return firing("1x3 _x60", alertname=name, kind=kind, **place)

    series = [
        about("came-true", query.alert.name, "prediction"),
        about("came-true", query.threshold_alert.name, "threshold"),
        about("did-not", query.alert.name, "prediction"),
        *([firing("_x5 1x2 _x60", **cause)] if cause else []),
    ]
    expected = [{"labels": "{}", "value": false}]
    at = f"{query.alert_horizon // 3600 + 1}h"
    looks = [{"expr": bad_now(catalogue, "alert_precision"), "eval_time": at, "exp_samples": expected}]
    found = {"name": "averted", "interval": "1h", "input_series": series, "promql_expr_test": looks}
    # No rules beside it: without a scrape every service would be down.
    promtool(tmp_path, "groups: []", [found])


def test_the_watchdog_always_fires(tmp_path: Path) -> None:
    labels = {"exp_labels": {"severity": "none", "service": "detector", "channel": "alerts", "kind": "watchdog"}}
    rules = render_rules(parse_catalogue("queries: {up: {expr: up, unit: count}}", "mine.yaml"))
    annotations = {
        "summary": "The alert path works",
        "description": "This alert always fires, its value is 1; a dead-man's switch raises the alarm when it stops.",
    }
    promtool(tmp_path, rules, [case("always", [], "Watchdog", [labels | {"exp_annotations": annotations}])])


def test_predictive_rules_have_no_delay_and_every_alert_says_whom_it_concerns_and_what_to_do() -> None:
    for catalogue, more in (("day_trade", {"runbook_url"}), ("node_exporter", set[str]())):
        for rule in alerts_of(render_rules(load_catalogue(catalogue))):
            assert set(rule["annotations"]) == {"summary", "description"} | more
            assert "$value" in rule["annotations"]["description"] or rule["labels"]["kind"] == "prediction"
            if rule["labels"]["kind"] == "prediction":
                assert not {"for", "keep_firing_for"} & set(rule)
            if catalogue == "day_trade":
                assert {"severity", "service", "team", "channel"} <= set(rule["labels"]), rule["alert"]


def alerts_of(rules: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(rules)["groups"] for rule in group["rules"] if "alert" in rule]


def test_text_of_the_catalogue_is_no_template(tmp_path: Path) -> None:
    text = """queries: {"up": {expr: up, unit: count, objective: {above: 0.5},
      description: 'a {{ .Bad }} "x" {{ end', threshold_alert: {name: Down}, alert: {name: Soon}}}"""
    rules = render_rules(parse_catalogue(text, "mine.yaml"))
    (tmp_path / "rules.yml").write_text(rules)
    subprocess.run([find_program("promtool"), "check", "rules", str(tmp_path / "rules.yml")], check=True, timeout=60)


def test_alertmanager_silences_a_prediction_that_came_true_and_no_other(alertmanager: Any) -> None:
    server = alertmanager(render_small_alertmanager(load_catalogue("day_trade"), "http://127.0.0.1:1/"))
    facts = {"for": "node_disk_usage", "instance": "db-0", "job": "node"}
    alerts = [
        {"alertname": "HighDiskUsage", "kind": "threshold", "mountpoint": "/data", **facts},
        {"alertname": "NodeDiskForecast", "kind": "prediction", "mountpoint": "/data", **facts},
        {"alertname": "NodeDiskForecast", "kind": "prediction", "mountpoint": "/", **facts},
    ]
    url = f"{server.url}/api/v2/alerts"
    requests.post(url, json=[{"labels": labels} for labels in alerts], timeout=5).raise_for_status()

    def states() -> dict[str, str] | None:
        found = requests.get(url, timeout=5).json()
        told = {a["labels"]["alertname"] + a["labels"]["mountpoint"]: a["status"]["state"] for a in found}
        return told if len(told) == 3 and "unprocessed" not in told.values() else None

    # The rules see an alert a moment after its route does, so the first answers may suppress fewer.
    wait_until(lambda: "suppressed" in (states() or {}).values(), within=20, what="an alert being suppressed")
    assert states() == {
        "HighDiskUsage/data": "active",
        "NodeDiskForecast/data": "suppressed",
        "NodeDiskForecast/": "active",
    }


SHOPS = """
queries:
  baskets:
    expr: sum by (namespace, pod, shop, severity) (baskets{lane!="express"})
    unit: count
    objective: {below: 9}
    threshold_alert: {name: ManyBaskets, severity: critical}
    alert: {name: ManyBasketsForecast}
"""


def test_labels_that_only_the_catalogue_knows_tell_series_apart_too(alertmanager: Any) -> None:
    text = render_small_alertmanager(parse_catalogue(SHOPS, "shops.yaml"), "http://127.0.0.1:1/")
    rule = yaml.safe_load(text)["inhibit_rules"][0]
    assert {"pod", "namespace", "device", "mountpoint", "shop", "lane"} <= set(rule["equal"])
    assert not {"severity", "kind", "alertname"} & set(rule["equal"])
    server = alertmanager(text)
    fact = {"alertname": "ManyBaskets", "kind": "threshold", "severity": "critical"}
    prediction = {"alertname": "ManyBasketsForecast", "kind": "prediction", "severity": "warning"}
    here = {"for": "baskets", "namespace": "prod", "pod": "till-1", "shop": "north"}
    alerts = [fact | here, *(prediction | here | other for other in ({}, {"pod": "till-2"}, {"shop": "south"}))]
    url = f"{server.url}/api/v2/alerts"
    requests.post(url, json=[{"labels": labels} for labels in alerts], timeout=5).raise_for_status()

    def suppressed() -> list[tuple[str, str]] | None:
        found = [(one["labels"], one["status"]["state"]) for one in requests.get(url, timeout=5).json()]
        if len(found) < 4 or any(state == "unprocessed" for _, state in found):
            return None
        return [(labels["pod"], labels["shop"]) for labels, state in found if state == "suppressed"]

    wait_until(suppressed, within=20, what="an alert being suppressed")  # an empty list is not yet
    assert suppressed() == [("till-1", "north")]


def test_rendering_from_the_command_line_writes_a_file(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from detector.cli import app

    out = tmp_path / "rules.yml"
    done = CliRunner().invoke(app, ["render", "rules", "--catalogue", "node_exporter", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert out.read_text() == render_rules(load_catalogue("node_exporter"))
    shown = CliRunner().invoke(app, ["render", "alertmanager", "--receiver", "http://me/"])
    assert shown.stdout == render_small_alertmanager(load_catalogue("day_trade"), "http://me/")
    assert CliRunner().invoke(app, ["render", "rules", "-c", "none.yaml"]).exit_code == 2
    assert CliRunner().invoke(app, ["render", "rules", "-o", str(tmp_path / "no" / "f")]).exit_code == 2
