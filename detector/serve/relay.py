"""Carries Alertmanager's notifications to what it has no receiver for: Teams, SMS, anything that Apprise knows."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from detector import conventions as names
from detector.serve.counts import Counts
from detector.serve.webhook import Notification, message_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from apprise import Apprise

    from detector.catalogue.serving import NotifyTarget

log = logging.getLogger(__name__)

THREADS = 16
"""Notifications that are under way at once."""
_reasons: ContextVar[list[str]] = ContextVar("reasons")
_SAID_OF_A_FAILURE = ("Failed to send", "A Connection error")
"""How Apprise's messages begin that say why a notification was not sent; others may quote the URL."""


class NotRelayedError(Exception):
    """The target did not take the notification; Alertmanager should try again."""


class Relay:
    """The targets of the catalogue, and nowhere else.

    Args:
        targets: by name.
        environment: named in every title.
        counts: where notifications are counted.
    """

    def __init__(self, targets: Mapping[str, NotifyTarget], environment: str, counts: Counts) -> None:
        self.targets = dict(targets)
        self._environment = environment
        self._counts = counts
        # A target that hangs keeps its thread: it must not be one that answers Prometheus.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="relay")
        if targets:
            logger = logging.getLogger("apprise")
            logger.handlers[:] = [_Reasons(logging.WARNING)]
            logger.propagate = False

    def prepare(self) -> None:
        """Load Apprise, which takes a second or two, and tell which targets cannot be used as they are."""
        for name, target in self.targets.items():
            try:
                _sender(target)
            except NotRelayedError as error:
                log.error("target %r of settings.serve.notify cannot be used: %s", name, error)

    async def send(self, name: str, post: Notification) -> None:
        """Send one notification to a target.

        Raises:
            NotRelayedError: it was not taken, or not in time.
        """
        target = self.targets[name]
        title, text = message_of(post, self._environment, target.max_length)
        try:
            async with asyncio.timeout(target.timeout + 1):
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._threads, self._deliver, target, title, text, post)
        except (NotRelayedError, TimeoutError) as error:
            reason = str(error) or f"no answer in {target.timeout} s"
            self._counts.add(names.SERVE_NOTIFICATIONS, target=name, outcome="error")
            log.error("a notification was not relayed: %s", reason, extra={"target": name, "title": title})
            raise NotRelayedError(f"target {name!r}: {reason}") from error
        self._counts.add(names.SERVE_NOTIFICATIONS, target=name, outcome="ok")
        log.info("relayed a notification", extra={"target": name, "title": title, "alerts": len(post.alerts)})

    def _deliver(self, target: NotifyTarget, title: str, text: str, post: Notification) -> None:
        import apprise

        sender = _sender(target)
        kind = apprise.NotifyType.FAILURE if post.status == "firing" else apprise.NotifyType.SUCCESS
        form: apprise.NotifyFormat | None = apprise.NotifyFormat.TEXT
        if any(server.notify_format == apprise.NotifyFormat.MARKDOWN for server in sender):
            # As it is: escaped, each point would come with a backslash; in Markdown an empty line parts two lines.
            form, text = None, text.replace("\n", "\n\n")
        reasons: list[str] = []
        _reasons.set(reasons)
        if not sender.notify(title=title, body=text, notify_type=kind, body_format=form):
            raise NotRelayedError(reasons[-1] if reasons else "it was not taken")


def _sender(target: NotifyTarget) -> Apprise:
    import apprise

    sender = apprise.Apprise(
        asset=apprise.AppriseAsset(async_mode=False)
    )  # in this thread, where its reasons are heard
    if not sender.add(_url_of(target)):
        raise NotRelayedError("its URL is none that Apprise knows")
    for server in sender:
        server.socket_connect_timeout = min(4.0, target.timeout)
        server.socket_read_timeout = float(target.timeout)
    return sender


def _url_of(target: NotifyTarget) -> str:
    if target.url is not None:
        return target.url
    try:
        return Path(target.url_file or "").expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotRelayedError(f"cannot read {target.url_file}: {getattr(error, 'strerror', error)}") from error


class _Reasons(logging.Handler):
    """Keeps what Apprise says about a failure, apart for each notification: its threads inherit the context."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith(_SAID_OF_A_FAILURE):
            _reasons.get([]).append(message)
