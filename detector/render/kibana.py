"""Kibana's saved objects: data views, searches, and a dashboard each of accuracy and of alerts, as NDJSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from detector.log_format import ACCURACY, ALERTS, DEAD_LETTERS, LOGS, PREFIX

if TYPE_CHECKING:
    from detector.catalogue import Catalogue

Object = dict[str, Any]

VIEWS = {stream: f"{PREFIX}-{stream}-*" for stream in (LOGS, ACCURACY, ALERTS)} | {"dead-letters": f"{DEAD_LETTERS}-*"}
"""Index patterns by the name of a data view."""

SEARCHES = {
    "errors": (LOGS, "Errors of all services", "level : (ERROR or CRITICAL)", ("service", "logger", "message")),
    "accuracy": (ACCURACY, "Measured accuracy", "event : accuracy", ("metric_type", "series", "accuracy_value")),
    "quality": (
        ACCURACY,
        "Quality of forecasts",
        "event : forecast_quality",
        ("metric_type", "horizon_seconds", "coverage", "mase"),
    ),
    "anomalies": (ALERTS, "Anomalies", "event : anomaly", ("metric_type", "series", "score")),
    "predictions": (
        ALERTS,
        "Predictive alerts",
        "event : (predictive_alert or predictive_alert_over)",
        ("alert", "severity", "series", "probability", "message"),
    ),
    "refused": ("dead-letters", "Lines that were refused", "", ("source_service", "reasons", "line")),
}
"""Data view, title, query and columns, by name."""

DASHBOARDS = {
    ACCURACY: ("Accuracy in the logs", ("accuracy", "quality")),
    ALERTS: ("Alerts in the logs", ("predictions", "anomalies", "errors", "refused")),
}
HEIGHT, WIDTH = 15, 48


def kibana_files(catalogue: Catalogue, environment: str) -> dict[str, str]:
    """One file for Kibana's import, the same in every environment."""
    objects = [*map(_view, VIEWS), *map(_search, SEARCHES), *map(_dashboard, DASHBOARDS)]
    return {"kibana/saved-objects.ndjson": "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects)}


def _view(name: str) -> Object:
    attributes = {"title": VIEWS[name], "name": f"{PREFIX} {name}", "timeFieldName": "@timestamp"}
    return {"type": "index-pattern", "id": f"{PREFIX}-{name}", "attributes": attributes, "references": []}


def _search(name: str) -> Object:
    view, title, query, columns = SEARCHES[name]
    index = "kibanaSavedObjectMeta.searchSourceJSON.index"
    source = {"query": {"language": "kuery", "query": query}, "filter": [], "indexRefName": index}
    return {
        "type": "search",
        "id": f"{PREFIX}-{name}",
        "attributes": {
            "title": title,
            "columns": list(columns),
            "sort": [["@timestamp", "desc"]],
            "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source)},
        },
        "references": [{"type": "index-pattern", "id": f"{PREFIX}-{view}", "name": index}],
    }


def _dashboard(name: str) -> Object:
    title, searches = DASHBOARDS[name]
    panels = [
        {
            "type": "search",
            "panelIndex": search,
            "panelRefName": f"panel_{search}",
            "gridData": {"x": 0, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT, "i": search},
            "embeddableConfig": {},
        }
        for row, search in enumerate(searches)
    ]
    references = [{"type": "search", "id": f"{PREFIX}-{one}", "name": f"{one}:panel_{one}"} for one in searches]
    return {
        "type": "dashboard",
        "id": f"{PREFIX}-{name}",
        "attributes": {
            "title": title,
            "timeRestore": True,
            "timeFrom": "now-24h",
            "timeTo": "now",
            "panelsJSON": json.dumps(panels),
            "optionsJSON": json.dumps({"useMargins": True}),
            "kibanaSavedObjectMeta": {
                "searchSourceJSON": json.dumps({"query": {"language": "kuery", "query": ""}, "filter": []})
            },
        },
        "references": references,
    }
