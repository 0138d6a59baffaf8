"""The catalogue as Prometheus alerting rules, and the Alertmanager configuration that belongs to them.

A predictive alert fires on what the worker decided (`forecast_alert`), and only while the worker is alive:
past `forecast_valid_until_timestamp_seconds` it is quiet. Hold and hysteresis are the worker's, so a
predictive rule has no `for` of its own. The alert on the metric itself carries the same labels and inhibits
the prediction.
"""

from __future__ import annotations

from typing import Any

import yaml

from detector import conventions as names
from detector.catalogue.durations import format_duration
from detector.catalogue.schema import Catalogue, Query
from detector.render.labels import PARTS, series_labels
from detector.verdict import VALID_SLOTS

KIND = "kind"
PREDICTION, THRESHOLD = "prediction", "threshold"
"""Values of the label `kind`: what Alertmanager tells predictions and facts apart by."""

_HEADER = "# Rendered by `detector render {what}`: change the catalogue, not this file.\n"
_UNRESTORED = names.exported_label("job")
_NEVER = "1e15"
"""Seconds; a template compares with it to tell +Inf and NaN from a time."""

Rule = dict[str, Any]


def render_rules(catalogue: Catalogue) -> str:
    """A Prometheus rule file: one predictive alert and one threshold alert for each query that has them."""
    queries = catalogue.queries.values()
    groups = {
        "detector-predictions": [prediction_rule(query) for query in queries if query.alert],
        "detector-thresholds": [threshold_rule(query) for query in queries if query.threshold_alert],
        "detector-watchdog": [watchdog_rule()],
    }
    document = {"groups": [{"name": name, "rules": rules} for name, rules in groups.items() if rules]}
    return _HEADER.format(what="rules") + _dump(document)


def prediction_rule(query: Query) -> Rule:
    """The alert on the forecast of `query`, which must have one."""
    if query.alert is None or query.threshold is None:
        raise ValueError(f"query {query.name!r} has no alert on its forecast")
    side = "above" if query.breach_above else "below"
    breach = f"{side} {_with_unit(query.threshold, query)}"
    return {
        "alert": query.alert.name,
        "expr": prediction_expr(query.name, query.alert.name),
        "labels": _labels(query, query.alert.severity, PREDICTION),
        "annotations": {
            "summary": _selector_template()
            + _within_template(query)
            + f"{_subject(query)} is predicted to go {breach} within {{{{ $within }}}}",
            "description": _sentence(query)
            + _selector_template()
            + _within_template(query)
            + f"It is expected {breach} {_eta_template()}; {_probability_template()}.",
        },
    }


def prediction_expr(query: str, alert: str) -> str:
    """PromQL: the worker's decision, while it is fresh, under the labels of the source series.

    The decision's own labels are dropped, and the source's `job` stands where the push put the worker's.
    """
    this = names.matcher(names.FOR, query)
    decision = f"{names.FORECAST_ALERT}{{{this}, {names.matcher(names.ALERT, alert)}}} == 1"
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
    beyond = f"{'above' if operator == '>' else 'below'} {_with_unit(level, query)}"
    rule: Rule = {"alert": query.threshold_alert.name, "expr": f"(\n  {query.expr}\n) {operator} {level!r}"}
    if query.threshold_alert.for_:
        rule["for"] = format_duration(query.threshold_alert.for_)
    return rule | {
        "labels": {names.FOR: query.name} | _labels(query, query.threshold_alert.severity, THRESHOLD),
        "annotations": {
            "summary": f"{_subject(query)} is {beyond}",
            "description": f"{_sentence(query)}It is {_value_template(query)}.",
        },
    }


def watchdog_rule() -> Rule:
    """An alert that always fires: when its notifications stop, the alert path is broken."""
    return {
        "alert": "Watchdog",
        "expr": "vector(1)",
        "labels": {"severity": "none"},
        "annotations": {
            "summary": "The alert path works",
            "description": "This alert always fires; a dead-man's switch raises the alarm when it stops.",
        },
    }


