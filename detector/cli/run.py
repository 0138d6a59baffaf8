"""`detector run`: forecast, judge and publish, once or until stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from detector.cli.catalogue_file import CatalogueFile, CatalogueOption, chosen_catalogue

EPILOG = "Example: detector run my.yaml --once --dry-run"


def command(
    file: CatalogueFile = None,
    catalogue: CatalogueOption = None,
    once: Annotated[bool, typer.Option("--once", help="Run one cycle of every query, show it and leave.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be pushed; push and remember nothing.")
    ] = False,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="This Prometheus instead of the catalogue's.", show_default=False)
    ] = None,
    pushgateway: Annotated[
        str | None, typer.Option(metavar="URL", help="This Pushgateway instead of the catalogue's.", show_default=False)
    ] = None,
    serve: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve too, on HOST:PORT (:9208 for this machine alone), what `detector serve` does.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Forecast every query of a catalogue, decide its alerts, and push the results.

    Runs until SIGTERM or Ctrl-C, which let the cycle under way finish. With --once the exit code is 0 when all went
    well, 1 when some queries failed, 3 when Prometheus and 4 when the Pushgateway was out of reach or refused, 5 when
    the state could not be kept; a wrong catalogue is 2.
    """
    from detector.threads import limit_threads

    limit_threads()  # before anything imports numpy

    import threading

    from detector import run
    from detector.catalogue import load_catalogue
    from detector.errors import ConfigError
    from detector.logs import configure_logging
    from detector.remarks import remarks
    from detector.sink import DryRunSink

    if serve is not None and (once or dry_run):
        raise ConfigError("--serve: expected a worker that goes on and remembers, got --once or --dry-run")
    loaded = run.with_servers(load_catalogue(chosen_catalogue(file, catalogue)), url=url, pushgateway=pushgateway)
    settings = loaded.settings
    level = "WARNING" if once else None
    configure_logging(environment=settings.environment, timezone=settings.timezone, level=level)
    if once:
        _leave_to_the_table()
    sinks = [DryRunSink(lambda text: typer.echo(text, nl=False))] if dry_run else None
    worker = run.build_worker(loaded, sinks=sinks, remember=not dry_run)
    if not once:
        stop = threading.Event()
        with run.stop_on_signals(stop), run.serving(loaded, serve):
            run.run_forever(worker, stop)
        return
    results = run.run_once(worker)
    if not dry_run:
        from rich.console import Console

        from detector.table import results_table

        console = Console()
        console = console if console.is_terminal else Console(width=200)
        console.print(results_table(results, console.width))
    for said in (*run.failures(results), *remarks(results)):
        typer.echo(said, err=True)
    raise typer.Exit(run.exit_code(results))


def _leave_to_the_table() -> None:
    """Keep out of the log what stands under the table of --once; a traceback stays."""
    import logging

    logging.getLogger("detector.remarks").disabled = True
    pipeline = logging.getLogger("detector.pipeline")
    pipeline.addFilter(lambda record: record.exc_info is not None or not hasattr(record, "error"))
