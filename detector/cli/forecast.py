"""`detector forecast`: one forecast, now, of any query."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.catalogue_file import names_catalogue

if TYPE_CHECKING:
    from detector.api import Detector, WatchedFrame
    from detector.outlook import FrameForecast

EPILOG = """Examples: detector forecast ml_ensemble_accuracy --url http://localhost:9090 --png accuracy.png

detector forecast --expr node_filesystem_avail_bytes --threshold 1e9 --below --horizon 7d

Exit codes: 1 no data, too little history or a PromQL error, 2 bad usage or an unknown query, 3 Prometheus
unreachable."""
_PICTURES = (".png", ".svg", ".pdf")


def command(
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="A query of the catalogue, by its name.", show_default=False)
    ] = None,
    expr: Annotated[str | None, typer.Option(metavar="PROMQL", help="Any PromQL instead of QUERY.")] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Prometheus. Default: the one in the catalogue.", show_default=False),
    ] = None,
    catalogue: Annotated[
        str | None,
        typer.Option("--catalogue", "-c", metavar="FILE", help="Catalogue file or built-in name.", show_default=False),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="Default: the objective in the catalogue.", show_default=False),
    ] = None,
    above: Annotated[
        bool | None,
        typer.Option(
            "--above/--below", show_default=False,
            help="A breach is above (or below) the threshold. Default: the catalogue's side, or above.",
        ),
    ] = None,
    run: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="POINTS", help="Points in a row that make a breach. Default: the catalogue's, or 1."
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Past to learn from. Default: the query's history, or 7d.", show_default=False
        ),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Distance of points. Default: the query's, or by the window.", show_default=False
        ),
    ] = None,
    horizon: Annotated[str, typer.Option(metavar="DURATION", help="How far to look ahead: 90m, 24h, 7d.")] = "24h",
    member: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="This method alone, such as ets; several together where repeated. Default: the whole ensemble.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what the forecast of the most worrying series is made of.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=0, metavar="NUMBER", help="Series to show, the most worrying first; 0 shows all.")
    ] = 20,
    png: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the most worrying series (.png, .svg or .pdf).", show_default=False),
    ] = None,
) -> None:  # fmt: skip
    """Forecast one query and say when it breaks its objective.

    A table of all series: now, the forecast at 1h, 24h and 7d up to the horizon, the probability of a breach, the
    time to it, and a sparkline of past and future.
    """
    from detector.errors import ConfigError, Problem

    if (query is None) == (expr is None):
        raise ConfigError(f"expected QUERY or --expr PROMQL, got {'neither' if query is None else 'both'}")
    if threshold is None and expr is not None and above is not None:
        raise ConfigError(Problem("", key="--threshold", expected="a number beside --above or --below", got="none"))
    _check_picture(png)
    detector = _detector(catalogue, url, query)
    frame = detector.fetch(query or expr or "", window, step)
    forecast = _with_threshold(frame, threshold, above, run).forecast(horizon, members=member or None)
    _print(forecast, limit, png, explain=explain)


def _print(forecast: FrameForecast, limit: int, png: Path | None, *, explain: bool) -> None:
    from detector.forecast_table import forecast_report, open_console

    console = open_console()
    console.print(forecast_report(forecast, console, limit))
    if explain:
        from detector.explained import parts_report

        console.print(parts_report(forecast, forecast.order[0]))
    if png is not None:
        from detector.errors import ConfigError

        try:
            forecast.plot().savefig(png)
        except OSError as error:
            raise ConfigError(f"--png: cannot write {png}: {error.strerror or error}") from error
        console.print(f"Fan chart: {png}", soft_wrap=True)


def _check_picture(png: Path | None) -> None:
    from detector.errors import ConfigError, Problem

    if png is None:
        return
    if png.suffix.lower() not in _PICTURES:
        raise ConfigError(
            Problem("", key="--png", expected=f"a name that ends in {', '.join(_PICTURES)}", got=f"{png}")
        )
    if not png.parent.is_dir():
        raise ConfigError(Problem("", key="--png", expected="a file in a directory that exists", got=f"{png}"))


def _detector(catalogue: str | None, url: str | None, query: str | None) -> Detector:
    """The detector to ask. PromQL without a catalogue of one's own takes only the address from the default one."""
    import os

    from detector.api import Detector
    from detector.catalogue.check import endpoint_of
    from detector.catalogue.load import ENVIRONMENT_VARIABLE, load_catalogue

    loaded = load_catalogue(catalogue)
    if query is not None:
        _check_query(query, list(loaded.queries), loaded.origin or "the catalogue")
    elif catalogue is None and not os.environ.get(ENVIRONMENT_VARIABLE):
        settings = loaded.settings
        return Detector(settings.prometheus if url is None else endpoint_of(url, settings))
    return Detector.from_catalogue(loaded, url=url)


def _check_query(query: str, known: list[str], origin: str) -> None:
    import difflib

    from detector.catalogue.load import load_catalogue
    from detector.errors import ConfigError

    if query in known:
        return
    if names_catalogue(query):
        named = list(load_catalogue(query).queries)
        raise ConfigError(
            f"expected the name of a query, got the catalogue {query}; "
            f"next: detector forecast {named[0]} --catalogue {query} (it has {', '.join(named)})"
        )
    close = difflib.get_close_matches(query, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}."
    raise ConfigError(f"there is no query {query!r} in {origin}; {hint} (PromQL goes into --expr)")


def _with_threshold(frame: WatchedFrame, threshold: float | None, above: bool | None, run: int | None) -> WatchedFrame:
    from dataclasses import replace

    subject = frame.subject
    return type(frame).of(
        frame,
        replace(
            subject,
            threshold=subject.threshold if threshold is None else threshold,
            above=subject.above if above is None else above,
            run=run or subject.run,
        ),
    )
