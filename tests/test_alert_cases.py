"""Every alert fires where it must and is quiet on a healthy platform, on series from real scrapes, by promtool.

The simulated platform is scraped once a minute over HTTP at a time of the test's choice; `up` and what Prometheus,
Alertmanager and Pushgateway say about themselves comes from these servers. promtool's time begins at 0, so unix
times in the series are shifted by the start of the scrapes.
"""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from detector import conventions as names
from detector.catalogue import Catalogue, load_catalogue
from detector.exposition import Family, render
from detector.loopback import free_port
from detector.programs import find_program
from detector.prometheus_syntax import matcher
from detector.render.rules import render_rules
from detector.servers import Alertmanager, Prometheus, Pushgateway, alertmanager_config, prometheus_config
from detector.simulate import Platform, Scenario
from detector.simulate.fleet import SERVICES
from detector.simulate.scraping import scrape_configs
from detector.simulate.server import SimulatorServer
from tests.waiting import wait_until

START = 1_789_344_000 + 2 * 86_400 + 3 * 3600  # a Wednesday, 12:00 in Tokyo
MINUTES = 40
Series = dict[str, list[float]]
Alert = Mapping[str, str]

TOLD_BY = {
    "cliff": ("EnsembleAccuracyDegraded", "PredictionsSlow", "HighMemoryUsage", "HighCPUUsage", "DataQualityDegraded",
              "DataFetchFailing", "SchedulerTaskFailure", "SchedulerQueueLong", "HighDiskUsage",
              "PostgreSQLConnectionsHigh", "RedisMemoryHigh", "AccuracyBudgetBurn", "LatencyBudgetBurn"),
    "stopped": ("MLServiceDown", "DataServiceDown", "SchedulerServiceDown", "DatabaseDown", "LogCollectionStopped",
                "AvailabilityBudgetBurn"),
    "events": ("ModelRetrained", "DataRefreshed", "BackupCompleted"),
    "worker": ("DetectorDown", "DetectorCycleLate", "DetectorPushFailing", "DetectorQueryFailing",
               "DetectorSeriesLost", "DetectorNoData"),
    "path": ("PushgatewayDown", "RuleEvaluationFailing", "AlertmanagerUnreachable", "AlertDeliveryFailing"),
    "false alarms": ("FalseAlertBudgetBurn",),
    "always": ("Watchdog",),
}  # fmt: skip
"""Which of the cases below makes an alert fire; the predictive ones have theirs in test_rules.py."""


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue("day_trade")


def read(text: str, series: Series, shift: float = 0.0) -> None:
    """Add one scrape to the series; unix times are moved by the shift."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(matcher(name, value) for name, value in sample.labels.items() if value)
            is_time = sample.name.endswith(("timestamp_seconds", "push_time_seconds", "push_failure_time_seconds"))
            value = sample.value - shift if is_time and sample.value else sample.value
            series[f"{sample.name}{{{labels}}}"].append(value)


def platform_series(*scenarios: Scenario) -> Series:
    """MINUTES scrapes of a simulated platform."""
    series: Series = defaultdict(list)
    moment = [float(START)]
    with SimulatorServer(Platform(5, scenarios), now=lambda: moment[0]) as server, requests.Session() as session:
        for minute in range(MINUTES):
            moment[0] = START + 60.0 * minute
            read(session.get(f"{server.url}/metrics", timeout=30).text, series, START)
    return series


def constant(series: Series) -> Series:
    """What one scrape found, for as long as a case lasts."""
    return {name: [values[-1]] * MINUTES for name, values in series.items()}


def stepped(before: Series, after: Series) -> Series:
    """Counters of two scrapes: the first for ten minutes, then the second and as much more each minute."""
    found = {}
    for name, values in after.items():
        first = before.get(name, [0.0])[-1]
        rise = values[-1] - first
        found[name] = [first] * 10 + [first + rise * (1 + i) for i in range(MINUTES - 10)]
    return found


def up_series(*scenarios: Scenario, pushgateway: str) -> Series:
    """`up` as a real Prometheus finds it on the pages of the platform's services."""
    with SimulatorServer(Platform(5, scenarios), now=lambda: START + 60.0) as server:
        scraped = [
            *scrape_configs(server.address),
            {"job_name": "pushgateway", "static_configs": [{"targets": [pushgateway]}]},
        ]
        with Prometheus(prometheus_config(scrape_configs=scraped)) as prometheus:

            def scraped_once() -> list[dict[str, Any]] | None:
                answer = requests.get(f"{prometheus.url}/api/v1/query", params={"query": "up"}, timeout=10).json()
                found = answer["data"]["result"]
                return found if len(found) == len(scraped) else None

            found = wait_until(scraped_once, within=30, what="a scrape of every service")
    series: Series = {}
    for one in found:
        labels = ",".join(f'{name}="{value}"' for name, value in one["metric"].items() if name != "__name__")
        series[f"up{{{labels}}}"] = [float(one["value"][1])] * MINUTES
    return series


