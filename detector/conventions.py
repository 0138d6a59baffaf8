"""Every metric and label name the worker publishes, with its HELP text. Nothing else spells them out.

`docs/published-metrics.md` shows the same list; a test keeps the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from detector.catalogue.durations import format_duration
from detector.prometheus_syntax import escaped_label

JOB = "detector"
"""The `job` of every group the worker pushes."""

FOR = "for"
SHARD = "shard"
HORIZON = "horizon"
QUANTILE = "quantile"
ALERT = "alert"
SEVERITY = "severity"
STATE = "state"
RESERVED_LABELS = frozenset({"job", FOR, SHARD, HORIZON, QUANTILE, ALERT, SEVERITY, STATE})
"""Labels with a meaning of our own: a source label of that name is published as `exported_…`."""
EXPORTED = "exported_"
SOURCE = "source"
ISSUED = "issued"
FROM_FORECAST = "forecast"
"""The value of `source` on every curve: Prometheus asks `detector serve` only for selectors that have it."""
CURVE_LABELS = frozenset({FOR, QUANTILE, SOURCE, ISSUED})
"""The labels of a curve; a source label of that name is drawn as `exported_…`, every other under its own name."""

STATES = ("ok", "insufficient_history", "no_data", "stale", "not_skilful", "error")
"""The values of the label `state`; for each series exactly one of them is 1."""

MetricType = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True)
class Metric:
    """One metric family: its name, what it means, and the labels it has besides the source series' own."""

    name: str
    help: str
    labels: tuple[str, ...] = (FOR,)
    type: MetricType = "gauge"
    of_series: bool = True
    """Whether the labels of the source series ride along."""

    def __str__(self) -> str:
        return self.name


FORECAST_VALUE = Metric(
    "forecast_value",
    "Forecast of the series at the horizon, by quantile, in its own unit.",
    (FOR, HORIZON, QUANTILE),
)
BREACH_PROBABILITY = Metric(
    "forecast_breach_probability",
    "Probability that the series misses its objective within the horizon, 0 to 1.",
    (FOR, HORIZON),
)
TIME_TO_BREACH = Metric(
    "forecast_time_to_breach_seconds",
    "Seconds until the objective is missed, by quantile; +Inf is not within the longest horizon.",
    (FOR, QUANTILE),
)
FORECAST_ALERT = Metric(
    "forecast_alert",
    "1 while a predicted breach should alert, after hold and hysteresis; else 0.",
    (FOR, ALERT, SEVERITY),
)
ALERT_HORIZON = Metric(
    "forecast_alert_horizon_seconds",
    "Horizon within which a breach was judged for the alert: its own, or with a young history the longest there is.",
)
ANOMALY_SCORE = Metric("anomaly_score", "How unusual the newest point is; 1 is the threshold of an anomaly.")
FORECAST_STATE = Metric(
    "forecast_state",
    "1 for the state the series is in: ok, insufficient_history, no_data, stale, not_skilful or error.",
    (FOR, STATE),
)
GENERATED = Metric(
    "forecast_generated_timestamp_seconds",
    "Unix time of the slot the forecast was made for.",
    of_series=False,
)
VALID_UNTIL = Metric(
    "forecast_valid_until_timestamp_seconds",
    "Unix time after which nothing of this group may alert: the worker is late or dead.",
    of_series=False,
)
QUALITY_COVERAGE = Metric(
    "forecast_quality_coverage_ratio",
    "Share of recent points that fell inside the 80 % band forecast for them.",
    (FOR, HORIZON),
)
QUALITY_BIAS = Metric(
    "forecast_quality_bias",
    "Mean of forecast minus truth over recent forecasts, in the series' unit.",
    (FOR, HORIZON),
)
QUALITY_MASE = Metric(
    "forecast_quality_mase",
    "Mean absolute error of recent forecasts over that of the seasonal naive forecast; under 1 is better.",
    (FOR, HORIZON),
)
QUALITY_LINEAR = Metric(
    "forecast_quality_error_to_linear_ratio",
    "Mean absolute error of recent forecasts over that of predict_linear; under 1 is better.",
    (FOR, HORIZON),
)
QUALITY_BRIER_SKILL = Metric(
    "forecast_quality_brier_skill",
    "Skill of recent breach probabilities against the base rate: 1 is perfect, 0 is no better.",
    (FOR, HORIZON),
)
QUERY_SERIES = Metric("detector_query_series", "Series the query found in its last cycle.", of_series=False)
QUERY_ERROR = Metric(
    "detector_query_error",
    "1 while the query's last cycle failed, by kind of error.",
    (FOR, "kind"),
    of_series=False,
)
QUERY_DURATION = Metric(
    "detector_query_duration_seconds",
    "Seconds the query's last cycle took, by stage.",
    (FOR, "stage"),
    of_series=False,
)

FORECAST_CURVE = Metric(
    "forecast_curve",
    "Forecast of the series for this moment, by quantile: the latest, or with `issued` the one made so long before.",
    (FOR, QUANTILE, SOURCE, ISSUED),
)
"""Offered by `detector serve` to remote read; never pushed."""

PUSHED = (
    FORECAST_VALUE,
    BREACH_PROBABILITY,
    TIME_TO_BREACH,
    FORECAST_ALERT,
    ALERT_HORIZON,
    ANOMALY_SCORE,
    FORECAST_STATE,
    GENERATED,
    VALID_UNTIL,
    QUALITY_COVERAGE,
    QUALITY_BIAS,
    QUALITY_MASE,
    QUALITY_LINEAR,
    QUALITY_BRIER_SKILL,
    QUERY_SERIES,
    QUERY_ERROR,
)
"""What a query's group in the Pushgateway may hold. Every value follows from the data of the slot alone."""

