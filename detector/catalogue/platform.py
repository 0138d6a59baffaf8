"""The platform around the queries: services and their events, objectives over a month, and environments."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from detector.catalogue.fields import Number, Part, Seconds, Text, Whole, Whom, expectation, plain_text
from detector.catalogue.notifications import Severity

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Channel = Annotated[Text, AfterValidator(plain_text)]


class PrometheusSettings(Part):
    """How often Prometheus scrapes, and how long it keeps what it saw."""

    retention: Seconds = Field(default=15 * 86400, ge=3600)
    scrape_interval: Seconds = Field(default=15, ge=1)


class ElasticsearchSettings(Part):
    """How long the daily log indices are kept, and how each is stored."""

    retention: Seconds = Field(default=30 * 86400, ge=86400)
    shards: Whole = Field(default=1, ge=1, le=1024)
    replicas: Whole = Field(default=0, ge=0, le=16)


class AlertmanagerSettings(Part):
    """How long the first message of a critical group waits, and after how long chat repeats one."""

    group_wait: Seconds = 10
    group_interval: Seconds = Field(default=60, ge=1)
    repeat_interval: Seconds = Field(default=900, ge=1)


class GrafanaSettings(Part):
    """How often dashboards refresh, and how far back they look at most."""

    refresh: Seconds = Field(default=60, ge=1)
    data_kept: Seconds = Field(default=30 * 86400, ge=3600)


class Hosts(Part):
    """Where the servers of the set-up answer, as Prometheus sees them; `detector` is `detector serve`."""

    prometheus: Text = "localhost:9090"
    alertmanager: Text = "alertmanager:9093"
    pushgateway: Text = "pushgateway:9091"
    detector: Text = "detector-serve:9208"


class Environment(Part):
    """One place where the platform runs: what differs between production and staging, and nothing else."""

    prometheus: PrometheusSettings = Field(default_factory=PrometheusSettings)
    elasticsearch: ElasticsearchSettings = Field(default_factory=ElasticsearchSettings)
    alertmanager: AlertmanagerSettings = Field(default_factory=AlertmanagerSettings)
    grafana: GrafanaSettings = Field(default_factory=GrafanaSettings)


class DownAlert(Part):
    """The alert on a service that does not work: `up` is 0 for one of its targets, or none is scraped."""

    name: Name
    severity: Severity = "critical"
    up: Text | None = None
    for_: Seconds = Field(default=0, alias="for")


class Service(Part):
    """A service of the platform: where it is scraped (its `job` is the key) and whom it concerns."""

    description: str = ""
    targets: tuple[Text, ...] = ()
    metrics_path: Text = "/metrics"
    params: dict[str, Text] = Field(default_factory=dict)
    team: Whom = ""
    experts: Whom = ""
    channel: Channel = "alerts"
    logs: bool = True
    down_alert: DownAlert | None = None

    @field_validator("metrics_path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        if not re.fullmatch(r"/[^\s?#]*", value):
            raise expectation("a path such as /metrics; what follows its ? stands in params")
        return value


class Event(Part):
    """Something that happened and is worth a line: `time` is PromQL of when it last did, in unix seconds."""

    description: Text
    time: Text
    lasts: Seconds = Field(default=1200, ge=1200)
    remedy: bool = False
    """Whether it averts what was predicted for its service, so that a prediction it followed is not judged false."""
    service: Whom = ""
    team: Whom = ""
    channel: Channel = "alerts"

    @model_validator(mode="after")
    def _remedy_of_a_service(self) -> Self:
        if self.remedy and not self.service:
            raise expectation("service beside remedy: true, whose predictions it averts")
        return self


class ServiceLevelObjective(Part):
    """What must hold for a share of a month, and the alerts when its budget burns too fast.

    `bad` is PromQL of the share that is bad right now, 0 to 1. In it `$threshold` is the objective of `query` and
    `$services` every service with an alert on its being down. `predictions` instead of `bad` judges the alerts
    on forecasts.
    """

    description: Text
    objective: Number = Field(gt=0, lt=1)
    bad: Text | None = None
    query: Text | None = None
    predictions: bool = False
    alert: Name
    service: Whom = ""
    team: Whom = ""
    channel: Channel = "alerts"

    @model_validator(mode="after")
    def _one_indicator(self) -> Self:
        if (self.bad is None) != self.predictions:
            raise expectation("exactly one of bad and predictions: true")
        if self.bad is not None and ("$threshold" in self.bad) != (self.query is not None):
            raise expectation("query beside $threshold, and only there")
        return self


class WorkerAlerts(Part):
    """The alerts on the worker and on the alert path itself: whom they concern, and when it is late."""

    service: Whom = "detector"
    team: Whom = ""
    channel: Channel = "alerts"
    severity: Severity = "warning"
    late: Seconds = Field(default=120, ge=0)
    silent: Seconds = Field(default=300, ge=60)
    lost_series: Number = Field(default=0.5, gt=0, lt=1)
    no_data: Seconds = Field(default=900, ge=60)
    delivery: Seconds = Field(default=60, ge=0)
