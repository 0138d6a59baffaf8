"""Panels of each kind, with everything a reader needs: title, description, unit, thresholds, legend."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import bargauge, heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.cog import builder as cog
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as dash
from grafana_foundation_sdk.models import heatmap as heat_models
from grafana_foundation_sdk.models import prometheus as prom

from detector.render.grafana.fields import override
from detector.render.grafana.words import GOOD, Steps

PROMETHEUS_UID = "prometheus"
"""The data source every panel asks."""
_TYPE = "prometheus"
_IDS = 2**31 - 1
"""Grafana's panel ids are 32 bits with a sign."""


@dataclass(frozen=True)
class Target:
    """One PromQL expression of a panel, and how its series are called."""

    expr: str
    legend: str = ""
    instant: bool = False
    heat: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a table: the field it comes from, its name, unit and thresholds."""

    of: str
    name: str
    unit: str = "short"
    steps: Steps = field(default_factory=list)
    mappings: tuple[dash.ValueMapping, ...] = ()


@dataclass(frozen=True)
class View:
    """What stands on a dashboard: a panel without a place yet.

    `key` names it within its dashboard for ever: the panel's id follows from it.
    """

    key: str
    title: str
    description: str
    panel: dash.Panel
    width: int = 8
    height: int = 8
    queries: tuple[str, ...] = field(default=())
    """The catalogue's queries it shows."""


def source() -> dash.DataSourceRef:
    """The Prometheus of the environment."""
    return dash.DataSourceRef(type_val=_TYPE, uid=PROMETHEUS_UID)


def stable_id(key: str) -> int:
    """A panel's id: follows from its key alone, so that a new neighbour changes no link to it."""
    return zlib.crc32(key.encode()) % _IDS + 1


def chart(
    targets: Sequence[Target],
    unit: str,
    steps: Steps,
    *,
    bars: bool = False,
    stacked: bool = False,
    overrides: Sequence[dash.DashboardFieldConfigSourceOverrides] = (),
    calcs: Sequence[str] = ("lastNotNull", "min", "max"),
) -> dash.Panel:
    """Lines over time; thresholds as dashed lines where there are any."""
    made = (
        timeseries.Panel()
        .unit(unit)
        .thresholds(_thresholds(steps))
        .thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(
                common.GraphThresholdsStyleMode.DASHED if len(steps) > 1 else common.GraphThresholdsStyleMode.OFF
            )
        )
        .line_width(1)
        .fill_opacity(60 if bars else 0)
        .draw_style(common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(list(calcs))
        )
        .tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
    )
    if stacked:
        made.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    panel = _with_targets(made, targets)
    return _overridden(panel, overrides)


def number(
    targets: Sequence[Target],
    unit: str,
    steps: Steps,
    *,
    mappings: Sequence[dash.ValueMapping] = (),
    decimals: int | None = None,
    named: bool = False,
) -> dash.Panel:
    """The newest value in large digits on its colour; ``named`` shows the series' names beside."""
    made = (
        stat.Panel()
        .unit(unit)
        .thresholds(_thresholds(steps))
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME if named else common.BigValueTextMode.VALUE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .mappings(list(mappings))
        .no_value("no data")
    )
    if decimals is not None:
        made.decimals(decimals)
    return _with_targets(made, targets)


def bars(
    targets: Sequence[Target], unit: str, steps: Steps, *, least: float | None = None, most: float | None = None
) -> dash.Panel:
    """One horizontal bar for each series."""
    made = (
        bargauge.Panel()
        .unit(unit)
        .thresholds(_thresholds(steps))
        .display_mode(common.BarGaugeDisplayMode.GRADIENT)
        .orientation(common.VizOrientation.HORIZONTAL)
        .value_mode(common.BarGaugeValueMode.COLOR)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .no_value("no data")
    )
    if least is not None:
        made.min(least)
    if most is not None:
        made.max(most)
    return _with_targets(made, targets)


