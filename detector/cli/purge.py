"""`detector purge`: leave no trace in the Pushgateway."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = "Example: detector purge --pushgateway http://localhost:9091"


def command(
    catalogue: Annotated[
        str | None,
        typer.Option(
            "--catalogue",
            "-c",
            metavar="FILE",
            help="Catalogue file or built-in name; its settings name the Pushgateways.",
            show_default=False,
        ),
    ] = None,
    pushgateway: Annotated[
        str | None, typer.Option(metavar="URL", help="This Pushgateway instead of the catalogue's.", show_default=False)
    ] = None,
) -> None:
    """Delete every group that a worker ever pushed, of any catalogue.

    Stop the workers first: they push again. Exit codes: 2 when the catalogue is wrong, 4 when the Pushgateway is out of
    reach or refuses.
    """
    from detector.catalogue import load_catalogue
    from detector.run import delete_groups, with_servers
    from detector.sink import PushgatewaySink
    from detector.wording import count_text

    settings = with_servers(load_catalogue(catalogue), pushgateway=pushgateway).settings
    deleted = delete_groups(PushgatewaySink(settings.pushgateways))
    for group in deleted:
        typer.echo("deleted " + " ".join(f"{name}={value}" for name, value in sorted(group.items())))
    typer.echo(f"{count_text(len(deleted), 'group', 'groups')} deleted.")
