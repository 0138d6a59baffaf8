"""`detector run` and `detector purge` on real servers: what is published, what each fault says, exit codes."""

from __future__ import annotations

import collections
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from detector.catalogue import Catalogue, load_catalogue, parse_catalogue
from detector.frame import SeriesFrame
from detector.history import History
from detector.loopback import free_port
from detector.pipeline import Worker
from detector.run import build_worker, exit_code, run_forever, run_once
from detector.servers import Prometheus, Pushgateway
from detector.sink import PushgatewaySink
from detector.source import PrometheusSource
from detector.store import FileStore
from detector.table import results_table
from tests.misbehaving import Behaviour, Loopback
from tests.waiting import wait_until

HEADER = """
settings: {{prometheus: '{prometheus}', pushgateway: '{gateway}', state_dir: '{state}', timezone: Asia/Tokyo}}
queries:
"""
QUERY = """
  {name}:
    expr: '{expr}'
    unit: percent
    step: 1m
    history: 24h
    horizons: [1h, 24h]
"""
ALERT = """
    objective: {below: 90}
    alert: {name: LoadForecast}
"""
DAILY = "50 + 20 * sin(vector(time() / 13750.98))"
FULL = "95 + 2 * sin(vector(time() / 700))"


def write_catalogue(
    tmp_path: Path, queries: dict[str, str], prometheus: str, gateway: str = "http://127.0.0.1:9"
) -> Path:
    text = HEADER.format(prometheus=prometheus, gateway=gateway, state=tmp_path / "state")
    for name, expr in queries.items():
        text += QUERY.format(name=name, expr=expr) + (ALERT if name.startswith("alerting") else "")
    path = tmp_path / "catalogue.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def load(path: Path) -> Catalogue:
    return parse_catalogue(path.read_text(), path.name)


def detector(*arguments: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-m", "detector", *arguments],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=120,
    )


def pushed(gateway: Pushgateway) -> str:
    import requests

    try:
        return requests.get(gateway.url + "/metrics", timeout=10).text
    except requests.ConnectionError:
        return ""


@pytest.fixture
def server(prometheus: Callable[..., Prometheus]) -> Prometheus:
    return prometheus("")


def test_once_publishes_shows_a_table_and_leaves_with_0(
    server: Prometheus, pushgateway: Pushgateway, tmp_path: Path
) -> None:
    path = write_catalogue(tmp_path, {"daily": DAILY, "alerting": FULL}, server.url, pushgateway.url)
    done = detector("run", "--catalogue", str(path), "--once")
    assert done.returncode == 0
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["predictive_alert"]
    assert "daily" in done.stdout
    assert "ALERT" in done.stdout
    text = pushed(pushgateway)
    alert = (
        'forecast_alert{alert="LoadForecast",for="alerting",instance="",job="detector",severity="warning",shard="0"}'
    )
    assert f"{alert} 1\n" in text
    assert text.count("forecast_value{") == 2 * 2 * 3
    assert 'forecast_state{for="daily",instance="",job="detector",shard="0",state="ok"} 1\n' in text


def test_a_dry_run_prints_what_would_be_pushed_and_pushes_and_remembers_nothing(
    server: Prometheus, pushgateway: Pushgateway, tmp_path: Path
) -> None:
    path = write_catalogue(tmp_path, {"daily": DAILY}, server.url, pushgateway.url)
    done = detector("run", "--catalogue", str(path), "--once", "--dry-run")
    assert done.returncode == 0
    assert "# PUT /metrics/job/detector/for/daily/shard/0\n" in done.stdout
    assert 'forecast_value{for="daily",horizon="1h",quantile="0.5"} ' in done.stdout
    assert "forecast_" not in pushed(pushgateway)
    assert not (tmp_path / "state").exists()


