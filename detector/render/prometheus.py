"""What Prometheus reads: whom it scrapes, its rules, where alerts go, and the flags it is started with."""

from __future__ import annotations

from typing import Any

from detector.catalogue.durations import format_duration
from detector.catalogue.platform import Service
from detector.catalogue.schema import Catalogue
from detector.render.document import dump
from detector.render.remote_read import remote_read
from detector.render.rules import render_rules
from detector.render.worker_alerts import ALERTMANAGER_JOB, PROMETHEUS_JOB, PUSHGATEWAY_JOB

SERVE_JOB = "detector-serve"
SCRAPE_TIMEOUT = 10
"""Seconds; Prometheus takes none that is longer than the interval."""
TOKEN = {"type": "Bearer", "credentials_file": "/etc/prometheus/secrets/detector-token"}
"""Who asks `detector serve` shows the token it was given."""
FLAGS = """\
# Rendered by `detector render --env {environment}`. Prometheus has no setting of these in a file: start it with
#   prometheus $(grep -v '^#' flags)
--config.file=/etc/prometheus/prometheus.yml
--storage.tsdb.path=/prometheus
--storage.tsdb.retention.time={retention}
--web.enable-lifecycle
"""


def prometheus_files(catalogue: Catalogue, environment: str) -> dict[str, str]:
    """Configuration, rules and flags."""
    retention = format_duration(catalogue.environments[environment].prometheus.retention)
    return {
        "prometheus/prometheus.yml": render_prometheus(catalogue, environment),
        "prometheus/rules/detector.yml": render_rules(catalogue),
        "prometheus/flags": FLAGS.format(environment=environment, retention=retention),
    }


def render_prometheus(catalogue: Catalogue, environment: str) -> str:
    """The configuration: every service, the worker through its Pushgateway, and the alert path itself."""
    seconds = catalogue.environments[environment].prometheus.scrape_interval
    interval = format_duration(seconds)
    hosts = catalogue.hosts
    document = {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": format_duration(min(SCRAPE_TIMEOUT, seconds)),
            "evaluation_interval": interval,
            "external_labels": {"environment": environment},
        },
        "rule_files": ["rules/*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [hosts.alertmanager]}]}]},
        "scrape_configs": [
            *(_service(name, one) for name, one in catalogue.services.items() if one.targets),
            _job(PUSHGATEWAY_JOB, [hosts.pushgateway]) | {"honor_labels": True},
            _job(ALERTMANAGER_JOB, [hosts.alertmanager]),
            _job(PROMETHEUS_JOB, [hosts.prometheus]),
            _job(SERVE_JOB, [hosts.detector]) | {"authorization": TOKEN},
        ],
        "remote_read": remote_read(f"http://{hosts.detector}", bearer_token_file=TOKEN["credentials_file"]),
    }
    return dump(document, f"--env {environment}")


def _service(name: str, one: Service) -> dict[str, Any]:
    asked: dict[str, Any] = {} if one.metrics_path == "/metrics" else {"metrics_path": one.metrics_path}
    asked |= {"params": {key: [value] for key, value in one.params.items()}} if one.params else {}
    return _job(name, list(one.targets), service=name) | asked


def _job(name: str, targets: list[str], **labels: str) -> dict[str, Any]:
    static: dict[str, Any] = {"targets": targets} | ({"labels": labels} if labels else {})
    return {"job_name": name, "static_configs": [static]}
