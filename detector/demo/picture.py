"""What the demo looks like at one moment: forecasts, alerts, the truth, and where to look."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from detector.catalogue.durations import format_duration
from detector.demo.board import TOLERANCE, Board
from detector.table import STYLES
from detector.verdict import DataState
from detector.wording import NOTHING, level_text, probability_text, value_text

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.panel import Panel

    from detector.cycle import CycleResult
    from detector.demo.scene import Victim
    from detector.demo.stage import Stage

PICTURE_WIDTH = 140
HEALTHY_ROWS = 8
FIXED_LINES = 31
"""Lines of the picture besides the healthy rows."""
QUERY_WIDTH, SERIES_WIDTH, HORIZON_WIDTH, FULL_WIDTH = 25, 21, 15, 135
"""Of the columns, and of the table with three horizons; a narrow terminal sees fewer of them."""
ALERT_ROWS = 6
P10, P50, P90 = 0, 1, 2
_SAME_EVERYWHERE = frozenset({"job", "service"})


@dataclass(frozen=True)
class Row:
    """One series of one result."""

    result: CycleResult
    index: int

    @property
    def chance(self) -> float:
        """Probability of a breach within the alert's horizon; NaN where there is none to tell."""
        if self.result.probability is None or not len(self.result.probability):
            return math.nan
        return float(self.result.probability[self.index, self._alert_column])

    @property
    def _alert_column(self) -> int:
        return self.result.query.horizons.index(self.result.query.alert_horizon)

    @property
    def series(self) -> str:
        """What tells the series from its sisters."""
        labels = self.result.frame.labels[self.index] if self.result.frame is not None else {}
        own = sorted(labels.keys() - _SAME_EVERYWHERE, key=lambda name: (name != "instance", name))
        return " ".join(labels[name] for name in own)

    @property
    def firing(self) -> bool:
        """Whether the worker's alert fires."""
        return bool(self.result.decisions) and self.result.decisions[self.index].firing


def picture(
    board: Board, stage: Stage, seconds: float, width: int, height: int | None = None, *, over: bool = False
) -> RenderableType:
    """All of it, in `width` columns and `height` lines (None: as many as it takes).

    `over`: the servers are gone, or about to go; there is nothing to open and nothing to stop.
    """
    from rich.console import Group

    healthy = HEALTHY_ROWS if height is None else max(0, min(HEALTHY_ROWS, height - FIXED_LINES))
    parts: list[RenderableType] = [_head(board, seconds, over)]
    if board.results:
        parts.append(forecasts(board, healthy, width))
    parts += [_alerts(board), _truth(board)]
    return Group(*parts) if over else Group(*parts, _places(stage))


def headline(victim: Victim, result: CycleResult) -> str:
    """What the worker says about a victim, in a sentence."""
    row = _row_of(victim, result)
    side = "rises over" if victim.query.breach_above else "falls under"
    said = f"{victim.subject} {side} {level_text(victim.threshold, victim.query.unit)}"
    if row is None or result.time_to is None:
        return f"{said}: no forecast yet"
    early, median, late = (float(one) for one in result.time_to[row])
    return f"{said} in about {hours_text(median)} ({span(early, late)}), P = {Row(result, row).chance:.2f}"


def result_of(board: Board, victim: Victim) -> CycleResult | None:
    """The newest result of a victim's query."""
    return next((one for one in board.current() if one.query.name == victim.query.name), None)


def hours_text(seconds: float) -> str:
    """A span in hours.

    >>> hours_text(18_720), hours_text(float("inf"))
    ('5.2 h', 'never')
    """
    return f"{seconds / 3600:.1f} h" if math.isfinite(seconds) else "never"


def span(early: float, late: float) -> str:
    """From when to when, in seconds; `late` may be inf.

    >>> span(16_560, 21_960), span(16_560, float("inf"))
    ('4.6–6.1 h', '4.6 h or later')
    """
    if not math.isfinite(late):
        return f"{hours_text(early)} or later" if math.isfinite(early) else NOTHING
    return f"{early / 3600:.1f}–{late / 3600:.1f} h"