def worker_push(**changes: float | str) -> bytes:
    """What a worker says about one query and its own cycles; unix times are those of promtool's clock."""
    own = {names.FOR: "node_cpu_usage"}
    state = str(changes.get("state", "ok"))
    samples: list[tuple[names.Metric, dict[str, str], float]] = [
        (names.VALID_UNTIL, own, float(changes.get("valid_until", 1e6))),
        (names.QUERY_SERIES, own, float(changes.get("series", 8))),
        (names.QUERY_ERROR, own | {"kind": "source"}, float(changes.get("error", 0))),
        (names.FORECAST_STATE, own | {"instance": "node-1", names.STATE: state}, 1),
        (names.CYCLE_LAST_SUCCESS, own, float(changes.get("success", 1e6))),
    ]
    families = {metric.name: Family.of(metric) for metric, _, _ in samples}
    for metric, labels, value in samples:
        families[metric.name].add(labels, value)
    return render(families.values())


def push(gateway: Pushgateway, body: bytes, job: str = names.JOB) -> None:
    """Push to a group of one query."""
    group = f"{gateway.url}/metrics/job/{job}/{names.FOR}/node_cpu_usage/{names.SHARD}/0"
    requests.put(group, data=body, timeout=5).raise_for_status()


def pushed(body: bytes, *, then: bytes | None = None) -> Series:
    """What a scrape of a real Pushgateway finds after a push, and after another that it may refuse."""
    with Pushgateway() as gateway:
        group = f"{gateway.url}/metrics/job/{names.JOB}/{names.FOR}/node_cpu_usage/{names.SHARD}/0"
        requests.put(group, data=body, timeout=5).raise_for_status()
        at = time.time() - 1.0  # a second on promtool's clock: 0 is the gateway's word for never
        if then is not None:
            time.sleep(0.01)  # the gateway's clock must tell the two apart
            assert requests.put(group, data=then, timeout=5).status_code == 400
        series: Series = defaultdict(list)
        for line in requests.get(f"{gateway.url}/metrics", timeout=5).text.splitlines():
            # times of the gateway's own clock are moved to promtool's, those the worker said are there already
            read(line + "\n", series, at if line.startswith("push_") else 0.0)
    return {name: values for name, values in series.items() if f'job="{names.JOB}"' in name}


BROKEN = """
groups:
- name: broken
  rules:
  - {record: twice, expr: 'label_replace({job=~".+"}, "__name__", "x", "", "")'}
  - {alert: Always, expr: vector(1)}
"""


