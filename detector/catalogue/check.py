"""What a catalogue will run, as a table, and what a Prometheus has to say about it."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlsplit

from detector.catalogue.durations import format_duration
from detector.catalogue.schema import Catalogue, Endpoint, Query, Settings
from detector.errors import ConfigError, Problem, SourceError, SourceUnavailable
from detector.wording import count_text

if TYPE_CHECKING:
    from rich.table import Table

    from detector.frame import SeriesFrame

SETTINGS = "settings"
"""Said in place of a URL: the Prometheus of the catalogue itself."""

MIN_POINTS = 48
"""Points below which the engine has no forecast: `models.forecaster.MIN_POINTS`, which takes a second to import."""
AGE_POINTS = 100
"""Evaluations that find out how far back a query reaches: its history to a hundredth, then to a ten-thousandth."""
SEASON_SECONDS = 14 * 86400
"""No weekly season is used before so much history is there."""

Verdict = Literal["ok", "warning", "failed"]


class Source(Protocol):
    """As much of a Prometheus as a check needs."""

    def instant(self, expr: str, at: int | None = None) -> list[tuple[dict[str, str], float]]:
        """Every series of an expression, and its value."""
        ...

    def range(self, expr: str, start: int, end: int, step: int) -> SeriesFrame:
        """An expression at every step from start to end."""
        ...

    def retention(self) -> int | None:
        """Seconds of history it keeps, or None where it does not say."""
        ...


@dataclass
class Finding:
    """What one query finds now."""

    series: int | None = None
    history: int | None = None
    """Seconds since its first point within the history that the query asks for."""
    remarks: list[str] = field(default_factory=list)
    verdict: Verdict = "ok"

    def remark(self, verdict: Verdict, text: str) -> None:
        """Add a remark; the verdict only ever gets worse."""
        order: tuple[Verdict, ...] = ("ok", "warning", "failed")
        self.verdict = max(self.verdict, verdict, key=order.index)
        self.remarks.append(text)


@dataclass
class Report:
    """What every query finds now, and for how many seconds the Prometheus keeps its data."""

    findings: dict[str, Finding]
    retention: int | None = None

    @property
    def failed(self) -> bool:
        """Whether a query cannot run."""
        return any(finding.verdict == "failed" for finding in self.findings.values())


def endpoint_of(against: str, settings: Settings) -> Endpoint:
    """The endpoint to ask: the catalogue's own, or another URL.

    Credentials of the catalogue go with it only to the server they are meant for.
    """
    if against == SETTINGS:
        return settings.prometheus
    endpoint = endpoint_at(against)
    if urlsplit(endpoint.url)[:2] == urlsplit(settings.prometheus.url)[:2]:
        return settings.prometheus.model_copy(update={"url": endpoint.url})
    return endpoint


def endpoint_at(url: str) -> Endpoint:
    """An endpoint for a URL of the command line.

    Raises:
    ------
    ConfigError
        It is no URL.
    """
    try:
        return Endpoint(url=url)
    except ValueError:
        raise ConfigError(Problem("", expected="a URL such as http://localhost:9090", got=url or "nothing")) from None


def check_against(catalogue: Catalogue, source: Source) -> Report:
    """Run every query once, now, and find out how far back its data reach.

    Raises:
    ------
    SourceUnavailable
        The Prometheus cannot be reached; a query that fails is a finding instead.
    """
    findings = {query.name: _run(query, source, catalogue.settings.max_series) for query in catalogue.queries.values()}
    return Report(findings, source.retention())


def _run(query: Query, source: Source, max_series: int) -> Finding:
    finding = Finding()
    try:
        found = source.instant(query.expr)
        finding.series = len(found)
        if query.samples is not None and found and not source.instant(query.samples):
            finding.remark("warning", f"samples {query.samples!r} finds nothing")
        if found:
            _remark_history(query, finding, _history_of(query, source))
    except SourceUnavailable:
        raise
    except SourceError as error:
        finding.remark("failed", str(error))
        return finding
    values = [value for _, value in found if math.isfinite(value)]
    if not found:
        finding.remark("warning", "finds nothing")
    elif not values:
        finding.remark("warning", "no value is a number now")
    if len(found) > max_series:
        finding.remark("failed", f"more than max_series {max_series}")
    outside = [value for value in values if not _within(value, query)]
    if outside:
        low, high = query.data_range
        text = f"{len(outside)} outside data_range [{low}, {high}], such as {outside[0]:.6g}: forecasts stay inside"
        finding.remark("warning", text)
    return finding


def _history_of(query: Query, source: Source) -> int:
    """Seconds from the query's first point to now, as far as its history reaches; a hole in between counts along."""
    end = int(time.time())
    start = oldest = end - query.history
    span = query.history
    for _ in range(2):
        step = max(query.step, span // AGE_POINTS)
        seen = source.range(f"count(\n{query.expr}\n)", start, min(end, start + span), step)
        there = [bool(column) for column in (seen.values == seen.values).any(axis=0)]  # NaN is a gap
        absent = there.index(True) - 1 if any(there) else len(there) - 1
        start, span = max(oldest, seen.start + absent * step), step
    return query.history if start == oldest else max(0, end - start - span)


def _remark_history(query: Query, finding: Finding, seconds: int) -> None:
    finding.history = seconds
    if query.history - seconds <= 2 * max(query.step, query.history // AGE_POINTS):
        return
    if seconds < MIN_POINTS * query.step:
        begin = format_duration(MIN_POINTS * query.step)
        finding.remark("warning", f"too young: forecasts begin at {begin} of history, {MIN_POINTS} points")
    elif seconds < max(query.horizons):
        finding.remark("warning", f"young: nothing is forecast further ahead than the history, {_span(seconds)} now")
    elif seconds < min(SEASON_SECONDS, query.history):
        finding.remark("warning", f"no weekly season before {format_duration(SEASON_SECONDS)} of history")
    else:
        finding.remark("warning", "less history than asked for")


def _span(seconds: int) -> str:
    """A span in its largest whole unit.

    >>> _span(90), _span(9000), _span(200_000)
    ('1m', '2h', '2d')
    """
    size = next((size for size in (86400, 3600, 60) if seconds >= size), 1)
    return format_duration(seconds // size * size)


def _within(value: float, query: Query) -> bool:
    low, high = query.data_range
    slack = 1e-9 * max(1.0, abs(value))
    return (low is None or value >= low - slack) and (high is None or value <= high + slack)


def summary(catalogue: Catalogue, report: Report) -> str:
    """The whole report in a few sentences, one a line."""
    findings = report.findings
    counts = Counter(finding.verdict for finding in findings.values())
    series = sum(finding.series or 0 for finding in findings.values())
    told = f"of {count_text(len(findings), 'query', 'queries')} {counts['ok']} ok, {counts['warning']} to look at"
    told += f", {counts['failed']} failed"
    lines = [f"{series} series; {told}."]
    empty = [name for name, finding in findings.items() if finding.series == 0]
    if empty:
        lines.append(f"Finding nothing: {', '.join(empty)}.")
    keeps = report.retention
    longer = [query.history for query in catalogue.queries.values() if keeps and query.history > keeps]
    if keeps and longer:
        lines.append(
            f"Prometheus keeps {format_duration(keeps)}, less than the history of {len(longer)} queries "
            f"(up to {format_duration(max(longer))}): the first forecasts see only that much, "
            "the worker's own store gathers the rest as it comes."
        )
    return "\n".join(lines)


def as_table(catalogue: Catalogue, report: Report | None = None) -> Table:
    """A rich table, one row for each query: what will run, or, with a `report`, what it finds."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    title = f"{catalogue.origin or 'catalogue'}: {count_text(len(catalogue.queries), 'query', 'queries')}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, row_styles=("", "dim"))
    rows = [describe(query) for query in catalogue.queries.values()]
    headings = [name for name in rows[0] if report is None or name in ("query", "expr", "history")]
    for heading in headings:
        table.add_column(heading, overflow="fold", min_width=len(heading))
    if report is not None:
        table.add_column("series", justify="right")
        table.add_column("remarks", overflow="fold", ratio=2)
    for row in rows:
        cells = [escape(row[heading]) for heading in headings]
        if report is not None:
            finding = report.findings[row["query"]]
            if finding.history is not None:
                cells[-1] = f"{_span(finding.history)} of {cells[-1]}"
            colour = {"ok": "green", "warning": "yellow", "failed": "red"}[finding.verdict]
            cells.append("-" if finding.series is None else str(finding.series))
            cells.append(f"[{colour}]{escape('; '.join(finding.remarks) or 'ok')}[/]")
        table.add_row(*cells)
    return table


def describe(query: Query) -> dict[str, str]:
    """The cells of one query in the table, by heading."""
    every = f" every {format_duration(query.every)}" if query.every != query.step else ""
    return {
        "query": query.name,
        "expr": query.expr,
        "step": format_duration(query.step) + every,
        "history": format_duration(query.history),
        "horizons": " ".join(map(format_duration, query.horizons)),
        "objective": _objective_text(query),
        "alert": _alert_text(query),
        "channel": f"#{query.channel}",
    }


def _objective_text(query: Query) -> str:
    if query.threshold is None:
        return "none"
    side = "below" if query.breach_above else "above"
    default = " (default)" if query.default_objective else ""
    return f"{side} {query.threshold:g} {query.unit}{default}"


def _alert_text(query: Query) -> str:
    parts = []
    if query.alert:
        horizon = format_duration(query.alert_horizon)
        parts.append(f"{query.alert.name}: P >= {query.alert.probability:g} within {horizon}")
    if query.threshold_alert and query.threshold_alert_level:
        operator, level = query.threshold_alert_level
        parts.append(f"{query.threshold_alert.name}: {operator} {level:g}")
    return "\n".join(parts) or "none"
