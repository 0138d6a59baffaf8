"""The results of a round as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
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
MEDIAN = 1
"""Place of the median among the published quantiles."""


def results_table(results: Sequence[CycleResult]) -> Table:
    """Query, series, now, the median at each horizon, P(breach), time to breach and state; one row a series."""
    from rich.table import Table

    horizons = sorted({seconds for result in results for seconds in result.query.horizons})
    table = Table(pad_edge=False)
    table.add_column("query", no_wrap=True)
    table.add_column("series", overflow="fold")
    for name in ("now", *(f"in {format_duration(seconds)}" for seconds in horizons), "P(breach)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("time to breach (10 – 50 – 90 %)", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for result in results:
        _add_rows(table, result, horizons)
    return table


def _add_rows(table: Table, result: CycleResult, horizons: Sequence[int]) -> None:
    name = result.query.name
    if result.frame is None or not result.states:
        blank = [NOTHING] * (len(horizons) + 3)
        table.add_row(name, "", *blank, _state(result.state, firing=False))
        return
    _, own = split_common(result.frame.labels)
    for row, labels in enumerate(own):
        table.add_row(
            name,
            labels_text(labels),
            value_text(float(result.now[row]), result.query.unit),
            *(_median(result, row, seconds) for seconds in horizons),
            _odds(result, row),
            _time(result, row),
            _state(result.states[row], result.decisions[row].firing if result.decisions else False),
        )


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


def _time(result: CycleResult, row: int) -> str:
    if result.time_to is None or not np.isfinite(result.time_to[row]).any():
        return NOTHING
    return " – ".join(span_text(float(seconds)) for seconds in result.time_to[row])


def _state(state: DataState, firing: bool) -> str:
    if firing:
        return "[bold red]ALERT[/]"
    style = STYLES[state]
    return f"[{style}]{state}[/]" if style else str(state)
