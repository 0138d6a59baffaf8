"""`init` and `check-config --against` look at a real Prometheus."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from detector.catalogue import load_catalogue
from detector.catalogue.check import MIN_POINTS, check_against, endpoint_of, summary
from detector.catalogue.init import built_in_blocks, draft_catalogue
from detector.catalogue.schema import Endpoint, Settings
from detector.cli import app
from detector.errors import ConfigError, DetectorError
from detector.servers import NodeExporter, Prometheus, Pushgateway, prometheus_config
from detector.source import PrometheusSource
from tests.waiting import wait_until


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def host() -> Iterator[Prometheus]:
    """A Prometheus that has scraped this host's node_exporter long enough for a rate."""
    with NodeExporter() as exporter:
        config = prometheus_config({"node": exporter.address})
        with Prometheus(config, retention="15d") as server:
            source = PrometheusSource(Endpoint(url=server.url))
            wait_until(lambda: source.instant("rate(node_cpu_seconds_total[5m])"), within=30, what="two scrapes")
            yield server


def gauges(prometheus: object, pushgateway: Pushgateway, text: str) -> Prometheus:
    """A Prometheus that has scraped the given exposition from a Pushgateway."""
    import requests

    requests.put(f"{pushgateway.url}/metrics/job/mine", data=text.encode(), timeout=5).raise_for_status()
    server = prometheus(prometheus_config({"push": pushgateway.address}, honor_labels=["push"]))  # type: ignore[operator]
    assert isinstance(server, Prometheus)
    source = PrometheusSource(Endpoint(url=server.url))
    wait_until(lambda: source.instant('{job="mine"}'), within=30, what="the first scrape")
    return server