def test_the_same_slot_gives_the_same_bytes_in_another_process_and_without_state(
    server: Prometheus, tmp_path: Path
) -> None:
    path = write_catalogue(tmp_path, {"daily": DAILY, "alerting": FULL}, server.url)
    slot = 1_790_000_040 // 60 * 60
    kept = build_worker(load(path), sinks=[])
    bodies = [[one.body for one in kept.run_slot(at)] for at in (slot - 120, slot - 60, slot, slot)]
    assert bodies[2] == bodies[3]
    assert bodies[1] != bodies[2]
    restarted = build_worker(load(path), sinks=[])
    assert [one.body for one in restarted.run_slot(slot)] == bodies[2]
    elsewhere = path.read_text().replace(str(tmp_path / "state"), str(tmp_path / "other"))
    fresh = build_worker(parse_catalogue(elsewhere, "c"), sinks=[])
    assert [one.body for one in fresh.run_slot(slot)] == bodies[2]


def test_bad_queries_say_why_and_the_others_go_on(server: Prometheus, pushgateway: Pushgateway, tmp_path: Path) -> None:
    queries = {
        "daily": DAILY,
        "broken": "sum(up",
        "nothing": "no_such_metric",
        "nan": "vector(0) / 0",
        "infinite": "vector(1) / 0",
    }
    path = write_catalogue(tmp_path, queries, server.url, pushgateway.url)
    done = detector("run", "--catalogue", str(path), "--once")
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("broken: ")]
    assert done.stderr.count("unclosed left parenthesis") == 1
    assert "nothing: finds nothing in the last" in done.stderr
    assert "detector check-config" in done.stderr
    text = pushed(pushgateway)
    state = 'forecast_state{{for="{}",instance="",job="detector",shard="0",state="{}"}} 1\n'
    for name, expected in {"daily": "ok", "broken": "error", "nothing": "no_data", "nan": "no_data"}.items():
        assert state.format(name, expected) in text
    assert state.format("infinite", "no_data") in text
    assert 'detector_query_error{for="broken",instance="",job="detector",kind="query_rejected",shard="0"} 1' in text


def test_a_young_history_and_a_wrong_unit_are_explained_under_the_table(
    server: Prometheus, pushgateway: Pushgateway, tmp_path: Path
) -> None:
    young = f"vector(50) and (vector(time()) > {int(time.time()) - 600})"
    hours = f"{DAILY} and (vector(time()) > {int(time.time()) - 7260})"
    path = write_catalogue(tmp_path, {"young": young, "wrong": FULL, "hours": hours}, server.url)
    path.write_text(path.read_text().replace("unit: percent", "unit: percent\n    data_range: [0, 1]"))
    done = detector("run", "--catalogue", str(path), "--once", "--dry-run")
    assert done.returncode == 0
    assert "wrong: 1 of 1 series is outside data_range [0, 1]" in done.stderr
    assert "under 48 points of history; forecasts begin when it reaches back 48m" in done.stderr
    assert "hours: its history reaches back 2 h, so there is no forecast for 24h ahead yet" in done.stderr


def answer(labels: list[dict[str, str]], start: int, end: int) -> bytes:
    """What a Prometheus says of steady series, every minute."""
    points = [[second, "50"] for second in range(start, end + 1, 60)]
    result = [{"metric": one, "values": points} for one in labels]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()


def test_label_names_that_the_gateway_does_not_take_are_escaped_and_stay_apart(
    pushgateway: Pushgateway, tmp_path: Path
) -> None:
    labels = [{"my.label": "a"}, {"my_label": "a"}, {"U__my_2e_label": "a"}, {"größe": "東京"}]  # as Prometheus 3 may
    slot = 1_790_000_040 // 60 * 60
    newest, older = answer(labels, slot - 3600, slot), answer(labels, slot - 20 * 3600, slot - 4 * 3600)
    with Loopback([Behaviour(200, newest), Behaviour(200, older)]) as server:
        path = write_catalogue(tmp_path, {"alerting": "load"}, server.url, pushgateway.url)
        [result] = build_worker(load(path)).run_slot(slot)
    assert result.failure is None
    text = pushed(pushgateway)
    for own in ('U__my_2e_label="a"', 'my_label="a"', 'U__U____my__2e__label="a"', 'U__gr_f6__df_e="東京"'):
        states = [line for line in text.splitlines() if line.startswith("forecast_state{") and own in line]
        assert len(states) == 1, own


