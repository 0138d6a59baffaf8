"""The command line: one module per command, each with a function ``command`` that typer reads.

What a command needs at run time is imported inside it, so that ``detector --help`` stays fast.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from detector import __version__

#: Command name, the module of this package that holds it, and its line in the help; the order is the order there.
COMMANDS = {
    "demo": ("demo", "See it work: a failing platform, on real servers, in a minute."),
    "init": ("init", "Write a catalogue of what your Prometheus has."),
    "check-config": ("check_config", "Check a catalogue, also against a live Prometheus."),
    "run": ("run", "Forecast, decide alerts, push; once or until stopped."),
    "serve": ("serve", "Offer forecast curves, a status page, relay and recovery."),
    "forecast": ("forecast", "Forecast one query and say when it breaks its objective."),
    "render": ("render", "Write rules, routes and dashboards from a catalogue."),
    "simulate": ("simulate", "Expose a simulated trading platform that can go wrong."),
    "purge": ("purge", "Delete everything that workers pushed to a Pushgateway."),
}

_EPILOG = (
    "Exit codes: 0 ok, 1 some queries failed, 2 bad configuration or usage, 3 Prometheus unreachable, "
    "4 Pushgateway unreachable or refused, 5 state unusable."
)


class _Commands(TyperGroup):
    """A group that turns our own errors into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            from detector.errors import ConfigError, DetectorError, next_step

            if isinstance(error, OSError) and error.filename is not None:
                error = ConfigError(f"cannot use {error.filename}: {error.strerror}")  # a path of the user's
            if not isinstance(error, DetectorError):
                raise
            typer.echo(str(error), err=True)
            if advice := next_step(error):
                typer.echo(advice, err=True)
            raise typer.Exit(error.exit_code) from error


app = typer.Typer(
    name="detector",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"detector {__version__}")
        raise typer.Exit


@app.callback()
def _detector(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Read metrics from Prometheus, forecast them, and warn before an objective is missed."""


def _register() -> None:
    for name, (module_name, short_help) in COMMANDS.items():
        full_name = f"{__name__}.{module_name}"
        if importlib.util.find_spec(full_name) is None:
            continue
        module = importlib.import_module(full_name)
        app.command(name, epilog=getattr(module, "EPILOG", None), short_help=short_help)(module.command)


_register()


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        app()
    except BrokenPipeError:  # `detector … | head`: the reader has what it wanted
        sys.stderr.close()
        raise SystemExit(0) from None
