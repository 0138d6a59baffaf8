"""Where the worker reads, publishes and keeps its state: the `settings` of a catalogue."""

from __future__ import annotations

from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from detector.catalogue.endpoint import BasicAuth, Endpoint, EndpointOrUrl, Tls
from detector.catalogue.fields import Part, Seconds, Text, Whole, expectation
from detector.catalogue.recovery import Recovery
from detector.catalogue.serving import Serve

__all__ = ["BasicAuth", "Endpoint", "EndpointOrUrl", "Settings", "Tls"]


def _one_or_several(value: Any) -> str:
    return "several" if isinstance(value, list) else "one"


class Settings(Part):
    """Where the worker reads, publishes and keeps its state."""

    environment: Text = "production"
    timezone: str = "UTC"
    prometheus: EndpointOrUrl = Field(default_factory=lambda: Endpoint(url="http://localhost:9090"))
    pushgateway: Annotated[
        Annotated[EndpointOrUrl, Tag("one")] | Annotated[list[EndpointOrUrl], Field(min_length=1), Tag("several")],
        Discriminator(_one_or_several),
    ] = Field(default_factory=lambda: Endpoint(url="http://localhost:9091"))
    state_dir: Text | None = None
    redis: str | None = Field(default=None, repr=False)
    refit: Seconds = Field(default=3600, ge=60)
    max_series: Whole = Field(default=1000, ge=1)
    serve: Serve = Field(default_factory=Serve)
    recovery: Recovery = Field(default_factory=Recovery)

    @property
    def pushgateways(self) -> list[Endpoint]:
        """Every Pushgateway, also when only one is configured."""
        return self.pushgateway if isinstance(self.pushgateway, list) else [self.pushgateway]

    @model_validator(mode="after")
    def _recovery_is_guarded(self) -> Self:
        if self.recovery.enabled and not self.serve.is_guarded:
            raise expectation("serve.bearer_token_file, bearer_token or basic_auth where recovery is enabled")
        return self

    @field_validator("timezone")
    @classmethod
    def _is_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise expectation("an IANA time zone such as UTC or Asia/Tokyo") from None
        return value

    @field_validator("redis")
    @classmethod
    def _is_redis(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("redis://", "rediss://", "unix://")):
            raise expectation("a URL such as redis://localhost:6379/0")
        return value
