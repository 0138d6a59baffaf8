"""The worker's own log: one JSON object a line on stderr, or readable lines on a terminal.

Modules log with the standard library (`logging.getLogger(__name__)`, fields in `extra`); only this file
knows how it looks. Fields of every line: `@timestamp` with the offset of the configured time zone,
`service`, `level`, `logger`, `message`, `environment`, and `k8s_namespace` and `k8s_pod` where the
environment tells them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from datetime import datetime
from typing import IO, Any
from zoneinfo import ZoneInfo

from detector.errors import redact

SERVICE = "infrastructure"
"""The service whose index the worker's lines go to."""

_FROM_ENVIRONMENT = {"k8s_namespace": "K8S_NAMESPACE", "k8s_pod": "K8S_POD"}

Event = MutableMapping[str, Any]


def configure_logging(
    *,
    environment: str = "production",
    timezone: str = "UTC",
    level: str | int | None = None,
    stream: IO[str] | None = None,
    console: bool | None = None,
) -> None:
    """Send every log line of this process to ``stream`` (stderr).

    ``level`` is INFO, or what DETECTOR_LOG_LEVEL says. ``console`` chooses readable lines; without it a
    terminal gets them and everything else JSON.
    """
    import structlog

    stream = stream or sys.stderr
    console = stream.isatty() if console is None else console
    level = level or os.environ.get("DETECTOR_LOG_LEVEL", "").upper() or "INFO"
    fixed = {"service": SERVICE, "environment": environment}
    fixed |= {field: os.environ[name] for field, name in _FROM_ENVIRONMENT.items() if os.environ.get(name)}
    zone = ZoneInfo(timezone)

    def describe(_: Any, __: str, event: Event) -> Event:
        record: logging.LogRecord | None = event.get("_record")
        created = record.created if record is not None else datetime.now(zone).timestamp()
        event["@timestamp"] = datetime.fromtimestamp(created, zone).isoformat(timespec="milliseconds")
        event["level"] = (record.levelname if record is not None else str(event.get("level", "info"))).upper()
        event["logger"] = record.name if record is not None else "detector"
        return {**fixed, **event}

    shared: list[Any] = [
        structlog.stdlib.ExtraAdder(),
        describe,
        structlog.processors.format_exc_info,
        _without_secrets,
    ]
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    last += [_readable] if console else [structlog.processors.EventRenamer("message"), _json]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    for noisy in ("prometheus_api_client", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    silence_retries()


def silence_retries() -> None:
    """Keep urllib3 from telling each attempt: the worker tells once what came of them all."""
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def _without_secrets(_: Any, __: str, event: Event) -> Event:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


def _json(_: Any, __: str, event: Event) -> str:
    import orjson

    first = ("@timestamp", "service", "level", "logger", "message")
    ordered = {key: event[key] for key in first if key in event} | dict(event)
    return orjson.dumps(ordered, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _readable(_: Any, __: str, event: Event) -> str:
    time = str(event["@timestamp"])[11:19]
    hidden = {
        "@timestamp",
        "service",
        "level",
        "logger",
        "event",
        "environment",
        "exception",
        *_FROM_ENVIRONMENT,
    }
    fields = " ".join(f"{key}={value}" for key, value in event.items() if key not in hidden)
    line = f"{time} {event['level'].lower():<8} {event['event']}"
    return "\n".join(part for part in (f"{line}  {fields}".rstrip(), event.get("exception")) if part)
