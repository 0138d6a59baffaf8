"""A forecast as a table for the terminal, with a sparkline of past and future for every series.

Two layouts of the same cells: in a wide terminal or a pipe one line for each series, in a narrow terminal several.
"""

from __future__ import annotations

import codecs
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
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
    from detector.watched import WatchedFrame
    from models import Breach

Float = NDArray[np.float64]

PIPE_WIDTH = 240
_MARKS_WIDE, _MARKS_NARROW = (14, 12), (10, 8)
_MARKS, _PLAIN_MARKS = "▁▂▃▄▅▆▇█", "_.-~=+*#"
_ERRORS = "detector.forecast_table"
_ASCII = {"–": "-", "…": ".."}
_LIKELY, _POSSIBLE = 0.8, 0.2
YOUNGER = 0.99
"""A history under this share of another is told to be shorter."""


@dataclass(frozen=True)
class _Numbers:
    """Of all n series: `values` [n, 3, h] at the horizons, `chances` [n, h] and `times` [n, 3] with a threshold."""

    values: Float
    chances: Float | None
    times: Float | None


def open_console() -> Console:
    """A console for standard output: colours only in a terminal, and a pipe is wide enough for a line a series."""
    if isinstance(sys.stdout, TextIOWrapper) and not sys.stdout.encoding.lower().startswith("utf"):
        codecs.register_error(_ERRORS, _replace)
        sys.stdout.reconfigure(errors=_ERRORS)
    console = Console(highlight=False, emoji=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, emoji=False, markup=False, width=PIPE_WIDTH)


