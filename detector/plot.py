"""Charts: the past of a frame, and the fan of its forecast.

Figures are made without pyplot: nothing global is touched, nothing has to be closed, and they show in a notebook as
they are.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import matplotlib as mpl
import numpy as np
from matplotlib import dates
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import Formatter, FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from detector.catalogue.durations import format_duration
from detector.wording import labels_text, level_text, probability_text, span_text, split_common, value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from detector.outlook import FrameForecast
    from detector.watched import Subject, WatchedFrame

Float = NDArray[np.float64]

BANDS = (0.5, 0.8, 0.95)
"""Shares of the paths inside the bands of a fan, the narrowest first."""
DAY = 86400.0
LINES = 8
"""Series in a chart of the past that get a colour and a name of their own."""
_PAST, _FUTURE, _LIMIT, _QUIET = "#26323d", "#1f6fb2", "#c0392b", "#6b7783"
_COLOURS = ("#1f6fb2", "#d98218", "#3a8f5c", "#8e5aa8", "#c0392b", "#5c6f82", "#b0a030", "#2aa1a8")
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.edgecolor": "#b8c0c8",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6eaee",
    "axes.axisbelow": True,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
    "text.color": _PAST,
    "axes.labelcolor": _QUIET,
    "legend.frameon": False,
}


class Chart(Figure):
    """A matplotlib figure that shows itself in a notebook; `savefig` writes it."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png")
        return out.getvalue()


@dataclass(frozen=True)
class _Warning:
    """What a fan says about the breach: the threshold's subject, P within the horizon, times to it in seconds."""

    subject: Subject
    probability: float
    times: Float


def fan_chart(
    forecast: FrameForecast, row: int, *, threshold: float | None = None, above: bool | None = None
) -> Figure:
    """The newest past of one series, the median and the 50, 80 and 95 % bands of its future, and the threshold.

    Raises ConfigError for a threshold that makes no sense.
    """
    frame = forecast.frame
    warning = None
    if threshold is not None or frame.subject.threshold is not None:
        breach, subject = forecast.find_breach(threshold, above)
        times = breach.time_to([0.1, 0.5, 0.9])[row]
        warning = _Warning(subject, float(breach.probability[row]), times)
    zone = _zone(frame.subject)
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas()
        past = frame.tail(max(30, forecast.horizon // frame.step))
        _draw_past(axes, past, row)
        outermost = _draw_fan(axes, forecast, row)
        shown = np.concatenate([past.values[row], *outermost])
        if warning is not None:
            _draw_threshold(axes, warning, frame.end, shown)
        axes.axvline(_day(frame.end), color=_QUIET, lw=0.8, ls=(0, (2, 2)))
        axes.annotate(
            "now", (_day(frame.end), 1), xycoords=("data", "axes fraction"), xytext=(4, -4),
            textcoords="offset points", va="top", color=_QUIET, size=9,
        )  # fmt: skip
        axes.set_xlim(_day(past.start), _day(frame.end + forecast.horizon))
        _finish(axes, frame.subject, zone)
        _head(figure, frame, row, _sentence(forecast, warning))
        figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower left", ncols=6, fontsize=9, handlelength=1.4
        )
    return figure


def history_chart(frame: WatchedFrame) -> Figure:
    """Every series of the frame as a line; the first few by name, and the threshold where there is one."""
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas()
        _, own = split_common(frame.labels)
        days = frame.times / DAY
        for row in range(frame.n):
            named = row < LINES and frame.n > 1
            colour = _COLOURS[row] if row < LINES else "#c3cad1"
            label = labels_text(own[row]) if named else None
            axes.plot(days, frame.values[row], color=colour, lw=1.0, label=label, zorder=2 if row < LINES else 1)
        if frame.subject.threshold is not None:
            subject = frame.subject
            _draw_threshold(axes, _Warning(subject, np.nan, np.full(3, np.inf)), frame.end, frame.values.ravel())
        axes.set_xlim(_day(frame.start), _day(frame.end))
        _finish(axes, frame.subject, _zone(frame.subject))
        _head(figure, frame, 0 if frame.n == 1 else None, None)
        if frame.n > 1:
            figure.legend(
                *axes.get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=8, handlelength=1.4
            )
    return figure


def _canvas() -> tuple[Figure, Axes]:
    figure = Chart(figsize=(10, 5), dpi=110, layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.1))
    return figure, figure.add_subplot()


