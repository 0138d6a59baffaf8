"""`detector render`: the catalogue as configuration of the servers around the worker."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detector.catalogue import Catalogue

EPILOG = """Examples: detector render --env production --out deploy/production

detector render --env production --out deploy/production --check

detector render rules --catalogue my.yaml --out /etc/prometheus/rules/detector.yml"""


class What(StrEnum):
    """What can be rendered."""

    tree = "tree"
    rules = "rules"
    alertmanager = "alertmanager"
    dashboards = "dashboards"


def command(
    what: Annotated[
        What, typer.Argument(help="An environment's tree, rules, a small Alertmanager setup, a page on dashboards.")
    ] = What.tree,
    catalogue: Annotated[
        str | None, typer.Option("--catalogue", "-c", help="A catalogue file, or a built-in name.")
    ] = None,
    env: Annotated[str | None, typer.Option("--env", "-e", help="tree: which of the catalogue's environments.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write here, not to the terminal; a directory for tree.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="tree: write nothing; exit 1 and name the files that differ.")
    ] = False,
    receiver: Annotated[str, typer.Option(help="alertmanager: the webhook it notifies.")] = "http://localhost:9094/",
) -> None:
    """Render the catalogue into the configuration of an environment, or a part of it."""
    from detector.catalogue import load_catalogue
    from detector.errors import ConfigError

    loaded = load_catalogue(catalogue)
    if what is What.tree:
        _tree(loaded, env, out, check=check)
        return
    text = _text(loaded, what, receiver)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from error
    typer.echo(f"wrote {out}", err=True)


def _text(catalogue: Catalogue, what: What, receiver: str) -> str:
    from detector.render.alertmanager import render_small_alertmanager
    from detector.render.grafana.describe import describe_dashboards
    from detector.render.rules import render_rules

    if what is What.dashboards:
        return describe_dashboards(catalogue)
    return render_rules(catalogue) if what is What.rules else render_small_alertmanager(catalogue, receiver)


def _tree(catalogue: Catalogue, env: str | None, out: Path | None, *, check: bool) -> None:
    from detector.errors import ConfigError
    from detector.render.tree import differences, render_tree, write_tree

    if env is None or out is None:
        missing = "--env" if env is None else "--out"
        known = ", ".join(catalogue.environments) or "none"
        raise ConfigError(f"render: expected {missing}; the catalogue's environments are {known}")
    files = render_tree(catalogue, env)
    if not check:
        changed = write_tree(files, out)
        typer.echo(f"{out}: {len(files)} files, {len(changed)} changed", err=True)
        return
    different = differences(files, out)
    for path in different:
        typer.echo(f"{out / path} is not what the catalogue renders", err=True)
    if different:
        typer.echo(f"next: detector render --env {env} --out {out}", err=True)
        raise typer.Exit(1)
