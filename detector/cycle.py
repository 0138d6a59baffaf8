"""One cycle of one query: what it found, and what it says about it to Prometheus.

Shapes: n series, Q quantiles, H horizons of the query. Nothing here reads a clock: the same slot and
data give the same samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detector import conventions as names
from detector.errors import DetectorError
from detector.exposition import Family, render
from detector.verdict import VALID_SLOTS, AlertState, DataState, Register

if TYPE_CHECKING:
    from detector.catalogue import Query
    from detector.frame import SeriesFrame
    from detector.interfaces import BreachLike, ForecastLike
    from detector.quality import Quality

QUANTILES = (0.1, 0.5, 0.9)
"""Published quantiles of the forecast and of the time to breach: the median and the ends of the 80 % band."""

FORECAST = (DataState.OK, DataState.NOT_SKILFUL)
"""States of the series whose forecasts are published."""

Sample = tuple[names.Metric, dict[str, str], float]


@dataclass
class CycleResult:
    """What one cycle of one query and shard came to.

    ``frame`` is the history the cycle saw, None when it could not be read. For its n series: ``states
    [n]``, ``decisions [n]``, ``now [n]`` the newest point, ``curve [n, Q, cells]``, ``values [n, Q, H]`` at
    the query's horizons, ``probability [n, H]`` and ``time_to [n, Q]`` where the query has an objective, ``scores
    [n]``; ``onsets`` are the rows where an anomaly began since the slot before, ``fired`` those whose alert was
    firing then; ``quality`` says how earlier forecasts did. ``error`` says why there is no forecast,
    ``push_error`` why it was not published; ``superseded`` that a later slot had been computed before.
    """

    query: Query
    slot: int
    shard: str = "0"
    frame: SeriesFrame | None = None
    forecast: ForecastLike | None = None
    breach: BreachLike | None = None
    states: list[DataState] = field(default_factory=list)
    decisions: list[AlertState] = field(default_factory=list)
    now: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    curve: NDArray[np.float64] | None = None
    values: NDArray[np.float64] | None = None
    probability: NDArray[np.float64] | None = None
    time_to: NDArray[np.float64] | None = None
    scores: NDArray[np.float64] | None = None
    onsets: frozenset[int] = frozenset()
    fired: frozenset[int] = frozenset()
    quality: Quality | None = None
    body: bytes = b""
    error: DetectorError | None = None
    push_error: DetectorError | None = None
    state_error: DetectorError | None = None
    superseded: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def state(self) -> DataState:
        """The state of the query: ``error``, ``no_data`` without series, else the best of its series'."""
        if self.error is not None:
            return DataState.ERROR
        return next((state for state in DataState if state in self.states), DataState.NO_DATA)

    @property
    def published(self) -> NDArray[np.float64] | None:
        """What is scored later, ``[4, n, H]``: the quantiles and P(breach); NaN where nothing is published."""
        if self.values is None:
            return None
        unknown = np.full((len(self.states), len(self.query.horizons)), np.nan)
        probability = unknown if self.probability is None else self.probability
        figures = np.stack([*np.moveaxis(self.values, 1, 0), probability])
        figures[:, [state not in FORECAST for state in self.states]] = np.nan
        return figures

    @property
    def group(self) -> dict[str, str]:
        """The group in the Pushgateway that holds this result."""
        return group_of(self.query.name, self.shard)

    @property
    def about(self) -> dict[str, str | int]:
        """Fields of a log line about this cycle."""
        return {"metric_type": self.query.name, "shard": self.shard, "slot": self.slot}

    @property
    def failure(self) -> DetectorError | None:
        """The first thing that went wrong, or None."""
        return self.error or self.push_error or self.state_error


def group_of(query: str, shard: str) -> dict[str, str]:
    """The Pushgateway group of one query and shard."""
    return {names.FOR: query, names.SHARD: shard}


