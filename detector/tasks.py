"""Celery's tasks: thin, with JSON arguments. What they do is `Worker.run_query`, as in the embedded runner."""

from __future__ import annotations

import logging
import socket
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from celery.signals import worker_process_shutdown, worker_shutdown

from detector.app import EXPIRES_SHARE, app, catalogue, shared_catalogue
from detector.clock import WallClock, slot_at
from detector.errors import SinkError
from detector.run import build_worker, place_of

if TYPE_CHECKING:
    import redis

    from detector.pipeline import Worker

log = logging.getLogger(__name__)

ONE_SHARD = "0"
PUSH_RETRY_SECONDS = 5

_serial = threading.Lock()


@app.task(name="detector.tasks.forecast_query")
def forecast_query(query: str, slot: int | None = None) -> None:
    """Compute every shard of a query at a slot (the one that has begun last)."""
    every, now = catalogue.query(query).every, WallClock().now()
    slot = slot_at(now, every) if slot is None else slot
    left = seconds_left(slot, every, now)
    if left > 0:
        forecast_shard.apply_async((query, ONE_SHARD, slot), expires=left)
    else:
        _say_expired(query, ONE_SHARD, slot)


@app.task(name="detector.tasks.forecast_shard", bind=True, max_retries=None)
def forecast_shard(self: Any, query: str, shard: str, slot: int) -> None:
    """Compute and publish one shard at one slot; of all that try, one does, and none once the slot is over."""
    every = catalogue.query(query).every
    if seconds_left(slot, every, WallClock().now()) <= 0:
        _say_expired(query, shard, slot)
        return
    if not _claim(query, shard, slot, every, self.request.id):
        log.debug("another worker has this slot", extra={"metric_type": query, "shard": shard, "slot": slot})
        return
    with _serial:
        result = worker().run_query(query, slot, shard)
        worker().publish_telemetry(_process_name(self.request.hostname))
    if isinstance(result.push_error, SinkError) and WallClock().now() + PUSH_RETRY_SECONDS < slot + every:
        raise self.retry(exc=result.push_error, countdown=PUSH_RETRY_SECONDS)


def seconds_left(slot: int, every: int, now: float) -> float:
    """How long work on a slot may still begin; however it was queued, never past the slot's own end.

    >>> seconds_left(600, 60, 610.0), seconds_left(600, 60, 660.0)
    (44.0, -6.0)
    """
    return slot + EXPIRES_SHARE * every - now


def _say_expired(query: str, shard: str, slot: int) -> None:
    log.warning("the workers are late: a slot was skipped", extra={"metric_type": query, "shard": shard, "slot": slot})
    worker().telemetry.missed(query, 1)


@lru_cache(maxsize=1)
def worker() -> Worker:
    """This process' worker, built when it has its first task (after a fork, so that no connection is shared)."""
    return build_worker(shared_catalogue())


@worker_process_shutdown.connect
@worker_shutdown.connect
def save_history(**_: Any) -> None:
    """Save the history read so far, where this process has read any."""
    if worker.cache_info().currsize:
        worker().flush()


def _claim(query: str, shard: str, slot: int, every: int, owner: str) -> bool:
    """Take the slot for this task; True also when it already has it.

    Without Redis, or with one that fails, every task has its slot: computing twice does no harm, not at all does.
    """
    client = _redis()
    if client is None:
        return True
    from redis import RedisError

    key = f"lock:{place_of(catalogue.settings.prometheus.url)}:{query}:{shard}:{slot}"
    try:
        if client.set(key, owner, nx=True, ex=every):
            return True
        holder: Any = client.get(key)
    except RedisError as error:
        log.warning("the slot is computed without its lock: %s", error, extra={"metric_type": query, "slot": slot})
        return True
    return bool(holder is not None and bytes(holder).decode() == owner)


@lru_cache(maxsize=1)
def _redis() -> redis.Redis | None:
    """A client for the broker's Redis, or the catalogue's."""
    url = str(app.conf.broker_url)
    if not url.startswith(("redis://", "rediss://", "unix://")):
        url = catalogue.settings.redis or ""
    if not url:
        return None
    import redis

    options = app.conf.broker_transport_options
    kept = ("socket_timeout", "socket_connect_timeout", "socket_keepalive", "health_check_interval")
    return redis.Redis.from_url(url, **{name: options[name] for name in kept})


def _process_name(hostname: str | None) -> str:
    """A name that a replaced pool process takes over: host and place in the pool."""
    from billiard.process import current_process

    place = getattr(current_process(), "index", 0) or 0
    return f"{(hostname or socket.gethostname()).partition('@')[2] or hostname or 'worker'}-{place}"