def path_series(tmp_path: Path, *, broken: bool) -> tuple[Series, Series]:
    """Two scrapes of a Prometheus and an Alertmanager about themselves, whose path works or is broken everywhere."""
    nowhere = f"127.0.0.1:{free_port()}"
    rules = tmp_path / f"rules-{broken}.yml"
    rules.write_text(BROKEN if broken else "groups: [{name: ok, rules: [{record: one, expr: vector(1)}]}]")
    with Alertmanager(alertmanager_config(f"http://{nowhere}/")) as alertmanager:
        config = prometheus_config(
            {"alertmanager": alertmanager.address},
            rule_files=[rules],
            alertmanagers=[nowhere if broken else alertmanager.address],
        )
        with Prometheus(config) as prometheus, requests.Session() as session:

            def scrape() -> Series:
                series: Series = defaultdict(list)
                read(session.get(f"{prometheus.url}/metrics", timeout=10).text, series)
                read(session.get(f"{alertmanager.url}/metrics", timeout=10).text, series)
                watched = ("prometheus_rule_eval", "prometheus_notifications_", "alertmanager_notifications_failed")
                return {name: values for name, values in series.items() if name.startswith(watched)}

            def total(series: Series, name: str) -> float:
                return sum(values[-1] for key, values in series.items() if key.startswith(name))

            first = scrape()
            if broken:
                alerts = [{"labels": {"alertname": "Undeliverable"}}]
                requests.post(f"{alertmanager.url}/api/v2/alerts", json=alerts, timeout=5).raise_for_status()
            counters = ("prometheus_rule_evaluation_failures_total", "prometheus_notifications_dropped_total",
                        "alertmanager_notifications_failed_total") if broken else ()  # fmt: skip
            known = "prometheus_notifications_alertmanagers_discovered"
            wait_until(lambda: total(scrape(), known) > 0, within=30, what="Prometheus to find its Alertmanager")
            wait_until(lambda: all(total(scrape(), one) > total(first, one) for one in counters), within=40)
            return first, scrape()