def forecasts(board: Board, healthy: int, width: int) -> Group:
    """The series that break an objective first and in full, then the most likely of each healthy query."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    results = board.current()
    rows = [Row(result, index) for result in results if result.states for index in range(len(result.states))]
    victims = [row for row in rows if _victim_of(board, row) or row.firing]
    victims.sort(key=lambda row: -np.nan_to_num(row.chance))
    others = [row for row in rows if row not in victims]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("query", no_wrap=True, max_width=QUERY_WIDTH)
    table.add_column("series", no_wrap=True, max_width=SERIES_WIDTH + max(0, width - FULL_WIDTH))
    horizons = sorted({seconds for result in results for seconds in result.query.horizons})
    horizons = horizons[: max(1, len(horizons) + min(0, (width - FULL_WIDTH) // HORIZON_WIDTH))]
    in_horizons = [f"in {format_duration(seconds)}" for seconds in horizons]
    for name in ("now", *in_horizons, "P(breach)", "breach in"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for row in victims:
        table.add_row(*_cells(row, horizons, full=True), style="bold")
    for row in _worst_of_each(others)[:healthy]:
        table.add_row(*_cells(row, horizons, full=False))
    rest = _rest(others, min(healthy, len(_worst_of_each(others))))
    return Group(table, Text(rest, style="dim"), Text())


def _worst_of_each(rows: Iterable[Row]) -> list[Row]:
    """The most likely breach of each query that has an objective, the highest probability first."""
    worst: dict[str, Row] = {}
    for row in rows:
        known = worst.get(row.result.query.name)
        if not math.isnan(row.chance) and (known is None or row.chance > known.chance):
            worst[row.result.query.name] = row
    return sorted(worst.values(), key=lambda row: -row.chance)


def _rest(others: list[Row], shown: int) -> str:
    likely = sum(row.chance >= 0.5 for row in others)
    verdict = "none expected to breach" if not likely else f"{likely} likely to breach"
    return f"… and {len(others) - shown} more series, {verdict}"


def _cells(row: Row, horizons: list[int], *, full: bool) -> list[str]:
    result, unit = row.result, row.result.query.unit
    cells = [result.query.name, row.series, value_text(float(result.now[row.index]), unit)]
    cells += [_forecast(row, seconds, full=full) for seconds in horizons]
    if math.isnan(row.chance):
        cells += [NOTHING, NOTHING]
    else:
        within = f"\n[not bold dim]in {format_duration(result.query.alert_horizon)}[/]" if full else ""
        cells += [probability_text(row.chance) + within, _time(row, full=full)]
    state = result.states[row.index]
    shown = "[bold red]ALERT[/]" if row.firing else f"[{STYLES[state] or 'green'}]{state}[/]"
    return [*cells, shown]


def _forecast(row: Row, seconds: int, *, full: bool) -> str:
    query, values = row.result.query, row.result.values
    if values is None or seconds not in query.horizons or row.result.states[row.index] is not DataState.OK:
        return NOTHING
    low, middle, high = (float(one) for one in values[row.index, :, query.horizons.index(seconds)])
    median = value_text(middle, query.unit)
    if not full:
        return median
    style = "red" if _beyond(row, middle) else "default"
    band = f"{value_text(low, query.unit).removesuffix(' %')}–{value_text(high, query.unit)}"
    return f"[{style}]{median}[/]\n[not bold dim]{band}[/]"


def _beyond(row: Row, value: float) -> bool:
    query = row.result.query
    if query.threshold is None:
        return False
    return value > query.threshold if query.breach_above else value < query.threshold


def _time(row: Row, *, full: bool) -> str:
    if row.result.time_to is None or not np.isfinite(row.result.time_to[row.index]).any():
        return NOTHING
    early, median, late = (float(one) for one in row.result.time_to[row.index])
    if not full:
        return hours_text(median) if math.isfinite(median) else NOTHING
    return f"{hours_text(median)}\n[not bold dim]{span(early, late)}[/]"


def _head(board: Board, seconds: float, over: bool) -> Group:
    from rich.columns import Columns
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    what = Text.assemble(
        ("detector demo", "bold cyan"), f"   seed {board.scene.seed}   {seconds:.0f} s since the servers started"
    )
    done = len(board.current())
    if done >= board.queries:
        slot = max(result.slot for result in board.current())
        goes_on = "" if over else ", a new one every minute   Ctrl-C ends it"
        return Group(what.append(f"   forecasts of {_clock(slot)}{goes_on}"))
    bar = ProgressBar(total=board.queries, completed=done, width=40)
    return Group(what, Columns([Text(f"fitting {board.queries} queries"), bar, Text(f"{done} done")]))


def _alerts(board: Board) -> Panel:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    at = board.watchdog_at
    heard = "" if at is None else f"the dead man's switch heard the watchdog at {_clock(at)}"
    table = Table.grid(padding=(0, 2), expand=False)
    for one in board.announcements[-ALERT_ROWS:]:
        style = "bold red" if one.alert.firing else "green"
        expected = one.alert.description.partition("It is expected")[2]
        name = one.alert.name if one.alert.firing else f"{one.alert.name} resolved"
        text = Text(one.alert.summary)
        if one.alert.firing and expected:
            text.append(f"\nexpected{expected}", style="dim")
        text.append(f"\n{one.places}", style="cyan")
        table.add_row(
            f"after {one.seconds:.0f} s",
            Text.assemble((name, style), (f"\n{one.alert.labels.get('severity', '')}", "dim")),
            text,
        )
    if not board.announcements:
        table.add_row(Text("none yet", style="dim"))
    title = "alerts where they arrived, by production's routes"
    return Panel(table, title=title, title_align="left", border_style="cyan", subtitle=heard, subtitle_align="right")


def _truth(board: Board) -> Panel:
    from rich.panel import Panel
    from rich.table import Table

    table = Table.grid(padding=(0, 2), expand=False)
    for victim in board.scene.victims:
        result = result_of(board, victim)
        if result is None:
            table.add_row(f"{victim.subject}: no forecast yet", "", "")
            continue
        left = victim.breach_at - result.slot
        table.add_row(
            f"[bold]{headline(victim, result)}[/]",
            f"really at {_clock(victim.breach_at)}, in {hours_text(left)}",
            _error(victim, result, left),
        )
        published = next((a.published for a in board.announcements if a.victim is victim and a.published), None)
        if published is not None:
            said = f"{hours_text(published.eta)}, P = {published.probability:.2f}"
            table.add_row(f"[dim]the same in Prometheus when the alert arrived: {said}[/]", "", "")
    return Panel(table, title="forecast against the truth", title_align="left", border_style="cyan")


def _error(victim: Victim, result: CycleResult, left: float) -> str:
    row = _row_of(victim, result)
    if row is None or result.time_to is None or left <= 0:
        return NOTHING
    error = (float(result.time_to[row, P50]) - left) / left
    style = "green" if abs(error) <= TOLERANCE else "red"
    return f"[{style}]error {error:+.0%}[/]" if math.isfinite(error) else f"[{style}]no breach seen[/]"


def _places(stage: Stage) -> Panel:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, url in stage.urls.items():
        table.add_row(name, Text(url, style=f"link {url}"))
    return Panel(table, title="open", title_align="left", border_style="cyan")


def _victim_of(board: Board, row: Row) -> bool:
    return any(
        victim.query.name == row.result.query.name and _row_of(victim, row.result) == row.index
        for victim in board.scene.victims
    )


def _row_of(victim: Victim, result: CycleResult) -> int | None:
    if result.frame is None or not result.states:
        return None
    wanted = dict(victim.labels)
    return next((row for row, labels in enumerate(result.frame.labels) if dict(labels) == wanted), None)


def _clock(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds).astimezone().strftime("%H:%M")
