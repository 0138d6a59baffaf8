"""Where the server programs are that the tests and the demo start."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from detector.errors import DetectorError

#: Program, and the Debian package that brings it.
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "prometheus-pushgateway": "prometheus-pushgateway",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "redis-server": "redis-server",
}


class ServerError(DetectorError):
    """A server program is missing, or did not start."""


def find_program(name: str) -> Path:
    """Path of a server program: ``$DETECTOR_TOOLS``, then PATH, then the checkout's ``.tools/bin``.

    Raises:
        ServerError: When it is nowhere, naming the Debian package that has it.
    """
    places = [os.environ.get("DETECTOR_TOOLS", ""), os.environ.get("PATH", "")]
    places.append(str(Path(__file__).resolve().parents[1] / ".tools" / "bin"))
    for place in places:
        found = shutil.which(name, path=place) if place else None
        if found:
            return Path(found)
    package = PACKAGES.get(name, name)
    raise ServerError(
        f"{name} was not found on PATH: run `make setup` in a checkout, or install the Debian package "
        f"{package}, or set DETECTOR_TOOLS to the folder that holds it"
    )
