"""A forecast of a watched frame, as tables: quantiles and breaches.

n series, K paths, H cells. Times to a breach are read off its probability, so the two never contradict each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detector.catalogue.durations import format_duration
from detector.errors import ConfigError, DetectorError, Problem
from detector.frame import series_index
from detector.verdict import STALE_STEPS, DataState
from detector.watched import Series, Subject, WatchedFrame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from models import Breach, Forecast, Forecaster
    from models.explain import Explanation

TIME_QUANTILES = (0.1, 0.5, 0.9)
_NO_THRESHOLD = (
    "there is no threshold: give breach(threshold=…, above=True or False), forecast(objective={'below': …}), "
    "or fetch a query of the catalogue that has an objective"
)


@dataclass(frozen=True, eq=False)
class FrameForecast:
    """The future of every series of a frame.

    `frame` is the past it was made from, `paths` the engine's own `models.Forecast` (numpy, [n, Q, H]),
    `horizon` how far it looks, in seconds, `engine` the `models.Forecaster` that made it.
    """

    frame: WatchedFrame
    paths: Forecast
    horizon: int
    engine: Forecaster

    def __repr__(self) -> str:
        return f"<forecast of {self.frame!r}, {format_duration(self.horizon)} ahead>"

    @cached_property
    def states(self) -> list[DataState]:
        """What can be said about each series, n of them: ok, stale, insufficient_history or no_data."""
        there = np.isfinite(self.frame.values)
        fresh = np.any(there[:, -STALE_STEPS - 1 :], axis=1)
        return [
            DataState.STALE if state == "ok" and not new else DataState(str(state))
            for state, new in zip(self.paths.state, fresh, strict=True)
        ]

    @property
    def horizons(self) -> tuple[int, ...]:
        """The horizons of the tables, in seconds: the subject's that are shorter, and the one asked for."""
        return (*(h for h in self.frame.subject.horizons if self.frame.step <= h < self.horizon), self.horizon)

    def quantile(self, quantiles: Sequence[float] = TIME_QUANTILES) -> pd.DataFrame:
        """Quantiles of every series as a DataFrame: UTC times down, a column for each series and quantile.

        The columns are the series' labels and the level `quantile`; `.values` is the array [H, n * Q]. The rows
        get wider apart with the horizon (a step, then 5 minutes, then an hour); NaN is no forecast.

        Raises ConfigError for a quantile outside 0 to 1.
        """
        import pandas as pd

        try:
            values = self.paths.quantile(list(quantiles))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        index = pd.to_datetime(np.asarray(self.paths.times, np.int64), unit="s", utc=True)
        index.name = "time"
        names = self.frame.label_names
        rows = [
            (*(labels.get(name, "") for name in names), float(quantile))
            for labels in self.frame.labels
            for quantile in quantiles
        ]
        own = [f"exported_{name}" if name == "quantile" else name for name in names]
        columns = pd.MultiIndex.from_tuples(rows, names=[*own, "quantile"])
        return pd.DataFrame(values.reshape(-1, values.shape[2]).T, index=index, columns=columns)

    def find_breach(
        self, threshold: float | None = None, above: bool | None = None, run: int | None = None
    ) -> tuple[Breach, Subject]:
        """When each series breaks the threshold, as the engine's own `Breach`, and the subject with that threshold.

        Raises ConfigError where there is no threshold, or it makes no sense.
        """
        subject = self.frame.subject
        level = subject.threshold if threshold is None else float(threshold)
        if level is None:
            raise ConfigError(_NO_THRESHOLD)
        subject = replace(
            subject,
            threshold=level,
            above=subject.above if above is None else above,
            run=subject.run if run is None else run,
        )
        check_threshold(subject)
        try:
            return self.paths.breach(level, above=subject.above, run=subject.run), subject
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def breach(self, threshold: float | None = None, above: bool | None = None, run: int | None = None) -> pd.DataFrame:
        """Will the threshold be broken, and when? One row for each series, in the frame's order.

        `above` True: a breach is a value above the threshold; `run`: so many points in a row. What is not given
        comes from the catalogue. Columns: `state`, `now`, `threshold`, `probability_<horizon>` for every horizon,
        and `time_to_breach_p10`, `_p50`, `_p90` (timedelta; NaT where the breach is less probable than that).

        Raises ConfigError where there is no threshold, or it lies outside the bounds of the data.
        """
        import pandas as pd

        breach, subject = self.find_breach(threshold, above, run)
        probability = breach.probability_within(list(self.horizons))
        time_to = breach.time_to(list(TIME_QUANTILES))
        table: dict[str, Any] = {
            "state": [str(state) for state in self.states],
            "now": self.frame.now,
            "threshold": np.full(self.frame.n, subject.threshold),
        }
        for column, horizon in enumerate(self.horizons):
            table[f"probability_{format_duration(horizon)}"] = probability[:, column]
        for column, quantile in enumerate(TIME_QUANTILES):
            table[f"time_to_breach_p{quantile * 100:.0f}"] = _timedelta(time_to[:, column])
        return pd.DataFrame(table, index=series_index(self.frame.labels, self.frame.label_names))

    @cached_property
    def order(self) -> list[int]:
        """Rows, the most worrying first: by probability, then by time to breach; as they are without a threshold."""
        rows = list(range(self.frame.n))
        if self.frame.subject.threshold is None:
            return rows
        breach, _ = self.find_breach()
        probability = np.nan_to_num(breach.probability, nan=-1.0)
        soonest = breach.time_to([0.5], conditional=True)[:, 0]
        return sorted(rows, key=lambda row: (-probability[row], np.nan_to_num(soonest[row], nan=np.inf), row))

    @cached_property
    def explanation(self) -> Explanation:
        """The parts of every series, as the engine's own arrays."""
        return self.engine.explain()

    def explain(self, series: Series | None = None) -> pd.DataFrame:
        """What the median of one series is made of: level, rhythms, trend, rest; now and at each horizon.

        `series`: a row, labels, or (not given) the most worrying one. The parts of a column add up to its last row.
        """
        from detector.explained import parts_table

        return parts_table(self, self.order[0] if series is None else self.frame.row(series))

    def methods(self, series: Series | None = None) -> pd.DataFrame:
        """What each method of the ensemble forecasts for one series, and its weight, the weightiest first.

        A slide or a ramp that was found comes on top of what they say: it is the trend of `explain`.
        """
        from detector.explained import methods_table

        return methods_table(self, self.order[0] if series is None else self.frame.row(series))

    def plot(
        self, series: Series | None = None, *, threshold: float | None = None, above: bool | None = None
    ) -> Figure:
        """Draw the fan chart of one series: by row, by labels, or (not given) the most worrying one."""
        from detector.plot import fan_chart

        row = self.order[0] if series is None else self.frame.row(series)
        return fan_chart(self, row, threshold=threshold, above=above)


