"""What a query of the catalogue looks like in Grafana: its unit, its thresholds, its legend, a sentence about it."""

from __future__ import annotations

from detector import conventions as names
from detector.catalogue.durations import format_duration
from detector.catalogue.schema import Query
from detector.render.labels import PARTS, labels_of_expression

UNITS = {
    "ratio": "percentunit",
    "percent": "percent",
    "seconds": "s",
    "bytes": "bytes",
    "count": "short",
    "per_second": "cps",
}
"""Grafana's id of each unit of the catalogue."""

GOOD, CLOSE, BAD = "green", "orange", "red"
_ALSO = ("statement", "command")
"""Labels besides the usual ones that tell the parts of a store apart."""
_DIGITS = 12
"""Significant digits of a level that was computed: 1 - 0.95 is 0.05."""

Steps = list[tuple[float | None, str]]
"""Thresholds: from which value on which colour; None is from the bottom."""


def level(value: float) -> float:
    """A number without the last digits that arithmetic leaves.

    >>> level(1 - 0.95)
    0.05
    """
    return float(f"{value:.{_DIGITS}g}")


def shown(value: float, unit: str) -> str:
    """A value as one says it.

    >>> [shown(0.93, "ratio"), shown(0.5, "seconds"), shown(80, "percent"), shown(100, "count")]
    ['93%', '0.5 s', '80%', '100']
    """
    if unit == "ratio":
        return f"{100 * value:.10g}%"
    return f"{value:.10g}" + {"percent": "%", "seconds": " s", "bytes": " bytes", "per_second": "/s"}.get(unit, "")


def thresholds(query: Query) -> Steps:
    """Green on the good side of the objective, red on the other.

    Orange lies between the objective and the level of the alert on the metric, where that is further out.
    """
    if query.threshold is None:
        return [(None, GOOD)]
    alert = query.threshold_alert_level
    outer = alert[1] if alert is not None else query.threshold
    if query.breach_above:
        between: Steps = [(query.threshold, CLOSE)] if outer > query.threshold else []
        return [(None, GOOD), *between, (max(outer, query.threshold), BAD)]
    between = [(outer, CLOSE)] if outer < query.threshold else []
    return [(None, BAD), *between, (query.threshold, GOOD)]


def missed(query: Query) -> Steps:
    """Thresholds of ``1 - value`` for a ratio with an objective above."""
    if query.threshold is None or query.breach_above:
        return [(None, GOOD)]
    return [(None, GOOD), (level(1 - query.threshold), BAD)]


def objective(query: Query) -> str:
    """The objective in words, "above 93%"; empty without one."""
    if query.threshold is None:
        return ""
    return f"{'below' if query.breach_above else 'above'} {shown(query.threshold, query.unit)}"


def about(query: Query) -> str:
    """What the query measures, what is good, and which alerts watch it."""
    said = [query.description.rstrip(". ") + "." if query.description else f"{query.name}."]
    if query.objective is not None:
        own = " (a default of the catalogue)" if query.default_objective else ""
        said.append(f"Objective: {objective(query)}{own}.")
    if query.threshold_alert is not None and query.threshold_alert_level is not None:
        operator, value = query.threshold_alert_level
        lasting = f" for {format_duration(query.threshold_alert.for_)}" if query.threshold_alert.for_ else ""
        side = "above" if operator == ">" else "below"
        said.append(f"{query.threshold_alert.name} fires {side} {shown(value, query.unit)}{lasting}.")
    if query.alert is not None:
        said.append(f"{query.alert.name} tells it up to {names.horizon_label(query.alert_horizon)} ahead.")
    return " ".join(said)


def title(query: Query) -> str:
    """The query's name as a title: "ml_cpu_usage" is "ML CPU usage".

    >>> from detector.catalogue.schema import Query
    >>> title(Query(name="ml_cpu_usage", expr="x", unit="percent"))
    'ML CPU usage'
    """
    words = query.name.replace("_", " ").replace("-", " ").replace(".", " ").split()
    capitals = {"ml": "ML", "cpu": "CPU", "io": "I/O", "postgresql": "PostgreSQL", "redis": "Redis"}
    text = " ".join(capitals.get(word, word) for word in words)
    return text[:1].upper() + text[1:]


def legend(query: Query) -> str:
    """Grafana's legend of the query's own series: the instance and what tells its parts apart."""
    own = sorted(labels_of_expression(query.expr).difference(PARTS, _ALSO, names.RESERVED_LABELS, _NOT_SHOWN))
    return "{{instance}} " + "".join(f"{{{{{name}}}}}" for name in (*PARTS, *_ALSO, *own))


def published_legend(*, curve: bool = False) -> str:
    """Grafana's legend of series the worker published. On a curve `source` says that it is one."""
    parts = [part for part in (*PARTS, *_ALSO, "exported_source") if not (curve and part == "source")]
    return "{{instance}} " + "".join(f"{{{{{name}}}}}" for name in parts)


_NOT_SHOWN = frozenset({"instance", "service", "le"})
