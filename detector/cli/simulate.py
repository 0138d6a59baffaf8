"""`detector simulate`: a day-trading platform to try things on."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from detector.simulate import Platform, Scenario

EPILOG = (
    "Example: detector simulate --backfill 35d --out data --scenario accuracy-slide --start -3h --serve "
    "(scrape it with honor_labels: true)"
)
LOGGED_BEFORE_SECONDS = 60
"""Log lines begin with those of the last minute: who looks sees some at once."""


def command(
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCENARIO",
            help="KIND[:SEVERITY][@LABEL=VALUE,...], repeatable. Kinds: healthy accuracy-slide "
            "accuracy-cliff memory-leak disk-fill cpu-growth queue-backlog data-outage retrain spike "
            "level-shift slide cliff service-down data-refresh backup log-stop.",
        ),
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TIME",
            help="When the scenarios start: -3h, +10m, now, ISO 8601 or unix seconds; "
            "one for all, or one for each in order. Default: now.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="All randomness follows from it.")] = 0,
    clock: Annotated[
        str, typer.Option(metavar="NAME", help="sessions (Tokyo trading hours) or around_the_clock.")
    ] = "sessions",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65_535, help="Port to serve /metrics on; 0 takes a free one.")
    ] = 9200,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    backfill: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Write this much past (35d) as blocks into --out; then no serving."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory for the blocks: Prometheus' storage path.")
    ] = None,
    truth: Annotated[bool, typer.Option("--truth", help="Print what really happens as JSON.")] = False,
    logs: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Write the services' log lines to this file, or - for the terminal; no serving."
        ),
    ] = None,
    log_rate: Annotated[
        float, typer.Option(metavar="NUMBER", help="Log lines a second at most.", min=0.01, max=1000)
    ] = 20.0,
    serve: Annotated[
        bool | None, typer.Option("--serve/--no-serve", help="Serve /metrics. Default: unless --backfill or --logs.")
    ] = None,
) -> None:
    """Expose a simulated day-trading platform that can go wrong, live, as a past, or both without a seam."""
    import json
    import threading
    import time

    now = time.time()
    platform = _platform(seed, clock, scenario or ["healthy"], start or ["now"], now)
    if truth:
        typer.echo(json.dumps([one.to_json() for one in platform.truth()], indent=2))
    if backfill is not None:
        _backfill(platform, backfill, out, now)
    if serve if serve is not None else backfill is None and logs is None:
        if logs is not None:
            threading.Thread(
                target=_logs, args=(logs, seed, now - LOGGED_BEFORE_SECONDS, log_rate), daemon=True
            ).start()
        _serve(platform, host, port)
    elif logs is not None:
        _logs(logs, seed, now - LOGGED_BEFORE_SECONDS, log_rate)


def _logs(path: str, seed: int, start: float, per_second: float) -> None:
    import sys

    from detector.errors import ConfigError
    from detector.simulate.loglines import write_lines

    try:
        with contextlib.suppress(KeyboardInterrupt):
            if path == "-":
                write_lines(sys.stdout, seed, start, per_second)
                return
            with Path(path).open("a", encoding="utf-8") as out:
                write_lines(out, seed, start, per_second)
    except OSError as error:
        raise ConfigError(f"--logs: cannot write {path}: {error.strerror}") from error


def _platform(seed: int, clock: str, scenarios: list[str], starts: list[str], now: float) -> Platform:
    from detector.errors import ConfigError
    from detector.simulate import Platform

    try:
        chosen = _scenarios(scenarios, starts, now)
        return Platform(seed, chosen, _clock(clock))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _clock(text: str) -> Literal["sessions", "around_the_clock"]:
    known: dict[str, Literal["sessions", "around_the_clock"]] = {
        "sessions": "sessions",
        "around_the_clock": "around_the_clock",
    }
    if text not in known:
        raise ValueError(f"--clock: expected sessions or around_the_clock, got {text!r}")
    return known[text]


def _scenarios(scenarios: list[str], starts: list[str], now: float) -> list[Scenario]:
    from detector.simulate import parse_scenario

    if len(starts) not in (1, len(scenarios)):
        raise ValueError(f"--start: expected one, or one for each of {len(scenarios)} scenarios, got {len(starts)}")
    moments = [parse_moment(text, now) for text in starts]
    if len(moments) == 1:
        moments *= len(scenarios)
    return [parse_scenario(text, moment) for text, moment in zip(scenarios, moments, strict=True)]


def parse_moment(text: str, now: float) -> float:
    """Unix seconds of `now`, `-3h`, `+10m`, an ISO 8601 time (UTC unless it says) or unix seconds.

    Raises ValueError where the text is none of them.

    >>> parse_moment("-3h", 20_000.0), parse_moment("1970-01-01T00:01:00+00:00", 0.0)
    (9200.0, 60.0)
    """
    from datetime import UTC, datetime

    from detector.catalogue.durations import parse_duration

    if text == "now":
        return now
    if text[:1] in ("-", "+") and (seconds := parse_duration(text[1:])) is not None:
        return now + (-seconds if text[0] == "-" else seconds)
    try:
        if text.replace(".", "", 1).isdigit():
            return float(text)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        raise ValueError(f"--start: expected now, -3h, +10m, ISO 8601 or unix seconds, got {text!r}") from None


def _backfill(platform: Platform, length: str, out: Path | None, now: float) -> None:
    from detector.catalogue.durations import parse_duration
    from detector.errors import ConfigError
    from detector.simulate.backfill import backfill

    seconds = parse_duration(length)
    if not seconds:
        raise ConfigError(f"--backfill: expected a duration such as 35d, got {length!r}")
    if out is None:
        raise ConfigError("--backfill: expected --out DIR beside it, got none")
    end = int(now // 60 * 60)
    done = backfill(platform, out, start=end - seconds, end=end, progress=lambda text: typer.echo(text, err=True))
    typer.echo(f"{done.samples:,} samples of {done.series:,} series in {done.directory}", err=True)


def _serve(platform: Platform, host: str, port: int) -> None:
    import threading

    from detector.errors import ConfigError
    from detector.simulate.server import SimulatorServer

    try:
        server = SimulatorServer(platform, port, host)
    except OSError as error:
        raise ConfigError(f"--port: cannot listen on {host}:{port}: {error.strerror}") from error
    with server:
        typer.echo(f"{server.url}/metrics", err=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)