def forecast_frame(
    frame: WatchedFrame, horizon: int, seed: int = 0, members: Sequence[str] | None = None
) -> FrameForecast:
    """Fit the engine on the frame and forecast. Raises as `WatchedFrame.forecast` does."""
    from models import Forecaster
    from models.forecaster import MIN_POINTS

    _check(frame, horizon)
    _check_members(members)
    points = int(np.isfinite(frame.values).sum(axis=1).max(initial=0))
    if points < MIN_POINTS:
        raise DetectorError(
            f"too little history for {frame.subject.name or 'a forecast'}: expected at least {MIN_POINTS} points in a "
            f"series, got {points} at step {format_duration(frame.step)}; take a longer window or a smaller step, "
            "or wait until there is more"
        )
    engine = Forecaster(step=frame.step, horizon=horizon, bounds=frame.subject.bounds, seed=seed, members=members)
    engine.fit(frame.values, frame.start)
    return FrameForecast(frame, engine.forecast(), horizon, engine)


def _check_members(members: Sequence[str] | None) -> None:
    from models.registry import MEMBERS, REFERENCE_MEMBERS, chosen

    known = MEMBERS | REFERENCE_MEMBERS
    try:
        chosen(members)
    except ValueError:
        if isinstance(members, str) or not members:
            want, got = "a list of different names such as ['ets', 'ridge']", repr(members)
        else:
            strange = [name for name in members if name not in known]
            want = f"different names out of {', '.join(known)}"
            got = ", ".join(map(repr, strange or members))
        raise ConfigError(Problem("", key="members", expected=want, got=got)) from None


def _check(frame: WatchedFrame, horizon: int) -> None:
    low, high = frame.subject.bounds
    if low is not None and high is not None and low >= high:
        raise ConfigError(Problem("", key="bounds", expected="(low, high) with low < high", got=f"({low:g}, {high:g})"))
    if horizon < frame.step or horizon % frame.step:
        fewer = horizon // frame.step * frame.step
        near = " or ".join(format_duration(one) for one in (fewer, fewer + frame.step) if one)
        want = f"a multiple of the step {format_duration(frame.step)} (such as {near}), or a step that divides it"
        raise ConfigError(Problem("", key="horizon", expected=want, got=format_duration(horizon)))
    check_threshold(frame.subject)


def check_threshold(subject: Subject) -> None:
    """Raise ConfigError where no value could ever be on both sides of the threshold, or a run has no points."""
    low, high = subject.bounds
    level = subject.threshold
    if subject.run < 1:
        raise ConfigError(Problem("", key="run", expected="1 or more points in a row", got=f"{subject.run}"))
    if level is None:
        return
    if not np.isfinite(level) and low is None and high is None:
        raise ConfigError(Problem("", key="threshold", expected="a finite number", got=f"{level}"))
    if (low is None or level >= low) and (high is None or level <= high):
        return
    want = f"a value within [{'-inf' if low is None else f'{low:g}'}, {'inf' if high is None else f'{high:g}'}]"
    hint = f" (the unit is {subject.unit})" if subject.unit else ""
    raise ConfigError(Problem("", query=subject.name, key="threshold", expected=want + hint, got=f"{level:g}"))


def _timedelta(seconds: NDArray[np.float64]) -> NDArray[np.timedelta64]:
    never = ~np.isfinite(seconds)
    whole = np.where(never, 0, seconds).round().astype("timedelta64[s]")
    whole[never] = np.timedelta64("NaT")
    return whole
