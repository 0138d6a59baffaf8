"""Why a forecast is what it is: its parts, and what the methods behind it say, as tables.

H cells, n series; one series at a time, in its own unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector.catalogue.durations import format_duration

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Group

    from detector.outlook import FrameForecast

NOW = "now"
TELLING = 0.01
"""The least weight at some horizon of a method worth a line."""


def parts_table(forecast: FrameForecast, row: int) -> pd.DataFrame:
    """What the median of one series is made of: a row for each part, a column for now and for each horizon.

    The parts of a column add up to its last row, `forecast` (`now`: the last value): `level`, where the series is
    without its rhythm; `rhythm of …`, for each season; `trend`; `rest`, whatever else it is.
    """
    import pandas as pd

    found = forecast.explanation
    cells = [forecast.paths.at(seconds) for seconds in forecast.horizons]
    now = float(forecast.frame.now[row])
    level = float(found.level[row])
    parts: dict[str, list[float]] = {"level": [level] * (1 + len(cells))}
    for s, season in enumerate(found.seasons[row]):
        if season:
            name = f"rhythm of {format_duration(int(season))}"
            parts[name] = [float(found.seasonal_now[row, s]), *(float(found.seasonal[row, s, cell]) for cell in cells)]
    parts["trend"] = [0.0, *(float(found.trend[row, cell]) for cell in cells)]
    known = sum(part[0] for part in parts.values())
    parts["rest"] = [now - known, *(float(found.rest[row, cell]) for cell in cells)]
    parts["forecast"] = [now, *(float(found.median[row, cell]) for cell in cells)]
    columns = [NOW, *(format_duration(seconds) for seconds in forecast.horizons)]
    return pd.DataFrame.from_dict(parts, orient="index", columns=columns)


def methods_table(forecast: FrameForecast, row: int) -> pd.DataFrame:
    """What each method forecasts for one series at each horizon, and its weight there, the weightiest first."""
    import pandas as pd

    found = forecast.explanation
    columns: dict[tuple[str, str], list[float]] = {}
    for seconds in forecast.horizons:
        cell, name = forecast.paths.at(seconds), format_duration(seconds)
        columns[name, "weight"] = found.weights[row, :, cell].tolist()
        columns[name, "forecast"] = found.said[row, :, cell].tolist()
    table = pd.DataFrame(columns, index=list(found.members))
    cells = [forecast.paths.at(seconds) for seconds in forecast.horizons]
    weight = found.weights[row][:, cells].max(axis=1)
    order = np.argsort(-weight, kind="stable")
    telling: pd.DataFrame = table.iloc[order[weight[order] >= TELLING]]
    return telling


def parts_report(forecast: FrameForecast, row: int) -> Group:
    """The parts of one series for the terminal."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from detector.wording import labels_text, value_text

    parts = parts_table(forecast, row)
    unit = forecast.frame.subject.unit
    series = labels_text(forecast.frame.labels[row]) if forecast.frame.labels[row] else "the series"
    table = Table("part", box=box.SIMPLE_HEAD)
    for column in parts.columns:
        table.add_column(column if column == NOW else f"in {column}", justify="right")
    for name, values in parts.iterrows():
        if name == "forecast":
            table.add_section()
        table.add_row(str(name), *(value_text(float(value), unit) for value in values))
    return Group(Text(f"What the median forecast of {series} is made of:"), table)