def test_with_prometheus_down_it_says_so_and_leaves_with_3(pushgateway: Pushgateway, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    path = write_catalogue(tmp_path, {"a": DAILY, "b": DAILY}, nobody, pushgateway.url)
    done = detector("run", "--catalogue", str(path), "--once")
    assert done.returncode == 3
    [line] = [line for line in done.stderr.splitlines() if line.startswith("a and 1 more: ")]
    assert nobody in line
    assert 'state="error"' in pushed(pushgateway)


def test_with_the_gateway_down_it_says_so_and_leaves_with_4(server: Prometheus, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    path = write_catalogue(tmp_path, {"daily": DAILY}, server.url, nobody)
    done = detector("run", "--catalogue", str(path), "--once")
    assert done.returncode == 4
    assert f"Pushgateway at {nobody}" in done.stderr
    assert "daily" in done.stdout
    assert detector("purge", "--catalogue", str(path)).returncode == 4


def test_a_gateway_that_refuses_is_quoted_and_leaves_with_4(server: Prometheus, tmp_path: Path) -> None:
    with Loopback([Behaviour(status=400, body=b"pushed metrics are invalid or inconsistent")]) as gateway:
        path = write_catalogue(tmp_path, {"daily": DAILY}, server.url, gateway.url)
        done = detector("run", "--catalogue", str(path), "--once")
    assert done.returncode == 4
    assert "HTTP 400: pushed metrics are invalid or inconsistent" in done.stderr


def test_a_wrong_catalogue_leaves_with_2_and_names_the_line(tmp_path: Path) -> None:
    path = write_catalogue(tmp_path, {"daily": DAILY}, "http://127.0.0.1:9")
    path.write_text(path.read_text() + "    colour: blue\n")
    done = detector("run", "--catalogue", str(path), "--once")
    assert done.returncode == 2
    assert "query 'daily', key 'colour'" in done.stderr


def test_purge_deletes_every_group_and_a_start_those_of_its_own_removed_queries(
    server: Prometheus, pushgateway: Pushgateway, tmp_path: Path
) -> None:
    path = write_catalogue(tmp_path, {"daily": DAILY, "removed": DAILY}, server.url, pushgateway.url)
    mine = load_catalogue(path)
    sink = PushgatewaySink(mine.settings.pushgateways)
    other = write_catalogue(tmp_path / "other", {"others": DAILY}, server.url, pushgateway.url)
    for catalogue in (mine, load_catalogue(other)):
        worker = build_worker(catalogue)
        run_once(worker)
        worker.publish_telemetry()
    path = write_catalogue(tmp_path, {"daily": DAILY}, server.url, pushgateway.url)
    build_worker(load_catalogue(path)).tidy()
    left = sink.groups()
    assert [group["for"] for group in left if "for" in group] == ["daily", "others"]
    assert len([group for group in left if group["shard"].startswith("worker-catalogue-")]) == 2
    planned = detector("purge", "--catalogue", str(path), "--dry-run")
    assert planned.stdout.count("would delete ") == 4
    assert sink.groups() == left
    done = detector("purge", "--catalogue", str(path))
    assert "4 groups deleted." in done.stdout
    assert sink.groups() == []


def test_it_runs_until_sigterm_and_logs_json_in_the_configured_time_zone(
    server: Prometheus, pushgateway: Pushgateway, tmp_path: Path
) -> None:
    path = write_catalogue(tmp_path, {"daily": DAILY, "broken": "sum(up"}, server.url, pushgateway.url)
    process = subprocess.Popen(
        [sys.executable, "-m", "detector", "run", "--catalogue", str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: "detector_cycles_total" in pushed(pushgateway), within=60, what="the first cycle")
    finally:
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert all(line["@timestamp"].endswith("+09:00") for line in lines)
    assert {"service", "level", "logger", "message", "environment"} <= lines[0].keys()
    assert any(line.get("metric_type") == "broken" and line["level"] == "ERROR" for line in lines)
    assert lines[-1]["message"] == "stopping after this cycle"


class Fast:
    """A clock that a test sets; waiting lets it pass, in no time."""

    def __init__(self, now: float) -> None:
        self.time = now
        self.jumps: dict[int, float] = {}
        self.waits = 0

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        self.waits += 1
        self.time += seconds + self.jumps.pop(self.waits, 0.0)
        return stop.is_set()


def slots_of(tmp_path: Path, clock: Fast, rounds: int, queries: str = "") -> tuple[list[tuple[str, int]], Any]:
    text = write_catalogue(tmp_path, {"a": DAILY}, "http://127.0.0.1:9").read_text() + queries
    worker = build_worker(parse_catalogue(text, "c"), sinks=[])
    seen: list[tuple[str, int]] = []
    stop = threading.Event()

    def run_slot(slot: int, names: Any) -> list[Any]:
        seen.extend((name, slot) for name in names)
        if len(seen) >= rounds:
            stop.set()
        return []

    worker.run_slot = run_slot  # type: ignore[method-assign]
    run_forever(worker, stop, clock=clock)
    return seen, worker


def test_every_query_runs_at_its_own_pace_on_aligned_slots(tmp_path: Path) -> None:
    slow = QUERY.format(name="b", expr=DAILY) + "    every: 2m\n"
    seen, _ = slots_of(tmp_path, Fast(1_800_000_030.0), 6, slow)
    t = 1_800_000_000
    assert seen == [("a", t), ("b", t), ("a", t + 60), ("a", t + 120), ("b", t + 120), ("a", t + 180)]


def test_a_late_worker_skips_to_the_newest_slot_and_counts_what_it_missed(tmp_path: Path) -> None:
    clock = Fast(1_800_000_010.0)
    clock.jumps[2] = 200.0
    seen, worker = slots_of(tmp_path, clock, 3)
    assert [slot - 1_800_000_000 for _, slot in seen] == [0, 180, 240]
    assert 'detector_slots_missed_total{for="a"} 2.0' in worker.telemetry.body().decode()


def test_a_clock_set_back_an_hour_does_not_stop_the_loop(tmp_path: Path) -> None:
    clock = Fast(1_800_000_010.0)
    clock.jumps[1] = -3600.0
    seen, _ = slots_of(tmp_path, clock, 3)
    assert [slot - 1_800_000_000 for _, slot in seen] == [0, -3600, -3540]


class Asked:
    """A source that remembers which spans it was asked for."""

    def __init__(self, source: PrometheusSource) -> None:
        self.source = source
        self.spans: list[tuple[int, int]] = []

    def ready(self) -> bool:
        return self.source.ready()

    def range(self, expr: str, start: int, end: int, step: int) -> SeriesFrame:
        self.spans.append((start, end))
        return self.source.range(expr, start, end, step)


def test_after_a_clean_stop_a_restart_reads_only_the_gap(server: Prometheus, tmp_path: Path) -> None:
    catalogue = load(write_catalogue(tmp_path, {"daily": DAILY}, server.url))
    slot = 1_790_000_040 // 60 * 60

    def run(clock: Fast, slots: int) -> list[tuple[int, int]]:
        source = Asked(PrometheusSource(catalogue.settings.prometheus))
        store = FileStore(tmp_path / "state")
        stop, seen = threading.Event(), []

        def count(results: list[Any]) -> None:
            seen.extend(results)
            if len(seen) == slots:
                stop.set()

        worker = Worker(catalogue, source, store, history=History(source, store))
        run_forever(worker, stop, clock=clock, on_cycle=count)
        assert [result.failure for result in seen] == [None] * slots
        return source.spans

    [(first, last), *_] = run(Fast(slot + 5.0), 5)
    assert last - first > 24 * 3600
    [(first, last)] = run(Fast(slot + 605.0), 1)
    assert (first, last) == (slot + 240 - 60, slot + 600)  # the newest two columns again, and the ten minutes since


@pytest.mark.slow
def test_servers_that_are_down_are_one_line_a_query_and_cycle(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    path = write_catalogue(tmp_path, {"a": DAILY, "b": DAILY}, nobody, nobody)
    path.write_text(path.read_text().replace("step: 1m", "step: 15s\n    every: 15s"))
    process = subprocess.Popen(
        [sys.executable, "-m", "detector", "run", "--catalogue", str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    assert process.stderr is not None
    try:
        for line in process.stderr:
            lines.append(json.loads(line))
            if sum(one["message"].startswith("a cycle of") for one in lines) == 2:
                break
    finally:
        process.terminate()
        process.stderr.close()
        process.wait(60)
    assert {one["logger"].partition(".")[0] for one in lines} == {"detector"}
    errors = [one for one in lines if one["level"] == "ERROR"]
    told = collections.Counter((one["metric_type"], one["slot"], one["message"]) for one in errors)
    assert max(told.values()) == 1
    assert len(errors) == 2 * 2 * 2  # two cycles of two queries: not read, not pushed


def test_a_push_that_failed_is_repeated_within_its_slot(
    server: Prometheus, pushgateway: Pushgateway, tmp_path: Path
) -> None:
    path = write_catalogue(tmp_path, {"daily": DAILY}, server.url, pushgateway.url)
    pushgateway.kill()
    worker = build_worker(load(path))
    stop = threading.Event()

    def first_cycle(results: list[Any]) -> None:
        assert exit_code(results) == 4
        pushgateway.start()

    thread = threading.Thread(target=run_forever, args=(worker, stop), kwargs={"on_cycle": first_cycle})
    thread.start()
    try:
        wait_until(lambda: 'forecast_value{for="daily"' in pushed(pushgateway), within=30, what="the repeated push")
    finally:
        stop.set()
        thread.join(30)


def fleet_of(prometheus: Prometheus, gateway: Pushgateway, tmp_path: Path) -> list[Any]:
    """The results of a query of one series and of one whose series have two long labels."""
    parts = [
        f'label_replace(label_replace(vector(1), "instance", "node-{n}.example.net", "", ""), '
        f'"mountpoint", "/var/lib/{n}", "", "")'
        for n in range(3)
    ]
    fleet = f"({' or '.join(parts)}) * on () group_left () ({FULL})".replace("'", '"')
    path = write_catalogue(tmp_path, {"daily": DAILY, "alerting_disk_usage": fleet}, prometheus.url, gateway.url)
    return run_once(build_worker(load(path), sinks=[]))


@pytest.mark.parametrize("width", [80, 100, 140, 240])
def test_the_table_fits_the_terminal_and_breaks_no_word(
    server: Prometheus, pushgateway: Pushgateway, tmp_path: Path, width: int
) -> None:
    results = fleet_of(server, pushgateway, tmp_path)
    console = Console(width=width, file=io.StringIO())
    console.print(results_table(results, width))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    rows = [line for line in lines if "node-" in line]
    assert max(map(len, lines)) <= width
    assert len(rows) == 3
    for n, row in enumerate(rows):
        assert f"node-{n}.example.net" in row and f"/var/lib/{n}" in row
        assert "100 % in 24h" in row and "ALERT" in row
    assert ("instance=" in rows[0]) == (width >= 140)
    assert ("time to breach" in "\n".join(lines)) == (width == 240)


def test_a_label_value_that_looks_like_markup_is_shown_as_it_is(
    server: Prometheus, pushgateway: Pushgateway, tmp_path: Path
) -> None:
    path = write_catalogue(tmp_path, {"odd": f'label_replace({DAILY}, "path", "[/etc]", "", "")'}, server.url)
    console = Console(width=240, file=io.StringIO())
    console.print(results_table(run_once(build_worker(load(path), sinks=[])), 240))
    assert "path=[/etc]" in console.file.getvalue()  # type: ignore[attr-defined]
