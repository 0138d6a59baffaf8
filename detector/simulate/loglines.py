"""Log lines of the simulated platform's services, in the log format: the same for the same seed and minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import IO, Any
from zoneinfo import ZoneInfo

import numpy as np

from detector.log_format import ACCURACY, ALERTS
from detector.simulate.fleet import DATA_INSTANCES, ENSEMBLE, ML_INSTANCES, MODELS, NODES, WORKFLOWS

TIMEZONE = "Asia/Tokyo"
PER_MINUTE = 4
"""Ordinary lines of each service a minute."""

Fields = dict[str, Any]


def log_lines(seed: int, start: int, minutes: int, environment: str = "production") -> Iterator[str]:
    """Lines of so many minutes from unix second ``start``, in order, without line ends."""
    for minute in range(start // 60, start // 60 + minutes):
        yield from minute_lines(seed, minute, environment)


def minute_lines(seed: int, minute: int, environment: str = "production") -> list[str]:
    """The lines of one minute since the epoch."""
    random = np.random.default_rng([seed, minute])
    zone = ZoneInfo(TIMEZONE)
    made = [one for service in _SERVICES for one in _SERVICES[service](random, minute)]
    seconds = np.sort(random.uniform(0, 60, len(made)))
    order = random.permutation(len(made))
    lines = []
    for second, which in zip(seconds, order, strict=True):
        stamp = datetime.fromtimestamp(minute * 60 + float(second), zone).isoformat(timespec="milliseconds")
        lines.append(json.dumps({"@timestamp": stamp, **made[which], "environment": environment}))
    return lines


def write_lines(
    out: IO[str], seed: int, start: float, per_second: float, *, stop: Callable[[], bool] = lambda: False
) -> None:
    """Write lines from unix second ``start`` on as their time comes, at most ``per_second`` of them, until ``stop()``.

    Those of the past come at once, in their order.
    """
    minute, next_at = int(start // 60), 0.0
    while not stop():
        for line in minute_lines(seed, minute):
            due = datetime.fromisoformat(json.loads(line)["@timestamp"]).timestamp()
            if due < start:
                continue
            time.sleep(max(0.0, due - time.time(), next_at - time.monotonic()))
            if stop():
                return
            out.write(line + "\n")
            out.flush()
            next_at = time.monotonic() + 1 / per_second
        minute += 1


def _line(service: str, pod: str, level: str, logger: str, message: str, **fields: Any) -> Fields:
    named = {"service": service, "level": level, "logger": logger, "message": message}
    return {**named, **fields, "k8s_namespace": "day-trade", "k8s_pod": pod}


def _ml(random: np.random.Generator, minute: int) -> Iterator[Fields]:
    version = f"{ENSEMBLE}-{minute // (7 * 1440)}"
    for _ in range(PER_MINUTE):
        took = float(np.round(random.lognormal(-1.2, 0.35), 4))
        asked = {"request_id": f"{random.integers(2**48):012x}", "user_id": f"user-{random.integers(200)}"}
        pod, model = str(random.choice(ML_INSTANCES)), str(random.choice(MODELS))
        told = {"prediction_time": took, "model_version": version, "metric_type": "ml_prediction_duration"}
        yield _line("ml-service", pod, "INFO", "ml.serving", f"{model} predicted", **told, **asked)
    if minute % 5 == 0:
        value = float(np.round(np.clip(random.normal(0.945, 0.004), 0, 1), 4))
        told = {
            "stream": ACCURACY,
            "accuracy_value": value,
            "model_version": version,
            "metric_type": "ml_ensemble_accuracy",
        }
        text = "labelled accuracy of the last predictions"
        yield _line("ml-service", ML_INSTANCES[0], "INFO", "ml.evaluation", text, **told)


def _data(random: np.random.Generator, minute: int) -> Iterator[Fields]:
    for _ in range(PER_MINUTE):
        failed = random.random() < 0.02
        text = "fetch failed, trying again" if failed else "market data fetched"
        pod = str(random.choice(DATA_INSTANCES))
        level = "WARNING" if failed else "INFO"
        yield _line("data-service", pod, level, "data.fetch", text, metric_type="data_fetch_success_rate")


def _scheduler(random: np.random.Generator, minute: int) -> Iterator[Fields]:
    for _ in range(PER_MINUTE):
        text = f"workflow {random.choice(WORKFLOWS)} finished"
        yield _line("scheduler-service", "scheduler-service-0", "INFO", "scheduler.runner", text)


def _infrastructure(random: np.random.Generator, minute: int) -> Iterator[Fields]:
    for _ in range(PER_MINUTE):
        yield _line("infrastructure", str(random.choice(NODES)), "INFO", "node.agent", "node is healthy")
    if random.random() < 0.05:
        told = {"stream": ALERTS, "event": "security", "user_id": f"user-{random.integers(200)}"}
        yield _line("infrastructure", NODES[0], "WARNING", "gate.login", "login refused: wrong password", **told)


_SERVICES: dict[str, Callable[[np.random.Generator, int], Iterator[Fields]]] = {
    "ml-service": _ml,
    "data-service": _data,
    "scheduler-service": _scheduler,
    "infrastructure": _infrastructure,
}
