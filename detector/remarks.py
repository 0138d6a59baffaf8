"""What the results of a cycle leave a user to wonder: why there is no forecast, or why it sticks to a bound."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from detector.catalogue.durations import format_duration
from detector.reasons import reason
from detector.verdict import DataState
from detector.wording import span_text

if TYPE_CHECKING:
    from detector.cycle import CycleResult

log = logging.getLogger(__name__)

SLACK = 0.01
"""Of the width of `data_range`: so far beyond it a value is a measuring error and no wrong unit."""


class RangeWatch:
    """Tells the log once of each query that has values outside its `data_range`."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def look(self, result: CycleResult) -> None:
        """Tell of a result, if it has something new."""
        said = outside_range(result)
        if said is not None and result.query.name not in self._told:
            self._told.add(result.query.name)
            log.warning(said, extra=result.about)


def outside_range(result: CycleResult) -> str | None:
    """What to say of newest values that the query's `data_range` rules out; None where there are none."""
    low, high = result.query.data_range
    slack = SLACK * (high - low) if low is not None and high is not None else 0.0
    values = result.now[np.isfinite(result.now)]
    below = values < low - slack if low is not None else np.zeros(len(values), bool)
    above = values > high + slack if high is not None else np.zeros(len(values), bool)
    outside = values[below | above]
    if not outside.size:
        return None
    return (
        f"{outside.size} of {len(result.now)} series {'is' if outside.size == 1 else 'are'} outside data_range "
        f"[{_bound(low)}, {_bound(high)}] (unit {result.query.unit}), such as {outside[0]:.6g}: forecasts stay inside, "
        "so correct data_range, unit or expr"
    )


def remarks(results: Sequence[CycleResult]) -> list[str]:
    """A sentence, with the next step, for each query that did not fail and has no forecast or values out of range."""
    told = []
    for result in results:
        if result.error is None:
            told += [f"{result.query.name}: {said}" for said in (_why_none(result), outside_range(result)) if said]
    return told


def _why_none(result: CycleResult) -> str | None:
    query, states = result.query, result.states
    if result.state is DataState.NO_DATA:
        return (
            f"finds nothing in the last {format_duration(query.history)} before this cycle's minute; "
            "`detector check-config FILE --against settings` tells what it finds now"
        )
    for state in (DataState.INSUFFICIENT_HISTORY, DataState.STALE, DataState.NOT_SKILFUL):
        if count := states.count(state):
            said = f"{count} of {len(states)} series {'is' if count == 1 else 'are'} {state}"
            return f"{said}: {reason(state, query)}"
    return _why_not_so_far(result)


def _why_not_so_far(result: CycleResult) -> str | None:
    """Of a query whose series are all fine: the horizons that its history is too short for."""
    frame, values = result.frame, result.values
    if frame is None or values is None or not values.size:
        return None
    unknown = [bool(np.isnan(values[:, :, h]).all()) for h in range(values.shape[2])]
    if not any(unknown):
        return None
    seen = np.flatnonzero(np.isfinite(frame.values).any(axis=0))
    age = (frame.T - 1 - int(seen[0])) * frame.step if seen.size else 0
    ahead = ", ".join(
        format_duration(seconds) for seconds, none in zip(result.query.horizons, unknown, strict=True) if none
    )
    return f"its history reaches back {span_text(age)}, so there is no forecast for {ahead} ahead yet"


def _bound(value: float | None) -> str:
    return "null" if value is None else f"{value:g}"
