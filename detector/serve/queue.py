"""How much work waits in the workers' broker: what their number may follow."""

from __future__ import annotations

import logging

from detector.celery_settings import task_default_queue

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 2.0
"""A scrape must not wait for a broker that is gone."""


class Queue:
    """The list in Redis in which Celery keeps the tasks that no worker has taken yet.

    Args:
        broker: its URL, `redis://…`.
        name: of the queue.
    """

    def __init__(self, broker: str, name: str = task_default_queue) -> None:
        import redis

        self.name = name
        self._silent = False
        self._client: redis.Redis = redis.Redis.from_url(
            broker, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        )

    def length(self) -> int | None:
        """How many tasks wait; None while the broker does not say."""
        import redis

        try:
            found = int(self._client.llen(self.name))
        except (redis.RedisError, OSError) as error:
            if not self._silent:
                log.warning("the broker does not tell how much waits: %s", error)
            self._silent = True
            return None
        self._silent = False
        return found
