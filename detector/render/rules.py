"""The catalogue as Prometheus rules: every alert, and the recording rules of the objectives.

A predictive alert fires on what the worker decided (`forecast_alert`), and only while the worker is alive:
past `forecast_valid_until_timestamp_seconds` it is quiet. Hold and hysteresis are the worker's, so a
predictive rule has no `for` of its own. The alert on the metric itself carries the same labels and inhibits
the prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detector import conventions as names
from detector.catalogue.durations import format_duration
from detector.catalogue.schema import Catalogue, Query
from detector.prometheus_syntax import matcher
from detector.render.document import dump, scaled_duration
from detector.render.labels import KIND, LEVEL, PREDICTION, THRESHOLD, WATCHDOG, alert_labels
from detector.render.objectives import burn_rules, month_rules, recording_rules
from detector.render.phrases import sentence, span_template, subject, value_template, with_unit
from detector.render.platform_alerts import down_rule, event_rule
from detector.render.worker_alerts import path_rules, worker_rules
from detector.verdict import VALID_SLOTS

__all__ = ["KIND", "PREDICTION", "THRESHOLD", "prediction_rule", "render_rules", "threshold_rule", "watchdog_rule"]

SHARED_RUNBOOKS = {PREDICTION: "PredictedBreach", "objective": "BudgetBurn"}
"""Kinds of alert whose runbook is one for all; any other has its own, under its name."""
_MONTH_INTERVAL = 300
"""Seconds between two looks at a whole month: it moves slowly and is many samples."""
_UNRESTORED = names.exported_label("job")
_NEVER = "1e15"
"""Seconds; a template compares with it to tell +Inf and NaN from a time."""

MONTH = "detector-month"

Rule = dict[str, Any]


def render_rules(catalogue: Catalogue, time_scale: float = 1.0) -> str:
    """A Prometheus rule file. Every `for` is divided by `time_scale`, so that a test need not wait for minutes.

    A rule's `for` is in seconds until it is written.
    """
    groups = [
        _group(
            name,
            [
                _written(one, time_scale)
                for rule in rules
                for one in _escalated(_with_runbook(rule, catalogue), catalogue)
            ],
        )
        for name, rules in rule_groups(catalogue).items()
        if rules
    ]
    return dump({"groups": groups}, "rules")


def rule_groups(catalogue: Catalogue) -> dict[str, list[Rule]]:
    """Every rule, by the name of its group, as it is before escalation and without its runbook."""
    queries, objectives = catalogue.queries.values(), catalogue.service_level_objectives
    return {
        "detector-predictions": [prediction_rule(query) for query in queries if query.alert],
        "detector-thresholds": [threshold_rule(query) for query in queries if query.threshold_alert],
        "detector-services": [down_rule(name, one) for name, one in catalogue.services.items() if one.down_alert],
        "detector-events": [event_rule(name, event) for name, event in catalogue.events.items()],
        "detector-objectives": [rule for name in objectives for rule in recording_rules(catalogue, name)],
        MONTH: [rule for name in objectives for rule in month_rules(catalogue, name)],
        "detector-budgets": [rule for name in objectives for rule in burn_rules(catalogue, name)],
        "detector-worker": worker_rules(catalogue.worker),
        "detector-alert-path": [*path_rules(catalogue.worker), watchdog_rule(catalogue)],
    }


def _group(name: str, rules: list[Rule]) -> dict[str, Any]:
    interval = {"interval": format_duration(_MONTH_INTERVAL)} if name == MONTH else {}
    return {"name": name, **interval, "rules": rules}


def _with_runbook(rule: Rule, catalogue: Catalogue) -> Rule:
    told = catalogue.notifications
    if "alert" not in rule or told is None or told.runbooks is None:
        return rule
    return rule | {"annotations": {**rule["annotations"], "runbook_url": f"{told.runbooks}/{runbook_page(rule)}.md"}}


def runbook_page(rule: Rule) -> str:
    """The name of an alert's runbook."""
    return str(SHARED_RUNBOOKS.get(rule["labels"][KIND], rule["alert"]))


def _escalated(rule: Rule, catalogue: Catalogue) -> Iterator[Rule]:
    """The rule, and the same alert again for each step of the escalation where it is critical."""
    rule = _with_runbook(rule, catalogue)
    yield rule
    told = catalogue.notifications
    if told is None or rule.get("labels", {}).get("severity") != "critical":
        return
    for level, step in told.escalation.items():
        yield rule | {"for": rule.get("for", 0) + step.after, "labels": rule["labels"] | {LEVEL: level}}


def _written(rule: Rule, time_scale: float) -> Rule:
    """The rule with its `for` as Prometheus reads it, in its usual place."""
    lasting = {"for": scaled_duration(rule["for"], time_scale)} if rule.get("for") else {}
    order = ("alert", "record", "expr", "for", "labels", "annotations")
    return {key: (rule | lasting)[key] for key in order if key in (lasting if key == "for" else rule)}


def prediction_rule(query: Query) -> Rule:
    """The alert on the forecast of `query`, which must have one."""
    if query.alert is None or query.threshold is None:
        raise ValueError(f"query {query.name!r} has no alert on its forecast")
    side = "above" if query.breach_above else "below"
    breach = f"{side} {with_unit(query.threshold, query)}"
    return {
        "alert": query.alert.name,
        "expr": prediction_expr(query.name, query.alert.name),
        "labels": _labels(query, query.alert.severity, PREDICTION),
        "annotations": {
            "summary": _selector_template()
            + _within_template(query)
            + f"{subject(query.name)} is predicted to go {breach} within {{{{ $within }}}}",
            "description": sentence(query.description)
            + _selector_template()
            + _within_template(query)
            + f"It is expected {breach} {_eta_template()}; {_probability_template()}.",
        },
    }


