"""The dashboards as files: complete, on the grid, from the catalogue alone, the same whenever they are rendered."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from detector.catalogue import Catalogue, load_catalogue, parse_catalogue
from detector.catalogue.durations import parse_duration
from detector.programs import find_program
from detector.render.grafana import boards, grafana_files
from detector.render.grafana.describe import describe_dashboards
from detector.render.grafana.selectors import narrowed
from detector.render.grafana.words import UNITS

ROOT = Path(__file__).parents[1]
CATALOGUE = ROOT / "detector/catalogue/day_trade.yaml"
ENVIRONMENTS = ("production", "staging")
TITLES = {"overview", "ml-service", "data-quality", "business", "forecasts"}
STALE = re.compile(r"\b0?\.93\b|\b93 ?%")
NEW_QUERY = """
  order_book_depth:
    description: Orders within a tick of the best price.
    expr: avg by (instance) (order_book_depth)
    unit: count
    objective: {above: 4711}
    step: 5m
    history: 21d
    service: order-service
    channel: data
    threshold_alert: {name: OrderBookThin, severity: warning, for: 5m}
    alert: {name: OrderBookForecast, severity: warning, horizon: 24h}
"""


def rendered(catalogue: Catalogue | None = None, environment: str = "production") -> dict[str, dict[str, Any]]:
    """Dashboards by their file's name."""
    files = grafana_files(catalogue or load_catalogue("day_trade"), environment)
    return {Path(path).stem: json.loads(text) for path, text in files.items() if path.endswith(".json")}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def every_panel() -> list[Any]:
    return [
        pytest.param(panel, id=f"{name} {panel['title']}")
        for name, dashboard in rendered().items()
        for panel in panels(dashboard)
    ]


def with_more(text: str) -> Catalogue:
    return parse_catalogue(CATALOGUE.read_text() + text, "more.yaml")


def test_there_are_the_five_dashboards_with_their_own_identity() -> None:
    dashboards = rendered()
    assert set(dashboards) == TITLES
    assert {one["uid"] for one in dashboards.values()} == {f"detector-{name}" for name in TITLES}
    assert len({one["title"] for one in dashboards.values()}) == len(TITLES)
    for one in dashboards.values():
        assert "id" not in one
        assert one["description"]
        assert one["timezone"] == "Asia/Tokyo"


@pytest.mark.parametrize("panel", every_panel())
def test_every_panel_says_what_it_shows_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 10, panel["title"]
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"]
    assert defaults["thresholds"]["steps"][0]["value"] is None
    assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert target["expr"]
        assert target["legendFormat"] or panel["type"] == "table"
        assert target.get("instant", False) != target.get("range", False)
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) <= 26


@pytest.mark.parametrize("name", sorted(TITLES))
def test_no_panel_leaves_the_grid_or_covers_another(name: str) -> None:
    dashboard = rendered()[name]
    inside_rows = [panel["panels"] for panel in dashboard["panels"] if panel["type"] == "row" and panel["panels"]]
    for level in (dashboard["panels"], *inside_rows):
        cells: dict[tuple[int, int], str] = {}
        for panel in level:
            x, y, w, h = (panel["gridPos"].get(key, 0) for key in ("x", "y", "w", "h"))
            assert x >= 0 and w >= 1 and h >= 1 and x + w <= 24, panel["title"]
            for cell in itertools.product(range(x, x + w), range(y, y + h)):
                assert cell not in cells, f"{panel['title']} covers {cells[cell]}"
                cells[cell] = panel["title"]


def test_panel_ids_are_unique_and_no_new_neighbour_changes_one() -> None:
    before, after = rendered(), rendered(with_more(NEW_QUERY))
    for name, dashboard in before.items():
        ids = {panel["title"]: panel["id"] for panel in (*dashboard["panels"], *panels(dashboard))}
        every = [panel["id"] for panel in (*panels(dashboard), *(p for p in dashboard["panels"] if p["type"] == "row"))]
        assert len(set(every)) == len(every)
        later = {panel["title"]: panel["id"] for panel in (*after[name]["panels"], *panels(after[name]))}
        assert ids.items() <= later.items()


def test_every_query_of_the_catalogue_is_shown_and_has_a_future() -> None:
    catalogue = load_catalogue("day_trade")
    *platform, future = boards(catalogue)
    assert set().union(*(board.queries for board in platform)) == set(catalogue.queries)
    assert future.queries == set(catalogue.queries)


def test_a_new_metric_is_on_the_dashboards_by_one_entry() -> None:
    catalogue = with_more(NEW_QUERY)
    dashboards = rendered(catalogue)
    for name in ("overview", "forecasts"):
        (panel,) = [one for one in panels(dashboards[name]) if one["title"] == "Order book depth"]
        assert panel["fieldConfig"]["defaults"]["unit"] == UNITS["count"]
        assert {"color": "green", "value": 4711} in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert "OrderBookForecast" in panel["description"]
        assert "order_book_depth{" in panel["targets"][0]["expr"]
    assert "order-service" in json.dumps(dashboards["forecasts"]["templating"])
    assert "Order book depth" in describe_dashboards(catalogue)