def test_init_finds_a_host_and_check_config_accepts_what_it_wrote(host: Prometheus, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    done = run("init", "--url", host.url, "--out", str(mine))
    assert done.exit_code == 0, done.output
    assert "known queries" in done.output
    queries = load_catalogue(mine).queries
    assert {"node_cpu_busy", "node_memory_used", "node_load_per_cpu", "node_file_descriptors_used"} <= set(queries)
    assert not {"ml_ensemble_accuracy", "node_disk_usage"} & set(queries)
    assert load_catalogue(mine).settings.prometheus.url == host.url
    assert "# " in mine.read_text() and "default_objective" in mine.read_text()
    checked = run("check-config", str(mine), "--against", "settings")
    assert checked.exit_code == 0, checked.output
    assert "Prometheus keeps 15d, less than the history" in " ".join(checked.output.split())
    assert "Finding nothing" not in checked.output


def test_every_host_query_means_what_it_says_on_a_real_host(host: Prometheus) -> None:
    catalogue, source = load_catalogue("node_exporter"), PrometheusSource(Endpoint(url=host.url))
    report = check_against(catalogue, source)
    for name, finding in report.findings.items():
        assert finding.verdict != "failed", (name, finding.remarks)
        assert not any("outside" in remark for remark in finding.remarks), (name, finding.remarks)
    assert report.findings["node_cpu_busy"].series == 1
    assert report.findings["node_memory_used"].series == 1
    assert report.findings["node_file_descriptors_used"].series == 1
    devices = {labels["device"] for labels, _ in source.instant("node_network_receive_bytes_total")}
    virtual = re.compile("lo|(veth|docker|br-|virbr|cali|flannel|cni|tap).*")
    for name in ("node_network_received", "node_network_sent"):
        assert report.findings[name].series == sum(virtual.fullmatch(device) is None for device in devices)
    fixed = source.instant('node_filesystem_readonly{fstype=~"ext4|xfs|btrfs"}')
    writable = {labels["device"] for labels, readonly in fixed if not readonly}
    assert report.findings["node_filesystem_used"].series >= len(writable)
    (_, used), (_, load) = (
        source.instant(catalogue.query(n).expr)[0] for n in ("node_memory_used", "node_load_per_cpu")
    )
    assert 0 < used < 100
    assert 0 <= load < 1000


def test_init_never_overwrites_a_file_unless_forced(host: Prometheus, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("precious")
    refused = run("init", "--url", host.url, "--out", str(mine))
    assert refused.exit_code == 2
    assert "exists; --force overwrites it" in refused.output
    assert mine.read_text() == "precious"
    assert run("init", "--url", host.url, "--out", str(mine), "--force").exit_code == 0
    assert "node_cpu_busy" in mine.read_text()


def test_init_prints_to_the_terminal_when_asked(host: Prometheus) -> None:
    done = run("init", "--url", host.url, "--out", "-")
    assert done.exit_code == 0
    assert "  node_cpu_busy:\n" in done.output


def test_init_recognises_the_trading_platform_and_leaves_out_what_is_not_there(
    prometheus: object, pushgateway: Pushgateway, tmp_path: Path
) -> None:
    server = gauges(prometheus, pushgateway, 'ml_ensemble_accuracy{instance="a"} 0.95\ndata_quality_score 0.9\n')
    mine = tmp_path / "mine.yaml"
    assert run("init", "--url", server.url, "--out", str(mine)).exit_code == 0
    queries = load_catalogue(mine).queries
    assert set(queries) == {"ml_ensemble_accuracy", "data_quality_score", "process_file_descriptors_used"}
    assert queries["ml_ensemble_accuracy"].samples is None
    assert queries["ml_ensemble_accuracy"].threshold == 0.93


def test_init_suggests_gauges_that_look_like_a_share_where_nothing_is_known(
    prometheus: object, pushgateway: Pushgateway, tmp_path: Path
) -> None:
    text = "pool_used_ratio 0.4\nheap_usage 55\njunk_ratio 7e9\ncache_hits_total 5\nbroken_ratio NaN\ncpu_pct 0.5\n"
    server = gauges(prometheus, pushgateway, text)
    mine = tmp_path / "mine.yaml"
    done = run("init", "--url", server.url, "--out", str(mine))
    assert done.exit_code == 0, done.output
    units = {name: query.unit for name, query in load_catalogue(mine).queries.items()}
    assert units.pop("process_file_descriptors_used") == "percent"  # the gateway's own
    assert units == {"pool_used_ratio": "ratio", "heap_usage": "percent", "cpu_pct": "percent"}
    uncommented = mine.read_text().replace("    # objective", "    objective").replace("    # alert", "    alert")
    mine.write_text(uncommented)
    assert load_catalogue(mine).query("heap_usage").threshold == 90


def test_init_says_so_when_there_is_nothing_to_watch(prometheus: object) -> None:
    server = prometheus("")  # type: ignore[operator]
    done = run("init", "--url", server.url, "--out", "-")
    assert done.exit_code == 1
    assert "write a catalogue by hand" in done.output


def test_init_keeps_the_credentials_of_the_url_out_of_the_file(host: Prometheus) -> None:
    url = host.url.replace("http://", "http://me:hunter2@")
    draft = draft_catalogue(PrometheusSource(Endpoint(url=host.url)), url)
    assert "hunter2" not in draft.text
    assert "credentials of the URL are not written" in draft.text


@pytest.mark.parametrize("arguments", [("init", "--out", "-", "--url"), ("check-config", "--against")])
def test_a_prometheus_out_of_reach_is_exit_code_3_and_no_url_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    away = run(*arguments, "http://127.0.0.1:9")
    assert away.exit_code == 3, away.output
    assert "127.0.0.1:9" in away.output
    wrong = run(*arguments, "localhost")
    assert wrong.exit_code == 2
    assert "expected a URL such as http://localhost:9090, got localhost" in wrong.output


def test_check_config_says_what_every_query_finds(prometheus: object, pushgateway: Pushgateway, tmp_path: Path) -> None:
    server = gauges(prometheus, pushgateway, 'a{i="1"} 0.5\na{i="2"} 95\nb NaN\n')
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"""\
settings: {{prometheus: "{server.url}", max_series: 1}}
queries:
  shares: {{expr: a, unit: ratio, data_range: [0, 1], samples: none_such}}
  gaps: {{expr: b, unit: ratio}}
  empty: {{expr: none_such, unit: ratio}}
  wrong: {{expr: "rate(a", unit: ratio}}
""")
    catalogue = load_catalogue(mine)
    report = check_against(catalogue, PrometheusSource(catalogue.settings.prometheus))
    found = {name: (finding.series, finding.verdict) for name, finding in report.findings.items()}
    assert found == {
        "shares": (2, "failed"),
        "gaps": (1, "warning"),
        "empty": (0, "warning"),
        "wrong": (None, "failed"),
    }
    remarks = "; ".join(report.findings["shares"].remarks)
    for part in ("1 outside data_range [0.0, 1.0], such as 95", "more than max_series 1", "'none_such'"):
        assert part in remarks
    assert "Finding nothing: empty." in summary(catalogue, report)
    done = run("check-config", str(mine), "--against", server.url)
    assert done.exit_code == 1
    assert "parse error" in done.output


def test_check_config_says_how_much_history_there_is(
    prometheus: object, pushgateway: Pushgateway, tmp_path: Path
) -> None:
    server = gauges(prometheus, pushgateway, "young 1\n")
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"""\
settings: {{prometheus: "{server.url}"}}
queries:
  old: {{expr: vector(1), unit: count, history: 35d}}
  weeks: {{expr: "vector(1) and vector(time()) > {time.time() - 20 * 86400:.0f}", unit: count, history: 35d}}
  hours: {{expr: "vector(1) and vector(time()) > {time.time() - 3 * 3600:.0f}", unit: count, history: 35d}}
  week: {{expr: "vector(1) and vector(time()) > {time.time() - 9 * 86400:.0f}", unit: count, history: 35d}}
  young: {{expr: young, unit: count, history: 14d}}
""")
    catalogue = load_catalogue(mine)
    report = check_against(catalogue, PrometheusSource(catalogue.settings.prometheus))
    ages = {name: finding.history or 0 for name, finding in report.findings.items()}
    assert ages["old"] == 35 * 86400
    assert ages["weeks"] == pytest.approx(20 * 86400, abs=600)
    assert ages["hours"] == pytest.approx(3 * 3600, abs=600)
    assert ages["young"] < 600
    remarks = {name: "; ".join(finding.remarks) for name, finding in report.findings.items()}
    assert remarks["old"] == ""
    assert remarks["weeks"] == "less history than asked for"
    assert remarks["week"] == "no weekly season before 14d of history"
    assert re.match("young: nothing is forecast further ahead than the history, [23]h now", remarks["hours"])
    assert remarks["young"] == f"too young: forecasts begin at 48m of history, {MIN_POINTS} points"
    done = run("check-config", str(mine), "--against", server.url)
    assert re.search("old .* 35d of 35d", done.output) and re.search("weeks .* (19|20)d of 35d", done.output)
    assert "of 5 queries 1 ok, 4 to look at" in done.output


