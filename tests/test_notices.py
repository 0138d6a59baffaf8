"""The log tells the start of an anomaly and both ends of a predictive alert once, and each accuracy that was measured."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from detector.catalogue import load_catalogue
from detector.cycle import CycleResult
from detector.frame import SeriesFrame
from detector.notices import tell
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
