"""The simulated platform in a real Prometheus: the past from blocks, the present from scrapes, no seam."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from typer.testing import CliRunner

from detector.catalogue import load_catalogue
from detector.servers import Prometheus, prometheus_config
from detector.simulate import Platform, Scenario
from detector.simulate.backfill import backfill
from detector.simulate.exposed import FAMILIES
from detector.simulate.fleet import SERVICES
from detector.simulate.marks import MARKS
from detector.simulate.metrics import METRICS
from detector.simulate.server import SimulatorServer
from tests.waiting import wait_until

DAYS = 7
EVERYTHING = '{__name__!="up", job=~"ml-service|data-service|scheduler-service|infrastructure|database|log-pipeline"}'


@dataclass
class Stage:
    """A Prometheus that was given a week's past and scrapes the same platform live."""

    platform: Platform
    prometheus: Prometheus
    end: int
    series: int

    def instant(self, expr: str, at: float) -> list[dict[str, Any]]:
        return self._get("query", query=expr, time=at)

    def range(self, expr: str, start: float, end: float, step: int) -> list[dict[str, Any]]:
        return self._get("query_range", query=expr, start=start, end=end, step=step)

    def _get(self, what: str, **params: Any) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.prometheus.url}/api/v1/{what}", params=params, timeout=30).json()
        assert answer["status"] == "success", answer
        return answer["data"]["result"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    end = int(time.time()) // 60 * 60
    outage = Scenario("data-outage", end - 3 * 86_400, duration=3600)
    platform = Platform(seed=21, scenarios=[outage, Scenario("disk-fill", end - 3 * 3600)])
    data = tmp_path_factory.mktemp("data")
    done = backfill(platform, data, start=end - DAYS * 86_400, end=end)
    with SimulatorServer(Platform(seed=21, scenarios=platform.scenarios)) as live:
        config = prometheus_config({"simulator": live.address}, honor_labels=["simulator"])
        with Prometheus(config, data=data) as prometheus:
            yield Stage(platform, prometheus, end, done.series - len(SERVICES))  # `up` is Prometheus' own


@pytest.mark.parametrize("out", ["a file/past", "closed/past"])
def test_a_past_that_cannot_be_written_is_told_without_a_traceback(tmp_path: Path, out: str) -> None:
    (tmp_path / "a file").write_text("")
    (tmp_path / "closed").symlink_to("/proc")
    command = [sys.executable, "-m", "detector", "simulate", "--backfill", "1h", "--out", str(tmp_path / out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"cannot use {tmp_path / out}: ")
    assert "Traceback" not in done.stderr


def test_every_expression_of_the_catalogue_finds_its_series(stage: Stage) -> None:
    for name, query in stage.platform.catalogue.queries.items():
        found = stage.instant(query.expr, stage.end)
        assert len(found) == len(stage.platform.series(name)), name


@pytest.mark.parametrize("name", load_catalogue("day_trade").queries)
def test_prometheus_answers_what_the_platform_says(stage: Stage, name: str) -> None:
    query = stage.platform.catalogue.query(name)
    end = stage.end // 300 * 300  # the past is written on the step's own grid
    start = end - 2 * 86_400
    said = stage.platform.query(name, start, end, query.step)
    got = {_key(one["metric"]): one["values"] for one in stage.range(query.expr, start, end, query.step)}
    assert set(got) == {_key(labels) for labels in said.labels}
    for labels, row in zip(said.labels, said.values, strict=True):
        points = got[_key(labels)]
        values = np.array([float(value) for _, value in points])
        assert [at for at, _ in points] == said.times.tolist()
        if METRICS[name].windowed:
            off = np.abs(values - row) / METRICS[name].sigma
            # a restart loses what was counted since the last sample, for as long as the window sees it
            assert np.mean(off > 0.5) < 0.02
            assert np.median(off) < 0.1
        else:
            assert np.allclose(values, row, rtol=1e-6)


def test_a_rate_survives_the_restarts_of_its_instance(stage: Stage) -> None:
    expr = "resets(redis_operations_rate_total[7d])"
    assert all(1 <= float(one["value"][1]) <= 4 for one in stage.instant(expr, stage.end))
    rate = stage.platform.catalogue.query("redis_operations_rate").expr
    for one in stage.range(rate, stage.end - 6 * 86_400, stage.end, 300):
        assert min(float(value) for _, value in one["values"]) >= 0


def test_an_outage_is_a_gap_in_the_past(stage: Stage) -> None:
    middle = stage.end - 3 * 86_400 + 1800
    assert stage.instant("data_quality_score", middle) == []
    assert stage.instant("rate(data_fetch_attempts_total[10m])", middle) == []
    assert stage.instant("ml_cpu_usage", middle) != []


def test_the_present_continues_the_past_without_a_seam(stage: Stage) -> None:
    def scraped() -> bool:
        now = time.time()
        return now > stage.end + 3 and len(stage.instant(f"last_over_time({EVERYTHING}[2s])", now)) == stage.series

    wait_until(scraped, within=30, what="a scrape of every series")
    now = time.time()
    both = stage.instant(f"last_over_time({EVERYTHING}[10m])", now)
    assert len(both) == stage.series, "past and present name the same series"

    fresh = Platform(seed=21, scenarios=stage.platform.scenarios)
    for one in stage.instant('node_disk_usage{instance="node-2"}', now):
        stamp = stage.instant(
            f'timestamp(node_disk_usage{{instance="node-2",mountpoint="{one["metric"]["mountpoint"]}"}})', now
        )
        at = int(float(stamp[0]["value"][1]))
        said = fresh.values("node_disk_usage", at, at, 60)
        row = [_key(labels) for labels in said.labels].index(_key(one["metric"]))
        assert float(one["value"][1]) == pytest.approx(said.values[row, 0], rel=1e-6)

    for family in FAMILIES:
        for name in family.samples if family.type != "gauge" else ():
            planned = fresh.values(name, stage.end - 600, now + 1, 1)
            restarting = {
                _key(labels) for labels, row in zip(planned.labels, planned.values, strict=True)
                if (np.diff(row) < 0).any()
            }  # fmt: skip
            for one in stage.instant(f"resets({name}[10m])", now):
                assert float(one["value"][1]) == 0 or _key(one["metric"]) in restarting, one


def test_the_live_page_says_what_the_past_would_have_said() -> None:
    platform = Platform(seed=2)
    at = 1_789_527_600
    with SimulatorServer(platform, now=lambda: at + 30.0) as live:
        answer = requests.get(live.url + "/metrics", timeout=10)
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        page = answer.text
        assert requests.get(live.url + "/nothing", timeout=10).status_code == 404
        assert requests.get(live.url + "/truth", timeout=10).json() == []
    said = platform.values("node_cpu_usage", at, at, 60)
    for labels, row in zip(said.labels, said.values, strict=True):
        shown = re.search(rf'^node_cpu_usage{{.*instance="{labels["instance"]}".*}} (\S+)$', page, re.MULTILINE)
        assert shown is not None
        assert float(shown[1]) == pytest.approx(row[0], rel=1e-7)
    assert page.count("# TYPE") == len(FAMILIES) + sum(mark.live for mark in MARKS)
    assert page.endswith("\n")


def test_a_backfill_leaves_nothing_but_blocks(tmp_path: Path) -> None:
    end = 1_789_527_600
    done = backfill(Platform(seed=2), tmp_path, start=end - 7200, end=end)
    assert done.samples > 10_000
    assert all(re.fullmatch("[0-9A-Z]{26}", entry.name) for entry in tmp_path.iterdir())
    with pytest.raises(ValueError, match="start < end"):
        backfill(Platform(seed=2), tmp_path, start=end, end=end)


@pytest.mark.slow
def test_five_weeks_are_backfilled_in_well_under_forty_seconds(tmp_path: Path) -> None:
    end = int(time.time()) // 60 * 60
    began = time.perf_counter()
    backfill(Platform(seed=2), tmp_path, start=end - 35 * 86_400, end=end)
    assert time.perf_counter() - began < 40


def _key(labels: Any) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in labels.items() if name != "__name__")


# --- the command ---


def run(*arguments: str) -> Any:
    from detector.cli import app

    return CliRunner().invoke(app, ["simulate", *arguments])


def test_the_command_prints_the_truth_as_json() -> None:
    import json

    result = run("--scenario", "accuracy-slide", "--scenario", "disk-fill:0.5", "--start", "-3h", "--start",
                 "2026-09-16T12:00+09:00", "--seed", "4", "--truth", "--no-serve")  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told[0]["start"] == pytest.approx(time.time() - 3 * 3600, abs=60)
    disk = next(one for one in told if one["query"] == "node_disk_usage")
    assert (disk["start"], disk["severity"]) == (1_789_527_600, 0.5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--scenario", "meteor"], "must be one of healthy"), (["--start", "yesterday"], "got 'yesterday'"),
     (["--clock", "moon"], "around_the_clock"), (["--backfill", "soon"], "a duration such as 35d"),
     (["--backfill", "1h"], "--out DIR"),
     (["--scenario", "spike", "--scenario", "spike", "--start", "now", "--start", "now", "--start", "now"],
      "one for each of 2 scenarios, got 3")],
)  # fmt: skip
def test_wrong_arguments_end_with_one_sentence_and_exit_code_two(arguments: list[str], said: str) -> None:
    result = run(*arguments, "--no-serve")
    assert result.exit_code == 2
    assert said in result.stderr


def test_the_command_serves_until_it_is_told_to_stop() -> None:
    command = [sys.executable, "-m", "detector", "simulate", "--port", "0", "--scenario", "spike"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = process.stderr.readline().strip()
        assert url.endswith("/metrics")
        assert "ml_ensemble_accuracy{" in requests.get(url, timeout=10).text
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_the_command_backfills_into_a_directory(tmp_path: Path) -> None:
    result = run("--backfill", "2h", "--out", str(tmp_path), "--clock", "around_the_clock")
    assert result.exit_code == 0, result.output
    assert "samples of" in result.stderr
    assert len(list(tmp_path.iterdir())) >= 1
