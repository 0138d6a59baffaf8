"""One cycle, with a small engine and data from memory: what is decided, what is published, what a fault does."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.catalogue import parse_catalogue
from detector.clock import slots_to_decide
from detector.conventions import OWN
from detector.cycle import QUANTILES
from detector.errors import QueryRejected, SinkUnavailable, SourceUnavailable, StateError
from detector.fitting import fit_boundary
from detector.frame import SeriesFrame
from detector.pipeline import Worker
from detector.registers import register_key
from detector.sink import DryRunSink
from detector.store import FileStore, MemoryStore
from detector.verdict import DataState

CATALOGUE = """
settings: {refit: 1h, max_series: 5}
queries:
  accuracy:
    expr: accuracy
    unit: ratio
    objective: {above: 0.9}
    history: 24h
    horizons: [1h, 24h]
    alert: {name: AccuracyForecast, probability: 0.8, clear: 0.5, hold: 3}
  load:
    expr: load
    unit: count
    history: 24h
    horizons: [1h]
"""
SLOT = 1_800_000_000


@dataclass
class LastValue:
    """An engine that expects the last value, and a breach as likely as 1 - last value * scale."""

    values: Any = None
    fits: list[tuple[int, int]] = field(default_factory=list)
    offsets: Any = (86400.0,)

    def fit(self, values: Any, start: int) -> None:
        self.values = np.array(values)
        self.fits.append((start, self.values.shape[1]))

    def update(self, columns: Any) -> None:
        self.values = np.concatenate([self.values, columns], axis=1)

    def renew(self) -> int:
        return 0

    def to_bytes(self, values: bool = True) -> bytes:
        raise AssertionError("only the engine's own forecasters are kept")

    def select(self, rows: Any) -> LastValue:
        return LastValue(self.values[rows], self.fits)

    def beside(self, other: Any) -> LastValue:
        return LastValue(np.concatenate([self.values, other.values]), self.fits)

    def forecast(self) -> LastValue:
        return self

    def scores(self, last: int = 1, direction: str = "both") -> Any:
        return np.zeros((len(self.values), last))

    @property
    def state(self) -> Any:
        return np.array(["ok"] * len(self.values))

    @property
    def latest(self) -> Any:
        return np.array([row[np.isfinite(row)][-1] if np.isfinite(row).any() else np.nan for row in self.values])

    def at(self, seconds: float) -> int:
        return 0

    def quantile(self, quantiles: Any) -> Any:
        return np.repeat(self.latest[:, None, None], len(quantiles), axis=1)

    def breach(self, threshold: Any, above: bool = True, run: int = 1) -> LastValue:
        return self

    def probability_within(self, seconds: Any) -> Any:
        return np.repeat(1 - self.latest[:, None], len(seconds), axis=1)

    def time_to(self, quantiles: Any) -> Any:
        return np.repeat(np.where(self.latest < 0.5, 60.0, np.inf)[:, None], len(quantiles), axis=1)


class Past:
    """A history from memory: a function of unix seconds per query and series, or an error to raise."""

    def __init__(self, **series: Any) -> None:
        self.series: dict[str, Any] = {"accuracy": {"a": lambda t: 0.95}, "load": {"a": lambda t: 1.0}} | series

    def ready(self) -> bool:
        return not any(isinstance(one, SourceUnavailable) for one in self.series.values())

    def flush(self) -> None:
        """Nothing is kept."""

    def window(self, query: Any, shard: str, end: int) -> SeriesFrame:
        series = self.series[query.name]
        if isinstance(series, Exception):
            raise series
        times = np.arange(end - query.history + query.step, end + 1, query.step)
        values = np.array([[value(t) for t in times] for value in series.values()]).reshape(len(series), len(times))
        return SeriesFrame(values, tuple({"instance": name} for name in series), int(times[0]), query.step)


def start(past: Past, store: Any = None, **options: Any) -> tuple[Worker, DryRunSink]:
    sink = DryRunSink()
    options.setdefault("forecaster", lambda query: LastValue())
    catalogue = options.pop("catalogue", None) or parse_catalogue(CATALOGUE, "test.yaml")
    return Worker(catalogue, past, store or MemoryStore(), [sink], history=past, **options), sink


def body(sink: DryRunSink, query: str = "accuracy") -> str:
    return sink.pushed[f"/metrics/job/detector/for/{query}/shard/0"].decode()


def alert_in(text: str) -> str:
    [line] = [line for line in text.splitlines() if line.startswith("forecast_alert{")]
    return line.rpartition(" ")[2]


def sliding(from_: int) -> Any:
    return lambda t: 0.1 if t >= from_ else 0.95


def test_a_cycle_publishes_exactly_this():
    worker, sink = start(Past())
    [accuracy, _] = worker.run_slot(SLOT)
    assert accuracy.failure is None
    samples = [line for line in body(sink).splitlines() if not line.startswith("#")]
    one = 'for="accuracy",{}instance="a"'
    assert sorted(samples) == sorted(
        [
            "anomaly_score{" + one.format("") + "} 0.0",
            'detector_query_series{for="accuracy"} 1.0',
            'forecast_alert_horizon_seconds{for="accuracy",instance="a"} 86400.0',
            'forecast_alert{alert="AccuracyForecast",for="accuracy",instance="a",severity="warning"} 0.0',
            *(
                f'forecast_breach_probability{{for="accuracy",horizon="{h}",instance="a"}} {1 - 0.95!r}'
                for h in ("1h", "24h")
            ),
            'forecast_generated_timestamp_seconds{for="accuracy"} 1800000000.0',
            'forecast_state{for="accuracy",instance="a",state="ok"} 1.0',
            *(f'forecast_time_to_breach_seconds{{for="accuracy",instance="a",quantile="{q}"}} +Inf' for q in QUANTILES),
            'forecast_valid_until_timestamp_seconds{for="accuracy"} 1800000180.0',
            *(
                f'forecast_value{{for="accuracy",horizon="{h}",instance="a",quantile="{q}"}} 0.95'
                for h in ("1h", "24h")
                for q in QUANTILES
            ),
        ]
    )


def test_a_fresh_start_alerts_at_once_when_the_last_hold_slots_would_have():
    worker, sink = start(Past(accuracy={"a": sliding(SLOT - 120)}))
    worker.run_slot(SLOT)
    assert alert_in(body(sink)) == "1.0"


def test_a_fresh_start_does_not_alert_on_fewer_points_than_hold():
    worker, sink = start(Past(accuracy={"a": sliding(SLOT - 60)}))
    worker.run_slot(SLOT)
    assert alert_in(body(sink)) == "0.0"
    worker.run_slot(SLOT + 60)
    assert alert_in(body(sink)) == "1.0"


def test_a_worker_that_never_stopped_one_that_was_late_and_a_fresh_one_agree(tmp_path):
    past = Past(accuracy={"a": sliding(SLOT + 120), "b": lambda t: 0.95 if (t // 60) % 7 else 0.3})
    steady, steady_sink = start(past)
    late, late_sink = start(past, FileStore(tmp_path))
    for slot in range(SLOT, SLOT + 600, 60):
        steady.run_slot(slot)
        if slot != SLOT + 180:
            late.run_slot(slot)
        fresh, fresh_sink = start(past)
        fresh.run_slot(slot)
        if slot != SLOT + 180:
            assert steady_sink.pushed == late_sink.pushed
        assert steady_sink.pushed == fresh_sink.pushed


def test_the_same_slot_gives_the_same_bytes_again_and_after_a_restart(tmp_path):
    past = Past(accuracy={"b": sliding(SLOT - 300), "a": lambda t: 0.9 + t % 7 / 100})
    worker, sink = start(past, FileStore(tmp_path))
    worker.run_slot(SLOT)
    first = dict(sink.pushed)
    worker.run_slot(SLOT)
    assert sink.pushed == first
    worker, sink = start(past, FileStore(tmp_path))
    worker.run_slot(SLOT)
    assert sink.pushed == first


def test_an_older_slot_does_not_overwrite_a_newer_one():
    worker, sink = start(Past())
    worker.run_slot(SLOT)
    before = dict(sink.pushed)
    assert all(result.superseded for result in worker.run_slot(SLOT - 60))
    assert sink.pushed == before


def test_a_clock_set_back_an_hour_does_not_silence_the_worker():
    worker, sink = start(Past())
    worker.run_slot(SLOT)
    worker.run_slot(SLOT - 3600)
    assert 'forecast_generated_timestamp_seconds{for="accuracy"} 1799996400.0' in body(sink)


def test_series_come_and_go_and_only_those_with_data_are_forecast():
    def gone(t: int) -> float:
        return 0.1 if t < SLOT - 7 * 60 else np.nan

    def left_yesterday(t: int) -> float:
        return 0.1 if t < SLOT - 86400 - 60 else np.nan

    worker, sink = start(Past(accuracy={"gone": gone, "left": left_yesterday, "here": lambda t: 0.95}))
    [result, _] = worker.run_slot(SLOT)
    text = body(sink)
    assert [str(state) for state in result.states] == ["stale", "ok"]
    assert 'forecast_state{for="accuracy",instance="gone",state="stale"} 1.0' in text
    assert 'forecast_alert{alert="AccuracyForecast",for="accuracy",instance="gone",severity="warning"} 0.0' in text
    assert 'forecast_value{for="accuracy",horizon="1h",instance="gone"' not in text
    assert 'instance="left"' not in text


def test_a_query_that_finds_nothing_has_the_state_no_data():
    worker, sink = start(Past(accuracy={}))
    [result, _] = worker.run_slot(SLOT)
    assert result.state is DataState.NO_DATA
    assert result.failure is None
    assert 'forecast_state{for="accuracy",state="no_data"} 1.0' in body(sink)
    assert 'detector_query_series{for="accuracy"} 0.0' in body(sink)


def test_a_query_that_fails_says_so_and_the_others_go_on(caplog):
    worker, sink = start(Past(accuracy=QueryRejected("parse error", expr="accuracy(")))
    [bad, good] = worker.run_slot(SLOT)
    assert bad.state is DataState.ERROR
    assert good.failure is None
    assert 'forecast_state{for="accuracy",state="error"} 1.0' in body(sink)
    assert 'detector_query_error{for="accuracy",kind="query_rejected"} 1.0' in body(sink)
    assert 'forecast_state{for="load",instance="a",state="ok"} 1.0' in body(sink, "load")
    assert "parse error (query: accuracy()" in caplog.text


def test_an_engine_that_raises_is_a_clear_error_of_that_query_alone(caplog):
    class Broken(LastValue):
        def forecast(self) -> LastValue:
            raise ZeroDivisionError("division by zero")

    worker, _ = start(Past(), forecaster=lambda query: Broken() if query.name == "accuracy" else LastValue())
    [bad, good] = worker.run_slot(SLOT)
    assert "query 'accuracy': the engine failed: ZeroDivisionError" in str(bad.error)
    assert good.failure is None
    assert "Traceback" in caplog.text


def test_more_series_than_allowed_is_an_error_and_nothing_is_cut():
    worker, sink = start(Past(accuracy={str(i): lambda t: 0.95 for i in range(6)}))
    [result, _] = worker.run_slot(SLOT)
    assert "expected at most 5 series, got 6" in str(result.error)
    assert 'detector_query_error{for="accuracy",kind="too_many_series"} 1.0' in body(sink)
    assert "forecast_value" not in body(sink)


def test_one_failed_read_does_not_resolve_an_alert_but_a_long_outage_does():
    past = Past(accuracy={"a": sliding(SLOT - 3600)})
    worker, sink = start(past)
    worker.run_slot(SLOT)
    assert alert_in(body(sink)) == "1.0"
    data, past.series["accuracy"] = past.series["accuracy"], SourceUnavailable("no answer")
    for slot in (SLOT + 60, SLOT + 180):
        worker.run_slot(slot)
        assert alert_in(body(sink)) == "1.0"
        assert 'forecast_state{for="accuracy",instance="a",state="error"} 1.0' in body(sink)
        assert f'forecast_valid_until_timestamp_seconds{{for="accuracy"}} {SLOT + 180}.0' in body(sink)
        assert "forecast_value" not in body(sink)
    worker.run_slot(SLOT + 240)
    assert "forecast_alert" not in body(sink)
    past.series["accuracy"] = data
    worker.run_slot(SLOT + 300)
    assert alert_in(body(sink)) == "1.0"


def test_with_prometheus_gone_the_other_queries_do_not_wait_for_it_again():
    past = Past(accuracy=SourceUnavailable("no answer"), load=AssertionError("asked although it is down"))
    worker, _ = start(past)
    assert [type(result.error) for result in worker.run_slot(SLOT)] == [SourceUnavailable] * 2


def test_a_gateway_that_fails_is_told_in_the_result_and_the_push_can_be_repeated():
    class Down(DryRunSink):
        up = False

        def push(self, group: Any, body: bytes) -> list[str]:
            if not self.up:
                raise SinkUnavailable("Pushgateway does not answer")
            return super().push(group, body)

    down = Down()
    past = Past()
    worker = Worker(
        parse_catalogue(CATALOGUE, "t"), past, MemoryStore(), [down], history=past, forecaster=lambda q: LastValue()
    )
    [result, _] = worker.run_slot(SLOT)
    assert isinstance(result.failure, SinkUnavailable)
    down.up = True
    worker.publish(result)
    assert result.failure is None
    assert "forecast_value" in body(down)


def test_an_unusable_store_is_said_and_alerts_go_on_from_memory(caplog):
    class Full(MemoryStore):
        def save(self, key: str, data: bytes) -> None:
            raise StateError("cannot write state file: No space left on device")

    worker, sink = start(Past(accuracy={"a": lambda t: 0.1 if t == SLOT or t < SLOT - 60 else 0.4}), Full())
    [result, _] = worker.run_slot(SLOT)
    assert isinstance(result.failure, StateError)
    assert "No space left" in caplog.text
    assert "forecast_value" in body(sink)


def test_a_damaged_state_is_said_and_rebuilt_from_the_data(tmp_path, caplog):
    past = Past(accuracy={"a": sliding(SLOT - 3600)})
    worker, sink = start(past, FileStore(tmp_path))
    worker.run_slot(SLOT)
    before = body(sink)
    for path in Path(tmp_path).rglob("*.state"):
        path.write_bytes(path.read_bytes()[:-3] + b"xxx")
    worker, sink = start(past, FileStore(tmp_path))
    worker.run_slot(SLOT)
    assert body(sink) == before
    assert "is damaged" in caplog.text
    assert FileStore(tmp_path).load(register_key("accuracy", "0")) is not None


def test_source_labels_that_would_collide_with_ours_are_renamed():
    past = Past()
    worker, sink = start(past)
    plain = past.window

    def window(query: Any, shard: str, end: int) -> SeriesFrame:
        frame = plain(query, shard, end)
        return SeriesFrame(frame.values, ({"job": "ml", "for": "x", "state": "up"},), frame.start, frame.step)

    past.window = window  # type: ignore[method-assign]
    worker.run_slot(SLOT)
    expected = 'exported_for="x",exported_job="ml",exported_state="up",for="accuracy",state="ok"'
    assert "forecast_state{" + expected + "} 1.0" in body(sink)


def test_models_are_fitted_once_in_a_refit_period_and_only_on_the_past():
    made: list[LastValue] = []

    def make(query: Any) -> LastValue:
        engine = LastValue()
        if query.name == "accuracy":
            made.append(engine)
        return engine

    worker, _ = start(Past(), forecaster=make)
    for slot in range(SLOT, SLOT + 2 * 3600, 300):
        worker.run_slot(slot)
    query = worker.catalogue.query("accuracy")
    boundaries = {fit_boundary(query, 3600, SLOT - 86400, slot) for slot in range(SLOT - 120, SLOT + 7200, 300)}
    ends = [start + (columns - 1) * 60 for engine in made for start, columns in engine.fits]
    assert set(ends) <= boundaries
    assert len(ends) in (2, 3)
    assert {columns for engine in made for _, columns in engine.fits} == {1440}


def test_a_new_series_is_learned_alone_and_published_with_the_others():
    past = Past()
    fits: list[LastValue] = []

    def make(query: Any) -> LastValue:
        fits.append(LastValue())
        return fits[-1]

    worker, sink = start(past, forecaster=make)
    worker.run_slot(SLOT)
    count = len(fits)
    past.series["accuracy"]["new"] = lambda t: 0.95 if t > SLOT else np.nan
    worker.run_slot(SLOT + 60)
    assert len(fits) == count + 1
    assert len(fits[-1].values) == 1
    assert 'instance="new"' in body(sink)


@pytest.mark.parametrize(("every", "step", "expected"), [("1m", "5m", 300), ("5m", "1m", 300), ("1m", "1m", 60)])
def test_replayed_slots_are_those_that_can_have_new_data(every, step, expected):
    text = CATALOGUE.replace("history: 24h", f"history: 24h\n    every: {every}\n    step: {step}", 1)
    query = parse_catalogue(text, "t").query("accuracy")
    slots = slots_to_decide(query, -1, SLOT)
    assert np.diff(slots).tolist() == [expected] * 2
    assert slots_to_decide(query, SLOT - 60, SLOT) == [SLOT]


def test_own_metrics_tell_of_failures_fits_and_history():
    worker, _ = start(Past(accuracy=QueryRejected("parse error")))
    worker.run_slot(SLOT)
    worker.telemetry.missed("load", 2)
    text = worker.telemetry.body().decode()
    assert 'detector_cycles_total{for="accuracy",outcome="error"} 1.0' in text
    assert 'detector_cycles_total{for="load",outcome="ok"} 1.0' in text
    assert f'detector_cycle_last_success_timestamp_seconds{{for="load"}} {SLOT}.0' in text
    assert 'detector_refits_total{for="load"} 1.0' in text
    assert 'detector_pushes_total{for="accuracy",outcome="ok"} 1.0' in text
    assert all(f"# TYPE {metric} " in text for metric in OWN)


def test_nothing_the_worker_says_holds_a_secret(caplog):
    caplog.set_level(logging.DEBUG)
    worker, sink = start(Past(accuracy=SourceUnavailable("cannot reach http://me:hunter2@prom:9090/api")))
    worker.run_slot(SLOT)
    assert "hunter2" not in caplog.text + "".join(body.decode() for body in sink.pushed.values())


def test_a_shallow_copy_of_the_engine_does_not_change_the_original():
    engine = LastValue()
    engine.fit(np.ones((1, 3)), 0)
    other = copy.copy(engine)
    other.update(np.zeros((1, 1)))
    assert engine.values.shape == (1, 3)


def test_scores_are_published_when_the_truth_has_come_and_survive_a_restart(tmp_path):
    past = Past(load={"a": lambda t: float(np.sin(t / 12_000))})
    catalogue = parse_catalogue(CATALOGUE.replace("history: 24h", "history: 48h"), "test.yaml")
    worker, sink = start(past, FileStore(tmp_path), catalogue=catalogue)
    for slot in range(SLOT, SLOT + 3600 + 12 * 900, 300):
        worker.run_slot(slot, ["load"])
        assert ("forecast_quality" in body(sink, "load")) == (slot >= SLOT + 3600 + 11 * 900)
    before = body(sink, "load")
    quality = [line.partition(" ")[0] for line in before.splitlines() if line.startswith("forecast_quality")]
    assert quality == [
        f'forecast_quality_{name}{{for="load",horizon="1h",instance="a"}}'
        for name in ("bias", "coverage_ratio", "error_to_linear_ratio", "mase")
    ]
    worker.run_slot(slot, ["load"])
    assert body(sink, "load") == before
    again, again_sink = start(past, FileStore(tmp_path), catalogue=catalogue)
    again.run_slot(slot, ["load"])
    assert body(again_sink, "load") == before
    assert "NaN" not in before


@dataclass
class Wrong(LastValue):
    """An engine that is off by ``by``, and always sure of a breach."""

    by: Any = 0.0

    def quantile(self, quantiles: Any) -> Any:
        return super().quantile(quantiles) + self.by()

    def probability_within(self, seconds: Any) -> Any:
        return np.full((len(self.values), len(seconds)), 0.95)


def test_forecasts_that_lose_to_the_naive_one_raise_no_alert_until_they_are_better_again(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    off = [0.5]
    catalogue = parse_catalogue(CATALOGUE.replace("history: 24h", "history: 96h"), "test.yaml")
    past = Past(accuracy={"a": lambda t: 0.95 + 0.03 * float(np.sin(t / 5000))})
    options: dict[str, Any] = {"catalogue": catalogue, "forecaster": lambda query: Wrong(by=lambda: off[0])}
    worker, sink = start(past, FileStore(tmp_path), **options)
    seen = []
    for slot in range(SLOT, SLOT + 52 * 3600, 900):
        if slot == SLOT + 26 * 3600:
            off[0] = 0.0
            worker, sink = start(past, FileStore(tmp_path), **options)  # a restart keeps the scores
        [result] = worker.run_slot(slot, ["accuracy"])
        seen.append((str(result.states[0]), alert_in(body(sink))))
        assert "forecast_value" in body(sink)
    changes = [i for i in range(1, len(seen)) if seen[i] != seen[i - 1]]
    a_day_matured = 4 + 96
    assert [seen[i] for i in changes] == [("not_skilful", "0.0"), ("ok", "1.0")]
    assert (seen[0], changes[0]) == (("ok", "1.0"), a_day_matured)
    lines = [record.getMessage() for record in caplog.records if "seasonal naive" in record.getMessage()]
    assert len(lines) == 2
    assert "lose to the seasonal naive one: no predictive alert" in lines[0]
    assert "are no worse than the seasonal naive one again" in lines[1]


def test_with_a_young_history_the_alert_uses_the_longest_horizon_that_is_known():
    from detector.fitting import make_forecaster

    text = CATALOGUE.replace("[1h, 24h]", "[1h, 24h, 7d]").replace("history: 24h", "history: 14d", 1)
    noise = np.random.default_rng(0).normal(size=5000) * 0.002

    def young(t: int) -> float:
        minutes = (t - SLOT) // 60 + 600
        return np.nan if minutes < 0 else 1.0 - 0.00014 * minutes + float(noise[minutes])

    catalogue = parse_catalogue(text, "test.yaml")
    worker, sink = start(Past(accuracy={"young": young}), catalogue=catalogue, forecaster=make_forecaster)
    [result] = worker.run_slot(SLOT + 6000, ["accuracy"])
    assert result.failure is None and result.probability is not None
    assert np.isfinite(result.probability[0]).tolist() == [True, False, False]
    assert result.probability[0, 0] >= 0.8
    assert alert_in(body(sink)) == "1.0"
    assert 'forecast_alert_horizon_seconds{for="accuracy",instance="young"} 3600.0\n' in body(sink)
