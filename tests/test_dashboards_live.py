"""Every PromQL of every dashboard, asked of a Prometheus that scrapes the platform and the worker."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from detector import conventions as names
from detector.catalogue import Catalogue, load_catalogue
from detector.catalogue.durations import parse_duration
from detector.catalogue.schema import Objective
from detector.render.grafana import grafana_files
from detector.render.rules import render_rules
from detector.run import build_worker, with_servers
from detector.servers import Prometheus, Pushgateway, find_program, prometheus_config, wait_until
from detector.simulate import Platform, Scenario
from detector.simulate.backfill import backfill
from detector.simulate.server import SimulatorServer

DAY = 86400
SCORED = "ml_cpu_usage"
"""The query whose worker ran for some hours, so that forecasts have been scored. Its objective is missed every day."""
MAY_BE_EMPTY = {"Retrained, refreshed, backed up"}
"""Annotations of what does not happen here."""


@dataclass(frozen=True)
class Live:
    """A Prometheus, and the moment at which everything has arrived in it."""

    url: str
    now: float

    def ask(self, path: str, **params: Any) -> Any:
        answer = requests.get(f"{self.url}/api/v1/{path}", params=params, timeout=60).json()
        assert answer["status"] == "success", f"{answer['error']}: {params}"
        assert not answer.get("warnings"), (answer["warnings"], params)
        return answer["data"]


def at_steps(catalogue: Catalogue, step: int) -> Catalogue:
    """The catalogue with a short past, read in equal steps: the worker is done with it in seconds."""
    queries = {
        name: query.model_copy(update={"step": step, "history": 8 * DAY}) for name, query in catalogue.queries.items()
    }
    return catalogue.model_copy(update={"queries": queries})


def often_missed(catalogue: Catalogue) -> Catalogue:
    """The catalogue with an objective that was missed before: the skill of probabilities needs a base rate."""
    query = catalogue.queries[SCORED]
    lower = Objective(below=70)
    return catalogue.model_copy(
        update={"queries": {**catalogue.queries, SCORED: query.model_copy(update={"objective": lower})}}
    )


def failing(catalogue: Catalogue, now: int) -> Platform:
    wrong = [Scenario("accuracy-slide", now - 18 * 3600, 0.6), Scenario("disk-fill", now - 4 * 3600, 0.6)]
    return Platform(seed=3, scenarios=wrong, clock="around_the_clock", catalogue=catalogue)


def scrape_of_services(catalogue: Catalogue, simulator: str) -> list[dict[str, Any]]:
    """One process plays all services: each job keeps what its own service exposes."""
    return [
        {
            "job_name": service,
            "honor_labels": True,
            "static_configs": [{"targets": [simulator]}],
            "metric_relabel_configs": [{"source_labels": ["job"], "regex": service, "action": "keep"}],
        }
        for service in catalogue.services
    ]


def future_curves(platform: Platform, now: int, directory: Path) -> Path:
    """Blocks with a curve ahead of every series, as the worker's curves are labelled."""
    lines = ["# TYPE forecast_curve gauge"]
    for name in platform.queries:
        if name not in platform.catalogue.queries:
            continue
        for one in platform.series(name):
            renamed = {("exported_source" if key == "source" else key): value for key, value in one.labels.items()}
            for quantile in (0.1, 0.5, 0.9):
                labels = {"source": "forecast", "for": name, "quantile": names.quantile_label(quantile), **renamed}
                text = ",".join(names.matcher(key, value) for key, value in labels.items())
                lines += [f"forecast_curve{{{text}}} {quantile} {t}" for t in range(now, now + 3 * 3600, 300)]
    source = directory / "curves.om"
    source.write_text("\n".join([*lines, "# EOF", ""]))
    made = directory / "curves"
    command = [str(find_program("promtool")), "tsdb", "create-blocks-from", "openmetrics", "-q", str(source), str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Give nine days of a failing platform, scraped on, with what a worker published about it."""
    scratch = tmp_path_factory.mktemp("dashboards")
    catalogue = at_steps(load_catalogue("day_trade"), 300)
    now = int(time.time()) // 300 * 300
    data = scratch / "data"
    backfill(failing(catalogue, now), data, start=now - 9 * DAY, end=now - DAY)
    fine = failing(at_steps(catalogue, 60), now)
    backfill(fine, data, start=now - DAY + 60, end=int(time.time()) // 60 * 60)
    rules = scratch / "rules.yml"
    rules.write_text(render_rules(catalogue))
    with ExitStack() as stack:
        curves = stack.enter_context(Prometheus(data=future_curves(fine, now, scratch)))
        gateway = stack.enter_context(Pushgateway())
        simulator = stack.enter_context(SimulatorServer(fine))
        reading = {
            "url": f"{curves.url}/api/v1/read",
            "required_matchers": {"source": "forecast"},
            "read_recent": True,
            "filter_external_labels": False,
        }
        text = prometheus_config(
            {"pushgateway": gateway.address}, interval="5s", honor_labels=["pushgateway"], rule_files=[rules],
            remote_read=[reading],
        )  # fmt: skip
        config = yaml.safe_load(text)
        config["scrape_configs"] += scrape_of_services(catalogue, simulator.address)
        server = stack.enter_context(Prometheus(yaml.safe_dump(config), data=data))
        asked = with_servers(often_missed(catalogue), url=server.url, pushgateway=gateway.url)
        settings = asked.settings.model_copy(update={"state_dir": scratch / "state"})
        asked = asked.model_copy(update={"settings": settings})
        yield Live(server.url, publish(asked, server.url))


def publish(catalogue: Catalogue, url: str) -> float:
    """Run the worker through some hours for one query, then once for all; the moment at which it can be read."""
    slot = int(time.time()) // 60 * 60
    past = build_worker(catalogue, sinks=[])
    for at in range(slot - 5 * 3600, slot - 3600, 900):
        past.run_slot(at, [SCORED])
    past.flush()
    slot = int(time.time()) // 60 * 60
    worker = build_worker(catalogue)
    worker.run_slot(slot)
    worker.publish_telemetry()

    def arrived() -> bool:
        query = f"count({names.GENERATED} == {slot})"
        found = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=10).json()["data"]["result"]
        return bool(found) and int(found[0]["value"][1]) == len(catalogue.queries)

    wait_until(arrived, within=30, what="every query's push to be scraped")
    time.sleep(6)  # the rules are evaluated every 5 s
    return time.time()


def dashboards() -> dict[str, dict[str, Any]]:
    files = grafana_files(load_catalogue("day_trade"), "production")
    return {path: json.loads(text) for path, text in files.items() if path.endswith(".json")}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def with_everything_chosen(expr: str, dashboard: dict[str, Any]) -> str:
    """What Grafana asks when every variable says All."""
    built_in = {"__rate_interval": "5m", "__interval": "1m", "__range": "24h"}
    chosen = built_in | {one["name"]: ".*" for one in dashboard["templating"]["list"]}
    return re.sub(r"\$(\w+)", lambda match: chosen[match[1]], expr)


def time_range(dashboard: dict[str, Any], panel: dict[str, Any], now: float) -> tuple[float, float]:
    """From when to when a panel asks: its own range of the past, or the dashboard's."""
    if panel.get("timeFrom"):
        return now - seconds(panel["timeFrom"]), now
    start, end = (now + signed(dashboard["time"][side]) for side in ("from", "to"))
    return start, end


def signed(text: str) -> int:
    sign, length = text.removeprefix("now")[:1], text.removeprefix("now")[1:]
    return {"-": -1, "+": 1, "": 0}[sign] * (seconds(length) if length else 0)


def seconds(text: str) -> int:
    length = parse_duration("24h" if text == "1d" else text)
    assert length is not None, text
    return length


def answers(live: Live, dashboard: dict[str, Any], panel: dict[str, Any], target: dict[str, Any]) -> list[Any]:
    expr = with_everything_chosen(target["expr"], dashboard)
    start, end = time_range(dashboard, panel, live.now)
    if target.get("instant"):
        return list(live.ask("query", query=expr, time=end)["result"])
    step = seconds(panel["interval"]) if panel.get("interval") else max(60, (end - start) // 10_000)
    if panel.get("interval"):
        start = live.now - 3 * DAY
    return list(live.ask("query_range", query=expr, start=start, end=end, step=step)["result"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_expression_of_every_dashboard_finds_data(live: Live) -> None:
    empty, asked = [], 0
    for path, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                asked += 1
                if not answers(live, dashboard, panel, target):
                    empty.append((path, panel["title"], target["refId"], target["expr"]))
    assert empty == []
    assert asked >= 300


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_variable_has_values(live: Live) -> None:
    for dashboard in dashboards().values():
        for one in dashboard["templating"]["list"]:
            if one["type"] != "query":
                continue
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", one["query"])
            assert asked is not None, one["query"]
            selector = with_everything_chosen(asked[1], dashboard)
            found = live.ask("series", **{"match[]": selector, "start": live.now - DAY, "end": live.now})
            assert any(series.get(asked[2]) for series in found), one


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_annotation_is_drawn_where_its_subject_is(live: Live) -> None:
    drawn: dict[str, int] = {}
    for dashboard in dashboards().values():
        for one in dashboard["annotations"]["list"]:
            expr = with_everything_chosen(one["expr"], dashboard)
            found = live.ask("query_range", query=expr, start=live.now - 600, end=live.now, step=10)["result"]
            drawn[one["name"]] = drawn.get(one["name"], 0) + len(found)
    assert {name for name, series in drawn.items() if not series} == MAY_BE_EMPTY
