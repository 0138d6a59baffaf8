"""`detector init`: a starting catalogue for one's own Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Example: detector init --url http://localhost:9090 --out my.yaml"


def command(
    url: Annotated[
        str, typer.Option("--url", "-u", metavar="URL", help="The Prometheus to look at.", show_default=False)
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE", help="The file to write; - is the terminal.")
    ] = "detector.yaml",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Look at a Prometheus and write a commented catalogue of what is worth watching there.

    Queries for node_exporter and for the day-trading platform are taken where they return data; otherwise
    gauges that look like a ratio or a percentage are suggested.
    """
    from detector.catalogue.check import endpoint_at
    from detector.catalogue.init import draft_catalogue
    from detector.errors import ConfigError
    from detector.source import PrometheusSource

    endpoint = endpoint_at(url)
    path = Path(out)
    if out != "-" and path.exists() and not force:
        raise ConfigError(f"{out} exists; --force overwrites it")
    draft = draft_catalogue(PrometheusSource(endpoint), endpoint.url)
    if out == "-":
        typer.echo(draft.text, nl=False)
        return
    try:
        path.write_text(draft.text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from error
    kind = "suggested" if draft.guessed else "known"
    typer.echo(f"wrote {out}: {draft.queries} {kind} queries, {draft.series} series")
    typer.echo(f"next: detector check-config {out} --against settings")