def prediction_expr(query: str, alert: str) -> str:
    """PromQL: the worker's decision, while it is fresh, under the labels of the source series.

    The decision's own labels are dropped, and the source's `job` stands where the push put the worker's.
    """
    this = matcher(names.FOR, query)
    decision = f"{names.FORECAST_ALERT}{{{this}, {matcher(names.ALERT, alert)}}} == 1"
    fresh = f"{names.VALID_UNTIL}{{{this}}} > time()"
    dropped = ", ".join(("job", names.SHARD, names.ALERT, names.SEVERITY))
    return "\n".join(
        (
            "label_replace(label_replace(",
            f"  max without ({dropped}) (",
            f"      {decision}",
            f"    and on (job, {names.FOR}, {names.SHARD})",
            f"      {fresh}",
            "  ),",
            f'  "job", "$1", "{_UNRESTORED}", "(.+)"), "{_UNRESTORED}", "", "", "")',
        )
    )


def threshold_rule(query: Query) -> Rule:
    """The alert on the metric of `query` itself, with the query's own expression and label `for`."""
    if query.threshold_alert is None or query.threshold_alert_level is None:
        raise ValueError(f"query {query.name!r} has no threshold alert")
    operator, level = query.threshold_alert_level
    beyond = f"{'above' if operator == '>' else 'below'} {with_unit(level, query)}"
    return {
        "alert": query.threshold_alert.name,
        "expr": f"(\n  {query.expr}\n) {operator} {level!r}",
        "for": query.threshold_alert.for_,
        "labels": {names.FOR: query.name} | _labels(query, query.threshold_alert.severity, THRESHOLD),
        "annotations": {
            "summary": f"{subject(query.name)} is {beyond}",
            "description": f"{sentence(query.description)}It is {value_template(query)}.",
        },
    }


def watchdog_rule(catalogue: Catalogue) -> Rule:
    """An alert that always fires: when its notifications stop, the alert path is broken."""
    return {
        "alert": "Watchdog",
        "expr": "vector(1)",
        "labels": alert_labels(catalogue.worker, "none", WATCHDOG, catalogue.worker.service),
        "annotations": {
            "summary": "The alert path works",
            "description": "This alert always fires, its value is {{ $value }}; "
            "a dead-man's switch raises the alarm when it stops.",
        },
    }


def _labels(query: Query, severity: str, kind: str) -> dict[str, str]:
    """Whom it concerns. A `service` of the source's own is kept: series may differ in nothing else."""
    service = f'{{{{ or $labels.service "{query.service}" }}}}' if query.service else ""
    return alert_labels(query, severity, kind, service)


def _selector_template() -> str:
    """Template text without output that collects the matchers of the alert's own series in `$match`."""
    return (
        '{{ $match := "" }}{{ range $name, $label := $labels }}'
        f'{{{{ if eq $name "job" }}}}{{{{ $name = "{_UNRESTORED}" }}}}{{{{ end }}}}'
        '{{ $match = printf "%s%s=%q," $match $name $label }}{{ end }}'
    )


def _within_template(query: Query) -> str:
    """Template text without output that puts the horizon that was decided on into `$within`.

    With a young history that is a shorter one than the alert's own. A cycle that fails tells none: the last counts.
    """
    own = f'{{{{ $within := "{names.horizon_label(query.alert_horizon)}" }}}}'
    shorter = [seconds for seconds in query.horizons if seconds < query.alert_horizon]
    if not shorter:
        return own
    span = format_duration((VALID_SLOTS + 1) * max(query.every, query.step))
    asked = f"min(last_over_time({names.ALERT_HORIZON}{{%s}}[{span}]))"
    chosen = "".join(
        f'{{{{ if eq $seconds {seconds}.0 }}}}{{{{ $within = "{names.horizon_label(seconds)}" }}}}{{{{ end }}}}'
        for seconds in shorter
    )
    decided = f'{{{{ with printf "{asked}" $match | query }}}}{{{{ $seconds := . | first | value }}}}'
    return f"{own}{decided}{chosen}{{{{ end }}}}"


def _eta_template() -> str:
    median = f'min({names.TIME_TO_BREACH}{{%s{names.QUANTILE}=\\"{names.quantile_label(0.5)}\\"}})'
    return (
        f'{{{{ with printf "{median}" $match | query }}}}{{{{ $eta := . | first | value }}}}'
        f"{{{{ if lt $eta {_NEVER} }}}}in about {span_template('$eta')} (median)"
        "{{ else }}at a time that cannot be told, the median lies beyond the forecast{{ end }}"
        "{{ else }}at a time not known{{ end }}"
    )


def _probability_template() -> str:
    odds = f'max({names.BREACH_PROBABILITY}{{%s{names.HORIZON}=\\"%s\\"}})'
    return (
        f'{{{{ with printf "{odds}" $match $within | query }}}}the probability within {{{{ $within }}}} is '
        '{{ . | first | value | humanizePercentage | reReplaceAll "[.][0-9]+%" "%" }}'
        "{{ else }}the probability is not known{{ end }}"
    )
