"""The Celery side: names, settings, schedule; and worker and beat as real processes on real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from detector.catalogue import load_catalogue
from detector.frame import SeriesFrame
from detector.history import History
from detector.run import build_store
from detector.servers import Prometheus, Pushgateway, Redis, prometheus_config
from detector.simulate import Platform
from detector.simulate.backfill import backfill
from tests.waiting import wait_until

CATALOGUE = """
settings:
  prometheus: {prometheus}
  pushgateway: {pushgateway}
  redis: {redis}
queries:
  load:
    expr: load
    unit: count
    every: 15s
    step: 15s
    history: 1h
    horizons: [1h]
    objective: {{below: 1000}}
    alert: {{name: LoadForecast}}
  accuracy:
    expr: ml_ensemble_accuracy
    unit: ratio
    every: 15s
    step: 1m
    history: 2d
    horizons: [1h]
  broken:
    expr: load{{
    unit: count
    every: 15s
    step: 15s
    history: 1h
    horizons: [1h]
"""


def test_task_and_beat_names_are_the_ones_that_operators_know():
    code = (
        "import json; from detector.app import app; import detector.tasks\n"
        "print(json.dumps([sorted(n for n in app.tasks if n.startswith('detector')),"
        " {k: [e['task'], list(e['args']), e['options']] for k, e in app.conf.beat_schedule.items()}]))"
    )
    environment = {**os.environ, "DETECTOR_CATALOGUE": "day_trade"}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    tasks, beat = json.loads(out.stdout)
    assert tasks == ["detector.tasks.forecast_query", "detector.tasks.forecast_shard"]
    assert beat["forecast:ml_ensemble_accuracy"] == [
        "detector.tasks.forecast_query",
        ["ml_ensemble_accuracy"],
        {"expires": 54.0},
    ]


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("DETECTOR_CATALOGUE", "nowhere.yaml", "nowhere.yaml: expected a catalogue file, got no such file"),
        ("DETECTOR_BROKER_URL", "reds://me:secret@host", "expected a URL such as redis://localhost:6379/0"),
    ],
)
def test_a_wrong_environment_is_told_in_one_line_without_a_traceback(variable: str, value: str, told: str):
    environment = {**os.environ, "DETECTOR_CATALOGUE": "day_trade", variable: value}
    command = [sys.executable, "-m", "celery", "-A", "detector.app", "worker"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert told in line
    assert "secret" not in line


def test_the_settings_are_those_that_survive_a_half_open_redis():
    from detector import celery_settings as settings

    assert settings.broker_transport_options == {
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": True,
        "visibility_timeout": 900,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
    }
    assert settings.broker_connection_max_retries is None
    assert settings.task_acks_late
    assert settings.task_acks_on_failure and settings.task_acks_on_timeout
    assert not settings.task_reject_on_worker_lost
    assert settings.worker_prefetch_multiplier == 1
    assert (settings.task_soft_time_limit, settings.task_time_limit) == (240, 300)
    assert settings.task_ignore_result
    assert settings.accept_content == ["json"]
    assert settings.beat_max_loop_interval == 5
    assert not hasattr(settings, "worker_max_tasks_per_child")  # a new child would read and fit everything again
    assert settings.worker_max_memory_per_child == 1_500_000


def test_work_on_a_slot_begins_within_it_however_long_its_tasks_were_queued():
    from detector.tasks import forecast_query, forecast_shard, seconds_left

    assert seconds_left(600, 60, 602.0) == 52.0  # what is left, not 0.9 of the interval once more
    assert seconds_left(600, 60, 655.0) < 0
    past = int(time.time()) // 60 * 60 - 60
    forecast_query.run("ml_ensemble_accuracy", past)  # neither asks a broker nor a Prometheus: there is none
    forecast_shard.run("ml_ensemble_accuracy", "0", past)


def test_a_slot_is_due_once_and_soon_after_it_began():
    from detector.app import Slots

    def at(seconds: float) -> datetime:
        return datetime.fromtimestamp(seconds, UTC)

    def due(now: float, last: float) -> tuple[bool, float]:
        answer = Slots(60, nowfun=lambda: at(now)).is_due(at(last))
        return answer.is_due, answer.next

    assert due(121.0, 63.0) == (False, 1.0)
    assert due(122.0, 63.0) == (True, 60.0)
    assert due(122.5, 122.0) == (False, 59.5)
    assert due(900.0, 122.0)[0]


@pytest.fixture
def exporter() -> Iterator[str]:
    """A metric that rises by one every second."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f'# TYPE load gauge\nload{{instance="a"}} {time.time() % 1000:.0f}\n'.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Keep the test's output quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class NotAsked:
    """A source for what is saved already."""

    def range(self, expr: str, start: int, end: int, step: int) -> SeriesFrame:
        raise AssertionError(f"asked for {start} to {end} again")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_worker_and_beat_bring_forecasts_into_prometheus(
    exporter: str,
    prometheus: Callable[..., Prometheus],
    pushgateway: Pushgateway,
    redis: Redis,
    tmp_path: Path,
) -> None:
    from detector.catalogue import Endpoint
    from detector.source import PrometheusSource

    past, now = tmp_path / "past", int(time.time()) // 60 * 60
    backfill(Platform(seed=3), past, start=now - 2 * 86400, end=now, queries=["ml_ensemble_accuracy"])
    config = prometheus_config({"app": exporter, "gateway": pushgateway.address}, honor_labels=["gateway"])
    server = prometheus(config, data=past)
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(CATALOGUE.format(prometheus=server.url, pushgateway=pushgateway.url, redis=redis.url))
    environment = {**os.environ, "DETECTOR_CATALOGUE": str(catalogue), "PYTHONPATH": str(Path(__file__).parents[1])}
    celery = [sys.executable, "-m", "celery", "-A", "detector.app"]
    commands = [[*celery, "worker", "--concurrency", "1", "--loglevel", "info"], [*celery, "beat"]]
    logs = [tmp_path / "worker.log", tmp_path / "beat.log"]
    processes = []
    try:
        for command, log in zip(commands, logs, strict=True):
            with log.open("wb") as file:
                processes.append(
                    subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=file, stderr=subprocess.STDOUT)
                )
        source = PrometheusSource(Endpoint(url=server.url))
        try:
            states = wait_until(
                lambda: (
                    len(found := source.instant('forecast_state{job="detector"}')) == 3
                    # The first scrape of what is live came before the cycle.
                    and any(labels["for"] == "load" and "exported_job" in labels for labels, _ in found)
                    and found
                ),
                within=60,
            )
            wait_until(lambda: source.instant('detector_cycles_total{for="load",outcome="ok"}'), within=60)
            forecasts = wait_until(lambda: source.instant('forecast_value{for="accuracy",horizon="1h"}'), within=60)
            first = source.instant('forecast_generated_timestamp_seconds{for="load"}')[0][1]
            later = wait_until(
                lambda: (
                    (now := source.instant('forecast_generated_timestamp_seconds{for="load"}')[0][1]) > first and now
                ),
                within=60,
            )
        except TimeoutError as error:
            raise AssertionError("\n".join(log.read_text()[-3000:] for log in logs)) from error
    finally:
        for process in processes:
            process.terminate()
        codes = [process.wait(60) for process in processes]
    loaded = load_catalogue(catalogue)
    kept = History(NotAsked(), build_store(loaded)).window(loaded.query("load"), "0", int(later))
    assert kept.n == 1  # saved at the end: a restart reads nothing again
    by_query = {labels["for"]: labels for labels, _ in states}
    assert by_query["load"]["exported_job"] == "app"
    assert by_query["broken"]["state"] == "error"
    median = {labels["quantile"]: value for labels, value in forecasts}["0.5"]
    assert 0.9 < median < 1
    assert first % 15 == 0
    assert later % 15 == 0
    assert codes == [0, 0]
    lines = [json.loads(line) for line in logs[0].read_text().splitlines() if line.startswith("{")]
    errors = [line for line in lines if line["level"] == "ERROR"]
    assert any("parse error" in line["message"] and line["metric_type"] == "broken" for line in errors)
    assert not list(tmp_path.glob("celerybeat*"))
