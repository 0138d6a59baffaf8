"""The catalogue with everybody whom an alert may reach moved onto this machine; all else stays as it is rendered."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import ConfigError

if TYPE_CHECKING:
    from detector.catalogue import Catalogue
    from detector.demo.receiver import Receiver


def relaying_to(catalogue: Catalogue, receiver: Receiver) -> Catalogue:
    """The catalogue whose `detector serve` listens on a free loopback port and relays every target to the receiver."""
    from detector.catalogue.serving import NotifyTarget, Serve

    settings = catalogue.settings
    targets = {
        name: NotifyTarget(url=f"{receiver.url.replace('http:', 'json:')}/{name}", max_length=target.max_length)
        for name, target in settings.serve.notify.items()
    }
    serve = Serve(listen="127.0.0.1:0", notify=targets)
    return catalogue.model_copy(update={"settings": settings.model_copy(update={"serve": serve})})


def told_to(catalogue: Catalogue, receiver: Receiver, relay: str, directory: Path) -> Catalogue:
    """The catalogue whose notifications go to the receiver; ``directory`` gets the secrets, ``relay`` is a URL.

    Raises:
        ConfigError: it has no `notifications`.
    """
    told = catalogue.notifications
    if told is None:
        raise ConfigError(f"expected notifications in {catalogue.origin}, got none")
    directory.mkdir(parents=True)
    (directory / "slack-url").write_text(f"{receiver.url}/slack")
    (directory / "relay-token").write_text(secrets.token_hex())  # the open relay of the demo does not ask for it
    moved = {
        "secrets": str(directory),
        "relay": relay,
        "email": told.email.model_copy(update={"smarthost": receiver.smarthost, "require_tls": False, "username": ""}),
        "dead_mans_switch": told.dead_mans_switch.model_copy(update={"url": f"{receiver.url}/watchdog"}),
    }
    return catalogue.model_copy(update={"notifications": told.model_copy(update=moved)})
