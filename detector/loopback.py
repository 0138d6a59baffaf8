"""Ports of this machine alone: one that is free, and whether somebody answers there."""

from __future__ import annotations

import http.client
import socket


def free_port() -> int:
    """Return a loopback TCP port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, path: str, *, timeout: float = 1.0) -> bool:
    """Whether a loopback HTTP server answers ``path`` with 200; proxies in the environment play no part."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