def error_kind(error: BaseException) -> str:
    """The label value for a kind of error.

    >>> from detector.errors import QueryRejected
    >>> error_kind(QueryRejected("no")), error_kind(ZeroDivisionError())
    ('query_rejected', 'engine')
    """
    if not isinstance(error, DetectorError):
        return "engine"
    name = type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def alert_columns(query: Query, probability: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which of ``probability [n, H]`` counts for the alert, ``[n]``: the one within the alert's horizon.

    Where the history does not reach so far it is the longest horizon below for which there is one; -1 without any.

    >>> from detector.catalogue import Query
    >>> query = Query(name="q", expr="up", unit="ratio")
    >>> alert_columns(query, np.array([[0.1, 0.2, 0.3], [0.1, 0.2, np.nan], [np.nan] * 3])).tolist()
    [2, 1, -1]
    """
    known = np.isfinite(probability) & (np.array(query.horizons) <= query.alert_horizon)
    return np.where(known.any(axis=1), known.shape[1] - 1 - known[:, ::-1].argmax(axis=1), -1)


def alert_chance(query: Query, probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability that counts for the alert, ``[n]``; NaN without any."""
    columns = alert_columns(query, probability)
    return np.where(columns >= 0, probability[np.arange(len(columns)), columns], np.nan)


def samples(result: CycleResult) -> Iterator[Sample]:
    """Every sample of a cycle that has a frame."""
    query, frame = result.query, result.frame
    if frame is None:
        return
    base = {names.FOR: query.name}
    for row, (labels, state) in enumerate(zip(frame.labels, result.states, strict=True)):
        own = {**base, **names.published_labels(labels)}
        yield names.FORECAST_STATE, {**own, names.STATE: str(state)}, 1.0
        yield from _alert(query, own, result.decisions[row].firing)
        yield from _alert_horizon(result, row, own)
        if state in FORECAST:
            yield from _forecast(result, row, own)
            yield from _quality(result, row, own)
    if not frame.n:
        yield names.FORECAST_STATE, {**base, names.STATE: str(DataState.NO_DATA)}, 1.0
    yield names.QUERY_SERIES, base, float(frame.n)
    yield from _times(query, result.slot)


def _alert(query: Query, own: dict[str, str], firing: bool) -> Iterator[Sample]:
    if query.alert is not None:
        named = {names.ALERT: query.alert.name, names.SEVERITY: query.alert.severity}
        yield names.FORECAST_ALERT, {**own, **named}, float(firing)


def _alert_horizon(result: CycleResult, row: int, own: dict[str, str]) -> Iterator[Sample]:
    """A value and not a label: it grows with a young history, and the labels of an alert must not change."""
    if result.query.alert is not None and result.probability is not None:
        [at] = alert_columns(result.query, result.probability[row : row + 1])
        if at >= 0:
            yield names.ALERT_HORIZON, own, float(result.query.horizons[at])


def _forecast(result: CycleResult, row: int, own: dict[str, str]) -> Iterator[Sample]:
    if result.values is not None:
        for h, seconds in enumerate(result.query.horizons):
            at = {**own, names.HORIZON: names.horizon_label(seconds)}
            for q, quantile in enumerate(QUANTILES):
                value = float(result.values[row, q, h])
                if np.isfinite(value):
                    labels = {**at, names.QUANTILE: names.quantile_label(quantile)}
                    yield names.FORECAST_VALUE, labels, value
            if result.probability is not None and np.isfinite(result.probability[row, h]):
                yield names.BREACH_PROBABILITY, at, float(result.probability[row, h])
    if result.time_to is not None:
        for quantile, seconds in zip(QUANTILES, result.time_to[row], strict=True):
            if not np.isnan(seconds):
                at = {**own, names.QUANTILE: names.quantile_label(quantile)}
                yield names.TIME_TO_BREACH, at, float(seconds)
    if result.scores is not None and np.isfinite(result.scores[row]):
        yield names.ANOMALY_SCORE, own, float(result.scores[row])


def _quality(result: CycleResult, row: int, own: dict[str, str]) -> Iterator[Sample]:
    if result.quality is None:
        return
    figures = {
        names.QUALITY_COVERAGE: result.quality.coverage,
        names.QUALITY_BIAS: result.quality.bias,
        names.QUALITY_MASE: result.quality.mase,
        names.QUALITY_LINEAR: result.quality.to_linear,
        names.QUALITY_BRIER_SKILL: result.quality.brier_skill,
    }
    for metric, values in figures.items():
        for h, seconds in enumerate(result.query.horizons):
            if np.isfinite(values[row, h]):
                yield metric, {**own, names.HORIZON: names.horizon_label(seconds)}, float(values[row, h])


def _times(query: Query, slot: int) -> Iterator[Sample]:
    base = {names.FOR: query.name}
    yield names.GENERATED, base, float(slot)
    yield names.VALID_UNTIL, base, float(valid_until(query, slot))


def valid_until(query: Query, slot: int) -> int:
    """Unix second after which what a slot published counts for nothing."""
    return slot + VALID_SLOTS * query.every


def failure_samples(result: CycleResult, known: Register) -> Iterator[Sample]:
    """What is published of a cycle that failed.

    Every series known from before is in state ``error``. Its last decision stands until the time it was
    valid to, so that one failed read does not resolve an alert; after that it is quiet.
    """
    query, base = result.query, {names.FOR: result.query.name}
    valid = known.slot >= 0 and result.slot <= valid_until(query, known.slot)
    for key, alert in sorted(known.alerts.items()) if valid else ():
        own = {**base, **names.published_labels(labels_of(key))}
        yield names.FORECAST_STATE, {**own, names.STATE: str(DataState.ERROR)}, 1.0
        yield from _alert(query, own, alert.firing)
    if not (valid and known.alerts):
        yield names.FORECAST_STATE, {**base, names.STATE: str(DataState.ERROR)}, 1.0
    if result.error is not None:
        yield names.QUERY_ERROR, {**base, "kind": error_kind(result.error)}, 1.0
    if valid:
        yield from _times(query, known.slot)


def labels_of(key: str) -> Mapping[str, str]:
    """The labels of a ``series_key``."""
    labels: dict[str, Any] = json.loads(key)
    return {name: str(value) for name, value in labels.items()}


def render_samples(found: Iterable[Sample]) -> bytes:
    """Samples of any metrics, in any order, as exposition text."""
    families: dict[str, Family] = {}
    for metric, labels, value in found:
        families.setdefault(metric.name, Family.of(metric)).add(labels, value)
    return render(families.values())
