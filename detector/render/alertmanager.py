"""The catalogue as configuration of Alertmanager: one route for each medium, and what silences what.

An alert passes the routes of its severity one after the other (`continue`), so that each medium has its own
times. What matches none of them is told in the fallback channel. Secrets are files, never values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from detector import conventions as names
from detector.catalogue.notifications import Notifications, Severity
from detector.catalogue.platform import AlertmanagerSettings
from detector.catalogue.schema import Catalogue
from detector.errors import ConfigError
from detector.render.document import dump, scaled_duration
from detector.render.inhibitions import inhibit_rules
from detector.render.labels import KIND, LEVEL, WATCHDOG
from detector.render.receivers import DEAD_MANS_SWITCH, ESCALATION, MESSAGES, RECOVERY, receivers

GROUP_BY = ["alertname", "service", names.FOR, "instance"]
EVERY_LABEL = ["..."]
_ONCE = 4 * 86400
"""Seconds after which what should be told once is repeated: Alertmanager forgets after five days."""

Route = dict[str, Any]


def render_small_alertmanager(
    catalogue: Catalogue, receiver_url: str, *, group_interval: str = "1s", repeat_interval: str = "4h"
) -> str:
    """A small Alertmanager configuration: everything to one webhook, facts silence predictions."""
    document = {
        "route": {
            "receiver": "webhook",
            "group_by": ["alertname", names.FOR],
            "group_wait": "0s",
            "group_interval": group_interval,
            "repeat_interval": repeat_interval,
            "routes": [{"receiver": "nobody", "matchers": [_is(KIND, WATCHDOG)]}],
        },
        "inhibit_rules": inhibit_rules(catalogue),
        "receivers": [
            {"name": "webhook", "webhook_configs": [{"url": receiver_url, "send_resolved": True}]},
            {"name": "nobody"},
        ],
    }
    return dump(document, "alertmanager")


def render_alertmanager(catalogue: Catalogue, environment: str, time_scale: float = 1.0) -> str:
    """The configuration of an environment, every duration divided by `time_scale`.

    Raises:
        ConfigError: the catalogue has no `notifications`.
    """
    told = catalogue.notifications
    if told is None:
        raise ConfigError(f"expected notifications in {catalogue.origin or 'the catalogue'}, got none")
    times = _Times(catalogue.environments[environment].alertmanager, told, time_scale)
    document = {
        "global": _smtp(told),
        "templates": ["templates/*.tmpl"],
        "route": {
            "receiver": f"slack-{told.fallback}",
            "group_by": GROUP_BY,
            **times.of("warning", "slack"),
            "routes": _routes(catalogue, told, times),
        },
        "inhibit_rules": inhibit_rules(catalogue),
        "receivers": receivers(told),
    }
    return dump(document, f"--env {environment}")


class _Times:
    """How long messages are gathered, and when they are repeated."""

    def __init__(self, settings: AlertmanagerSettings, told: Notifications, time_scale: float) -> None:
        self._settings, self._told, self._scale = settings, told, time_scale

    @property
    def interval(self) -> int:
        """Seconds between two messages of one group."""
        return self._settings.group_interval

    def of(self, severity: Severity, medium: str) -> dict[str, str]:
        """The three times of a route."""
        gather = self._told.levels[severity].gather
        interval = self._settings.group_interval
        if gather is not None:
            interval = max(interval, gather)
        return self.given(
            self._settings.group_wait if gather is None else gather, interval, self._repeat(severity, medium)
        )

    def given(self, wait: float, interval: float, repeat: float) -> dict[str, str]:
        """Three times as they are written."""
        times = {"group_wait": wait, "group_interval": interval, "repeat_interval": repeat}
        return {name: scaled_duration(seconds, self._scale) for name, seconds in times.items()}

    def _repeat(self, severity: Severity, medium: str) -> int:
        if severity == "info":
            return _ONCE
        repeats = {"email": self._told.repeat.email, "sms": self._told.repeat.sms}
        return repeats.get(medium, self._settings.repeat_interval)


def _routes(catalogue: Catalogue, told: Notifications, times: _Times) -> list[Route]:
    return [
        _watchdog(told, times),
        *_escalation(catalogue, told, times),
        *([_recovery(times)] if told.recovery else []),
        *(route for severity in told.levels for route in _of_severity(severity, told, times)),
    ]


def _watchdog(told: Notifications, times: _Times) -> Route:
    every = told.dead_mans_switch.every
    # repeated at the first flush past repeat_interval: a little less than the interval makes that every flush
    return {"receiver": DEAD_MANS_SWITCH, "matchers": [_is(KIND, WATCHDOG)], **times.given(0, every, 0.9 * every)}


def _escalation(catalogue: Catalogue, told: Notifications, times: _Times) -> list[Route]:
    """One route for each level; under one without an address, one for the experts of each service."""
    found: list[Route] = []
    for level, step in told.escalation.items():
        receiver = f"{ESCALATION}-{level}"
        asked = {} if step.to else {name: _services_of(catalogue, name) for name in told.experts}
        children = [
            {"receiver": f"{receiver}-{experts}", "matchers": [f'service=~"{"|".join(services)}"']}
            for experts, services in asked.items()
            if services
        ]
        route: Route = {"receiver": receiver, "matchers": [_is(LEVEL, level)], "group_by": GROUP_BY}
        found.append(
            route | times.given(0, times.interval, told.repeat.sms) | ({"routes": children} if children else {})
        )
    return found


def _services_of(catalogue: Catalogue, experts: str) -> list[str]:
    return [name for name, service in catalogue.services.items() if service.experts == experts]


def _recovery(times: _Times) -> Route:
    return {
        "receiver": RECOVERY,
        "matchers": [_is("severity", "critical")],
        "group_by": EVERY_LABEL,
        **times.given(0, times.interval, _ONCE),
        "continue": True,
    }


def _of_severity(severity: Severity, told: Notifications, times: _Times) -> list[Route]:
    """The routes of one severity, one for each medium; in chat the channel of the alert decides."""

    def route(receiver: str, medium: str, *more: str) -> Route:
        return {
            "receiver": receiver,
            "matchers": [_is("severity", severity), *more],
            "group_by": ["severity"] if severity == "info" else GROUP_BY,
            **times.of(severity, medium),
            "continue": True,
        }

    media = told.levels[severity].media
    found = [route(medium, medium) for medium in media if medium != "slack"]
    if "slack" in media and severity == "critical":
        return [*found, route(f"slack-{told.critical}", "slack"), *_beside_the_critical(told, route)]
    if "slack" in media:
        found.append(route(f"slack-{told.fallback}", "slack") | {"routes": _by_channel(told.channels)})
    return found


def _beside_the_critical(told: Notifications, route: Callable[..., Route]) -> list[Route]:
    """Where else a critical alert is told: its own channel, or the fallback; never twice in the critical one."""
    others = [name for name in told.channels if name != told.critical]
    if told.fallback == told.critical:
        return [route(f"slack-{name}", "slack", _is("channel", name)) for name in others]
    elsewhere = route(f"slack-{told.fallback}", "slack", f'channel!="{told.critical}"')
    return [elsewhere | {"routes": _by_channel(others)}]


def _by_channel(channels: Iterable[str]) -> list[Route]:
    return [{"receiver": f"slack-{name}", "matchers": [_is("channel", name)]} for name in channels]


def _smtp(told: Notifications) -> dict[str, Any]:
    email = told.email
    password = {"smtp_auth_password_file": f"{told.secrets}/smtp-password"}
    return {
        "resolve_timeout": "5m",
        "smtp_smarthost": email.smarthost,
        "smtp_from": email.from_,
        "smtp_require_tls": email.require_tls,
        **({"smtp_auth_username": email.username, **password} if email.username else {}),
        "slack_api_url_file": f"{told.secrets}/slack-url",
    }


def _is(name: str, value: str) -> str:
    return f'{name}="{value}"'


def alertmanager_files(catalogue: Catalogue, environment: str, time_scale: float = 1.0) -> dict[str, str]:
    """Configuration, and the words of its messages; none where the catalogue tells nobody."""
    if catalogue.notifications is None:
        return {}
    return {
        "alertmanager/alertmanager.yml": render_alertmanager(catalogue, environment, time_scale),
        "alertmanager/templates/messages.tmpl": MESSAGES,
    }
