"""The overall dashboard: is everything well, and if not, where."""

from __future__ import annotations

from collections.abc import Iterable

from detector import conventions as names
from detector.catalogue.schema import Catalogue, Query
from detector.render.grafana import words
from detector.render.grafana.board import Board, Row, without_empty
from detector.render.grafana.fields import value_map
from detector.render.grafana.forecasts import fresh
from detector.render.grafana.panels import Column, Target, View, chart, number, rows, states
from detector.render.grafana.selectors import narrowed
from detector.render.grafana.views import (
    BY_SERVICE,
    FIRING,
    alerts_and_events,
    charts,
    failing_chart,
    instance_variable,
    present,
    query_chart,
    service_variable,
    state_of_services,
    worst_now,
)

UID = "detector-overview"
ACCURACY = ("ml_ensemble_accuracy",)
RESPONSE = ("ml_prediction_duration", "data_fetch_duration", "scheduler_task_duration", "postgresql_query_duration")
REQUESTS = ("ml_prediction_throughput", "redis_operations_rate")
SUCCESS = ("data_fetch_success_rate", "scheduler_task_success_rate")
RESOURCES = (
    "node_cpu_usage", "node_memory_usage", "node_disk_usage", "node_network_io",
    "ml_cpu_usage", "ml_memory_usage", "postgresql_connections", "redis_memory_usage",
)  # fmt: skip
WORKFLOWS = ("scheduler_active_workflows", "scheduler_queue_length", "schedule_adherence")
SEVERITIES = {"critical": words.BAD, "warning": words.CLOSE, "info": "blue"}
UP = value_map({"0": ("down", words.BAD), "1": ("up", words.GOOD)})
_IS_UP: words.Steps = [(None, words.BAD), (1, words.GOOD)]
_NONE_IS_GOOD: words.Steps = [(None, words.GOOD), (1, words.CLOSE)]


def overview(catalogue: Catalogue, shown_elsewhere: Iterable[str] = ()) -> Board:
    """The board; what no other dashboard shows stands in its last row, so that nothing is left out."""
    content = [
        Row("Now", (*_accuracy_now(catalogue), *_up(catalogue), *_alerts_now())),
        Row("Accuracy and services", (*charts(catalogue, ACCURACY, BY_SERVICE, width=12), *_up_history(catalogue))),
        Row("Response time", tuple(charts(catalogue, RESPONSE, BY_SERVICE, width=6))),
        Row("Requests and errors", _requests_and_errors(catalogue)),
        Row("Resources", tuple(charts(catalogue, RESOURCES, BY_SERVICE, width=6))),
        Row("Workflows", tuple(charts(catalogue, WORKFLOWS, BY_SERVICE))),
    ]
    seen = set(shown_elsewhere) | {name for row in content for view in row.views for name in view.queries}
    rest = [query for query in catalogue.queries.values() if query.name not in seen]
    content.append(Row("Everything else", tuple(query_chart(query, BY_SERVICE) for query in rest)))
    return Board(
        UID,
        "Overall",
        "Accuracy against its objective, the state of every service, response times, requests and errors, resources "
        "and workflows.",
        without_empty(content),
        (service_variable(catalogue), instance_variable(catalogue.queries.values(), of_service=True)),
        alerts_and_events(catalogue),
    )


def _accuracy_now(catalogue: Catalogue) -> list[View]:
    return [worst_now(query, BY_SERVICE, width=5) for query in present(catalogue, ACCURACY)]


def _up(catalogue: Catalogue) -> list[View]:
    if not catalogue.services:
        return []
    said = " ".join(
        f"{name}: {service.description.rstrip('.')}."
        for name, service in catalogue.services.items()
        if service.description
    )
    panel = number(
        [Target(state_of_services(catalogue), "{{job}}", instant=True)],
        "short",
        _IS_UP,
        mappings=[UP],
        named=True,
    )
    what = f"Whether each service works, as its alert sees it: down where one of its targets is. {said}"
    return [View("services", "Services", what, panel, 9, 5)]


def _up_history(catalogue: Catalogue) -> list[View]:
    if not catalogue.services:
        return []
    panel = states([Target(state_of_services(catalogue), "{{job}}")], [UP], _IS_UP)
    return [View("services history", "Services over time", "When each service worked.", panel, 12, 8)]


def _alerts_now() -> list[View]:
    only = 'service=~"$service"'
    counts = [
        Target(f'count({FIRING[:-1]},severity="{severity}",{only}}}) or vector(0)', severity, instant=True)
        for severity in SEVERITIES
    ]
    predicted = f"sum({fresh(f'{names.FORECAST_ALERT}')}) or vector(0)"
    unusual = f"count({fresh(names.ANOMALY_SCORE.name)} >= 1) or vector(0)"
    listed = rows(
        [Target(f"sum by (alertname, severity, service, instance) ({FIRING[:-1]},{only}}}) or vector(0)")],
        [Column("severity", "severity"), Column("Value", "firing")],
        sort="severity",
        descending=False,
    )
    return [
        View("alerts", "Alerts firing", "Alerts that fire now, by severity; those of predictions are among them.",
             number(counts, "short", _NONE_IS_GOOD, named=True), 5, 5),
        View("predicted", "Predicted breaches", "Series whose objective the worker expects to be missed: its decision "
             "after hold and hysteresis, while it is fresh.",
             number([Target(predicted, "predicted", instant=True)], "short", _NONE_IS_GOOD), 3, 5),
        View("unusual", "Unusual now", "Series whose newest point is an anomaly: a score of 1 or more.",
             number([Target(unusual, "unusual", instant=True)], "short", _NONE_IS_GOOD), 2, 5),
        View("firing", "Firing alerts", "Every alert that fires now; a line with 0 when there is none.", listed, 24, 6),
    ]  # fmt: skip


def _requests_and_errors(catalogue: Catalogue) -> tuple[View, ...]:
    failing = [failing_chart(query, BY_SERVICE, width=6) for query in present(catalogue, SUCCESS)]
    return (*(_per_service(query) for query in present(catalogue, REQUESTS)), *failing)


def _per_service(query: Query) -> View:
    panel = chart(
        [Target(f"sum by (instance) ({narrowed(query.expr, BY_SERVICE)})", "{{instance}}")],
        words.UNITS[query.unit],
        words.thresholds(query),
        stacked=True,
        calcs=("lastNotNull", "mean", "max"),
    )
    what = f"Sum of each instance, one on the other. {words.about(query)}"
    return View(query.name, words.title(query), what, panel, 6, 8, (query.name,))
