"""Points with no outcomes behind them: taken out, by whichever labels the counts have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.foresight import MONDAY
from bench.quiet import SimulatedHistory
from detector.catalogue import Endpoint, Query, load_catalogue
from detector.errors import QueryRejected, SourceUnavailable
from detector.frame import SeriesFrame
from detector.history import History
from detector.outcomes import Outcomes, align
from detector.pipeline import Worker
from detector.servers import Prometheus
from detector.simulate import Platform
from detector.source import PrometheusSource
from detector.store import MemoryStore

NOW = 1_790_000_040 // 60 * 60


def counts(*labels: dict[str, str]) -> SeriesFrame:
    values = np.arange(1.0, len(labels) + 1)[:, None] * [1.0, 10.0]
    return SeriesFrame(values, labels, NOW, 60)


def test_counts_belong_to_the_series_with_the_same_labels() -> None:
    mine = ({"model": "b"}, {"model": "a"}, {"model": "c"})
    found = align(mine, counts({"model": "a"}, {"model": "b"}))
    assert found[:, 0].tolist()[:2] == [2.0, 1.0]
    assert np.isnan(found[2]).all()


def test_a_single_series_of_counts_belongs_to_all() -> None:
    found = align(({"model": "a"}, {"model": "b"}), counts({"job": "ml"}))
    assert found.tolist() == [[1.0, 10.0], [1.0, 10.0]]


def test_counts_of_other_labels_are_matched_by_those_that_all_have_and_added_up() -> None:
    mine = ({"model": "a", "instance": "x"}, {"model": "b", "instance": "x"})
    theirs = ({"model": "a", "side": "buy"}, {"model": "a", "side": "sell"}, {"model": "c", "side": "buy"})
    found = align(mine, counts(*theirs))
    assert found[0].tolist() == [3.0, 30.0]
    assert np.isnan(found[1]).all()


def test_counts_without_a_label_in_common_belong_to_nothing() -> None:
    assert np.isnan(align(({"model": "a"},), counts({"side": "buy"}, {"side": "sell"}))).all()
    assert np.isnan(align(({"model": "a"},), SeriesFrame.empty(NOW, 60, 2))).all()


class Asked:
    """A history that gives the counts or an error, and remembers the query."""

    def __init__(self, answer: SeriesFrame | Exception) -> None:
        self.answer = answer
        self.queries: list[Query] = []

    def window(self, query: Query, shard: str, end: int) -> SeriesFrame:
        self.queries.append(query)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def flush(self) -> None:
        """Nothing is kept."""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (QueryRejected("parse error"), "cannot be read: parse error"),
        (SourceUnavailable("no answer"), "cannot be read: no answer"),
        (SeriesFrame.empty(NOW, 60, 2), "find nothing"),
        (counts({"side": "buy"}, {"side": "sell"}), "belong to no series"),
    ],
)
def test_without_counts_every_point_counts_and_the_log_says_so_once(
    answer: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    query = Query(name="q", expr="ratio", unit="ratio", samples="labelled")
    frame = SeriesFrame(np.ones((1, 2)), ({"model": "a"},), NOW, 60)
    history = Asked(answer)
    outcomes = Outcomes(history)
    for _ in range(3):
        assert outcomes.of(query, "0", NOW + 60, frame) is frame
    assert [record.getMessage() for record in caplog.records if said in record.getMessage()] == [
        record.getMessage() for record in caplog.records
    ]
    assert len(caplog.records) == 1
    assert (history.queries[0].name, history.queries[0].expr) == ("q:samples", "labelled")


def test_points_without_outcomes_are_gaps_in_what_the_worker_sees(prometheus: Callable[..., Prometheus]) -> None:
    source = PrometheusSource(Endpoint(url=prometheus("").url))
    query = Query(
        name="accuracy",
        expr="label_replace(vector(0.9), 'model', 'a', '', '')",
        unit="ratio",
        samples="floor(vector(time() / 60)) % 4",
        history=6 * 3600,
        horizons=(3600,),
    )
    catalogue = load_catalogue("day_trade")
    catalogue = catalogue.model_copy(update={"queries": {"accuracy": query}})
    store = MemoryStore()
    worker = Worker(catalogue, source, store, history=History(source, store))
    [result] = worker.run_slot(NOW)
    assert result.error is None and result.frame is not None
    at = result.frame.times // 60 % 4
    assert np.isnan(result.frame.values[0, at == 0]).all()
    assert (result.frame.values[0, at != 0] == 0.9).all()
    assert {key.split("/")[1] for key in store.keys("history/")} == {"accuracy", "accuracy:samples"}


def test_an_hour_without_labelled_predictions_does_not_count_as_bad_accuracy() -> None:
    """The accuracy is 0 while nothing was labelled: without the counts that would be a breach."""

    class Quiet(SimulatedHistory):
        def window(self, query: Query, shard: str, end: int) -> SeriesFrame:
            frame = super().window(query, shard, end)
            values = frame.values.copy()
            hour = (frame.times > MONDAY - 7200) & (frame.times <= MONDAY - 3600)
            values[:, hour] = 0.0
            return SeriesFrame(values, frame.labels, frame.start, frame.step)

    catalogue = load_catalogue("day_trade")
    history = Quiet(Platform(2), MONDAY, MONDAY)
    result = Worker(catalogue, history, MemoryStore(), history=history).run_query("ml_ensemble_accuracy", MONDAY)
    assert result.error is None and result.frame is not None
    assert np.nanmin(result.frame.values) > 0.8
    assert [str(state) for state in result.states] == ["ok"]
