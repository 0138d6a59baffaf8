"""`detector check-config`: is the catalogue sound, and what will run?"""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = "Example: detector check-config my.yaml --against http://localhost:9090"


def command(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE", help="A catalogue file or a built-in name (day_trade, node_exporter).", show_default=False
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Run every query once on this Prometheus; `settings` means the catalogue's own."
        ),
    ] = None,
) -> None:
    """Check a catalogue and show what will run.

    Without FILE it is the one of DETECTOR_CATALOGUE, or day_trade. Exit codes: 2 and a list of all problems
    when the catalogue is wrong, 1 when a query fails on the Prometheus, 3 when that is out of reach.
    """
    from rich.console import Console

    from detector.catalogue import load_catalogue
    from detector.catalogue.check import as_table, check_against, endpoint_of, summary
    from detector.wording import count_text

    catalogue = load_catalogue(file)
    report = None
    if against is not None:
        from detector.source import PrometheusSource

        report = check_against(catalogue, PrometheusSource(endpoint_of(against, catalogue.settings)))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(as_table(catalogue, report))
    if report is None:
        console.print(f"The catalogue is sound: {count_text(len(catalogue.queries), 'query', 'queries')}.")
        return
    console.print(summary(catalogue, report), markup=False)
    if report.failed:
        raise typer.Exit(1)
