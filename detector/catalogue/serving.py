"""How `detector serve` listens, who may ask, and where it relays notifications to."""

from __future__ import annotations

import ipaddress
import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from detector.catalogue.endpoint import BasicAuth
from detector.catalogue.fields import Part, Seconds, Text, Whole, expectation

PORT = 9208
_TARGET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class ServerTls(Part):
    """The certificate that `detector serve` shows."""

    cert_file: Text
    key_file: Text


class NotifyTarget(Part):
    """Somewhere a notification is relayed to, as an Apprise URL: it holds the secret, so better in a file.

    An empty `url_file` is a target that is not set up, as `${NAME:-}` leaves it.
    """

    url: str | None = Field(default=None, repr=False, min_length=1)
    url_file: str | None = None
    max_length: Whole = Field(default=2000, ge=80, le=20_000)
    timeout: Seconds = Field(default=10, ge=1, le=60)

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise expectation("exactly one of url and url_file")
        return self


class Serve(Part):
    """Where `detector serve` listens, who may ask, and how much it answers."""

    listen: str = f"127.0.0.1:{PORT}"
    basic_auth: BasicAuth | None = None
    bearer_token: str | None = Field(default=None, repr=False, min_length=1)
    bearer_token_file: str | None = None
    tls: ServerTls | None = None
    max_curves: Whole = Field(default=10_000, ge=1)
    max_response_mib: Whole = Field(default=64, ge=1, le=1024)
    notify: dict[str, NotifyTarget] = Field(default_factory=dict)

    @property
    def targets(self) -> dict[str, NotifyTarget]:
        """The targets that are set up."""
        return {name: target for name, target in self.notify.items() if target.url or target.url_file}

    @property
    def is_guarded(self) -> bool:
        """Whether a caller must say who it is."""
        return any(way is not None for way in (self.basic_auth, self.bearer_token, self.bearer_token_file))

    @property
    def host(self) -> str:
        """The address to listen on."""
        return self.listen.rpartition(":")[0].strip("[]") or "127.0.0.1"

    @property
    def port(self) -> int:
        """The port to listen on; 0 takes a free one."""
        return int(self.listen.rpartition(":")[2])

    @field_validator("bearer_token_file")
    @classmethod
    def _none_if_empty(cls, value: str | None) -> str | None:
        return value or None

    @field_validator("listen")
    @classmethod
    def _is_address(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not colon or not port.isdecimal() or int(port) > 65_535 or re.search(r"[\s/@]", host):
            raise expectation(f"HOST:PORT such as 127.0.0.1:{PORT}, or :{PORT} for this machine alone")
        return value

    @field_validator("notify")
    @classmethod
    def _are_names(cls, value: dict[str, NotifyTarget]) -> dict[str, NotifyTarget]:
        for name in value:
            if not _TARGET_NAME.fullmatch(name):
                raise expectation(f"names of lower-case letters, digits, - and _, got {name!r}")
        return value

    @model_validator(mode="after")
    def _is_guarded_beyond_this_machine(self) -> Self:
        given = [self.basic_auth, self.bearer_token, self.bearer_token_file]
        if sum(way is not None for way in given) > 1:
            raise expectation("at most one of basic_auth, bearer_token and bearer_token_file")
        if not is_loopback(self.host) and not self.is_guarded:
            raise expectation(
                f"bearer_token_file, bearer_token or basic_auth where listen is {self.listen}, beyond this machine"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "detector")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
