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
from detector.render.prometheus import SERVE_JOB
from detector.render.worker_alerts import ALERTMANAGER_JOB, PROMETHEUS_JOB, PUSHGATEWAY_JOB

if TYPE_CHECKING:
    from detector.catalogue import Catalogue
    from detector.demo.receiver import Receiver
    from detector.demo.scene import Scene
    from detector.servers import Alertmanager
    from detector.store import Store

BACKFILL_SECONDS = 35 * 86400
RETENTION = "40d"
INTERVAL = "5s"
INTERVAL_SECONDS = 5
"""Between two scrapes, and two evaluations of the rules."""
ENVIRONMENT = "production"
"""Whose routes, inhibitions and words Alertmanager has."""
WAITS_DIVIDED_BY = 10.0
"""Nobody watches a demo for the 15 minutes in which messages are gathered: Alertmanager's own waits are shorter."""
RESEND = f"--rules.alert.resend-delay={INTERVAL}"
"""What fires before Prometheus has found its Alertmanager, as the watchdog does, would be sent a minute later."""
PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager", "prometheus-pushgateway")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """Where everything answers, and a catalogue whose settings name it. `started` is a monotonic time."""

    prometheus: str
    pushgateway: str
    alertmanager: str
    simulator: str
    serve: str
    catalogue: Catalogue
    store: Store
    started: float
    backfill_seconds: float

    @property
    def urls(self) -> dict[str, str]:
        """What to open in a browser."""
        return {
            "Prometheus": f"{self.prometheus}/graph?g0.expr={quote(names.BREACH_PROBABILITY.name)}&g0.tab=0"
            "&g0.range_input=15m",
            "Alertmanager": f"{self.alertmanager}/#/alerts",
            "every forecast": f"{self.serve}/",
            "Pushgateway": self.pushgateway,
            "simulator": f"{self.simulator}/metrics",
        }


@contextlib.contextmanager
def open_stage(scene: Scene, catalogue: Catalogue, receiver: Receiver, tell: Tell) -> Iterator[Stage]:
    """Write the platform's past, start the servers, and stop them.

    Raises:
        DetectorError: a program is missing, or a server does not start.
    """
    from detector.programs import find_program

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
    from detector.demo.addresses import relaying_to
    from detector.render.rules import render_rules
    from detector.run import with_servers
    from detector.serve.server import HttpServer
    from detector.servers import Prometheus, Pushgateway
    from detector.simulate.server import SimulatorServer
    from detector.store import MemoryStore

    started = time.monotonic()
    store = MemoryStore()
    catalogue = relaying_to(catalogue, receiver)
    simulator = stack.enter_context(SimulatorServer(scene.platform))
    pushgateway = stack.enter_context(Pushgateway(directory=scratch / "pushgateway"))
    serve = stack.enter_context(HttpServer(catalogue, store).in_background())
    alertmanager = stack.enter_context(alertmanager_of(catalogue, receiver, serve.url, scratch / "alertmanager"))
    rules = scratch / "rules.yml"
    rules.write_text(render_rules(catalogue), encoding="utf-8")
    prometheus = Prometheus(
        data=scratch / "data", retention=RETENTION, flags=[RESEND], directory=scratch / "prometheus"
    )
    jobs = {
        PUSHGATEWAY_JOB: pushgateway.address,
        ALERTMANAGER_JOB: alertmanager.address,
        PROMETHEUS_JOB: prometheus.address,
        SERVE_JOB: serve.url.removeprefix("http://"),
    }
    prometheus.write_config(_prometheus_config(simulator.address, jobs, rules, serve.url))
    stack.enter_context(prometheus)
    return Stage(
        prometheus.url,
        pushgateway.url,
        alertmanager.url,
        simulator.url,
        serve.url,
        with_servers(catalogue, url=prometheus.url, pushgateway=pushgateway.url),
        store,
        started,
        took,
    )


def alertmanager_of(catalogue: Catalogue, receiver: Receiver, relay: str, directory: Path) -> Alertmanager:
    """Alertmanager with the environment's routes, inhibitions and words; only addresses and waits are the demo's."""
    from detector.demo.addresses import told_to
    from detector.render.alertmanager import alertmanager_files
    from detector.servers import Alertmanager

    here = told_to(catalogue, receiver, relay, directory / "secrets")
    files = alertmanager_files(here, ENVIRONMENT, WAITS_DIVIDED_BY)
    for path, text in files.items():
        file = directory.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return Alertmanager(files["alertmanager/alertmanager.yml"], directory=directory)


def _prometheus_config(simulator: str, jobs: dict[str, str], rules: Path, serve: str) -> str:
    from detector.render.remote_read import remote_read
    from detector.servers import prometheus_config
    from detector.simulate.scraping import scrape_configs

    return prometheus_config(
        interval=INTERVAL,
        scrape_configs=[
            *scrape_configs(simulator),
            *(
                {"job_name": job, "honor_labels": job == PUSHGATEWAY_JOB, "static_configs": [{"targets": [address]}]}
                for job, address in jobs.items()
            ),
        ],
        rule_files=[rules],
        alertmanagers=[jobs[ALERTMANAGER_JOB]],
        remote_read=remote_read(serve),
    )