def _draw_past(axes: Axes, past: WatchedFrame, row: int) -> None:
    axes.plot(past.times / DAY, past.values[row], color=_PAST, lw=0.9, label="observed", zorder=3)


def _draw_fan(axes: Axes, forecast: FrameForecast, row: int) -> tuple[Float, Float]:
    """Draw the bands and the median; the outermost quantiles."""
    sides = [((1 - band) / 2, (1 + band) / 2) for band in BANDS]
    wanted = [0.5, *(q for pair in sides for q in pair)]
    values = forecast.paths.quantile(wanted)[row]
    # a cell's value is its mean: it stands in the middle of the cell
    middle = forecast.paths.times - np.diff(forecast.paths.offsets, prepend=0.0) / 2
    days = middle / DAY
    for number, band in enumerate(BANDS):
        low, high = values[1 + 2 * number], values[2 + 2 * number]
        shade = (0.42, 0.26, 0.14)[number]
        axes.fill_between(
            days, low, high, color=_FUTURE, alpha=shade, lw=0, label=f"{100 * band:.0f} % band", zorder=2 - number / 10
        )
    axes.plot(days, values[0], color=_FUTURE, lw=1.6, label="median forecast", zorder=4)
    return values[-2], values[-1]


def _draw_threshold(axes: Axes, warning: _Warning, origin: int, shown: Float) -> None:
    """Draw the threshold, if it is not far from everything else, and when the series is expected to cross it."""
    subject = warning.subject
    level = subject.threshold
    if level is None or not np.isfinite(shown).any():
        return
    low, high = np.nanmin(shown), np.nanmax(shown)
    side = "above" if subject.above else "below"
    room = 1.5 * (high - low) if high > low else np.inf
    if level > high + room or level < low - room:
        far = "beyond the upper" if level > high else "beyond the lower"
        axes.annotate(
            f"threshold {level_text(level, subject.unit)} is {far} edge", (0.01, 0.97 if level > high else 0.03),
            xycoords="axes fraction", va="top" if level > high else "bottom", color=_LIMIT, size=9,
        )  # fmt: skip
        return
    axes.axhline(level, color=_LIMIT, lw=1.2, ls=(0, (5, 3)), zorder=3)
    axes.annotate(
        f"breach: {side} {level_text(level, subject.unit)}", (0, level), xycoords=("axes fraction", "data"),
        xytext=(6, 4 if subject.above else -4), textcoords="offset points",
        va="bottom" if subject.above else "top", color=_LIMIT, size=9,
    )  # fmt: skip
    _draw_arrival(axes, warning, origin, level)


def _draw_arrival(axes: Axes, warning: _Warning, origin: int, level: float) -> None:
    early, middle, late = warning.times
    if not np.isfinite(middle):
        return
    zone = _zone(warning.subject)
    if np.isfinite(early) and np.isfinite(late):
        span = [_day(origin + early), _day(origin + late)]
        axes.plot(span, [level, level], color=_LIMIT, lw=5, alpha=0.45, solid_capstyle="butt", zorder=5)
    axes.plot([_day(origin + middle)], [level], "o", ms=8, color=_LIMIT, mec="white", mew=1.2, zorder=6)
    clock = datetime.fromtimestamp(origin + middle, UTC).astimezone(zone).strftime("%a %H:%M")
    text = "in breach now" if middle < 1 else f"{clock}, in {span_text(middle)}"
    axes.annotate(
        text, (_day(origin + middle), level), xytext=(10, -10 if warning.subject.above else 10),
        textcoords="offset points", va="top" if warning.subject.above else "bottom", color=_LIMIT, weight="bold",
        bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.8}, zorder=7,
    )  # fmt: skip


