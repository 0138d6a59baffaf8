"""Who exposes the series: the services, instances and models of the simulated day-trading platform."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

Labels = Mapping[str, str]

ML_INSTANCES = ("ml-service-0", "ml-service-1", "ml-service-2")
DATA_INSTANCES = ("data-service-0", "data-service-1")
POSTGRES = ("postgres-0", "postgres-1")
REDIS = ("redis-0", "redis-1")
SERVICES = ("ml-service", "data-service", "scheduler-service", "database", "infrastructure", "log-pipeline")
NODES = tuple(f"node-{i}" for i in range(8))
MODELS = ("gradient-boosting", "lstm", "random-forest", "transformer")
ENSEMBLE = "ensemble"
DATASETS = ("fundamentals", "news", "orderbook", "prices")
SOURCES = ("broker", "exchange", "newswire", "vendor")
QUEUES = ("data", "default", "prediction", "report")
WORKFLOWS = ("backtest", "evaluation", "ingest", "report", "retrain", "trade-plan")


def _series(service: str, instances: tuple[str, ...], **dimensions: tuple[str, ...]) -> tuple[Labels, ...]:
    """Every combination of instance and further labels. `job` is exposed too, so that a scrape with
    `honor_labels` and a backfilled block name the same series.
    """
    names = list(dimensions)
    return tuple(
        {"job": service, "service": service, "instance": instance, **dict(zip(names, values, strict=True))}
        for instance in instances
        for values in product(*dimensions.values())
    )


LABELS: dict[str, tuple[Labels, ...]] = {
    "ensemble": _series("ml-service", ML_INSTANCES[:1], model=(ENSEMBLE,)),
    "trend": _series("ml-service", ML_INSTANCES[:1], model=(ENSEMBLE, *MODELS)),
    "model": _series("ml-service", ML_INSTANCES, model=MODELS),
    "ml": _series("ml-service", ML_INSTANCES),
    "data": _series("data-service", DATA_INSTANCES),
    "dataset": _series("data-service", DATA_INSTANCES, dataset=DATASETS),
    "source": _series("data-service", DATA_INSTANCES, source=SOURCES),
    "scheduler": _series("scheduler-service", ("scheduler-service-0",)),
    "queue": _series("scheduler-service", ("scheduler-service-0",), queue=QUEUES),
    "workflow": _series("scheduler-service", ("scheduler-service-0",), workflow=WORKFLOWS),
    "node": _series("infrastructure", NODES),
    "disk": _series("infrastructure", NODES, mountpoint=("/", "/data")),
    "network": _series("infrastructure", NODES, device=("eth0", "eth1")),
    "postgres": _series("database", POSTGRES),
    "statement": _series("database", POSTGRES, statement=("insert", "select", "update")),
    "redis": _series("database", REDIS),
    "command": _series("database", REDIS, command=("get", "publish", "set")),
}
