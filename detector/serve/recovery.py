"""The first level of escalation: an alert runs an action of the catalogue, before a person is told.

Nothing runs that is not listed; not again within its cool-down; not more in an hour than the budget, which is kept in
the worker's store and so survives a restart. Every decision and every outcome is a line of the log.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from detector import conventions as names
from detector.catalogue.recovery import PLACEHOLDER
from detector.errors import StateError
from detector.serve.deed import Deed, DeedError
from detector.serve.webhook import Notification, PostedAlert

if TYPE_CHECKING:
    from detector.catalogue.recovery import Action, Recovery
    from detector.serve.counts import Counts
    from detector.store import Store

log = logging.getLogger(__name__)

HOUR = 3600.0
VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""What may stand for a placeholder: no option, no path, no separator."""
STATE_KEY, DRY_STATE_KEY = "recovery/state", "recovery/dry-run"
FAREWELL_SECONDS = 5.0
MOST_AT_ONCE = 32


class RefusedError(Exception):
    """A label of the alert may not be put into the action."""


class Recoverer:
    """Decides and runs the actions of the catalogue.

    Args:
        settings: the allow-list, the budget, whether anything runs at all.
        store: where it is kept what ran when; where it fails, memory has to do.
        counts: where outcomes are counted.
        now: unix seconds.
    """

    def __init__(self, settings: Recovery, store: Store, counts: Counts, now: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self._store, self._counts, self._now = store, counts, now
        self._key = DRY_STATE_KEY if settings.dry_run else STATE_KEY
        self._ran: dict[str, float] = {}
        self._running: set[asyncio.Task[None]] = set()
        # Actions may take minutes: in threads of their own, or everything else that is served waits for one.
        self._threads = ThreadPoolExecutor(min(settings.budget_per_hour, MOST_AT_ONCE), thread_name_prefix="recovery")

    async def handle(self, post: Notification) -> list[dict[str, str]]:
        """Start what the firing alerts of a notification call for; says what was decided for each."""
        decided = []
        seen: set[str] = set()
        for alert in post.alerts:
            if alert.status != "firing":
                continue
            for action in self._actions(alert):
                outcome, deed = await asyncio.to_thread(self._decide, action, alert, seen)
                decided.append({"alert": alert.name, "action": deed.text if deed else "", "outcome": outcome})
                if outcome == "started" and deed is not None:
                    self._start(deed, alert)
        return decided

    async def finish(self) -> None:
        """Wait a little for what is running."""
        if self._running:
            await asyncio.wait(self._running, timeout=FAREWELL_SECONDS)

    def _actions(self, alert: PostedAlert) -> list[Action]:
        return [
            one
            for one in self.settings.actions
            if one.alert == alert.name and one.service in (None, alert.labels.get("service"))
        ]

    def _decide(self, action: Action, alert: PostedAlert, seen: set[str]) -> tuple[str, Deed | None]:
        try:
            deed = Deed.of(action, lambda text: fill(text, alert.labels))
        except RefusedError as error:
            self._tell(alert, None, "refused", reason=str(error))
            return "refused", None
        if deed.key in seen:
            return "same", deed
        seen.add(deed.key)
        outcome = self._claim(deed.key, action.cooldown)
        if outcome == "started" and self.settings.dry_run:
            outcome = "dry_run"
        self._tell(alert, deed, outcome)
        return outcome, deed

    def _claim(self, key: str, cooldown: int) -> str:
        """Note that the action runs now, unless it has to wait; of several processes one has it."""
        try:
            with self._store.exclusive(self._key):
                outcome, ran = self._judge(key, cooldown, self._load())
                self._store.save(self._key, json.dumps(ran, sort_keys=True).encode())
        except StateError as error:
            log.warning("cool-down and budget are kept in memory only: %s", error)
            outcome, ran = self._judge(key, cooldown, self._ran)
        self._ran = ran
        return outcome

    def _judge(self, key: str, cooldown: int, ran: Mapping[str, float]) -> tuple[str, dict[str, float]]:
        """``ran``: unix seconds at which something ran, by `PLACE key`; the place tells runs of one key apart."""
        now = self._now()
        longest = max([HOUR, *(one.cooldown for one in self.settings.actions)])
        kept = {name: at for name, at in ran.items() if abs(now - at) < longest}
        last = max((at for name, at in kept.items() if name.partition(" ")[2] == key), default=float("-inf"))
        if abs(now - last) < cooldown:
            return "cooling_down", kept
        if sum(abs(now - at) < HOUR for at in kept.values()) >= self.settings.budget_per_hour:
            return "over_budget", kept
        return "started", {**kept, f"{now:.3f}-{len(kept)} {key}": now}

    def _load(self) -> dict[str, float]:
        try:
            saved = json.loads(self._store.load(self._key) or b"{}")
            return {**self._ran, **{str(name): float(at) for name, at in saved.items()}}
        except (ValueError, TypeError, AttributeError) as error:
            raise StateError(f"the record of recoveries is unreadable: {error}") from error

    def _start(self, deed: Deed, alert: PostedAlert) -> None:
        task = asyncio.create_task(self._run(deed, alert))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, deed: Deed, alert: PostedAlert) -> None:
        began = time.monotonic()
        try:
            said = await asyncio.get_running_loop().run_in_executor(self._threads, deed.run)
        except DeedError as error:
            self._tell(alert, deed, "failed", reason=str(error), seconds=time.monotonic() - began)
        else:
            self._tell(alert, deed, "ok", reason=said, seconds=time.monotonic() - began)

    def _tell(
        self, alert: PostedAlert, deed: Deed | None, outcome: str, *, reason: str = "", seconds: float | None = None
    ) -> None:
        """The audit log: one line for each decision, and one for how it ended."""
        self._counts.add(names.SERVE_RECOVERIES, alert=alert.name, outcome=outcome)
        level = logging.ERROR if outcome in ("failed", "refused", "over_budget") else logging.INFO
        fields = {
            "audit": "recovery",
            "alert": alert.name,
            "alert_service": alert.labels.get("service", ""),
            "action": deed.text if deed else "",
            "outcome": outcome,
        }
        if seconds is not None:
            fields["seconds"] = f"{seconds:.2f}"
        if reason:
            fields["reason"] = reason
        log.log(level, "recovery of %s: %s", alert.name, outcome.replace("_", " "), extra=fields)


def fill(text: str, labels: Mapping[str, str]) -> str:
    """The text with labels in place of its placeholders.

    >>> fill("deployment/{service}", {"service": "ml-service"})
    'deployment/ml-service'

    Raises RefusedError for a label that is missing, or whose value is not a plain name.
    """

    def value(name: str) -> str:
        found = labels.get(name, "")
        if not VALUE.fullmatch(found):
            raise RefusedError(f"label {name!r}: expected letters, digits, . _ and - (at most 63), got {found[:80]!r}")
        return found

    return PLACEHOLDER.sub(lambda match: value(match[1]), text)