def test_a_changed_objective_changes_every_panel_and_text() -> None:
    text = CATALOGUE.read_text()
    assert text.count("{above: 0.93}") == 1
    changed = parse_catalogue(text.replace("{above: 0.93}", "{above: 0.9173}"), "changed.yaml")
    for dashboard in rendered(changed).values():
        assert not STALE.search(json.dumps(dashboard)), dashboard["title"]
    assert "91.73%" in json.dumps(rendered(changed)["overview"])
    assert not STALE.search(describe_dashboards(changed))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_refresh_and_time_ranges_are_the_environments(environment: str) -> None:
    catalogue = load_catalogue("day_trade")
    settings = catalogue.environments[environment].grafana
    assert (settings.refresh, settings.data_kept) == {"production": (30, 90 * 86400), "staging": (60, 30 * 86400)}[
        environment
    ]
    for dashboard in rendered(catalogue, environment).values():
        assert parse_duration(dashboard["refresh"]) == settings.refresh
        picker = dashboard["timepicker"]
        assert min(parse_duration(one) or 0 for one in picker["refresh_intervals"]) == settings.refresh
        kept = [parse_duration(one["from"].removeprefix("now-")) or 0 for one in picker["quick_ranges"]]
        assert max(kept) == settings.data_kept
        back = parse_duration(dashboard["time"]["from"].removeprefix("now-"))
        assert back is not None and back <= settings.data_kept


def test_forecasts_look_ahead_and_only_charts_of_the_future_ask_for_it() -> None:
    dashboard = rendered()["forecasts"]
    assert dashboard["time"] == {"from": "now-24h", "to": "now+24h"}
    for panel in panels(dashboard):
        of_the_future = any("forecast_curve" in target["expr"] for target in panel["targets"])
        assert of_the_future != bool(panel.get("timeFrom")), panel["title"]


def test_a_chart_of_the_future_has_value_curve_band_and_objective_in_one_panel() -> None:
    dashboard = rendered()["forecasts"]
    (panel,) = [one for one in panels(dashboard) if one["title"] == "ML ensemble accuracy"]
    value, middle, high, low, earlier = (target["expr"] for target in panel["targets"])
    assert value == 'ml_ensemble_accuracy{instance=~"$instance",model=~"$model|"}'
    for expr, quantile in ((middle, "0.5"), (high, "0.9"), (low, "0.1")):
        assert 'source="forecast"' in expr
        assert 'for="ml_ensemble_accuracy"' in expr
        assert f'quantile="{quantile}"' in expr
    assert earlier.startswith("max without (job, shard) (forecast_value{") and "offset 24h" in earlier
    legends = {target["refId"]: target["legendFormat"] for target in panel["targets"]}
    overrides = {one["matcher"]["options"]: {p["id"]: p["value"] for p in one["properties"]}
                 for one in panel["fieldConfig"]["overrides"]}  # fmt: skip
    assert overrides[legends["C"]]["custom.fillBelowTo"] == legends["D"]
    assert 0.93 in [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]


def test_every_variable_an_expression_names_is_a_choice_of_its_dashboard() -> None:
    for name, dashboard in rendered().items():
        known = {one["name"] for one in dashboard["templating"]["list"]}
        asked = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
        asked += [one["expr"] for one in dashboard["annotations"]["list"]]
        asked += [one["query"] for one in dashboard["templating"]["list"]]
        used = set(re.findall(r"\$(\w+)", "\n".join(asked)))
        assert used - {"__rate_interval", "__interval", "__interval_ms", "__range"} <= known
        assert known <= used, f"{name}: nothing uses {known - used}"
    assert {"service", "query", "instance", "model"} == {
        one["name"] for one in rendered()["forecasts"]["templating"]["list"]
    }


def test_alerts_events_and_restarts_are_drawn_over_every_dashboard() -> None:
    for dashboard in rendered().values():
        text = json.dumps(dashboard["annotations"])
        for said in ("ALERTS", "process_start_time_seconds", "Deploys", "titleFormat"):
            assert said in text
    assert "ml_model_retrained_timestamp_seconds" in json.dumps(rendered()["ml-service"]["annotations"])


def test_a_link_to_a_forecast_leads_to_its_panel() -> None:
    dashboards = rendered()
    there = {panel["id"] for panel in panels(dashboards["forecasts"])}
    links = [link["url"] for one in dashboards.values() for panel in panels(one) for link in panel.get("links", [])]
    assert len(links) > 30
    assert all(url.startswith("/d/detector-forecasts?") and int(url.rpartition("=")[2]) in there for url in links)