def _sentence(forecast: FrameForecast, warning: _Warning | None) -> str:
    """What the chart says, in one line."""
    ahead = format_duration(forecast.horizon)
    if warning is None or warning.subject.threshold is None:
        return f"forecast {ahead} ahead"
    if np.isnan(warning.probability):
        return "no forecast"
    side = "above" if warning.subject.above else "below"
    level = level_text(warning.subject.threshold, warning.subject.unit)
    odds = probability_text(warning.probability)
    said = f"P({side} {level} within {ahead}) {odds if odds[0] in '<>' else f'= {odds}'}"
    early, middle, late = (span_text(t) if np.isfinite(t) else f"beyond {ahead}" for t in warning.times)
    if not np.isfinite(warning.times[1]):
        return said
    if warning.times[1] < 1:
        return f"{said}; in breach now"
    return f"{said}; median time to breach {middle} (p10 {early}, p90 {late})"


def _head(figure: Figure, frame: WatchedFrame, row: int | None, sentence: str | None) -> None:
    """Title: the name, then the labels, then what it says, each its own line and weight."""
    name = frame.subject.name or "forecast"
    common, _ = split_common(frame.labels)
    labels = labels_text(frame.labels[row] if row is not None else common) if frame.n else ""
    labels = f"{frame.n} series" if labels == "all" and frame.n > 1 else labels
    axes = figure.axes[0]
    lines = [line for line in (_shorten(labels, 120) if labels != "all" else "", sentence or "") if line]
    axes.set_title(_shorten(name, 90), loc="left", weight="bold", size=13, pad=10 + 15 * len(lines))
    for number, line in enumerate(reversed(lines)):
        axes.annotate(
            line, (0, 1), xycoords="axes fraction", xytext=(0, 8 + 15 * number), textcoords="offset points",
            size=9.5, color=_PAST if line == sentence else _QUIET, annotation_clip=False,
        )  # fmt: skip


def _finish(axes: Axes, subject: Subject, zone: tzinfo) -> None:
    locator = dates.AutoDateLocator(tz=zone, minticks=4, maxticks=9)
    day = "%a %d %b"  # the weekday, as the breach is told
    formatter = dates.ConciseDateFormatter(
        locator,
        tz=zone,
        formats=["%Y", "%b %Y", day, "%H:%M", "%H:%M", "%H:%M:%S"],
        zero_formats=["%Y", "%Y", day, day, "%H:%M", "%H:%M"],
        show_offset=False,
    )
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    first, last = axes.get_xlim()
    date = dates.num2date(last, zone).strftime("%Y" if last - first > 1 else "%a %d %b %Y")  # the ticks have the rest
    clock = subject.timezone or f"local time ({datetime.now(zone).tzname()})"
    axes.set_xlabel(f"{clock}, {date}", loc="left", size=9)
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(_unit_formatter(subject.unit))
    if subject.unit not in ("ratio", "percent", "bytes", "per_second", ""):
        axes.set_ylabel(subject.unit.replace("_", " "))
    axes.margins(y=0.08)


def _unit_formatter(unit: str) -> Formatter:
    if unit == "ratio":
        return FuncFormatter(lambda value, _: f"{100 * value:.4g} %")
    if unit == "percent":
        return FuncFormatter(lambda value, _: f"{value:.4g} %")
    return FuncFormatter(lambda value, _: value_text(value, unit if unit in ("bytes", "per_second") else ""))


def _zone(subject: Subject) -> tzinfo:
    if subject.timezone is not None:
        return ZoneInfo(subject.timezone)
    return datetime.now(UTC).astimezone().tzinfo or UTC


def _day(seconds: float) -> float:
    """Unix seconds as matplotlib counts days."""
    return float(seconds) / DAY


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
