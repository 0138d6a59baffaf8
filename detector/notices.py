"""What a cycle found, told in the log: the start of an anomaly, predictive alerts, and how accurate things are.

Lines go to the streams ``alerts`` and ``accuracy`` of the log format. Each start and each end is told once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from detector.cycle import FORECAST, alert_chance
from detector.log_format import ACCURACY, ALERTS
from detector.verdict import series_key

if TYPE_CHECKING:
    from detector.catalogue import Query
    from detector.cycle import CycleResult

log = logging.getLogger(__name__)

Value = str | int | float


def tell(result: CycleResult) -> None:
    """Log what changed in a cycle that was published, and its figures of accuracy."""
    frame = result.frame
    if frame is None:
        return
    chance = None if result.probability is None else alert_chance(result.query, result.probability)
    for row, labels in enumerate(frame.labels):
        known: dict[str, Value] = {**result.about, "series": series_key(labels)}
        known |= _finite(value=result.now[row])
        if row in result.onsets and result.scores is not None:
            score = float(result.scores[row])
            what = {"stream": ALERTS, "event": "anomaly", "score": score}
            log.warning("anomaly: the score is %.2f", score, extra={**known, **what})
        _tell_alert(result, row, {**known, **({} if chance is None else _finite(probability=chance[row]))})
        if _measures_accuracy(result.query) and "value" in known:
            told = {**known, "stream": ACCURACY, "event": "accuracy", "accuracy_value": known["value"]}
            log.info("measured accuracy %.4f", known["value"], extra={**told, **_version(labels)})
    _tell_quality(result)


def _tell_alert(result: CycleResult, row: int, known: dict[str, Value]) -> None:
    alert, firing, fired = result.query.alert, result.decisions[row].firing, row in result.fired
    if alert is None or firing == fired:
        return
    what = {"stream": ALERTS, "event": "predictive_alert", "alert": alert.name, "severity": alert.severity}
    if firing:
        log.warning("predictive alert %s fires", alert.name, extra={**known, **what})
    else:
        log.info("predictive alert %s is over", alert.name, extra={**known, **what, "event": "predictive_alert_over"})


def _tell_quality(result: CycleResult) -> None:
    """One line a horizon: the mean over the series whose forecasts have matured."""
    if result.quality is None or not _measures_accuracy(result.query):
        return
    shown = [row for row, state in enumerate(result.states) if state in FORECAST]
    for h, seconds in enumerate(result.query.horizons):
        figures = _finite(coverage=_mean(result.quality.coverage[shown, h]), mase=_mean(result.quality.mase[shown, h]))
        if figures:
            what = {"stream": ACCURACY, "event": "forecast_quality", "horizon_seconds": seconds}
            log.info("quality of the forecasts %d s ahead", seconds, extra={**result.about, **what, **figures})


def _measures_accuracy(query: Query) -> bool:
    return query.channel == ACCURACY and query.data_range == (0, 1)


def _finite(**figures: float) -> dict[str, Value]:
    return {name: float(value) for name, value in figures.items() if np.isfinite(value)}


def _mean(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _version(labels: Mapping[str, str]) -> dict[str, Value]:
    return {"model_version": labels["model_version"]} if "model_version" in labels else {}
