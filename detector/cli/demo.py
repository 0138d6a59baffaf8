"""`detector demo`: see it work, on real servers, in a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = """Example: detector demo --once --seed 7 --svg demo.svg

Exit codes: 0 both alerts came in time and were right (--once), or Ctrl-C; 1 they did not, or a server is missing."""
STOPPED = "The servers are stopped. Without --once (`make demo`) they stay up until Ctrl-C."


def command(
    once: Annotated[
        bool, typer.Option("--once", help="End when both alerts were delivered and all is judged; 1 if it is wrong.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(min=0, metavar="NUMBER", help="The demo of this seed. Default: a random one.", show_default=False),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the last picture to this file.", show_default=False)
    ] = None,
) -> None:
    """Forecast a simulated platform on which an accuracy slides and a disk fills, and compare with the truth.

    Starts its own Prometheus, Pushgateway and Alertmanager on free ports, with 35 days of the platform's past, and
    runs the worker with the built-in catalogue, its rules and its routes: you see where each alert arrives. Slack, mail
    and Teams are on this machine too; nothing leaves it. Ctrl-C stops all of it.
    """
    from detector.threads import limit_threads

    limit_threads()  # before anything imports numpy

    from detector.demo.play import play, write_svg
    from detector.demo.screen import Screen

    screen = Screen()
    try:
        board = play(screen, seed=seed, once=once)
        for line in board.outcome():
            screen.tell(line)
        screen.tell(STOPPED)
    except KeyboardInterrupt:
        screen.tell("stopped")
        if once:
            raise typer.Exit(130) from None
    finally:
        if svg is not None and screen.shown:
            write_svg(screen.svg("detector demo"), svg)
            screen.tell(f"wrote {svg}")
