"""Prometheus, Pushgateway, Alertmanager, Redis and node_exporter as our own child processes.

Each runs on a free loopback port with its data in a directory of its own; none of the services the
distribution may have installed is used or touched. ``with`` starts and stops one::

    with Prometheus(prometheus_config({"node": "127.0.0.1:9100"})) as server:
        requests.get(server.url + "/api/v1/query", params={"query": "up"})
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detector.child import Server
from detector.loopback import answers


class Prometheus(Server):
    """Prometheus with a configuration text; ``data`` may hold blocks of a backfill."""

    program = "prometheus"

    def __init__(
        self,
        config: str = "",
        *,
        data: Path | None = None,
        retention: str = "1y",
        flags: Sequence[str] = (),
        port: int | None = None,
        directory: Path | None = None,
    ) -> None:
        super().__init__(port=port, directory=directory, flags=flags)
        self.data = Path(data) if data else self.directory / "data"
        self.retention = retention
        self.config_file = self.directory / "prometheus.yml"
        self.write_config(config)

    def write_config(self, config: str) -> None:
        """Replace the configuration file; ``reload`` makes a running server read it."""
        self.config_file.write_text(config)

    def _arguments(self) -> list[str]:
        return [
            f"--config.file={self.config_file}",
            f"--storage.tsdb.path={self.data}",
            f"--storage.tsdb.retention.time={self.retention}",
            f"--web.listen-address={self.address}",
            "--web.enable-lifecycle",
        ]

    def _answers(self) -> bool:
        return answers(self.port, "/-/ready")


class Pushgateway(Server):
    """Pushgateway; ``persistence`` is its file, inside its own directory when not given."""

    program = "prometheus-pushgateway"

    def __init__(
        self,
        *,
        persistence: Path | None = None,
        flags: Sequence[str] = (),
        port: int | None = None,
        directory: Path | None = None,
    ) -> None:
        super().__init__(port=port, directory=directory, flags=flags)
        self.persistence = Path(persistence) if persistence else self.directory / "metrics"

    def _arguments(self) -> list[str]:
        return [
            f"--web.listen-address={self.address}",
            f"--persistence.file={self.persistence}",
            "--persistence.interval=1s",
        ]

    def _answers(self) -> bool:
        return answers(self.port, "/-/ready")


class Alertmanager(Server):
    """Alertmanager with a configuration text, alone (no cluster)."""

    program = "prometheus-alertmanager"

    def __init__(
        self,
        config: str,
        *,
        flags: Sequence[str] = (),
        port: int | None = None,
        directory: Path | None = None,
    ) -> None:
        super().__init__(port=port, directory=directory, flags=flags)
        self.config_file = self.directory / "alertmanager.yml"
        self.config_file.write_text(config)

    def _arguments(self) -> list[str]:
        return [
            f"--config.file={self.config_file}",
            f"--storage.path={self.directory / 'data'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        ]

    def _answers(self) -> bool:
        return answers(self.port, "/-/ready")


class NodeExporter(Server):
    """node_exporter: this host's own metrics."""

    program = "prometheus-node-exporter"

    def _arguments(self) -> list[str]:
        return [f"--web.listen-address={self.address}"]

    def _answers(self) -> bool:
        return answers(self.port, "/")


class Redis(Server):
    """Redis without persistence; ``url`` is the broker URL of database 0."""

    program = "redis-server"
    scheme = "redis"

    @property
    def url(self) -> str:
        """Broker URL."""
        return f"redis://{self.address}/0"

    def _arguments(self) -> list[str]:
        return [
            *("--bind", "127.0.0.1"),
            *("--port", str(self.port)),
            *("--dir", str(self.directory)),
            *("--save", ""),
            *("--appendonly", "no"),
        ]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def prometheus_config(
    jobs: Mapping[str, str | Sequence[str]] | None = None,
    *,
    interval: str = "1s",
    honor_labels: Sequence[str] = (),
    rule_files: Sequence[Path | str] = (),
    alertmanagers: Sequence[str] = (),
    **sections: Any,
) -> str:
    """Return a Prometheus configuration.

    ``jobs`` maps a job to its target or targets; those named in ``honor_labels`` keep the labels they
    expose (a Pushgateway needs it). Further top-level ``sections`` are taken as they are.
    """
    import yaml

    config: dict[str, Any] = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval, "scrape_timeout": interval},
        "rule_files": [str(path) for path in rule_files],
        "scrape_configs": [
            {
                "job_name": job,
                "honor_labels": job in honor_labels,
                "static_configs": [{"targets": [targets] if isinstance(targets, str) else list(targets)}],
            }
            for job, targets in (jobs or {}).items()
        ],
        **sections,
    }
    if alertmanagers:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]}
    return yaml.safe_dump(config, sort_keys=False)


def alertmanager_config(webhook_url: str, *, group_by: Sequence[str] = ("...",)) -> str:
    """Return an Alertmanager configuration that sends everything to one webhook at once."""
    import yaml

    config = {
        "route": {
            "receiver": "webhook",
            "group_by": list(group_by),
            "group_wait": "0s",
            "group_interval": "1s",
            "repeat_interval": "1h",
        },
        "receivers": [
            {"name": "webhook", "webhook_configs": [{"url": webhook_url, "send_resolved": True}]},
        ],
    }
    return yaml.safe_dump(config, sort_keys=False)
