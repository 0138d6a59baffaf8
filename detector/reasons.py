"""What a state of a series means, and what to do about it, in a sentence for each state but `ok`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.catalogue.check import MIN_POINTS
from detector.catalogue.durations import format_duration
from detector.verdict import STALE_STEPS, DataState

if TYPE_CHECKING:
    from detector.catalogue.schema import Query


def reason(state: str, query: Query) -> str:
    """Why a series of the query is in a state; nothing where it is well.

    >>> from detector.catalogue import load_catalogue
    >>> reason("stale", load_catalogue("day_trade").query("ml_cpu_usage"))
    'no new point for more than 5m: is it still scraped?'
    """
    enough, newest = format_duration(MIN_POINTS * query.step), format_duration(STALE_STEPS * query.step)
    reasons: dict[str, str] = {
        DataState.INSUFFICIENT_HISTORY: f"under {MIN_POINTS} points of history; "
        f"forecasts begin when it reaches back {enough}",
        DataState.NO_DATA: f"no point in the last {format_duration(query.history)}; "
        "`detector check-config FILE --against settings` tells what the query finds now",
        DataState.STALE: f"no new point for more than {newest}: is it still scraped?",
        DataState.NOT_SKILFUL: "recent forecasts were worse than repeating the day or week before (the seasonal "
        "naive forecast); they are shown, but raise no predictive alert until they are better again",
        DataState.ERROR: "the cycle failed; the worker's log says why",
    }
    return reasons.get(state, "")
