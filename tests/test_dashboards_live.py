"""Every PromQL of every dashboard, asked of a Prometheus that scrapes the platform and the worker."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import yaml

from detector import conventions as names
from detector.catalogue import Catalogue, load_catalogue
from detector.catalogue.durations import parse_duration
from detector.catalogue.schema import Objective
from detector.loopback import free_port
from detector.render.grafana import grafana_files
from detector.render.remote_read import remote_read
from detector.render.rules import render_rules
from detector.run import build_store, build_worker, listening_on, with_servers
from detector.serve.server import HttpServer
from detector.servers import Prometheus, Pushgateway, prometheus_config
from detector.simulate import Platform, Scenario
from detector.simulate.backfill import backfill
from detector.simulate.server import SimulatorServer
from tests.waiting import wait_until

DAY = 86400
SCORED = "ml_cpu_usage"
"""The query whose worker ran for some hours, so that forecasts have been scored. Its objective is missed every day."""


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
    """Each service under its own job, as the rendered configuration has it."""
    return [
        {
            "job_name": service,
            "honor_labels": True,
            "metrics_path": f"/metrics/{service}",
            "static_configs": [{"targets": [simulator], "labels": {"service": service}}],
        }
        for service in catalogue.services
    ]


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
    rules.write_text(grouped_often(render_rules(catalogue)))
    port = free_port()
    asked = with_servers(often_missed(catalogue), url=f"http://127.0.0.1:{port}")
    settings = asked.settings.model_copy(update={"state_dir": scratch / "state"})
    asked = listening_on(asked.model_copy(update={"settings": settings}), "127.0.0.1:0")
    with ExitStack() as stack:
        curves = stack.enter_context(HttpServer(asked, build_store(asked)).in_background())
        gateway = stack.enter_context(Pushgateway())
        simulator = stack.enter_context(SimulatorServer(fine))
        text = prometheus_config(
            {"pushgateway": gateway.address}, interval="5s", honor_labels=["pushgateway"], rule_files=[rules],
            remote_read=remote_read(curves.url),
        )  # fmt: skip
        config = yaml.safe_load(text)
        config["scrape_configs"] += scrape_of_services(catalogue, simulator.address)
        server = stack.enter_context(Prometheus(yaml.safe_dump(config), data=data, port=port))
        yield Live(server.url, publish(with_servers(asked, pushgateway=gateway.url), server.url))


def grouped_often(rules: str) -> str:
    """The rules without intervals of their own: what is recorded for a month is there in seconds."""
    document = yaml.safe_load(rules)
    for group in document["groups"]:
        group.pop("interval", None)
    return yaml.safe_dump(document, width=10_000)


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
    time.sleep(16)  # rules on rules on rules, each evaluated every 5 s
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
    built_in = {"__rate_interval": "5m", "__interval": "1m", "__interval_ms": "60000", "__range": "24h"}
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
    step = seconds(panel["interval"]) if panel.get("interval") else max(60, int(end - start) // 10_000)
    start = end - (end - start) // step * step  # the last point is the end, where a young series is
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
    assert {"ModelRetrained", "DataRefreshed", "BackupCompleted"} < set(drawn)
    assert [name for name, series in drawn.items() if not series] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_chart_of_the_future_reaches_from_yesterday_to_tomorrow(live: Live) -> None:
    dashboard = dashboards()["grafana/dashboards/forecasts/forecasts.json"]
    (panel,) = [one for one in panels(dashboard) if one["title"] == "ML ensemble accuracy"]
    value, middle, high, low = (answers(live, dashboard, panel, target)[0] for target in panel["targets"][:4])
    assert float(value["values"][0][0]) < live.now - 23 * 3600
    for curve in (middle, high, low):
        assert float(curve["values"][-1][0]) > live.now + 23 * 3600
    at = {t: float(v) for t, v in middle["values"]}
    above, below = ({t: float(v) for t, v in one["values"]} for one in (high, low))
    assert all(below[t] <= at[t] <= above[t] for t in at)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_event_of_each_day_is_drawn_once_a_day_at_its_time(live: Live) -> None:
    dashboard = dashboards()["grafana/dashboards/platform/data-quality.json"]
    (event,) = [one for one in dashboard["annotations"]["list"] if one["name"] == "DataRefreshed"]
    step, days = 1800, 3
    expr = event["expr"].replace("$__interval_ms", str(1000 * step))
    end = live.now // step * step
    found = live.ask("query_range", query=expr, start=end - days * DAY, end=end, step=step)["result"]
    assert len(found) == 4  # data sets
    for series in found:
        drawn = [t for t, value in series["values"] if float(value) > 0]
        begins = [t for t in drawn if t - step not in drawn]
        assert len(begins) == days
        assert all(0 <= (t + 9 * 3600 - 7.5 * 3600) % DAY < 2 * step for t in begins)  # half past seven in Tokyo
