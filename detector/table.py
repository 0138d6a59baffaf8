"""The results of a round as a table for a terminal: as many columns as it has room for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.catalogue.durations import format_duration
from detector.cycle import alert_columns
from detector.verdict import DataState
from detector.wording import NOTHING, labels_text, probability_text, span_text, split_common, value_text

if TYPE_CHECKING:
    from rich.table import Table

    from detector.cycle import CycleResult

STYLES = {
    DataState.OK: "",
    DataState.ERROR: "bold red",
    DataState.STALE: "yellow",
    DataState.NO_DATA: "yellow",
    DataState.INSUFFICIENT_HISTORY: "dim",
    DataState.NOT_SKILFUL: "dim",
}
SHORT_STATES = {DataState.INSUFFICIENT_HISTORY: "too young"}
MEDIAN = 1
"""Place of the median among the published quantiles."""
NAMES_WIDTH, SHORT_NAMES_WIDTH = 60, 36
"""Names of series get at least this much room; longer ones are folded where there is no more."""
UNLIMITED = 10_000


@dataclass(frozen=True)
class _Layout:
    """How much of each result is shown."""

    horizons: tuple[int, ...]
    band: bool = True
    """The 80 % band of the time to a breach, not its median alone."""
    short: bool = False
    """Series stand under their query, by the values of their labels; long words are cut."""


def results_table(results: Sequence[CycleResult], width: int) -> Table:
    """Query, series, now, the median at each horizon, P(breach), time to breach and state; one row a series.

    What does not fit into ``width`` is left out: first the band of the time, then the names of the labels, then the
    medians, the furthest ahead first.
    """
    horizons = tuple(sorted({seconds for result in results for seconds in result.query.horizons}))
    layouts = [_Layout(horizons), _Layout(horizons, band=False)]
    layouts += [_Layout(horizons[:count], band=False, short=True) for count in range(len(horizons), -1, -1)]
    tables = (_table(results, layout) for layout in layouts)
    return next((table for table in tables if _fits(table, width)), _table(results, layouts[-1]))


def _fits(table: Table, width: int) -> bool:
    from rich.console import Console
    from rich.text import Text

    console = Console(width=UNLIMITED)
    [names] = (column for column in table.columns if column.overflow == "fold")
    longest = max((Text.from_markup(str(cell)).cell_len for cell in names.cells), default=0)
    kept = NAMES_WIDTH if names is not table.columns[0] else SHORT_NAMES_WIDTH
    return console.measure(table).maximum - max(0, longest - kept) <= width


def _table(results: Sequence[CycleResult], layout: _Layout) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(pad_edge=False, padding=(0, 1, 0, 0) if layout.short else (0, 1), box=box.SIMPLE_HEAD)
    if not layout.short:
        table.add_column("query", no_wrap=True)
    table.add_column("series", overflow="fold")
    for name in ("now", *(f"in {format_duration(seconds)}" for seconds in layout.horizons), "P(breach)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("time to breach (10 / 50 / 90 %)" if layout.band else "breach in", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for result in results:
        for names, cells in _rows(result, layout):
            table.add_row(*names, *(cells or [""] * (len(table.columns) - len(names))))
    return table


def _rows(result: CycleResult, layout: _Layout) -> Iterator[tuple[list[str], list[str]]]:
    """Of each row the cells that name it, and the others; a heading has only a name."""
    from rich.markup import escape

    query = result.query.name
    if result.frame is None or not result.states:
        blank = [NOTHING] * (len(layout.horizons) + 3)
        yield [query] if layout.short else [query, ""], [*blank, _state(result.state, False, layout)]
        return
    _, own = split_common(result.frame.labels)
    if layout.short and len(own) > 1:
        yield [f"[bold]{query}[/]"], []
    for row, labels in enumerate(own):
        if layout.short:
            names = [query if len(own) == 1 else "  " + escape(_values_text(labels))]
        else:
            names = [query, escape(labels_text(labels))]
        yield names, _cells(result, row, layout)


def _cells(result: CycleResult, row: int, layout: _Layout) -> list[str]:
    return [
        value_text(float(result.now[row]), result.query.unit),
        *(_median(result, row, seconds) for seconds in layout.horizons),
        _odds(result, row),
        _time(result, row, layout.band),
        _state(result.states[row], bool(result.decisions) and result.decisions[row].firing, layout),
    ]


def _values_text(labels: Mapping[str, str]) -> str:
    """The values alone, the instance first: what tells the series of one query apart in few letters."""
    return " ".join(labels[name] for name in sorted(labels, key=lambda name: (name != "instance", name))) or "all"


def _median(result: CycleResult, row: int, seconds: int) -> str:
    if result.values is None or seconds not in result.query.horizons:
        return NOTHING
    at = result.query.horizons.index(seconds)
    return value_text(float(result.values[row, MEDIAN, at]), result.query.unit)


def _odds(result: CycleResult, row: int) -> str:
    if result.probability is None:
        return NOTHING
    [at] = alert_columns(result.query, result.probability[row : row + 1])
    if at < 0:
        return NOTHING
    return f"{probability_text(float(result.probability[row, at]))} in {format_duration(result.query.horizons[at])}"


def _time(result: CycleResult, row: int, band: bool) -> str:
    if result.time_to is None or not np.isfinite(result.time_to[row]).any():
        return NOTHING
    times = result.time_to[row] if band else result.time_to[row, MEDIAN : MEDIAN + 1]
    return " / ".join(span_text(float(seconds)) for seconds in times)


def _state(state: DataState, firing: bool, layout: _Layout) -> str:
    if firing:
        return "[bold red]ALERT[/]"
    style, said = STYLES[state], SHORT_STATES.get(state, state) if layout.short else state
    return f"[{style}]{said}[/]" if style else str(said)