def render_alertmanager(
    catalogue: Catalogue, receiver_url: str, *, group_interval: str = "1s", repeat_interval: str = "4h"
) -> str:
    """A small Alertmanager configuration: everything to one webhook, facts silence predictions."""
    document = {
        "route": {
            "receiver": "webhook",
            "group_by": ["alertname", names.FOR],
            "group_wait": "0s",
            "group_interval": group_interval,
            "repeat_interval": repeat_interval,
            "routes": [{"receiver": "nobody", "matchers": ['alertname="Watchdog"']}],
        },
        "inhibit_rules": inhibit_rules(catalogue),
        "receivers": [
            {"name": "webhook", "webhook_configs": [{"url": receiver_url, "send_resolved": True}]},
            {"name": "nobody"},
        ],
    }
    return _HEADER.format(what="alertmanager") + _dump(document)


def inhibit_rules(catalogue: Catalogue) -> list[dict[str, list[str]]]:
    """A prediction is not worth a message once it came true, for the same series."""
    return [
        {
            "source_matchers": [f'{KIND}="{THRESHOLD}"'],
            "target_matchers": [f'{KIND}="{PREDICTION}"'],
            "equal": series_labels(catalogue),
        }
    ]


def _labels(query: Query, severity: str, kind: str) -> dict[str, str]:
    """Whom it concerns. A `service` of the source's own is kept: series may differ in nothing else."""
    service = f'{{{{ or $labels.service "{query.service}" }}}}' if query.service else ""
    labels = {
        "severity": severity,
        "service": service,
        "team": query.team,
        "channel": query.channel,
        KIND: kind,
    }
    return {name: value for name, value in labels.items() if value}


def _subject(query: Query) -> str:
    """The query and what tells its series apart, "node_disk_usage of node-2 /data"."""
    return f"{query.name}{{{{ with $labels.instance }}}} of {{{{ . }}}}{{{{ end }}}}" + "".join(
        f"{{{{ with $labels.{name} }}}} {{{{ . }}}}{{{{ end }}}}" for name in PARTS
    )


def _sentence(query: Query) -> str:
    return _literal(query.description.rstrip(". ")) + ". " if query.description else ""


def _literal(text: str) -> str:
    """Text of the catalogue in a template: its braces are no directives."""
    return text.replace("{{", '{{ "{{" }}')


def _with_unit(level: float, query: Query) -> str:
    if query.unit == "ratio":
        return f"{100 * level:.10g}%"
    unit = {"percent": "%", "seconds": " s", "bytes": " bytes", "per_second": " per second"}
    return f"{level:.10g}{unit.get(query.unit, '')}"


def _value_template(query: Query) -> str:
    shown = {
        "ratio": "$value | humanizePercentage",
        "percent": 'printf "%.1f%%" $value',
        "seconds": "$value | humanizeDuration",
        "bytes": "$value | humanize1024",
    }
    return f"{{{{ {shown.get(query.unit, '$value | humanize')} }}}}"


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
        f"{{{{ if lt $eta {_NEVER} }}}}in about {{{{ $eta | humanizeDuration }}}} (median)"
        "{{ else }}at a time that cannot be told, the median lies beyond the forecast{{ end }}"
        "{{ else }}at a time not known{{ end }}"
    )


def _probability_template() -> str:
    odds = f'max({names.BREACH_PROBABILITY}{{%s{names.HORIZON}=\\"%s\\"}})'
    return (
        f'{{{{ with printf "{odds}" $match $within | query }}}}the probability within {{{{ $within }}}} is '
        "{{ . | first | value | humanizePercentage }}{{ else }}the probability is not known{{ end }}"
    )


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, so that expressions stay readable."""


def _block(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block)


def _dump(document: Any) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return text
