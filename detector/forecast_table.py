"""A forecast as a table for the terminal, with a sparkline of past and future for every series.

Two layouts of the same cells: in a wide terminal or a pipe one line for each series, in a narrow terminal several.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from detector.catalogue.durations import format_duration
from detector.outlook import TIME_QUANTILES, FrameForecast
from detector.verdict import DataState
from detector.wording import labels_text, level_text, probability_text, span_text, split_common, value_text

if TYPE_CHECKING:
    from models import Breach

Float = NDArray[np.float64]

PIPE_WIDTH = 220
WIDE = 140
"""Columns from which every series has one line."""
PAST_MARKS, FUTURE_MARKS = 18, 14
_MARKS, _PLAIN_MARKS = "▁▂▃▄▅▆▇█", "_.-~=+*#"
_LIKELY, _POSSIBLE = 0.8, 0.2


@dataclass(frozen=True)
class _Numbers:
    """Of all n series: `values` [n, 3, h] at the horizons, `chances` [n, h] and `times` [n, 3] with a threshold."""

    values: Float
    chances: Float | None
    times: Float | None


def open_console() -> Console:
    """A console for standard output: colours only in a terminal, and a pipe is wide enough for a line a series."""
    console = Console(highlight=False, emoji=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, emoji=False, markup=False, width=PIPE_WIDTH)


def forecast_report(forecast: FrameForecast, console: Console, limit: int = 0) -> Group:
    """Heading, table and remarks. The most worrying series come first; `limit` 0 shows all of them."""
    rows = forecast.order[:limit] if limit else forecast.order
    remarks = _remarks(forecast, len(rows))
    table = _table(forecast, rows, wide=console.width >= WIDE, plain=not console.encoding.startswith("utf"))
    return Group(*_heading(forecast), table, *(Text(remark, style="dim") for remark in remarks))


def _heading(forecast: FrameForecast) -> list[Text]:
    frame = forecast.frame
    subject = frame.subject
    zone = ZoneInfo(subject.timezone) if subject.timezone else datetime.now(UTC).astimezone().tzinfo
    end = datetime.fromtimestamp(frame.end, zone)
    common, _ = split_common(frame.labels)
    history = span_text(frame.T * frame.step)
    facts = [f"{frame.n} series", f"{history} of history at step {format_duration(frame.step)}"]
    facts += [f"now is {end:%a %Y-%m-%d %H:%M %Z}"] + ([labels_text(common)] if common else [])
    lines = [Text(subject.name or "forecast", style="bold"), Text("  ".join(facts), style="dim")]
    if subject.name != subject.expr:
        lines.insert(1, Text(subject.expr, style="dim"))
    return lines


def _table(forecast: FrameForecast, rows: list[int], *, wide: bool, plain: bool) -> Table:
    frame = forecast.frame
    numbers = _numbers(forecast)
    labels = split_common(frame.labels)[1]
    table = Table(box=box.SIMPLE_HEAD if not plain else box.ASCII, pad_edge=False, padding=(0, 1))
    table.add_column("series", overflow="fold")
    ahead = format_duration(forecast.horizon)
    if wide:
        table.add_column(f"past and next {ahead}", no_wrap=True)
    table.add_column("now", justify="right", no_wrap=True)
    for horizon in forecast.horizons:
        table.add_column(f"in {format_duration(horizon)}", justify="right", no_wrap=True)
        if wide and numbers.chances is not None:
            table.add_column("P", justify="right", no_wrap=True)
    if numbers.times is not None:
        table.add_column("time to breach", justify="right")
    table.add_column("state")
    for row in rows:
        line = sparkline(forecast, row, plain=plain)
        name = Text(labels_text(labels[row]))
        cells = [name, line] if wide else [Text("\n").join([name, line])]
        cells.append(Text(value_text(frame.now[row], frame.subject.unit)))
        for column in range(len(forecast.horizons)):
            cells += _horizon_cells(numbers, row, column, frame.subject.unit, wide)
        if numbers.times is not None:
            cells.append(_time_cell(numbers.times[row], ahead, forecast.states[row], wide))
        state = forecast.states[row]
        cells.append(Text(str(state), style="green" if state is DataState.OK else "yellow"))
        table.add_row(*cells)
    return table


def _numbers(forecast: FrameForecast) -> _Numbers:
    cells = [forecast.paths.at(horizon) for horizon in forecast.horizons]
    values = forecast.paths.quantile(list(TIME_QUANTILES))[:, :, cells]
    breach = _breach(forecast)
    if breach is None:
        return _Numbers(values, None, None)
    chances = breach.probability_within(list(forecast.horizons))
    return _Numbers(values, chances, breach.time_to(list(TIME_QUANTILES)))


def _breach(forecast: FrameForecast) -> Breach | None:
    return forecast.find_breach()[0] if forecast.frame.subject.threshold is not None else None


def _horizon_cells(numbers: _Numbers, row: int, column: int, unit: str, wide: bool) -> list[Text]:
    low, middle, high = numbers.values[row, :, column]
    median, band = Text(value_text(middle, unit)), Text(band_text(low, high, unit), style="dim")
    if numbers.chances is None:
        return [Text(" " if wide else "\n").join([median, band])]
    chance = numbers.chances[row, column]
    style = "bold red" if chance >= _LIKELY else "yellow" if chance >= _POSSIBLE else "dim"
    text = Text(probability_text(chance), style=style)
    if wide:
        return [Text(" ").join([median, band]), text]
    return [Text("\n").join([median, band, Text("P ", style="dim").append(text)])]


def _time_cell(times: Float, ahead: str, state: DataState, wide: bool) -> Text:
    if np.isnan(times).any() or state in (DataState.NO_DATA, DataState.INSUFFICIENT_HISTORY):
        return Text("–")
    early, middle, late = times
    if not np.isfinite(early):
        return Text(f"not within {ahead}", style="dim")
    if late < 1:
        return Text("now", style="bold red")
    said = [span_text(t) if np.isfinite(t) else f"beyond {ahead}" for t in (early, middle, late)]
    first = Text(said[1], style="bold red" if np.isfinite(middle) else "")
    return Text(" " if wide else "\n").join([first, Text(f"({said[0]} … {said[2]})", style="dim")])


def band_text(low: float, high: float, unit: str = "") -> str:
    """Two values, the unit once where it is the same.

    >>> band_text(0.912, 0.948, "ratio"), band_text(0.5, 1.5, "seconds")
    ('91.20–94.80', '500 ms–1.5 s')
    """
    first, second = value_text(low, unit), value_text(high, unit)
    if first.partition(" ")[2] == second.partition(" ")[2]:
        return f"{first.partition(' ')[0].removesuffix('/s')}–{second.partition(' ')[0].removesuffix('/s')}"
    return f"{first}–{second}"


def sparkline(forecast: FrameForecast, row: int, *, plain: bool = False) -> Text:
    """The newest past of one series, a bar, and the median forecast; blanks are gaps, red is beyond the threshold."""
    frame, subject = forecast.frame, forecast.frame.subject
    past = _means(frame.tail(max(PAST_MARKS, forecast.horizon // frame.step)).values[row], PAST_MARKS)
    future = _future(forecast, row)
    levels = _levels(np.concatenate([past, future]))
    marks = _PLAIN_MARKS if plain else _MARKS
    line = Text()
    for place, (value, level) in enumerate(zip(np.concatenate([past, future]), levels, strict=True)):
        if place == len(past):
            line.append("|" if plain else "│", style="dim")
        beyond = subject.threshold is not None and (
            value > subject.threshold if subject.above else value < subject.threshold
        )
        style = "red" if beyond else "blue" if place >= len(past) else "dim"
        line.append(" " if level < 0 else marks[level], style=style)
    return line


def _means(values: Float, count: int) -> Float:
    """The means of `count` equal pieces; NaN where a piece has no value."""
    pieces = np.array_split(values, min(count, len(values)))
    return np.array([piece[np.isfinite(piece)].mean() if np.isfinite(piece).any() else np.nan for piece in pieces])


def _future(forecast: FrameForecast, row: int) -> Float:
    median = forecast.paths.quantile([0.5])[row, 0]
    known = np.isfinite(median)
    if not known.any():
        return np.full(FUTURE_MARKS, np.nan)
    at = (np.arange(FUTURE_MARKS) + 0.5) / FUTURE_MARKS * forecast.horizon
    values = np.interp(at, forecast.paths.offsets[known], median[known])
    return np.where(at <= forecast.paths.offsets[known][-1], values, np.nan)


def _levels(values: Float) -> list[int]:
    """Each value as the number of a mark, -1 for NaN; a flat line is in the middle."""
    low, high = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
    share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return [-1 if np.isnan(one) else round(float(one) * (len(_MARKS) - 1)) for one in share]


def _remarks(forecast: FrameForecast, shown: int) -> list[str]:
    frame, subject = forecast.frame, forecast.frame.subject
    said = "Medians, with the 80 % band (p10–p90)."
    if subject.threshold is not None:
        side = "above" if subject.above else "below"
        row = f", {subject.run} points in a row" if subject.run > 1 else ""
        breach = f"{side} {level_text(subject.threshold, subject.unit)}{row}"
        said = f"A breach is {breach}. P: its probability within the horizon. Times: p50 (p10 … p90). {said}"
    remarks = [said]
    if shown < frame.n:
        remarks.append(f"{frame.n - shown} more series, the least worrying, are not shown; --limit 0 shows all.")
    reach = float(np.max(forecast.paths.reach, initial=0.0))
    if reach < forecast.horizon:
        remarks.append(f"There are only {span_text(reach)} of history: nothing is said about what lies further ahead.")
    return remarks
