"""`detector serve`: curves for Prometheus, a status page, notifications and recovery over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from detector.cli.catalogue_file import CatalogueFile, CatalogueOption, chosen_catalogue

EPILOG = "Example: detector serve my.yaml --listen 127.0.0.1:9208 (then open http://127.0.0.1:9208/)"


def command(
    file: CatalogueFile = None,
    catalogue: CatalogueOption = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Instead of settings.serve.listen; beyond this machine it needs credentials there.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The Prometheus that the worker reads, where not the catalogue's.", show_default=False
        ),
    ] = None,
) -> None:
    """Serve what the worker has computed, from the store that both use. It computes nothing itself.

    /  a status page: every query, its forecast, odds, time to breach. /api/v1/read  the forecast curves for Prometheus'
    remote_read: future samples of forecast_curve{source="forecast"} in Grafana and PromQL. /notify/NAME  takes
    Alertmanager's webhook to Teams, SMS or whatever settings.serve.notify names. /recover  runs an allow-listed action
    for an alert; off unless settings.recovery says otherwise. /healthz, /readyz, /metrics.

    The store is the Redis of DETECTOR_BROKER_URL where the catalogue names no other, as for Celery's workers.

    Runs until SIGTERM or Ctrl-C. `detector run --serve HOST:PORT` does the same inside the worker.
    """
    import os
    import threading

    from detector import run
    from detector.catalogue import load_catalogue
    from detector.logs import configure_logging
    from detector.serve.queue import Queue
    from detector.serve.server import HttpServer

    loaded = run.listening_on(run.with_servers(load_catalogue(chosen_catalogue(file, catalogue)), url=url), listen)
    broker = os.environ.get("DETECTOR_BROKER_URL") or loaded.settings.redis
    loaded = run.keeping_state_at(loaded, broker)
    configure_logging(environment=loaded.settings.environment, timezone=loaded.settings.timezone)
    queue = Queue(broker) if broker and broker.startswith(("redis://", "rediss://")) else None
    server = HttpServer(loaded, run.build_store(loaded), queue)
    typer.echo(server.url, err=True)
    stop = threading.Event()
    with run.stop_on_signals(stop), server.in_background():
        stop.wait()
