"""Objectives over 30 days: indicators as recording rules, and alerts when the budget for the rest burns fast.

The windows and factors are those of the Site Reliability Workbook's multi-window, multi-burn-rate alerts, the names of
the recorded series those of Sloth. Everything follows from one number per objective, the share that is bad right now.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from detector.catalogue.durations import format_duration
from detector.catalogue.schema import Catalogue, ServiceLevelObjective
from detector.prometheus_syntax import matcher
from detector.render.labels import (
    AVAILABILITY,
    EVENT,
    KIND,
    LEVEL,
    OBJECTIVE,
    PREDICTION,
    THRESHOLD,
    alert_labels,
    series_labels,
)
from detector.render.phrases import sentence

SLO = "slo"
"""The label that names the objective."""
PERIOD_DAYS = 30
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
BURNS = {
    "critical": (("5m", "1h", 14.4), ("30m", "6h", 6.0)),
    "warning": (("2h", "1d", 3.0), ("6h", "3d", 1.0)),
}
"""Severity: short window, long window, how many times faster than 30 days the budget burns in both."""

Rule = dict[str, Any]


def recording_rules(catalogue: Catalogue, name: str) -> list[Rule]:
    """The share that is bad now and over each window, the objective, and how fast its budget burns."""
    slo = catalogue.service_level_objectives[name]
    this = f"{{{matcher(SLO, name)}}}"
    budget = f"slo:error_budget:ratio{this}"
    rules = {
        # Without traffic a share is NaN: a mean over days that holds one would be NaN too, and no alert fire on it.
        "slo:sli_error:ratio": f"(\n{bad_now(catalogue, name)}\n) > -1",
        **{f"slo:sli_error:ratio_rate{w}": f"avg_over_time(slo:sli_error:ratio{this}[{w}])" for w in WINDOWS},
        "slo:objective:ratio": f"vector({slo.objective!r})",
        "slo:error_budget:ratio": f"vector(1 - {slo.objective!r})",
        "slo:time_period:days": f"vector({PERIOD_DAYS})",
        "slo:current_burn_rate:ratio": f"slo:sli_error:ratio_rate5m{this} / {budget}",
    }
    return [_recorded(record, expr, name, slo) for record, expr in rules.items()]


def month_rules(catalogue: Catalogue, name: str) -> list[Rule]:
    """The same over the whole period, as far back as Prometheus keeps it."""
    slo = catalogue.service_level_objectives[name]
    this = f"{{{matcher(SLO, name)}}}"
    whole = f"slo:sli_error:ratio_rate{PERIOD_DAYS}d"
    rules = {
        whole: f"avg_over_time(slo:sli_error:ratio_rate5m{this}[{PERIOD_DAYS}d])",
        "slo:period_burn_rate:ratio": f"{whole}{this} / slo:error_budget:ratio{this}",
        "slo:period_error_budget_remaining:ratio": f"1 - slo:period_burn_rate:ratio{this}",
    }
    return [_recorded(record, expr, name, slo) for record, expr in rules.items()]


def burn_rules(catalogue: Catalogue, name: str) -> list[Rule]:
    """The alert of an objective, critical and as a warning."""
    slo = catalogue.service_level_objectives[name]
    return [_burn_rule(name, slo, severity) for severity in BURNS]


def bad_now(catalogue: Catalogue, name: str) -> str:
    """PromQL of the share that is bad now."""
    slo = catalogue.service_level_objectives[name]
    if slo.bad is None:
        return _false_predictions(catalogue)
    threshold = catalogue.query(slo.query).threshold if slo.query is not None else None
    watched = (n for n, one in catalogue.services.items() if one.down_alert and one.down_alert.severity == "critical")
    return slo.bad.replace("$threshold", repr(threshold)).replace("$services", "|".join(watched))


def _false_predictions(catalogue: Catalogue) -> str:
    """Of the predictions that fired a horizon ago and can be judged, the share that has not come true since.

    One cannot be judged that has not come true after its service was down (nobody saw the metric) or an event told of a
    remedy: that may have averted it. A remedy that nothing tells of makes it false, so this is an upper bound.
    """
    by_horizon: dict[int, list[str]] = defaultdict(list)
    for query in catalogue.queries.values():
        if query.alert and query.threshold_alert:
            by_horizon[query.alert_horizon].append(query.alert.name)
    same = ", ".join(series_labels(catalogue))
    judged = []
    for seconds, alerts in by_horizon.items():
        span = format_duration(seconds)
        # Level "": an alert that was escalated is the same prediction again.
        which = f'{KIND}="{PREDICTION}", {LEVEL}="", alertname=~"{"|".join(alerts)}"'
        these = f'ALERTS{{alertstate="firing", {which}}} offset {span}'
        true = f'max_over_time(ALERTS{{alertstate="firing", {KIND}="{THRESHOLD}"}}[{span}])'
        judged.append(f"0 * ({these} and on ({same}) {true})")
        judged.append(f"({these} unless on ({same}) {true}\n    unless on (service) {_averting(catalogue, span)})")
    if not judged:
        raise ValueError("no query has both a predictive and a threshold alert: there is nothing to judge")
    every = "\n  or ".join(judged)
    return f"avg(\n  {every}\n)"


def _averting(catalogue: Catalogue, span: str) -> str:
    """PromQL of what happened to a service within ``span`` that makes a prediction for it impossible to judge."""
    causes = [f'{KIND}="{AVAILABILITY}"']
    remedies = [name for name, event in catalogue.events.items() if event.remedy]
    if remedies:
        causes.append(f'{KIND}="{EVENT}", alertname=~"{"|".join(remedies)}"')
    return "(" + " or ".join(f'max_over_time(ALERTS{{alertstate="firing", {one}}}[{span}])' for one in causes) + ")"


def _recorded(record: str, expr: str, name: str, slo: ServiceLevelObjective) -> Rule:
    labels = {SLO: name} | ({"service": slo.service} if slo.service else {})
    return {"record": record, "expr": expr, "labels": labels}


def _burn_rule(name: str, slo: ServiceLevelObjective, severity: str) -> Rule:
    this = f"{{{matcher(SLO, name)}}}"
    pairs = [
        f"(slo:sli_error:ratio_rate{short}{this} > {factor:g} * {1 - slo.objective:.10g}\n"
        f"  and slo:sli_error:ratio_rate{long}{this} > {factor:g} * {1 - slo.objective:.10g})"
        for short, long, factor in BURNS[severity]
    ]
    return {
        "alert": slo.alert,
        "expr": "\nor\n".join(pairs),
        "labels": {SLO: name} | alert_labels(slo, severity, OBJECTIVE, slo.service),
        "annotations": {
            "summary": f"The {PERIOD_DAYS}-day error budget of {name} burns too fast",
            "description": f"{sentence(slo.description)}The objective is {100 * slo.objective:.10g}% of {PERIOD_DAYS} "
            "days; now {{ $value | humanizePercentage }} is bad, which uses the rest up too soon.",
        },
    }
