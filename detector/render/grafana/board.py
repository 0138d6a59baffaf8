"""A dashboard: rows of views on Grafana's grid, its variables, annotations, links and times, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as dash

from detector.catalogue.durations import format_duration
from detector.catalogue.platform import GrafanaSettings
from detector.render.grafana.panels import View, source, stable_id

COLUMNS = 24
"""Width of Grafana's grid."""
TAG = "detector"
ALL = ".*"
"""What "All" of a variable stands for in a matcher: series without the label, too."""
_OF_INTERVALS = ("auto", "auto_count", "auto_min")
"""What the SDK writes for every variable, and Grafana knows of intervals only."""
_REFRESHES = (10, 30, 60, 300, 900, 1800, 3600)
_RANGES = (3600, 6 * 3600, 86400, 2 * 86400, 7 * 86400, 15 * 86400, 30 * 86400, 90 * 86400)


@dataclass(frozen=True)
class Row:
    """A titled row of a dashboard; a collapsed one asks nothing until it is opened."""

    title: str
    views: tuple[View, ...]
    collapsed: bool = False


@dataclass(frozen=True)
class Annotation:
    """Events drawn over every chart: where the expression is above 0."""

    name: str
    expr: str
    color: str
    title: str
    text: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variable:
    """A choice above the dashboard. `query` asks Prometheus; `options` are fixed, a value for each text."""

    name: str
    label: str
    description: str
    query: str = ""
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Board:
    """One dashboard before it is JSON."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    back: int = 6 * 3600
    """Seconds it looks back at first."""
    ahead: int = 0
    """Seconds it looks ahead."""

    @property
    def views(self) -> Iterator[View]:
        """Every view, row by row."""
        for row in self.rows:
            yield from row.views

    @property
    def queries(self) -> set[str]:
        """The catalogue's queries it shows."""
        return {name for view in self.views for name in view.queries}


def without_empty(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows that have something to show."""
    return tuple(row for row in rows if row.views)


def dashboard_json(board: Board, settings: GrafanaSettings, timezone: str) -> str:
    """The file that Grafana is provisioned with: sorted keys, so that a change of one value is one line.

    Raises:
        ValueError: two views of the board have one key.
    """
    made = (
        builders.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .timezone(timezone)
        .readonly()
        .tooltip(dash.DashboardCursorSync.CROSSHAIR)
        .refresh(format_duration(settings.refresh))
        .time(f"now-{format_duration(min(board.back, settings.data_kept))}", _until(board.ahead))
        .timepicker(_timepicker(board, settings))
        .variables([_variable(one) for one in board.variables])
        .links([_other_dashboards()])
        .build()
    )
    made.panels = list(_placed(board))
    document: dict[str, Any] = json.loads(json.dumps(made, cls=JSONEncoder))
    for variable in document["templating"]["list"]:
        for name in _OF_INTERVALS:
            variable.pop(name, None)
    document["annotations"] = {"list": [_annotation(one) for one in board.annotations]}
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _placed(board: Board) -> Iterator[dash.Panel | dash.RowPanel]:
    keys = [view.key for view in board.views] + [f"row {row.title}" for row in board.rows]
    ids = {key: stable_id(f"{board.uid} {key}") for key in keys}
    if len(set(ids.values())) != len(keys):
        raise ValueError(f"two views of dashboard {board.uid} have one key, or ids that meet: {sorted(keys)}")
    y = 0
    for row in board.rows:
        title = dash.RowPanel(title=row.title, collapsed=row.collapsed, id_val=ids[f"row {row.title}"])
        title.grid_pos = dash.GridPos(x=0, y=y, w=COLUMNS, h=1)
        panels, end = _flowed(row.views, y + 1, ids)
        if row.collapsed:
            title.panels = panels
        yield title
        if not row.collapsed:
            yield from panels
        y = y + 1 if row.collapsed else end


def _flowed(views: Sequence[View], y: int, ids: dict[str, int]) -> tuple[list[dash.Panel], int]:
    """Panels from left to right, line by line from ``y`` on; and where the last line ends."""
    panels, x, height = [], 0, 0
    for view in views:
        if x + view.width > COLUMNS:
            x, y, height = 0, y + height, 0
        panel = view.panel
        panel.id_val, panel.title, panel.description = ids[view.key], view.title, view.description
        panel.grid_pos = dash.GridPos(x=x, y=y, w=view.width, h=view.height)
        panels.append(panel)
        x, height = x + view.width, max(height, view.height)
    return panels, y + height


def _until(ahead: int) -> str:
    return f"now+{format_duration(ahead)}" if ahead else "now"


def _timepicker(board: Board, settings: GrafanaSettings) -> builders.TimePicker:
    """Quick ranges up to what is kept, refreshes from the environment's own on."""
    ranges = [seconds for seconds in _RANGES if seconds < settings.data_kept] + [settings.data_kept]
    ahead = f" and {format_duration(board.ahead)} ahead" if board.ahead else ""
    return (
        builders.TimePicker()
        .refresh_intervals(
            [format_duration(s) for s in sorted({*_REFRESHES, settings.refresh}) if s >= settings.refresh]
        )
        .quick_ranges(
            [
                builders.TimeOption()
                .display(f"Last {format_duration(seconds)}{ahead}")
                .from_val(f"now-{format_duration(seconds)}")
                .to(_until(board.ahead))
                for seconds in ranges
            ]
        )
    )


def _variable(one: Variable) -> builders.QueryVariable | builders.CustomVariable:
    if one.options:
        text, value = next(iter(one.options.items()))
        return (
            builders.CustomVariable(one.name)
            .label(one.label)
            .description(one.description)
            .values(", ".join(f"{said} : {meant}" for said, meant in one.options.items()))
            .options(
                [
                    dash.VariableOption(selected=said == text, text=said, value=meant)
                    for said, meant in one.options.items()
                ]
            )
            .current(dash.VariableOption(selected=True, text=text, value=value))
            .multi(False)
        )
    return (
        builders.QueryVariable(one.name)
        .label(one.label)
        .description(one.description)
        .datasource(source())
        .query(one.query)
        .refresh(dash.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dash.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(ALL)
        .current(dash.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _annotation(one: Annotation) -> dict[str, Any]:
    """The SDK knows only half of what Grafana's Prometheus data source reads of an annotation."""
    known = dash.AnnotationQuery(name=one.name, datasource=source(), icon_color=one.color, expr=one.expr)
    document: dict[str, Any] = json.loads(json.dumps(known, cls=JSONEncoder))
    return document | {
        "titleFormat": one.title,
        "textFormat": one.text,
        "tagKeys": ",".join(one.tags),
        "step": "60s",
        "useValueForTime": False,
    }


def _other_dashboards() -> builders.DashboardLink:
    return (
        builders.DashboardLink("Dashboards")
        .type(dash.DashboardLinkType.DASHBOARDS)
        .icon("dashboard")
        .tags([TAG])
        .as_dropdown(True)
        .keep_time(False)
    )
