"""The servers of the demo, on free loopback ports and with data of their own, all gone at the end."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from detector import conventions as names

if TYPE_CHECKING:
    from detector.catalogue import Catalogue
    from detector.demo.receiver import Receiver
    from detector.demo.scene import Scene

BACKFILL_SECONDS = 35 * 86400
RETENTION = "40d"
INTERVAL = "5s"
INTERVAL_SECONDS = 5
"""Between two scrapes, and two evaluations of the rules."""
PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager", "prometheus-pushgateway")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """Where everything answers, and a catalogue whose settings name it. `started` is a monotonic time."""

    prometheus: str
    pushgateway: str
    alertmanager: str
    simulator: str
    catalogue: Catalogue
    started: float
    backfill_seconds: float

    @property
    def urls(self) -> dict[str, str]:
        """What to open in a browser."""
        return {
            "Prometheus": f"{self.prometheus}/graph?g0.expr={quote(names.BREACH_PROBABILITY.name)}&g0.tab=0"
            "&g0.range_input=15m",
            "Alertmanager": f"{self.alertmanager}/#/alerts",
            "Pushgateway": self.pushgateway,
            "simulator": f"{self.simulator}/metrics",
        }


@contextlib.contextmanager
def open_stage(scene: Scene, catalogue: Catalogue, receiver: Receiver, tell: Tell) -> Iterator[Stage]:
    """Write the platform's past, start the servers, and stop them.

    Raises:
        DetectorError: a program is missing, or a server does not start.
    """
    from detector.servers import find_program

    for program in PROGRAMS:
        find_program(program)
    with tempfile.TemporaryDirectory(prefix="detector-demo-") as scratch, contextlib.ExitStack() as stack:
        data = Path(scratch, "data")
        tell("writing 35 days of the platform's past")
        began = time.monotonic()
        _write_past(scene, data)
        took = time.monotonic() - began
        tell(f"35 days written in {took:.0f} s; starting the servers")
        yield _start(scene, catalogue, receiver, Path(scratch), stack, took)


def _write_past(scene: Scene, data: Path) -> None:
    from detector.simulate.backfill import backfill

    backfill(scene.platform, data, start=scene.now - BACKFILL_SECONDS, end=scene.now)


def _start(
    scene: Scene, catalogue: Catalogue, receiver: Receiver, scratch: Path, stack: contextlib.ExitStack, took: float
) -> Stage:
    from detector.render.alertmanager import render_small_alertmanager
    from detector.render.rules import render_rules
    from detector.run import with_servers
    from detector.servers import Alertmanager, Prometheus, Pushgateway, prometheus_config
    from detector.simulate.scraping import scrape_configs
    from detector.simulate.server import SimulatorServer

    started = time.monotonic()
    simulator = stack.enter_context(SimulatorServer(scene.platform))
    pushgateway = stack.enter_context(Pushgateway(directory=scratch / "pushgateway"))
    alertmanager = stack.enter_context(
        Alertmanager(render_small_alertmanager(catalogue, receiver.url), directory=scratch / "alertmanager")
    )
    rules = scratch / "rules.yml"
    rules.write_text(render_rules(catalogue), encoding="utf-8")
    config = prometheus_config(
        interval=INTERVAL,
        scrape_configs=[
            *scrape_configs(simulator.address),
            {
                "job_name": "pushgateway",
                "honor_labels": True,
                "static_configs": [{"targets": [pushgateway.address]}],
            },
            {"job_name": "alertmanager", "static_configs": [{"targets": [alertmanager.address]}]},
        ],
        rule_files=[rules],
        alertmanagers=[alertmanager.address],
    )
    prometheus = stack.enter_context(
        Prometheus(config, data=scratch / "data", retention=RETENTION, directory=scratch / "prometheus")
    )
    return Stage(
        prometheus.url,
        pushgateway.url,
        alertmanager.url,
        simulator.url,
        with_servers(catalogue, url=prometheus.url, pushgateway=pushgateway.url),
        started,
        took,
    )
