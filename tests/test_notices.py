"""The log tells the start of an anomaly and both ends of a predictive alert once, and each measured accuracy."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detector.catalogue import Query, load_catalogue
from detector.cycle import CycleResult
from detector.frame import SeriesFrame
from detector.notices import tell
from detector.pipeline import Worker
from detector.store import MemoryStore
from detector.verdict import AlertState, DataState

QUERY = load_catalogue("day_trade").query("ml_ensemble_accuracy")


def cycle() -> CycleResult:
    frame = SeriesFrame(np.array([[0.95, 0.9]]), ({"model": "ensemble"},), start=0, step=60)
    return CycleResult(
        QUERY,
        60,
        frame=frame,
        states=[DataState.OK],
        decisions=[AlertState(firing=True)],
        now=np.array([0.9]),
        probability=np.array([[0.7, 0.9, np.nan]]),
        scores=np.array([1.5]),
        onsets=frozenset({0}),
    )


def told(result: CycleResult, caplog: pytest.LogCaptureFixture) -> dict[str, logging.LogRecord]:
    caplog.clear()
    with caplog.at_level(logging.INFO, "detector.notices"):
        tell(result)
    return {record.__dict__["event"]: record for record in caplog.records}


def test_an_onset_an_alert_and_an_accuracy_are_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    lines = told(cycle(), caplog)
    assert {event: line.__dict__["stream"] for event, line in lines.items()} == {
        "anomaly": "alerts",
        "predictive_alert": "alerts",
        "accuracy": "accuracy",
    }
    assert lines["accuracy"].__dict__["accuracy_value"] == 0.9
    assert lines["anomaly"].__dict__["score"] == 1.5
    assert lines["predictive_alert"].__dict__["probability"] == 0.9


def test_what_goes_on_is_not_told_again_and_the_end_is(caplog: pytest.LogCaptureFixture) -> None:
    going_on = replace(cycle(), onsets=frozenset(), fired=frozenset({0}))
    assert set(told(going_on, caplog)) == {"accuracy"}
    assert set(told(replace(going_on, decisions=[AlertState()]), caplog)) == {"accuracy", "predictive_alert_over"}


class Kept:
    """A history that is known beforehand."""

    def __init__(self, frame: SeriesFrame) -> None:
        self.frame = frame

    def window(self, query: Query, shard: str, end: int) -> SeriesFrame:
        return self.frame.slice_time(self.frame.start, end)

    def flush(self) -> None: ...


def test_a_spike_begins_once_however_many_slots_it_lasts() -> None:
    times = 1_790_000_040 + 60 * np.arange(-4320, 6)
    values = 0.95 + 0.002 * np.random.default_rng(1).standard_normal((1, len(times)))
    values[0, -3:] = 0.6
    frame = SeriesFrame(values, ({"model": "ensemble"},), start=int(times[0]), step=60)
    query = QUERY.model_copy(update={"samples": None, "horizons": (3600,), "history": 2 * 86400, "alert": None})
    catalogue = load_catalogue("day_trade").model_copy(update={"queries": {query.name: query}})
    pipeline = Worker(catalogue, Any, MemoryStore(), history=Kept(frame))  # type: ignore[arg-type]
    results = [pipeline.run_query(query.name, int(at)) for at in times[-6:]]
    assert [result.error for result in results] == [None] * 6
    assert [bool(result.onsets) for result in results] == [False, False, False, True, False, False]
