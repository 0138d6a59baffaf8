"""HTTP servers and who we are there: the endpoints of a catalogue."""

from __future__ import annotations

from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from detector.catalogue.fields import Part, Seconds, Text, expectation


class BasicAuth(Part):
    """User and password; the password stands here or in a file."""

    username: Text
    password: str | None = Field(default=None, repr=False)
    password_file: str | None = None

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if (self.password is None) == (self.password_file is None):
            raise expectation("exactly one of password and password_file")
        return self


class Tls(Part):
    """How to verify the server and, with a certificate of our own, how to be verified by it."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    insecure_skip_verify: bool = False

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise expectation("cert_file and key_file together")
        return self


class Endpoint(Part):
    """One HTTP server the worker talks to. `http://…` alone is short for `{url: http://…}`."""

    url: Text
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    basic_auth: BasicAuth | None = None
    bearer_token: str | None = Field(default=None, repr=False)
    bearer_token_file: str | None = None
    tls: Tls | None = None
    timeout: Seconds = Field(default=30, ge=1)

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable:
            raise expectation("a URL such as http://localhost:9090")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_identity(self) -> Self:
        given = [self.basic_auth, self.bearer_token, self.bearer_token_file]
        if sum(way is not None for way in given) > 1:
            raise expectation("at most one of basic_auth, bearer_token and bearer_token_file")
        return self


def _endpoint(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


EndpointOrUrl = Annotated[Endpoint, BeforeValidator(_endpoint)]