def heat(target: Target, unit: str) -> dash.Panel:
    """The buckets of a histogram over time."""
    made = (
        heatmap.Panel()
        .calculate(False)
        .unit("short")
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(heatmap.HeatmapColorOptions().mode(heat_models.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .cell_gap(1)
        .show_legend()
        .mode(common.TooltipDisplayMode.SINGLE)
        .thresholds(_thresholds([(None, GOOD)]))
    )
    return _with_targets(made, [target])


def states(targets: Sequence[Target], mappings: Sequence[dash.ValueMapping], steps: Steps) -> dash.Panel:
    """One band a series, in the colour of the state it was in."""
    made = (
        statetimeline.Panel()
        .unit("short")
        .thresholds(_thresholds(steps))
        .mappings(list(mappings))
        .merge_values(True)
        .show_value(common.VisibilityMode.NEVER)
        .row_height(0.8)
        .fill_opacity(70)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs([])
        )
    )
    return _with_targets(made, targets)


def rows(
    targets: Sequence[Target],
    columns: Sequence[Column],
    *,
    hidden: Sequence[str] = (),
    sort: str | None = None,
    descending: bool = True,
) -> dash.Panel:
    """A table: one line for each set of labels, one column for each target."""
    made = (
        table.Panel()
        .unit("short")
        .thresholds(_thresholds([(None, GOOD)]))
        .show_header(True)
        .cell_height(common.TableCellHeight.SM)
        .no_value("no data")
    )
    if len(targets) > 1:
        made.with_transformation(dash.DataTransformerConfig(id_val="merge", options={}))
    made.with_transformation(
        dash.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": dict.fromkeys(("Time", *hidden), True),
                "renameByName": {column.of: column.name for column in columns if column.of != column.name},
            },
        )
    )
    if sort is not None:
        made.sort_by([_sorting(sort, descending)])
    panel = _with_targets(made, targets, tabular=True)
    return _overridden(panel, [_column_override(column) for column in columns])


def _thresholds(steps: Steps) -> dashboard_builders.ThresholdsConfig:
    return (
        dashboard_builders.ThresholdsConfig()
        .mode(dash.ThresholdsMode.ABSOLUTE)
        .steps([dash.Threshold(value=value, color=colour) for value, colour in steps])
    )


def _with_targets(made: cog.Builder[dash.Panel], targets: Sequence[Target], *, tabular: bool = False) -> dash.Panel:
    panel = made.build()
    panel.datasource = source()
    panel.targets = [_query(target, place, tabular=tabular) for place, target in enumerate(targets)]
    return panel


def _query(target: Target, place: int, *, tabular: bool) -> prom.Dataquery:
    query = (
        prometheus_builders.Dataquery()
        .expr(target.expr)
        .ref_id(chr(ord("A") + place))
        .editor_mode(prom.QueryEditorMode.CODE)
        .legend_format(target.legend)
        .datasource(source())
    )
    if target.heat:
        query.format(prom.PromQueryFormat.HEATMAP)
    elif tabular:
        query.format(prom.PromQueryFormat.TABLE)
    else:
        query.format(prom.PromQueryFormat.TIME_SERIES)
    return (query.instant() if target.instant or tabular else query.range()).build()


def _overridden(panel: dash.Panel, overrides: Sequence[dash.DashboardFieldConfigSourceOverrides]) -> dash.Panel:
    if panel.field_config is not None:
        panel.field_config.overrides = list(overrides)
    return panel


def _column_override(column: Column) -> dash.DashboardFieldConfigSourceOverrides:
    properties: dict[str, object] = {"unit": column.unit}
    if len(column.steps) > 1:
        properties["thresholds"] = {
            "mode": "absolute",
            "steps": [{"value": value, "color": colour} for value, colour in column.steps],
        }
        properties["custom__cellOptions"] = {"type": "color-text"}
    if column.mappings:
        properties["mappings"] = list(column.mappings)
    return override("byName", column.name, **properties)


def _sorting(name: str, descending: bool) -> cog.Builder[common.TableSortByFieldState]:
    return common_builders.TableSortByFieldState().display_name(name).desc(descending)
