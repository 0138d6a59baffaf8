"""`detector render`: the catalogue as configuration of the servers around the worker."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.catalogue_file import CatalogueFile, CatalogueOption, chosen_catalogue, names_catalogue

if TYPE_CHECKING:
    from detector.catalogue import Catalogue

EPILOG = """Examples: detector render --env production --out deploy/production

detector render --env production --out deploy/production --check

detector render rules my.yaml --out /etc/prometheus/rules/detector.yml"""


_STRAYS_TOLD = 10
"""Files beside the rendered ones that are named."""


class What(StrEnum):
    """What can be rendered."""

    tree = "tree"
    rules = "rules"
    alertmanager = "alertmanager"
    dashboards = "dashboards"


def command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="tree (an environment's), rules, alertmanager (a small setup) or dashboards (a page on them).",
            autocompletion=lambda incomplete: [one for one in What if one.startswith(incomplete)],
        ),
    ] = "tree",
    file: CatalogueFile = None,
    catalogue: CatalogueOption = None,
    env: Annotated[
        str | None, typer.Option("--env", "-e", metavar="NAME", help="tree: which of the catalogue's environments.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="Write here, not to the terminal; a directory for tree."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="tree: write nothing; exit 1 and name the files that differ.")
    ] = False,
    receiver: Annotated[
        str, typer.Option(metavar="URL", help="alertmanager: the webhook it notifies.")
    ] = "http://localhost:9094/",
) -> None:
    """Render the catalogue into the configuration of an environment, or a part of it."""
    from detector.catalogue import load_catalogue
    from detector.errors import ConfigError

    part, file = _part(what, file)
    if part is not What.tree and (check or env is not None):
        raise ConfigError(
            f"render {part}: expected no {'--check' if check else '--env'}, which is for the tree; got it"
        )
    loaded = load_catalogue(chosen_catalogue(file, catalogue))
    if part is What.tree:
        _tree(loaded, env, out, check=check)
        return
    text = _text(loaded, part, receiver)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from error
    typer.echo(f"wrote {out}", err=True)


def _part(what: str, file: str | None) -> tuple[What, str | None]:
    """What to render, and of which file: `detector render my.yaml` is the tree of that catalogue."""
    from detector.errors import ConfigError

    if what in list(What):
        return What(what), file
    if file is None and names_catalogue(what):
        return What.tree, what
    raise ConfigError(f"render: expected WHAT to be one of {', '.join(What)}, or a catalogue file, got {what}")


def _text(catalogue: Catalogue, what: What, receiver: str) -> str:
    from detector.render.alertmanager import render_small_alertmanager
    from detector.render.grafana.describe import describe_dashboards
    from detector.render.rules import render_rules

    if what is What.dashboards:
        return describe_dashboards(catalogue)
    return render_rules(catalogue) if what is What.rules else render_small_alertmanager(catalogue, receiver)


def _tree(catalogue: Catalogue, env: str | None, out: Path | None, *, check: bool) -> None:
    from detector.errors import ConfigError
    from detector.render.tree import differences, render_tree, strays, write_tree

    if env is None or out is None:
        known = ", ".join(catalogue.environments)
        if not known:
            rules = " ".join(("detector render rules", *_named(catalogue)))
            raise ConfigError(f"render: expected environments in the catalogue, got none; its rules alone: {rules}")
        missing = "--env" if env is None else "--out"
        raise ConfigError(f"render: expected {missing}; the catalogue's environments are {known}")
    files = render_tree(catalogue, env)
    if not check:
        changed = write_tree(files, out)
        typer.echo(f"{out}: {len(files)} files, {len(changed)} changed", err=True)
        _tell_strays(out, strays(files, out))
        return
    different = differences(files, out)
    for path in different:
        typer.echo(f"{out / path} is not what the catalogue renders", err=True)
    if different:
        again = " ".join(("detector render", *_named(catalogue), "--env", env, "--out", str(out)))
        typer.echo(f"next: {again}", err=True)
    beside = strays(files, out)
    _tell_strays(out, beside)
    if different or beside:
        raise typer.Exit(1)


def _named(catalogue: Catalogue) -> list[str]:
    """The argument FILE that names this catalogue: a file, or a built-in one."""
    origin = Path(catalogue.origin or "")
    return [str(origin) if origin.is_file() else origin.stem] if catalogue.origin else []


def _tell_strays(out: Path, paths: list[str]) -> None:
    """Name the files that no rendering writes; the user alone knows whether they may go."""
    for path in paths[:_STRAYS_TOLD]:
        typer.echo(f"{out / path} is not rendered: remove it if an earlier rendering left it", err=True)
    if len(paths) > _STRAYS_TOLD:
        typer.echo(f"and {len(paths) - _STRAYS_TOLD} more files under {out} are not rendered", err=True)
