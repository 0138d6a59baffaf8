"""Whom an alert reaches, by which medium, how soon, and who is asked next when nobody answers."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from detector.catalogue.fields import Part, Seconds, Text, expectation

Medium = Literal["slack", "email", "sms", "teams"]
Severity = Literal["critical", "warning", "info"]
SEVERITIES = ("critical", "warning", "info")


def http_url(value: str) -> str:
    """The URL, without a slash at its end."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise expectation("a URL such as https://host/path")
    return value.rstrip("/")


Url = Annotated[Text, AfterValidator(http_url)]


class Email(Part):
    """The mail server, the sender, and who gets mail about every critical alert and every warning."""

    smarthost: Text
    from_: Text = Field(alias="from")
    to: Text
    username: str = ""
    require_tls: bool = True


class Repeats(Part):
    """After how long a message about what still lasts is repeated; chat has the environment's `repeat_interval`."""

    email: Seconds = Field(default=4 * 3600, ge=1)
    sms: Seconds = Field(default=1800, ge=1)


class Level(Part):
    """How alerts of one severity travel: by which media, and how long they are gathered first."""

    media: tuple[Medium, ...] = Field(min_length=1)
    gather: Seconds | None = None


class Step(Part):
    """The next to be asked when a critical alert has lasted so long and nobody has silenced it."""

    after: Seconds = Field(ge=1)
    to: Text | None = None
    """Mail address of whoever answers; without one the service's experts are asked."""


class DeadMansSwitch(Part):
    """Who raises the alarm when the `Watchdog` alert no longer arrives."""

    url: Url
    every: Seconds = Field(default=60, ge=1)


class Notifications(Part):
    """Channels, media, levels and escalation. Secrets are files in one directory, never values."""

    runbooks: Url | None = None
    secrets: Text = "/etc/alertmanager/secrets"
    channels: dict[str, Text] = Field(min_length=1)
    fallback: Text
    critical: Text
    email: Email
    relay: Url
    """`detector serve`: its `/notify/teams` and `/notify/sms` carry messages, its `/recover` restarts what may be."""
    dead_mans_switch: DeadMansSwitch
    repeat: Repeats = Field(default_factory=Repeats)
    levels: dict[Severity, Level]
    escalation: dict[str, Step] = Field(default_factory=dict)
    experts: dict[str, Text] = Field(default_factory=dict)
    recovery: bool = False

    @field_validator("levels")
    @classmethod
    def _every_severity(cls, value: dict[str, Level]) -> dict[str, Level]:
        if set(value) != set(SEVERITIES):
            raise expectation(f"the levels {', '.join(SEVERITIES)}")
        return value

    @field_validator("escalation")
    @classmethod
    def _later_and_later(cls, value: dict[str, Step]) -> dict[str, Step]:
        times = [step.after for step in value.values()]
        if times != sorted(set(times)):
            raise expectation("steps that come later and later")
        for name in value:
            if not re.fullmatch(r"[A-Za-z0-9]+", name):
                raise expectation("names of letters and digits")
        return value

    @model_validator(mode="after")
    def _known_channels(self) -> Self:
        for key, channel in (("fallback", self.fallback), ("critical", self.critical)):
            if channel not in self.channels:
                raise expectation(f"one of the channels {', '.join(self.channels)} as {key}, got {channel!r}")
        return self
