"""`detector render`: the catalogue as configuration of the servers around the worker."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Example: detector render rules --catalogue my.yaml --out /etc/prometheus/rules/detector.yml"


class What(StrEnum):
    """What can be rendered."""

    rules = "rules"
    alertmanager = "alertmanager"


def command(
    what: Annotated[What, typer.Argument(help="Prometheus rules, or an Alertmanager configuration.")],
    catalogue: Annotated[
        str | None, typer.Option("--catalogue", "-c", help="A catalogue file, or a built-in name.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write to this file, not to the terminal.")] = None,
    receiver: Annotated[
        str, typer.Option(help="Webhook that the Alertmanager configuration notifies.")
    ] = "http://localhost:9094/",
) -> None:
    """Render the catalogue into Prometheus rules or an Alertmanager configuration."""
    from detector.catalogue import load_catalogue
    from detector.render.rules import render_alertmanager, render_rules

    loaded = load_catalogue(catalogue)
    text = render_rules(loaded) if what is What.rules else render_alertmanager(loaded, receiver)
    if out is None:
        typer.echo(text, nl=False)
        return
    from detector.errors import ConfigError

    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from error
    typer.echo(f"wrote {out}", err=True)
