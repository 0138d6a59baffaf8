"""`detector purge`: leave no trace in the Pushgateway."""

from __future__ import annotations

from typing import Annotated

import typer

from detector.cli.catalogue_file import CatalogueFile, CatalogueOption, chosen_catalogue

EPILOG = "Example: detector purge --dry-run --pushgateway http://localhost:9091"


def command(
    file: CatalogueFile = None,
    catalogue: CatalogueOption = None,
    pushgateway: Annotated[
        str | None, typer.Option(metavar="URL", help="This Pushgateway instead of the catalogue's.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
) -> None:
    """Delete every group that a worker ever pushed, of any catalogue.

    Stop the workers first: they push again. Exit codes: 2 when the catalogue is wrong, 4 when the Pushgateway is out of
    reach or refuses.
    """
    from detector.catalogue import load_catalogue
    from detector.conventions import JOB
    from detector.run import delete_groups, with_servers
    from detector.sink import PushgatewaySink
    from detector.wording import count_text

    settings = with_servers(load_catalogue(chosen_catalogue(file, catalogue)), pushgateway=pushgateway).settings
    sink = PushgatewaySink(settings.pushgateways)
    groups = sink.groups(JOB) if dry_run else delete_groups(sink)
    said = "would delete" if dry_run else "deleted"
    for group in groups:
        typer.echo(f"{said} " + " ".join(f"{name}={value}" for name, value in sorted(group.items())))
    typer.echo(f"{count_text(len(groups), 'group', 'groups')} {'to delete' if dry_run else 'deleted'}.")