BUILD_INFO = Metric("detector_build_info", "1; the version is in the label.", ("version",), of_series=False)
CYCLES = Metric(
    "detector_cycles_total",
    "Cycles finished, by outcome ok or error.",
    (FOR, "outcome"),
    "counter",
    of_series=False,
)
CYCLE_LAST_SUCCESS = Metric(
    "detector_cycle_last_success_timestamp_seconds",
    "Unix time of the last cycle without error.",
    of_series=False,
)
SLOTS_MISSED = Metric(
    "detector_slots_missed_total",
    "Slots that were never computed because the worker was late.",
    (FOR,),
    "counter",
    False,
)
REFITS = Metric(
    "detector_refits_total", "Series whose models were fitted, each time anew.", (FOR,), "counter", of_series=False
)
HISTORY_COLUMNS = Metric("detector_history_columns", "Columns of history the last cycle saw.", of_series=False)
PUSHES = Metric(
    "detector_pushes_total",
    "Pushes of the query's results, by outcome ok or error.",
    (FOR, "outcome"),
    "counter",
    False,
)

OWN = (
    BUILD_INFO,
    QUERY_DURATION,
    CYCLES,
    CYCLE_LAST_SUCCESS,
    SLOTS_MISSED,
    REFITS,
    HISTORY_COLUMNS,
    PUSHES,
)
"""The worker's metrics about itself, pushed as a group of their own."""

SERVE_REQUESTS = Metric(
    "detector_serve_requests_total",
    "Requests answered, by path and status code.",
    ("path", "code"),
    "counter",
    of_series=False,
)
SERVE_SECONDS = Metric(
    "detector_serve_request_seconds_total",
    "Seconds spent on answering requests, by path.",
    ("path",),
    "counter",
    of_series=False,
)
SERVE_SERIES = Metric(
    "detector_serve_curves", "Curves on offer: one for each series and quantile.", (FOR, ISSUED), of_series=False
)
SERVE_SLOT = Metric(
    "detector_serve_newest_slot_timestamp_seconds", "Unix time of the newest cycle known of the query.", of_series=False
)
SERVE_STORE = Metric("detector_serve_store_up", "1 while the worker's store can be read.", (), of_series=False)
SERVE_NOTIFICATIONS = Metric(
    "detector_serve_notifications_total",
    "Notifications relayed, by target and outcome ok or error.",
    ("target", "outcome"),
    "counter",
    of_series=False,
)
SERVE_RECOVERIES = Metric(
    "detector_serve_recoveries_total",
    "Recovery actions by alert and outcome: started, dry_run, cooling_down, over_budget, refused, ok or failed.",
    (ALERT, "outcome"),
    "counter",
    of_series=False,
)

QUEUE_LENGTH = Metric(
    "detector_queue_length", "Cycles that wait for a worker in the broker's queue.", ("queue",), of_series=False
)

SERVED = (SERVE_REQUESTS, SERVE_SECONDS, SERVE_SERIES, SERVE_SLOT, SERVE_STORE, SERVE_NOTIFICATIONS, SERVE_RECOVERIES,
          QUEUE_LENGTH)  # fmt: skip
"""What `detector serve` says about itself at /metrics."""

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (*PUSHED, *OWN, FORECAST_CURVE, *SERVED)}


@lru_cache(maxsize=4096)
def exported_label(name: str) -> str:
    """The name under which a source label is published.

    Reserved names, and names that already look like a renamed one, get `exported_` in front: two different
    source labels never meet under one name. What is no name in the text format is escaped.

    >>> [exported_label(name) for name in ("instance", "job", "exported_job", "k8s.pod")]
    ['instance', 'exported_job', 'exported_exported_job', 'U__k8s_2e_pod']
    """
    return _renamed(name, RESERVED_LABELS)


def _renamed(name: str, taken: frozenset[str]) -> str:
    bare = name
    while bare.startswith(EXPORTED):
        bare = bare.removeprefix(EXPORTED)
    return EXPORTED + name if bare in taken else escaped_label(name)


def curve_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """A source series' labels as they stand on its curve: a join with the series itself needs no renaming.

    >>> curve_labels({"__name__": "up", "job": "node", "source": "nyse", "k8s.pod": "a"})
    {'job': 'node', 'exported_source': 'nyse', 'U__k8s_2e_pod': 'a'}
    """
    return {_renamed(name, CURVE_LABELS): value for name, value in labels.items() if value and name != "__name__"}


def published_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """A source series' labels as they are published: without `__name__`, reserved names renamed, odd ones escaped.

    >>> published_labels({"__name__": "up", "job": "node", "instance": "a:9100"})
    {'exported_job': 'node', 'instance': 'a:9100'}
    """
    return {exported_label(name): value for name, value in labels.items() if value and name != "__name__"}


def horizon_label(seconds: int) -> str:
    """The label value of a horizon.

    >>> [horizon_label(seconds) for seconds in (3600, 86400, 604800)]
    ['1h', '24h', '7d']
    """
    return format_duration(int(seconds))


def quantile_label(quantile: float) -> str:
    """The label value of a quantile.

    >>> [quantile_label(q) for q in (0.05, 0.5, 0.975)]
    ['0.05', '0.5', '0.975']
    """
    return f"{quantile:g}"
