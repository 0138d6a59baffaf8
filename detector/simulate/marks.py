"""What the platform says besides the queries' metrics: who is up, what happened when, and that logs flow.

A mark is exact: it follows from the clock and the scenarios alone. Times are unix seconds, T columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from detector.simulate.exposed import Sampled
from detector.simulate.fleet import DATA_INSTANCES, DATASETS, ML_INSTANCES, MODELS, POSTGRES, REDIS, SERVICES, Labels
from detector.simulate.processes import Floats, Ints

if TYPE_CHECKING:
    from detector.simulate.platform import Platform

_DAY = 86400
_MONDAY_IN_TOKYO = 4 * _DAY - 9 * 3600
"""A Monday, 0:00 in Tokyo."""
LOG_EVENTS_PER_SECOND = 12
_LOGS_SINCE = 1_577_836_800


@dataclass(frozen=True)
class Mark:
    """One exposed family: its series, and their values [T]."""

    name: str
    type: Literal["gauge", "counter"]
    help: str
    series: tuple[Labels, ...]
    values: Callable[[Platform, int, Labels, Ints], Floats]
    live: bool = True
    """Whether the platform exposes it; `up` is Prometheus' own and stands in the written past alone."""


def _happened(kind: str, period: int, hour: float) -> Callable[[Platform, int, Labels, Ints], Floats]:
    """When it last happened: at a fixed hour (Tokyo), each series two minutes after the one before, and by scenario."""

    def values(platform: Platform, index: int, labels: Labels, seconds: Ints) -> Floats:
        phase = _MONDAY_IN_TOKYO + int(hour * 3600) + 120 * index
        last = phase + (seconds - phase) // period * period
        for scenario in platform.scenarios:
            if scenario.kind == kind and scenario.selects(labels):
                at = 60 * scenario.start_minute
                last = np.where(seconds >= at, np.maximum(last, at), last)
        return last.astype(np.float64)

    return values


def _up(platform: Platform, index: int, labels: Labels, seconds: Ints) -> Floats:
    down = np.zeros(seconds.shape, dtype=bool)
    for scenario in platform.scenarios:
        if scenario.kind == "service-down" and scenario.removes(labels):
            down |= scenario.lasts_at(seconds // 60)
    return np.where(down, 0.0, 1.0)


def _shipped(platform: Platform, index: int, labels: Labels, seconds: Ints) -> Floats:
    """Events since ever, none while log collection is stopped."""
    total = LOG_EVENTS_PER_SECOND * (seconds - _LOGS_SINCE)
    for scenario in platform.scenarios:
        if scenario.kind == "log-stop":
            stopped = np.clip(seconds - 60 * scenario.start_minute, 0, scenario.duration)
            total = total - (LOG_EVENTS_PER_SECOND * stopped).astype(np.int64)
    return total.astype(np.float64)


def _absent(platform: Platform, labels: Labels, seconds: Ints) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    gone = np.zeros(seconds.shape, dtype=bool)
    for scenario in platform.scenarios:
        if scenario.removes(labels):
            gone |= scenario.lasts_at(seconds // 60)
    return gone


def _of(service: str, instance: str, **more: str) -> Labels:
    return {"job": service, "service": service, "instance": instance, **more}


MARKS = (
    Mark("pg_up", "gauge", "Whether PostgreSQL answers its exporter.",
         tuple(_of("database", name) for name in POSTGRES), _up),
    Mark("redis_up", "gauge", "Whether Redis answers its exporter.",
         tuple(_of("database", name) for name in REDIS), _up),
    Mark("ml_model_retrained_timestamp_seconds", "gauge", "Unix time of the last retraining of a model.",
         tuple(_of("ml-service", ML_INSTANCES[0], model=name) for name in MODELS), _happened("retrain", 7 * _DAY, 148)),
    Mark("data_refreshed_timestamp_seconds", "gauge", "Unix time at which a data set was last loaded.",
         tuple(_of("data-service", DATA_INSTANCES[0], dataset=name) for name in DATASETS),
         _happened("data-refresh", _DAY, 7.5)),
    Mark("backup_completed_timestamp_seconds", "gauge", "Unix time of the last complete backup.",
         tuple(_of("database", name) for name in (POSTGRES[0], REDIS[0])), _happened("backup", _DAY, 3)),
    Mark("logstash_events_out_total", "counter", "Log events that left the pipeline.",
         (_of("log-pipeline", "logstash-0"),), _shipped),
    Mark("up", "gauge", "Whether the service answers its scrape.",
         tuple({"job": name, "instance": name, "service": name} for name in SERVICES), _up, live=False),
)  # fmt: skip


def sample_mark(platform: Platform, mark: Mark, seconds: Ints) -> Iterator[Sampled]:
    """Every series of a mark at sorted unix seconds [T]; of a service that is down only what says so is there."""
    for index, labels in enumerate(mark.series):
        values = mark.values(platform, index, labels, seconds)
        if mark.values is not _up:
            values = np.where(_absent(platform, labels, seconds), np.nan, values)
        elif labels["service"] == "database" and mark.live is False:
            values = np.ones_like(values)  # the exporters answer; what they say is in pg_up and redis_up
        yield Sampled(mark.name, labels, values, "%d")
