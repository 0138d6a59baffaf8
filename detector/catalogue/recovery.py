"""What may be done by itself when an alert fires: an allow-list of actions, off by default."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from detector.catalogue.endpoint import Endpoint
from detector.catalogue.fields import Part, Seconds, Text, Whole, expectation

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""Stands for the value of a label of the alert."""


class Call(Endpoint):
    """An HTTP request. The URL's path, and the body, may have placeholders."""

    method: Literal["POST", "PUT", "DELETE", "GET"] = "POST"
    body: str = ""

    @field_validator("url")
    @classmethod
    def _host_is_fixed(cls, value: str) -> str:
        if PLACEHOLDER.search(urlsplit(value).netloc):
            raise expectation("a URL whose host has no placeholder")
        return value


class Action(Part):
    """What to do when one alert fires: a command (no shell), or an HTTP call."""

    alert: Text
    service: str | None = None
    command: Annotated[list[Text], Field(min_length=1)] | None = None
    http: Call | None = None
    cooldown: Seconds = Field(default=600, ge=1)
    timeout: Seconds = Field(default=60, ge=1, le=600)

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        if (self.command is None) == (self.http is None):
            raise expectation("exactly one of command and http")
        if self.command is not None and PLACEHOLDER.search(self.command[0]):
            raise expectation("a program without a placeholder")
        return self


class Recovery(Part):
    """Automatic recovery: the first level of escalation, before a person is told."""

    enabled: bool = False
    dry_run: bool = False
    budget_per_hour: Whole = Field(default=6, ge=1, le=1000)
    actions: list[Action] = Field(default_factory=list)
