"""The log format of the whole platform: which fields a line may have, of what type, and which daily index it goes to.

The worker writes it, the simulator imitates it, and the templates of Elasticsearch, the pipeline of Logstash and the
data views of Kibana are rendered from it. A field without a value is left out, never null: Elasticsearch treats both
alike, and an absent one costs nothing. Fields that are not in the table end up under ``extra``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

Type = Literal["date", "keyword", "text", "double", "long"]

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOGS, ACCURACY, ALERTS = "logs", "accuracy", "alerts"
STREAMS = (LOGS, ACCURACY, ALERTS)
"""Values of the field ``stream``; a line without it belongs to the logs of its service."""

EXTRA = "extra"
"""Where the fields are that the table does not know."""
PREFIX = "day-trade"
DEAD_LETTERS = f"{PREFIX}-dead-letters"


@dataclass(frozen=True)
class Field:
    """One field of a line."""

    name: str
    type: Type
    meaning: str
    required: bool = False


FIELDS = (
    Field("@timestamp", "date", "when, ISO 8601 with the offset of the catalogue's time zone", required=True),
    Field("service", "keyword", "a service of the catalogue", required=True),
    Field("level", "keyword", ", ".join(LEVELS), required=True),
    Field("logger", "keyword", "the module that speaks", required=True),
    Field("message", "text", "one sentence", required=True),
    Field("environment", "keyword", "where the platform runs", required=True),
    Field("stream", "keyword", "accuracy or alerts where the line belongs there"),
    Field("event", "keyword", "what kind of thing happened, such as anomaly"),
    Field("accuracy_value", "double", "a measured accuracy, 0 to 1"),
    Field("prediction_time", "double", "seconds a prediction took"),
    Field("model_version", "keyword", "the model that predicted"),
    Field("request_id", "keyword", "the request that caused the line"),
    Field("user_id", "keyword", "the user it was made for"),
    Field("k8s_namespace", "keyword", "the pod's namespace, where there is one"),
    Field("k8s_pod", "keyword", "the pod, where there is one"),
    Field("metric_type", "keyword", "the metric the line is about"),
    Field("slot", "long", "unix second of the worker's cycle"),
    Field("shard", "keyword", "the part of a query"),
    Field("series", "keyword", "the labels of a series as JSON"),
    Field("value", "double", "the metric's newest value"),
    Field("score", "double", "how unusual it is; 1 is the threshold of an anomaly"),
    Field("probability", "double", "chance of a breach within the alert's horizon"),
    Field("coverage", "double", "share of outcomes within the 80 % band"),
    Field("mase", "double", "error relative to the seasonal naive forecast"),
    Field("horizon_seconds", "long", "how far ahead a forecast was"),
    Field("alert", "keyword", "name of the alert"),
    Field("severity", "keyword", "severity of the alert"),
    Field("error", "keyword", "kind of error"),
    Field("exception", "text", "the traceback"),
)


def index_of(service: str, stream: str, moment: datetime, timezone: str) -> str:
    """The daily index of a line.

    >>> from datetime import UTC
    >>> index_of("ml-service", "logs", datetime(2026, 3, 1, 15, 0, tzinfo=UTC), "Asia/Tokyo")
    'day-trade-logs-ml-service-2026.03.02'
    """
    day = moment.astimezone(ZoneInfo(timezone)).strftime("%Y.%m.%d")
    return f"{PREFIX}-{stream}-{service}-{day}" if stream == LOGS else f"{PREFIX}-{stream}-{day}"


def offsets_of(timezone: str) -> tuple[str, ...]:
    """The offsets that a time zone has in the course of a year.

    >>> offsets_of("Asia/Tokyo"), offsets_of("Europe/Berlin")
    (('+09:00',), ('+01:00', '+02:00'))
    """
    zone = ZoneInfo(timezone)
    found = {datetime(2026, month, 1, tzinfo=zone).isoformat()[19:] for month in range(1, 13)}
    return tuple(sorted(found))