def _replace(error: UnicodeError) -> tuple[str, int]:
    """The marks that an old encoding lacks, in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_ASCII.get(mark, "?") for mark in lost), error.end


def forecast_report(forecast: FrameForecast, console: Console, limit: int = 0) -> Group:
    """Heading, table and remarks. The most worrying series come first; `limit` 0 shows all of them."""
    rows = forecast.order[:limit] if limit else forecast.order
    remarks = _remarks(forecast, len(rows))
    plain = not console.encoding.startswith("utf")
    table = _table(forecast, rows, wide=True, plain=plain)
    if console.measure(table, options=console.options.update(width=PIPE_WIDTH)).maximum > console.width:
        table = _table(forecast, rows, wide=False, plain=plain)
    return Group(*_heading(forecast), table, *(Text(remark, style="dim") for remark in remarks))


def _heading(forecast: FrameForecast) -> list[Text]:
    frame = forecast.frame
    subject = frame.subject
    zone = ZoneInfo(subject.timezone) if subject.timezone else datetime.now(UTC).astimezone().tzinfo
    end = datetime.fromtimestamp(frame.end, zone)
    common = split_common(frame.labels)[0] if frame.n > 1 else frame.labels[0]
    facts = [f"{frame.n} series", f"{_history_text(frame)} at step {format_duration(frame.step)}"]
    facts += [f"now is {end:%a %Y-%m-%d %H:%M %Z}"] + ([labels_text(common)] if common else [])
    lines = [Text(subject.name or "forecast", style="bold"), Text("  ".join(facts), style="dim")]
    if subject.name != subject.expr:
        lines.insert(1, Text(subject.expr, style="dim"))
    return lines


def _history_text(frame: WatchedFrame) -> str:
    """How much past was found, from the first point of each series on, and how much was asked for where it is more."""
    there = np.isfinite(frame.values)
    spans = np.where(there.any(axis=1), frame.T - there.argmax(axis=1), 0) * frame.step
    shortest, longest = (span_text(float(one)) for one in (spans.min(), spans.max()))
    found = longest if spans.min() >= YOUNGER * spans.max() else f"{shortest} to {longest}"
    asked = frame.T * frame.step
    wanted = f" (asked for: {span_text(asked)})" if spans.max() < YOUNGER * asked else ""
    return f"{found} of history{wanted}"


def _table(forecast: FrameForecast, rows: list[int], *, wide: bool, plain: bool) -> Table:
    frame = forecast.frame
    numbers = _numbers(forecast)
    heading, names = _names(frame)
    style = box.ASCII if plain else box.SIMPLE_HEAD
    table = Table(box=style, pad_edge=False, padding=(0, 1) if wide else (0, 1, 0, 0))
    table.add_column(heading, overflow="fold")
    ahead = format_duration(forecast.horizon)
    if wide:
        table.add_column(f"past and next {ahead}", no_wrap=True)
    table.add_column("now", justify="right", no_wrap=True)
    for horizon in forecast.horizons:
        table.add_column(f"in {format_duration(horizon)}", justify="right", no_wrap=True)
        if wide and numbers.chances is not None:
            table.add_column("P", justify="right", no_wrap=True)
    if numbers.times is not None:
        table.add_column("time to breach", justify="right", no_wrap=True)
    if wide:
        table.add_column("state")
    for row in rows:
        line = sparkline(forecast, row, _MARKS_WIDE if wide else _MARKS_NARROW, plain=plain)
        state = forecast.states[row]
        name, said = Text(names[row]), Text(str(state), style="green" if state is DataState.OK else "yellow")
        below = [said] if state is not DataState.OK else []
        cells = [name, line] if wide else [Text("\n").join([name, line, *below])]
        cells.append(Text(value_text(frame.now[row], frame.subject.unit)))
        for column in range(len(forecast.horizons)):
            cells += _horizon_cells(numbers, row, column, frame.subject.unit, wide)
        if numbers.times is not None:
            cells.append(_time_cell(numbers.times[row], ahead, wide))
        table.add_row(*cells, *([said] if wide else []))
    return table


def _names(frame: WatchedFrame) -> tuple[str, list[str]]:
    """The labels in which the series differ, and their values for each; a series alone goes by its query."""
    if frame.n == 1:
        return "series", [frame.subject.name]
    own = split_common(frame.labels)[1]
    labels = sorted({name for one in own for name in one})
    return " ".join(labels), [" ".join(one.get(name, "–") for name in labels) for one in own]


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
    band = Text(band_text(low, high, unit) if np.isfinite(middle) else "", style="dim")
    median = Text(value_text(middle, unit))
    if numbers.chances is None:
        return [Text(" " if wide else "\n").join([median, band])]
    chance = numbers.chances[row, column]
    style = "bold red" if chance >= _LIKELY else "yellow" if chance >= _POSSIBLE else "dim"
    text = Text(probability_text(chance), style=style)
    if wide:
        return [Text(" ").join([median, band]), text]
    return [Text("\n").join([median, band, Text("P ", style="dim").append(text)])]


def _time_cell(times: Float, ahead: str, wide: bool) -> Text:
    if np.isnan(times).any():
        return Text("–")
    if not np.isfinite(times[0]):
        return Text(f"not within {ahead}", style="dim")
    if times[2] < 1:
        return Text("now", style="bold red")
    early, middle, late = (span_text(t) if np.isfinite(t) else f"> {ahead}" for t in times)
    first = Text(middle, style="bold red" if np.isfinite(times[1]) else "")
    if wide:
        return first.append(f" ({early} … {late})", style="not bold dim")
    return Text("\n").join([first, Text(f"p10 {early}", style="dim"), Text(f"p90 {late}", style="dim")])


def band_text(low: float, high: float, unit: str = "") -> str:
    """Two values, the unit once where it is the same.

    >>> band_text(0.912, 0.948, "ratio"), band_text(0.5, 1.5, "seconds")
    ('91.20–94.80', '500 ms–1.5 s')
    """
    first, second = value_text(low, unit), value_text(high, unit)
    if first.partition(" ")[2] == second.partition(" ")[2]:
        return f"{first.partition(' ')[0].removesuffix('/s')}–{second.partition(' ')[0].removesuffix('/s')}"
    return f"{first}–{second}"


def sparkline(forecast: FrameForecast, row: int, marks: tuple[int, int] = _MARKS_WIDE, *, plain: bool = False) -> Text:
    """The newest past of one series, a bar, and the median forecast; blanks are gaps, red is beyond the threshold.

    `marks`: how many for the past, which is as long as the horizon, and for the future.
    """
    frame, subject = forecast.frame, forecast.frame.subject
    past = _means(frame.tail(max(marks[0], forecast.horizon // frame.step)).values[row], marks[0])
    future = _future(forecast, row, marks[1])
    levels = _levels(np.concatenate([past, future]))
    drawn = _PLAIN_MARKS if plain else _MARKS
    limit = np.nan if subject.threshold is None else subject.threshold
    line = Text()
    for place, (value, level) in enumerate(zip(np.concatenate([past, future]), levels, strict=True)):
        if place == len(past):
            line.append("|" if plain else "│", style="dim")
        beyond = value > limit if subject.above else value < limit
        style = "red" if beyond else "blue" if place >= len(past) else "dim"
        line.append(" " if level < 0 else drawn[level], style=style)
    return line


def _means(values: Float, count: int) -> Float:
    """The means of `count` equal pieces; NaN where a piece has no value."""
    pieces = np.array_split(values, min(count, len(values)))
    return np.array([piece[np.isfinite(piece)].mean() if np.isfinite(piece).any() else np.nan for piece in pieces])


def _future(forecast: FrameForecast, row: int, count: int) -> Float:
    median = forecast.paths.quantile([0.5])[row, 0]
    known = np.isfinite(median)
    if not known.any():
        return np.full(count, np.nan)
    at = (np.arange(count) + 0.5) / count * forecast.horizon
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
