"""What Grafana reads when it starts: its data source, where its dashboards are, and its own settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from detector.catalogue.durations import format_duration
from detector.catalogue.platform import Environment, Hosts
from detector.catalogue.schema import Catalogue
from detector.render.grafana.panels import PROMETHEUS_UID

FOLDERS = {"platform": "Day trade", "forecasts": "Day trade forecasts"}
"""Folders of dashboards: the directory a dashboard's file lies in, and the folder's title."""
_HEADER = "Rendered by `detector render --env {environment}`: change the catalogue, not this file."
_HOME = "/var/lib/grafana/dashboards"
"""Where `grafana/dashboards` is mounted in Grafana's container."""


def provisioning_files(catalogue: Catalogue, environment: str, home: str) -> Mapping[str, str]:
    """The files by path under the environment's directory; ``home`` is the path of the first dashboard shown."""
    settings = catalogue.environments[environment]
    return {
        "grafana/provisioning/datasources/detector.yaml": _yaml(_datasources(settings, catalogue.hosts), environment),
        "grafana/provisioning/dashboards/detector.yaml": _yaml(_providers(), environment),
        "grafana/grafana.ini": _settings(settings, environment, home),
    }


def _datasources(settings: Environment, hosts: Hosts) -> dict[str, Any]:
    """One Prometheus: it holds what was measured, and asks `detector serve` for what comes."""
    prometheus = {
        "name": "Prometheus",
        "uid": PROMETHEUS_UID,
        "type": "prometheus",
        "access": "proxy",
        "url": "http://prometheus:9090",
        "isDefault": True,
        "editable": False,
        "jsonData": {
            "httpMethod": "POST",
            "prometheusType": "Prometheus",
            "timeInterval": format_duration(settings.prometheus.scrape_interval),
        },
    }
    alertmanager = {
        "name": "Alertmanager",
        "uid": "alertmanager",
        "type": "alertmanager",
        "access": "proxy",
        "url": f"http://{hosts.alertmanager}",
        "editable": False,
        "jsonData": {"implementation": "prometheus"},
    }
    return {"apiVersion": 1, "prune": True, "datasources": [prometheus, alertmanager]}


def _providers() -> dict[str, Any]:
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": f"detector-{directory}",
                "orgId": 1,
                "folder": title,
                "folderUid": f"detector-{directory}",
                "type": "file",
                "disableDeletion": True,
                "allowUiUpdates": False,
                "updateIntervalSeconds": 60,
                "options": {"path": f"{_HOME}/{directory}"},
            }
            for directory, title in FOLDERS.items()
        ],
    }


def _settings(settings: Environment, environment: str, home: str) -> str:
    """Grafana's own file. What it keeps itself, annotations, it keeps as long as the environment says."""
    kept = format_duration(settings.grafana.data_kept)
    sections = {
        "dashboards": {
            "default_home_dashboard_path": f"{_HOME}/{home}",
            "min_refresh_interval": format_duration(settings.grafana.refresh),
        },
        "annotations.dashboard": {"max_age": kept},
        "annotations.api": {"max_age": kept},
        "security": {"admin_password": "$__file{/run/secrets/grafana-admin-password}", "disable_gravatar": "true"},
        "users": {"allow_sign_up": "false", "viewers_can_edit": "false"},
        "auth.anonymous": {"enabled": "false"},
        "analytics": {"reporting_enabled": "false", "check_for_updates": "false", "check_for_plugin_updates": "false"},
        "unified_alerting": {"enabled": "false"},
    }
    lines = [f"# {_HEADER.format(environment=environment)}"]
    for section, values in sections.items():
        lines += ["", f"[{section}]", *(f"{key} = {value}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _yaml(document: dict[str, Any], environment: str) -> str:
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return f"# {_HEADER.format(environment=environment)}\n{text}"