def promtool(directory: Path, catalogue: Catalogue, cases: list[dict[str, Any]], interval: str = "1m") -> None:
    (directory / "rules.yml").write_text(render_rules(catalogue))
    document = {"rule_files": ["rules.yml"], "evaluation_interval": interval, "tests": cases}
    (directory / "tests.yml").write_text(yaml.safe_dump(document, sort_keys=False))
    command = [find_program("promtool"), "test", "rules", "tests.yml"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def case(name: str, series: Iterable[Series], looks: list[dict[str, Any]], interval: str = "1m") -> dict[str, Any]:
    inputs = [
        {"series": key, "values": " ".join(f"{value:.17g}".replace("inf", "Inf") for value in values)}
        for found in series
        for key, values in found.items()
    ]
    return {"name": name, "interval": interval, "input_series": inputs, "promql_expr_test": looks}


def fires(catalogue: Catalogue, alert: str, at: int = MINUTES - 1, *severities: str) -> list[dict[str, Any]]:
    """All rules of an alert fire at a minute: the first, and each level of escalation that is due by then."""
    expected = [
        dict.fromkeys(("severity", "level"), "")
        | {key: rule["labels"][key] for key in ("severity", "level") if key in rule["labels"]}
        for rule in rules_of(catalogue, alert)
    ]
    kept = [one for one in expected if not severities or one["severity"] in severities]
    asked = f'group by (severity, level) (ALERTS{{alertname="{alert}", alertstate="firing"}})'
    samples = [{"labels": "{" + ",".join(f'{k}="{v}"' for k, v in one.items() if v) + "}", "value": 1} for one in kept]
    unique = [one for place, one in enumerate(samples) if one not in samples[:place]]
    return [{"expr": asked, "eval_time": f"{at}m", "exp_samples": unique}]


def rules_of(catalogue: Catalogue, alert: str = "") -> list[dict[str, Any]]:
    groups = yaml.safe_load(render_rules(catalogue))["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return [rule for rule in rules if not alert or rule["alert"] == alert]


def test_every_alert_of_the_rules_has_a_case_that_fires_and_none_without_is_left(catalogue: Catalogue) -> None:
    here = {alert for alerts in TOLD_BY.values() for alert in alerts}
    predictions = {query.alert.name for query in catalogue.queries.values() if query.alert}
    assert {rule["alert"] for rule in rules_of(catalogue)} == here | predictions


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> list[Series]:
    """Everything a healthy platform says, and the servers around it."""
    with Pushgateway() as gateway:
        up = up_series(pushgateway=gateway.address)
    _, path = path_series(tmp_path_factory.mktemp("path"), broken=False)
    return [platform_series(), up, constant(pushed(worker_push())), constant(path)]


def test_nothing_but_the_watchdog_fires_on_a_healthy_platform(
    catalogue: Catalogue, well: list[Series], tmp_path: Path
) -> None:
    firing = 'group by (alertname) (ALERTS{alertstate="firing"})'
    only = [{"labels": '{alertname="Watchdog"}', "value": 1}]
    looks = [{"expr": firing, "eval_time": f"{minute}m", "exp_samples": only} for minute in range(1, MINUTES, 2)]
    found = {key.partition("{")[0] for series in well for key in series}
    assert {"up", "pg_up", "push_time_seconds", "alertmanager_notifications_failed_total", "ml_ensemble_accuracy",
            "prometheus_rule_evaluation_failures_total", "detector_query_series"} <= found  # fmt: skip
    promtool(tmp_path, catalogue, [case("healthy", well, looks)])


def test_a_cliff_of_each_metric_fires_its_alert_and_burns_the_budgets(catalogue: Catalogue, tmp_path: Path) -> None:
    watched = [query.name for query in catalogue.queries.values() if query.threshold_alert]
    severity = {"ml_prediction_duration": 60.0}  # most predictions must be late before the budget burns critically
    cliffs = [Scenario("cliff", START, severity.get(name, 3.0), query=name) for name in watched]
    looks = [look for alert in TOLD_BY["cliff"] for look in fires(catalogue, alert)]
    queries = 'group by (for) (ALERTS{kind="threshold", alertstate="firing"})'
    each = [{"labels": f'{{for="{name}"}}', "value": 1} for name in watched]
    looks.append({"expr": queries, "eval_time": f"{MINUTES - 1}m", "exp_samples": each})
    promtool(tmp_path, catalogue, [case("cliffs", [platform_series(*cliffs)], looks)])


def test_a_service_that_stops_fires_within_a_minute_and_escalates_after_5_and_15(
    catalogue: Catalogue, pushgateway: Pushgateway, tmp_path: Path
) -> None:
    stopped = [Scenario("service-down", START, target={"service": name}) for name in SERVICES[:4]]
    series = [
        platform_series(*stopped, Scenario("log-stop", START)),
        up_series(*stopped, pushgateway=pushgateway.address),
    ]
    looks = [look for alert in TOLD_BY["stopped"] for look in fires(catalogue, alert)]
    levels = 'group by (level) (ALERTS{alertname="MLServiceDown", alertstate="firing"})'
    for minute, due in ((0, []), (1, [""]), (5, [""]), (6, ["", "L2"]), (15, ["", "L2"]), (16, ["", "L2", "L3"])):
        samples = [{"labels": f'{{level="{one}"}}' if one else "{}", "value": 1} for one in due]
        looks.append({"expr": levels, "eval_time": f"{minute}m", "exp_samples": samples})
    promtool(tmp_path, catalogue, [case("stopped", series, looks)])


def test_a_database_is_down_when_one_store_is_though_its_exporter_answers(
    catalogue: Catalogue, well: list[Series], tmp_path: Path
) -> None:
    down = Scenario("service-down", START, target={"instance": "redis-1"})
    looks = [
        {
            "expr": 'ALERTS{alertname="DatabaseDown", alertstate="firing", level=""}',
            "eval_time": "5m",
            "exp_samples": [
                {
                    "labels": 'ALERTS{alertname="DatabaseDown", alertstate="firing", job="database", '
                    'instance="redis-1", service="database", team="infra", channel="infra", severity="critical", '
                    'kind="availability"}',
                    "value": 1,
                }
            ],
        }
    ]
    promtool(tmp_path, catalogue, [case("one store", [platform_series(down), *well[1:]], looks)])


def test_log_collection_has_stopped_when_logstash_does_not_answer_its_exporter(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    labels = 'job="log-pipeline",instance="logstash-exporter:7979",service="log-pipeline"'
    counter = f"logstash_events_out_total{{{labels}}}"
    answers = {f"up{{{labels}}}": [1.0] * MINUTES, counter: [60.0 * minute for minute in range(MINUTES)]}
    dead = {f"up{{{labels}}}": [1.0] * 5 + [0.0] * (MINUTES - 5), counter: answers[counter][:5]}
    at = fires(catalogue, "LogCollectionStopped", 12)
    quiet = [look | {"exp_samples": []} for look in at]
    early = [look | {"exp_samples": []} for look in fires(catalogue, "LogCollectionStopped", 9)]
    cases = [case("answers", [answers], quiet), case("dead", [dead], at + early)]
    promtool(tmp_path, catalogue, cases)


def told(
    alert: str, minute: int, labels: dict[str, str], summary: str, description: str, page: str = ""
) -> dict[str, Any]:
    """A look at the whole of an alert, its words too."""
    runbook = f"https://runbooks.day-trade.example/docs/runbooks/{alert}.md"
    notes = {"summary": summary, "description": description, "runbook_url": runbook}
    expected = [{"exp_labels": labels, "exp_annotations": notes}]
    return {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": expected}


def test_an_alert_says_in_words_what_is_the_matter_and_how_bad(catalogue: Catalogue, tmp_path: Path) -> None:
    events = platform_series(Scenario("retrain", START + 300, target={"model": "lstm"}))
    retrained = {key: values for key, values in events.items() if "retrained" in key and "lstm" in key}
    up = {'up{job="ml-service",instance="ml-0",service="ml-service"}': [0.0] * MINUTES}
    late = constant(pushed(worker_push(valid_until=60)))
    ml = {"service": "ml-service", "team": "ml", "channel": "ml"}
    worker = {"service": "detector", "team": "infra", "channel": "alerts", "severity": "warning", "kind": "worker"}
    looks = [
        told("ModelRetrained", 7,
             ml | {"severity": "info", "kind": "event", "job": "ml-service", "instance": "ml-service-0",
                   "model": "lstm"},
             "ModelRetrained of ml-service-0 lstm", "A model was trained anew. It was 2 min ago."),
        told("MLServiceDown", 2,
             ml | {"severity": "critical", "kind": "availability", "job": "ml-service", "instance": "ml-0"},
             "ml-service of ml-0 is down",
             "Predicts with the ensemble of models. It does not answer: its state is 0, 1 is well."),
        told("DetectorCycleLate", 11, worker | {"for": "node_cpu_usage", "shard": "0"},
             "Forecasts of node_cpu_usage are out of date",
             "They ran out 10 min ago and nothing newer came; its predictions are quiet."),
    ]  # fmt: skip
    whole = case("words", [retrained, up, late], [])
    promtool(tmp_path, catalogue, [whole | {"alert_rule_test": looks}])


def test_an_event_is_told_for_twenty_minutes_and_no_longer(catalogue: Catalogue, tmp_path: Path) -> None:
    happened = [Scenario(kind, START + 300) for kind in ("retrain", "data-refresh", "backup")]
    looks = []
    for alert in TOLD_BY["events"]:
        for minute, there in ((4, False), (5, True), (25, True), (27, False)):
            look = fires(catalogue, alert, minute)[0]
            looks.append(look if there else look | {"exp_samples": []})
    promtool(tmp_path, catalogue, [case("events", [platform_series(*happened)], looks)])


def test_a_worker_that_is_dead_late_refused_or_blind_is_told(catalogue: Catalogue, tmp_path: Path) -> None:
    dead = pushed(worker_push(valid_until=0, success=0, error=1, state="no_data"), then=b"twice 1\ntwice 1\n")
    lost = pushed(worker_push(series=8)), pushed(worker_push(series=3))
    series = constant(dead)
    for name in [key for key in series if key.startswith(names.QUERY_SERIES.name)]:
        series[name] = [lost[0][name][-1]] * 10 + [lost[1][name][-1]] * (MINUTES - 10)
    looks = [look for alert in TOLD_BY["worker"] for look in fires(catalogue, alert)]
    promtool(
        tmp_path,
        catalogue,
        [case("worker", [series], looks), case("never there", [], fires(catalogue, "DetectorDown"))],
    )


def test_the_workers_pushgateway_is_missed_whatever_its_job_is_called_and_nobody_elses_is(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    (tmp_path / "rules.yml").write_text(render_rules(catalogue, time_scale=60))
    firing = 'ALERTS{alertname="PushgatewayDown", alertstate="firing"}'
    with Pushgateway() as ours, Pushgateway() as theirs:
        push(ours, worker_push())
        push(theirs, b"rows 1\n", job="nightly")
        jobs = {"results": ours.address, "batch": theirs.address}
        config = prometheus_config(jobs, honor_labels=list(jobs), rule_files=[tmp_path / "rules.yml"])
        with Prometheus(config, directory=tmp_path) as prometheus:

            def ask(expr: str) -> list[str]:
                answer = requests.get(f"{prometheus.url}/api/v1/query", params={"query": expr}, timeout=10).json()
                return sorted(one["metric"].get("job", "") for one in answer["data"]["result"])

            known = 'push_time_seconds{job="detector"} and on () (count(pushgateway_build_info) == 2)'
            wait_until(lambda: ask(known), within=30, what="a scrape of both")
            theirs.kill()
            missed = 'sum_over_time((up{job="batch"} == bool 0)[1m:1s]) >= 5'  # longer than the rule's `for`
            wait_until(lambda: ask(missed), within=30, what="theirs to be missed")
            assert ask(firing) == []
            ours.kill()
            wait_until(lambda: "results" in ask(firing), within=30, what="the alert on ours")


@pytest.mark.slow
def test_a_broken_alert_path_is_told_wherever_it_breaks(catalogue: Catalogue, tmp_path: Path) -> None:
    with Pushgateway() as gateway:
        address = gateway.address
    up = up_series(pushgateway=address)
    looks = [look for alert in TOLD_BY["path"] for look in fires(catalogue, alert, 13)]
    promtool(tmp_path, catalogue, [case("path", [up, stepped(*path_series(tmp_path, broken=True))], looks)])


@pytest.mark.slow
def test_predictions_that_never_come_true_burn_their_budget(catalogue: Catalogue, tmp_path: Path) -> None:
    """In steps of five minutes: a prediction is judged a day later."""
    query = catalogue.query("node_cpu_usage")
    assert query.alert
    labels = f'job="detector",for="{query.name}",shard="0"'
    decision = f'forecast_alert{{{labels},instance="node-1",alert="{query.alert.name}",severity="warning"}}'
    looked = 26 * 12
    series = {
        decision: [1.0] * 24 + [0.0] * looked,
        f"{names.VALID_UNTIL}{{{labels}}}": [1e6] * looked,
        'node_cpu_usage{job="infrastructure",instance="node-1"}': [50.0] * looked,
    }
    for came_true in (False, True):
        if came_true:
            series['node_cpu_usage{job="infrastructure",instance="node-1"}'][100:120] = [99.0] * 20
        # job and service of a prediction are its source's; here both sides have the catalogue's
        series[decision.replace('instance="node-1"', 'instance="node-1",exported_job="infrastructure"')] = series[
            decision
        ]
        bare = {key: values for key, values in series.items() if key != decision}
        look = fires(catalogue, "FalseAlertBudgetBurn", 25 * 60)[0]
        looks = [look | {"exp_samples": []}] if came_true else [look]
        promtool(tmp_path, catalogue, [case("judged", [bare], looks, "5m")], "5m")