def test_check_config_knows_how_many_points_the_engine_needs() -> None:
    from models import forecaster

    assert forecaster.MIN_POINTS == MIN_POINTS


def test_check_config_shows_what_will_run() -> None:
    done = run("check-config", "day_trade")
    assert done.exit_code == 0
    for part in ("ml_ensemble_accuracy", "35d", "1h 24h 7d", "above 0.93 ratio", "below 90 percent (default)"):
        assert part in done.output
    assert "EnsembleAccuracyForecast: P >= 0.8 within" in done.output
    assert "The catalogue is sound: 31 queries." in done.output


def test_check_config_lists_all_problems_and_leaves_with_2(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("queries:\n  a: {expr: up, unit: miles}\n  b: {expr: up, unit: count, step: 1s}\n")
    done = run("check-config", str(mine))
    assert done.exit_code == 2
    assert f"{mine}:2: query 'a', key 'unit': expected one of" in done.output
    assert f"{mine}:3: query 'b', key 'step': expected 15s or more, got 1s" in done.output


def test_credentials_of_the_catalogue_go_to_their_own_server_only() -> None:
    settings = Settings(prometheus=Endpoint(url="http://mine:9090", bearer_token="secret"))
    assert endpoint_of("settings", settings).bearer_token == "secret"
    assert endpoint_of("http://mine:9090/prefix", settings).bearer_token == "secret"
    assert endpoint_of("http://other:9090", settings).bearer_token is None
    with pytest.raises(ConfigError):
        endpoint_of("mine", settings)


def test_every_built_in_query_can_be_copied_on_its_own() -> None:
    for name in ("day_trade", "node_exporter"):
        blocks = built_in_blocks(name)
        assert list(blocks) == list(load_catalogue(name).queries)
        for query, text in blocks.items():
            assert text.startswith(f"  {query}:\n") and text.count("    expr:") == 1


def test_drafting_without_anything_known_names_the_server() -> None:
    class Empty:
        def instant(self, expr: str, at: int | None = None) -> list[tuple[dict[str, str], float]]:
            return []

        def metric_names(self) -> list[str]:
            return ["requests_total"]

    with pytest.raises(DetectorError, match="nothing on http://here"):
        draft_catalogue(Empty(), "http://here")
