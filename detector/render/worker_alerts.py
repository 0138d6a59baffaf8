"""Alerts on the worker that makes the forecasts, and on the path that alerts take."""

from __future__ import annotations

from typing import Any

from detector import conventions as names
from detector.catalogue.durations import format_duration
from detector.catalogue.schema import WorkerAlerts
from detector.prometheus_syntax import matcher
from detector.render.labels import WORKER, alert_labels
from detector.render.phrases import span_template

PUSHED_AT, PUSH_FAILED_AT = "push_time_seconds", "push_failure_time_seconds"
"""Pushgateway's own: when a group was last pushed, and when a push to it was last refused."""
GATEWAY_BUILD = "pushgateway_build_info"
"""Pushgateway's own as well: the job and instance that have it are one."""
ALERTMANAGER_JOB, PROMETHEUS_JOB, PUSHGATEWAY_JOB = "alertmanager", "prometheus", "pushgateway"
_OF_WORKER = f"{{{matcher('job', names.JOB)}}}"
_LOST_OVER = "24h"
_KNOWN_FOR = "24h"

Rule = dict[str, Any]


def worker_rules(about: WorkerAlerts) -> list[Rule]:
    """No cycle, late, refused, failing, series lost, no data."""
    success, share = names.CYCLE_LAST_SUCCESS, f"{100 * about.lost_series:.10g}%"
    series = f"max by ({names.FOR}, {names.SHARD}) ({names.QUERY_SERIES})"
    return [
        _rule(
            about,
            "DetectorDown",
            f"time() - max({success}) > {about.late}\nor\nabsent({success})",
            about.silent,
            "The worker finishes no cycle",
            f"For {format_duration(about.silent)} no query had a cycle without error, or none ever had one (the value "
            "is {{ $value | humanize }} s). No prediction can fire.",
        ),
        _rule(
            about,
            "DetectorCycleLate",
            f"time() - max by ({names.FOR}, {names.SHARD}) ({names.VALID_UNTIL}) > 0",
            about.late,
            "Forecasts of {{ $labels.for }} are out of date",
            f"They ran out {span_template('$value')} ago and nothing newer came; its predictions are quiet.",
        ),
        _rule(
            about,
            "DetectorPushFailing",
            f"time() - {PUSHED_AT}{_OF_WORKER}\n  and {PUSH_FAILED_AT}{_OF_WORKER} > {PUSHED_AT}{_OF_WORKER}",
            about.late,
            "The Pushgateway refuses the results{{ with $labels.for }} of {{ . }}{{ end }}",
            f"The last push it took is {span_template('$value')} old, and it refused one since.",
        ),
        _rule(
            about,
            "DetectorQueryFailing",
            f"label_replace(\n  max by ({names.FOR}, kind) ({names.QUERY_ERROR}) == 1,\n"
            '  "error", "$1", "kind", "(.+)")',
            about.no_data,
            "The query {{ $labels.for }} fails: {{ $labels.error }}",
            "Every cycle ends in an error of this kind (the value is {{ $value }}).",
        ),
        _rule(
            about,
            "DetectorSeriesLost",
            f"{series}\n  / max_over_time({series}[{_LOST_OVER}:5m])\n< {about.lost_series!r}",
            about.no_data,
            "Series are lost of {{ $labels.for }}",
            f"It finds {{{{ $value | humanizePercentage }}}} of what it had within {_LOST_OVER}, less than {share}.",
        ),
        _rule(
            about,
            "DetectorNoData",
            f"count by ({names.FOR}, {names.STATE}) (\n"
            f'  {names.FORECAST_STATE}{{{names.STATE}=~"no_data|stale"}} == 1) > 0',
            about.no_data,
            "No new data for series of {{ $labels.for }}",
            "{{ $value }} of its series are in the state {{ $labels.state }} and get no forecast.",
        ),
    ]


def path_rules(about: WorkerAlerts) -> list[Rule]:
    """Rules that fail, an Alertmanager that is not reached, notifications that are not taken."""
    rate = "[5m]"
    return [
        _rule(
            about,
            "PushgatewayDown",
            _gateway_down(),
            about.delivery,
            "The Pushgateway is not scraped",
            "The up of {{ $labels.instance }} (job {{ $labels.job }}) is {{ $value }}; results of the worker do not "
            "reach Prometheus.",
        ),
        _rule(
            about,
            "RuleEvaluationFailing",
            f"increase(prometheus_rule_evaluation_failures_total{rate}) > 0",
            about.delivery,
            "Prometheus cannot evaluate a rule of {{ $labels.rule_group }}",
            "{{ $value | humanize }} evaluations failed within five minutes; the alerts of this group may be missing.",
        ),
        _rule(
            about,
            "AlertmanagerUnreachable",
            f"rate(prometheus_notifications_dropped_total{rate}) > 0\n"
            "or\nprometheus_notifications_alertmanagers_discovered == 0",
            about.delivery,
            "Prometheus does not reach Alertmanager",
            "Alerts lost a second, or Alertmanagers it knows: {{ $value | humanize }}. Alerts are not delivered.",
        ),
        _rule(
            about,
            "AlertDeliveryFailing",
            f"rate(alertmanager_notifications_failed_total{rate}) > 0",
            about.delivery,
            "Alertmanager cannot deliver by {{ $labels.integration }}",
            "{{ $value | humanize }} notifications a second are not taken.",
        ),
    ]


def _gateway_down() -> str:
    """PromQL: the job of the usual name is down; or, under any name, what was a Pushgateway, and no result is there.

    Somebody else's Pushgateway that is down takes none of the worker's results along. After `_KNOWN_FOR` one of another
    name is forgotten.
    """
    of_usual_name = matcher("job", PUSHGATEWAY_JOB)
    return (
        f"up{{{of_usual_name}}} == 0\nor\nup == 0\n"
        f"  and on (job, instance) last_over_time({GATEWAY_BUILD}[{_KNOWN_FOR}])\n"
        f"  and on () absent({PUSHED_AT}{_OF_WORKER})"
    )


def _rule(about: WorkerAlerts, name: str, expr: str, lasting: int, summary: str, description: str) -> Rule:
    return {
        "alert": name,
        "expr": expr,
        "for": lasting,
        "labels": alert_labels(about, about.severity, WORKER, about.service),
        "annotations": {"summary": summary, "description": description},
    }
