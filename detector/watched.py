"""A frame that knows what it is about, and so can be forecast, checked for anomalies and drawn.

n series, T columns. `SeriesFrame` is the arrays; `Subject` is what the catalogue, or the user, says about them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.catalogue.durations import format_duration, parse_duration
from detector.errors import ConfigError, DetectorError, Problem
from detector.frame import SeriesFrame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from detector.catalogue.schema import Query
    from detector.outlook import FrameForecast

Duration = str | int | timedelta
"""`24h`, seconds, or a timedelta."""
Bounds = tuple[float | None, float | None]
Series = int | Mapping[str, str]
"""A series by its row, or by labels that only it has."""
_LISTED = 12
"""Names or values that an error lists; the others are counted."""


@dataclass(frozen=True)
class Subject:
    """What a frame is about. A breach is `run` points in a row `above` (or else below) the `threshold`."""

    name: str = ""
    expr: str = ""
    unit: str = ""
    threshold: float | None = None
    above: bool = True
    run: int = 1
    bounds: Bounds = (None, None)
    horizons: tuple[int, ...] = (3600, 86400, 7 * 86400)
    direction: str = "both"
    timezone: str | None = None

    @classmethod
    def of_query(cls, query: Query, timezone: str) -> Subject:
        """What the catalogue says about one of its queries."""
        above = query.breach_above if query.objective is not None else True
        return cls(
            query.name, query.expr, query.unit, query.threshold, above, query.breach.run, query.data_range,
            query.horizons, query.detection_direction, timezone,
        )  # fmt: skip

    def with_objective(self, objective: Mapping[str, float] | None) -> Subject:
        """The same with another objective in the catalogue's words: `{"above": 0.93}` is good above 0.93.

        Raises ConfigError for other words.
        """
        if objective is None:
            return self
        if not isinstance(objective, Mapping) or len(objective) != 1 or not set(objective) <= {"above", "below"}:
            raise ConfigError(Problem("", key="objective", expected="{'above': x} or {'below': x}", got=f"{objective}"))
        side, level = next(iter(objective.items()))
        return replace(self, threshold=float(level), above=side == "below")


@dataclass(frozen=True, eq=False, repr=False)
class WatchedFrame(SeriesFrame):
    """A `SeriesFrame` with a `Subject`.

    >>> frame = WatchedFrame(np.arange(6.0)[None], ({"disk": "a"},), 0, 3600, Subject("usage", unit="percent"))
    >>> frame.tail(2)
    <usage: 1 series x 2 points, every 1h, 1970-01-01 04:00 to 1970-01-01 05:00 UTC>
    """

    subject: Subject = field(default_factory=Subject)

    @classmethod
    def of(cls, frame: SeriesFrame, subject: Subject) -> WatchedFrame:
        """The same arrays, with a subject."""
        return cls(frame.values, frame.labels, frame.start, frame.step, subject)

    @classmethod
    def from_pandas(
        cls, data: pd.DataFrame | pd.Series[Any], step: int | None = None, subject: Subject | None = None
    ) -> WatchedFrame:
        """A DataFrame with a time index (naive times are UTC) as a frame; see `SeriesFrame.from_pandas`.

        Raises DetectorError where the index is not time, or not on a grid.
        """
        try:
            return cls.of(SeriesFrame.from_pandas(data, step), subject or Subject())
        except ValueError as error:
            raise DetectorError(f"{error}; resample it first, for example data.resample('5min').mean()") from error

    def __repr__(self) -> str:
        times = [np.datetime64(int(t), "s").item().strftime("%Y-%m-%d %H:%M") for t in (self.start, self.end)]
        grid = f"every {format_duration(self.step)}, {times[0]} to {times[1]} UTC"
        return f"<{self.subject.name or 'frame'}: {self.n} series x {self.T} points, {grid}>"

    def tail(self, columns: int) -> WatchedFrame:
        """The last `columns` columns; all of them where there are fewer."""
        return self.of(super().tail(columns), self.subject)

    def slice_time(self, start: int, end: int) -> WatchedFrame:
        """The columns with `start <= time <= end`, in unix seconds."""
        return self.of(super().slice_time(start, end), self.subject)

    def select(self, rows: Any) -> WatchedFrame:
        """The chosen series: indices, a boolean mask over n, or labels they all have (empty: no such label).

        Raises DetectorError where no series has the labels; of a frame without series all that is chosen is none.
        """
        if isinstance(rows, Mapping):
            wanted, rows = rows, [row for row, labels in enumerate(self.labels) if _has(labels, rows)]
            if self.n and not rows:
                raise DetectorError(_why_no_series(self.labels, wanted))
        return self.of(super().select(rows), self.subject)

    def row(self, series: Series) -> int:
        """The row of one series.

        Raises DetectorError where no series, or more than one, has the labels.
        """
        if isinstance(series, Mapping):
            rows = [row for row, labels in enumerate(self.labels) if _has(labels, series)]
        else:
            rows = [series % self.n] if -self.n <= series < self.n else []
        if len(rows) != 1:
            from detector.wording import labels_text

            known = "; ".join(labels_text(one) for one in self.labels[:8]) + ("; …" if self.n > 8 else "")
            fit = "none fits" if not rows else f"{len(rows)} fit"
            raise DetectorError(
                f"expected the row or the labels of one series, got {series!r}: {fit} of the {self.n}: {known}"
            )
        return rows[0]

    def forecast(
        self, horizon: Duration = "24h", *, bounds: Bounds | None = None,
        objective: Mapping[str, float] | None = None, seed: int = 0, members: Sequence[str] | None = None,
    ) -> FrameForecast:  # fmt: skip
        """Forecast every series from its last column on.

        Parameters
        ----------
        horizon
            How far: `24h`, seconds or a timedelta.
        bounds
            (lowest, highest) value there can be, either may be None; the catalogue's where not given.
        objective
            What is good, as in the catalogue: `{"above": 0.93}` or `{"below": 80}`.
        members
            Names of the forecasting methods to combine, `["ets", "ridge"]`; by default the whole ensemble.

        Raises:
        ------
        DetectorError
            No series has enough points; the message says how many are needed.
        ConfigError
            A horizon, bounds, objective or member that makes no sense.
        """
        from detector.outlook import forecast_frame

        subject = self.subject.with_objective(objective)
        subject = subject if bounds is None else replace(subject, bounds=bounds)
        return forecast_frame(self.of(self, subject), seconds_of(horizon, "horizon"), seed, members)

    def scores(self, last: Duration = "24h") -> pd.DataFrame:
        """Anomaly scores of the newest points, shaped as `to_pandas`: 1 and more is anomalous, NaN is a gap.

        Learned from the points before `last`, which should be several times as many.
        """
        from detector.anomalies import score_frame

        return score_frame(self, seconds_of(last, "last")).to_pandas()

    def anomalies(self, last: Duration = "24h") -> pd.DataFrame:
        """Every anomaly of the newest points, worst first: when, for how long, how far from expected.

        One row for each stretch of points that score 1 or more, by the series' labels: `start`, `end`, `points` (that
        score so), `score` (the highest) and `value` (the series' value at the start). A value that comes back to
        normal is a surprise too, so that a spike lasts until the series has settled.
        """
        from detector.anomalies import anomaly_table

        return anomaly_table(self, seconds_of(last, "last"))

    def plot(self, last: Duration | None = None) -> Figure:
        """Draw the series (or their newest part) as lines, with the threshold."""
        from detector.plot import history_chart

        columns = self.T if last is None else max(2, seconds_of(last, "last") // self.step)
        return history_chart(self.tail(columns))


def seconds_of(duration: Duration, what: str) -> int:
    """Whole seconds of a duration. Raises ConfigError for anything that is none, or not positive.

    >>> seconds_of("90m", "window")
    5400
    """
    if isinstance(duration, timedelta):
        seconds: int | None = int(duration.total_seconds())
    else:
        seconds = parse_duration(duration) if isinstance(duration, str) else int(duration)
    if seconds is None or seconds < 1:
        raise ConfigError(Problem("", key=what, expected="a duration such as 30m, 24h or 7d", got=f"{duration!r}"))
    return seconds


def _has(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(name, "") == value for name, value in wanted.items())


def _why_no_series(labels: Sequence[Mapping[str, str]], wanted: Mapping[str, str]) -> str:
    """What is wrong with labels that no series has: a name, a value, or that they are nowhere together."""
    for name, value in wanted.items():
        values = sorted({one.get(name, "") for one in labels})
        if value in values:
            continue
        if values == [""]:
            known = sorted({known for one in labels for known in one})
            return f"expected a label of these series, one of {_listed(known)}, got {name!r}{_nearest(name, known)}"
        return f"expected {name} to be one of {_listed(values)}, got {value!r}{_nearest(value, values)}"
    from detector.wording import labels_text

    return (
        f"expected labels that one of the {len(labels)} series has, got {labels_text(wanted)}: none has them together"
    )


def _listed(words: Sequence[str]) -> str:
    return ", ".join(map(repr, words[:_LISTED])) + (f" and {len(words) - _LISTED} more" if len(words) > _LISTED else "")


def _nearest(word: object, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(word), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
