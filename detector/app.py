"""The Celery application: `celery -A detector.app worker` and `celery -A detector.app beat`.

The catalogue is the one of DETECTOR_CATALOGUE. The broker is DETECTOR_BROKER_URL, else the catalogue's
`settings.redis`. State is shared through that Redis, or through `settings.state_dir` where all workers see it.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from detector.threads import limit_threads

limit_threads()

from celery import Celery  # noqa: E402 - after the threads are limited: it may import numpy
from celery.schedules import schedstate, schedule  # noqa: E402
from celery.signals import beat_init, setup_logging  # noqa: E402
from kombu.transport import TRANSPORT_ALIASES  # noqa: E402

from detector.catalogue import load_catalogue  # noqa: E402
from detector.clock import SETTLE_SECONDS  # noqa: E402
from detector.errors import ConfigError, Problem  # noqa: E402

if TYPE_CHECKING:
    from detector.catalogue import Catalogue

EXPIRES_SHARE = 0.9
"""A task that waited for this share of its interval is dropped: a backlog never computes the past."""


class Slots(schedule):
    """Due once in every slot, shortly after it began, however long beat was busy or away."""

    def __init__(self, every: int, nowfun: Callable[[], datetime] | None = None) -> None:
        super().__init__(every, nowfun=nowfun)
        self.seconds_each = every
        self._settle = min(SETTLE_SECONDS, every / 10)

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether a slot has begun since the last run, and seconds until the next one does."""
        now = self.now().timestamp()
        slot = math.floor((now - self._settle) / self.seconds_each)
        last = math.floor((last_run_at.timestamp() - self._settle) / self.seconds_each)
        return schedstate(slot > last, (slot + 1) * self.seconds_each + self._settle - now)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.seconds_each,)


def beat_schedule(catalogue: Catalogue) -> dict[str, dict[str, Any]]:
    """One entry a query, `forecast:NAME`."""
    return {
        f"forecast:{query.name}": {
            "task": "detector.tasks.forecast_query",
            "schedule": Slots(query.every),
            "args": (query.name,),
            "options": {"expires": EXPIRES_SHARE * query.every},
        }
        for query in catalogue.queries.values()
    }


def create_app(catalogue: Catalogue) -> Celery:
    """The application for a catalogue.

    Raises:
        ConfigError: DETECTOR_BROKER_URL is no URL of a broker.
    """
    made = Celery("detector", include=["detector.tasks"])
    made.config_from_object("detector.celery_settings")
    broker = os.environ.get("DETECTOR_BROKER_URL")
    if broker and broker.partition("://")[0] not in TRANSPORT_ALIASES:
        wanted = "a URL such as redis://localhost:6379/0"
        raise ConfigError(Problem("", key="DETECTOR_BROKER_URL", expected=wanted, got=broker))
    if not broker and catalogue.settings.redis:
        made.conf.update(broker_url=catalogue.settings.redis)
    made.conf.beat_schedule = beat_schedule(catalogue)
    return made


def _start() -> tuple[Catalogue, Celery]:
    """Catalogue and application; under Celery's own command what is wrong with them is told without a traceback."""
    try:
        loaded = load_catalogue()
        return loaded, create_app(loaded)
    except ConfigError as error:
        if "celery.bin.celery" not in sys.modules:
            raise
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None


catalogue, app = _start()


def shared_catalogue() -> Catalogue:
    """The catalogue, with the broker's Redis as the store of all workers where its settings name no other."""
    from detector.run import keeping_state_at

    return keeping_state_at(catalogue, str(app.conf.broker_url))


@setup_logging.connect
def _set_up_logging(loglevel: Any = None, **_: Any) -> None:
    from detector.logs import configure_logging

    settings = catalogue.settings
    configure_logging(environment=settings.environment, timezone=settings.timezone, level=loglevel)


@beat_init.connect
def _remove_stale_groups(**_: Any) -> None:
    from detector.groups import Groups
    from detector.run import build_store
    from detector.sink import PushgatewaySink

    shared = shared_catalogue()
    Groups(build_store(shared), shared).tidy([PushgatewaySink(shared.settings.pushgateways)])
