"""The platform around the queries: the services that are watched, and the environments they run in."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from detector.catalogue.fields import Part, Seconds, Text, Whole, Whom, plain_text


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
    """How long the first message of a group waits, and after how long it is repeated."""

    group_wait: Seconds = 10
    repeat_interval: Seconds = Field(default=900, ge=1)


class GrafanaSettings(Part):
    """How often dashboards refresh, and how far back they look at most."""

    refresh: Seconds = Field(default=60, ge=1)
    data_kept: Seconds = Field(default=30 * 86400, ge=3600)


class Environment(Part):
    """One place where the platform runs: what differs between production and staging, and nothing else."""

    prometheus: PrometheusSettings = Field(default_factory=PrometheusSettings)
    elasticsearch: ElasticsearchSettings = Field(default_factory=ElasticsearchSettings)
    alertmanager: AlertmanagerSettings = Field(default_factory=AlertmanagerSettings)
    grafana: GrafanaSettings = Field(default_factory=GrafanaSettings)


class DownAlert(Part):
    """The alert on a service that does not answer its scrape."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    for_: Seconds = Field(default=0, alias="for")


class Service(Part):
    """A service of the platform: where it is scraped (its `job` is the key) and whom it concerns."""

    description: str = ""
    targets: tuple[Text, ...] = ()
    team: Whom = ""
    channel: Annotated[Text, AfterValidator(plain_text)] = "alerts"
    down_alert: DownAlert | None = None
