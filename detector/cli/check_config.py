"""`detector check-config`: is the catalogue sound, and what will run?"""

from __future__ import annotations

from typing import Annotated

import typer

from detector.cli.catalogue_file import CatalogueFile, CatalogueOption, chosen_catalogue

EPILOG = "Example: detector check-config my.yaml --against http://localhost:9090"


def command(
    file: CatalogueFile = None,
    catalogue: CatalogueOption = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Run every query once on this Prometheus; `settings` means the catalogue's own."
        ),
    ] = None,
) -> None:
    """Check a catalogue and show what will run.

    Exit codes: 2 and a list of all problems when the catalogue is wrong, 1 when a query fails on the Prometheus, 3 when
    that is out of reach.
    """
    from rich.console import Console

    from detector.catalogue import load_catalogue
    from detector.catalogue.check import as_table, check_against, endpoint_of, summary
    from detector.wording import count_text

    loaded = load_catalogue(chosen_catalogue(file, catalogue))
    report = None
    if against is not None:
        from detector.source import PrometheusSource

        report = check_against(loaded, PrometheusSource(endpoint_of(against, loaded.settings)))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(as_table(loaded, report))
    if report is None:
        console.print(f"The catalogue is sound: {count_text(len(loaded.queries), 'query', 'queries')}.")
        return
    console.print(summary(loaded, report), markup=False)
    if report.failed:
        raise typer.Exit(1)