def test_rendering_again_gives_the_same_bytes() -> None:
    once, again = (grafana_files(load_catalogue("day_trade"), "staging") for _ in range(2))
    assert once == again
    for path, text in once.items():
        if path.endswith(".json"):
            assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_grafanas_own_types_read_everything_that_is_written() -> None:
    register_default_plugins()
    for dashboard in rendered().values():
        document = {key: value for key, value in dashboard.items() if key != "annotations"}
        read = json.loads(json.dumps(Dashboard.from_json(document), cls=JSONEncoder))
        assert lost(document, read, dashboard["title"]) == []


def lost(written: Any, read: Any, place: str) -> list[str]:
    """Where something that was written is not there, or another value, after reading. Defaults may be added."""
    if isinstance(written, dict) and isinstance(read, dict):
        missing = [f"{place}.{key}" for key in written if key not in read]
        return missing + [
            one for key in written if key in read for one in lost(written[key], read[key], f"{place}.{key}")
        ]
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        return [one for n, pair in enumerate(zip(written, read, strict=True)) for one in lost(*pair, f"{place}[{n}]")]
    return [] if written == read else [f"{place}: {written!r} was read as {read!r}"]


def test_provisioning_names_the_data_source_and_the_folders_of_the_dashboards() -> None:
    files = grafana_files(load_catalogue("day_trade"), "production")
    sources = yaml.safe_load(files["grafana/provisioning/datasources/detector.yaml"])["datasources"]
    assert [one["uid"] for one in sources if one.get("isDefault")] == ["prometheus"]
    assert sources[0]["jsonData"]["timeInterval"] == "15s"
    providers = yaml.safe_load(files["grafana/provisioning/dashboards/detector.yaml"])["providers"]
    directories = {Path(one["options"]["path"]).name for one in providers}
    assert directories == {Path(path).parent.name for path in files if path.endswith(".json")}
    settings = files["grafana/grafana.ini"]
    assert "min_refresh_interval = 30s" in settings
    assert settings.count("max_age = 90d") == 2
    home = settings.partition("default_home_dashboard_path = /var/lib/")[2].splitlines()[0]
    assert home in files


def test_a_catalogue_of_another_world_has_the_dashboards_that_fit_it() -> None:
    text = (ROOT / "detector/catalogue/node_exporter.yaml").read_text() + "\nenvironments: {production: {}}\n"
    catalogue = parse_catalogue(text, "hosts.yaml")
    dashboards = rendered(catalogue)
    assert set(dashboards) == {"overview", "forecasts"}
    titles = {panel["title"] for panel in panels(dashboards["overview"])}
    assert len(titles) >= len(catalogue.queries)


def test_the_document_of_the_dashboards_is_what_the_catalogue_renders() -> None:
    assert (ROOT / "docs/dashboards.md").read_text() == describe_dashboards(load_catalogue("day_trade"))


def test_expressions_of_other_catalogues_stay_promql_when_narrowed(tmp_path: Path) -> None:
    text = (ROOT / "detector/catalogue/node_exporter.yaml").read_text() + "\nenvironments: {production: {}}\n"
    asked = [target["expr"] for one in rendered(parse_catalogue(text, "hosts.yaml")).values()
             for panel in panels(one) for target in panel["targets"]]  # fmt: skip
    rules = [
        {"record": "x", "expr": re.sub(r"\$\w+", "5m", expr), "labels": {"n": str(n)}} for n, expr in enumerate(asked)
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    command = [str(find_program("promtool")), "check", "rules", str(tmp_path / "rules.yml")]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert 'instance=~"$instance"' in "".join(asked)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("a", 'a{i=~"$i"}'),
        ("a{}", 'a{i=~"$i"}'),
        ('a{b="x",}', 'a{b="x",i=~"$i"}'),
        ('{__name__=~"a|b"}', '{__name__=~"a|b",i=~"$i"}'),
        ('a{b="}"} # not{this}\n+ c', 'a{b="}",i=~"$i"} # not{this}\n+ c{i=~"$i"}'),
        ("sum by (a, b) (rate(c[5m])) / on (a) group_left (d) e",
         'sum by (a, b) (rate(c{i=~"$i"}[5m])) / on (a) group_left (d) e{i=~"$i"}'),
        ("sum(a) by (b) > bool 2 and c unless d", 'sum(a{i=~"$i"}) by (b) > bool 2 and c{i=~"$i"} unless d{i=~"$i"}'),
        ("max_over_time((a offset 1d)[2h:5m] @ end()) or vector(1e3) * Inf",
         'max_over_time((a{i=~"$i"} offset 1d)[2h:5m] @ end()) or vector(1e3) * Inf'),
    ],
)  # fmt: skip
def test_every_selector_of_an_expression_is_narrowed_and_nothing_else(expr: str, expected: str) -> None:
    assert narrowed(expr, {"i": "$i"}) == expected
