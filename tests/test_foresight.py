"""The engine against simulated trouble with a known truth: seen in time, and silent when there is none."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest

from bench.foresight import ENOUGH_RIGHT, MONDAY, SCENARIOS, judge
from bench.predict_linear import line, time_to
from bench.quiet import SimulatedHistory, replay
from bench.worker import catalogue_of
from bench.worker import measure as measure_cost
from detector.catalogue.load import load_catalogue
from detector.clock import column_of
from detector.pipeline import Worker
from detector.simulate import Platform, Scenario
from detector.store import MemoryStore
from models import Forecaster

SEEDS = 20


@pytest.mark.parametrize("kind", SCENARIOS)
def test_a_breach_two_to_twelve_hours_away_is_foreseen_in_at_least_18_of_20_seeds(kind: str) -> None:
    outcomes = [judge(kind, seed) for seed in range(SEEDS)]
    wrong = [o for o in outcomes if not o.right]
    assert len(outcomes) - len(wrong) >= ENOUGH_RIGHT * len(outcomes), wrong


@pytest.mark.parametrize("seed", range(10))
def test_a_cliff_nobody_can_foresee_scores_as_an_anomaly_within_the_run(seed: int) -> None:
    query = load_catalogue("day_trade").queries["ml_ensemble_accuracy"]
    start = MONDAY + seed * 54_000
    platform = Platform(seed, [Scenario("accuracy-cliff", start)])
    frame = platform.query(query.name, start - query.history, start + 10 * query.step, query.step)
    after = int((start - frame.start) // query.step)
    engine = Forecaster(step=query.step, horizon=3600, bounds=query.data_range)
    engine.fit(frame.values[:, :after], frame.start)
    before = engine.scores(last=60, direction=query.detection_direction)
    engine.update(frame.values[:, after : after + query.breach.run])
    assert engine.scores(last=query.breach.run, direction=query.detection_direction).max() > 1
    assert before.max() < 1


def test_a_healthy_day_raises_no_predictive_alert() -> None:
    quiet = replay("ml_memory_usage", seed=3, clock="sessions", start=MONDAY, days=1.0, every=3600)
    assert quiet.decisions == 24 * 3
    assert quiet.fired == 0


@pytest.mark.slow
def test_the_engine_stays_skilful_while_a_slide_begins_and_is_repaired() -> None:
    catalogue = load_catalogue("day_trade")
    catalogue = catalogue.model_copy(update={"settings": catalogue.settings.model_copy(update={"refit": 6 * 3600})})
    begin = MONDAY + 3 * 86400
    trouble = [Scenario("accuracy-slide", begin, severity=0.5), Scenario("retrain", begin + 6 * 3600)]
    end = begin + 2 * 86400
    history = SimulatedHistory(Platform(5, trouble), MONDAY, end)
    worker = Worker(catalogue, history, MemoryStore(), history=history)
    for slot in range(MONDAY, end, 3600):
        result = worker.run_query("ml_ensemble_accuracy", slot)
        assert [str(state) for state in result.states] == ["ok"]
    assert result.quality is not None
    assert result.quality.against_naive[0, 1] < 1  # judged at 24 h, the alert's horizon
    assert 0.5 < result.quality.coverage[0, 1] <= 1


def test_a_retrain_takes_the_alert_back() -> None:
    query = load_catalogue("day_trade").queries["ml_ensemble_accuracy"]
    slide = Scenario("accuracy-slide", MONDAY, severity=0.5)
    retrain = Scenario("retrain", MONDAY + 6 * 3600)
    platform = Platform(5, [slide, retrain])
    history = SimulatedHistory(platform, MONDAY, MONDAY + 12 * 3600)
    worker = Worker(load_catalogue("day_trade"), history, MemoryStore(), history=history)
    assert worker.run_query(query.name, MONDAY + 6 * 3600).decisions[0].firing
    assert not worker.run_query(query.name, MONDAY + 9 * 3600).decisions[0].firing


def test_a_cycle_over_the_whole_catalogue_takes_under_five_seconds_after_the_first() -> None:
    platform = Platform(2)
    history = SimulatedHistory(platform, MONDAY, MONDAY + 3600)
    worker = Worker(load_catalogue("day_trade"), history, MemoryStore(), history=history)
    first = worker.run_slot(MONDAY + 600)
    assert [r.query.name for r in first if r.failure] == []
    assert sum(len(r.states) for r in first) > 180
    # A fit lasts an hour; with each query at its own minute a cycle learns a thirtieth of the catalogue again.
    seconds, told = [], []
    for slot in range(MONDAY + 660, MONDAY + 1020, 60):
        begin = time.perf_counter()
        results = worker.run_slot(slot)
        seconds.append(time.perf_counter() - begin)
        told.append({(r.query.name, column_of(r.query, slot)): r.values for r in results if r.values is not None})
    assert np.median(seconds) < 5, seconds
    for before, after in pairwise(told):  # the forecasts themselves move with the data, not only their times
        new = {name: values for (name, column), values in after.items() if (name, column) not in before}
        old = {name: values for (name, _), values in before.items()}
        moved = [name for name in new if not np.array_equal(old[name], new[name], equal_nan=True)]
        assert len(new) >= 7
        assert len(moved) >= 0.8 * len(new), set(new) - set(moved)


def test_predict_linear_is_the_line_that_least_squares_draws() -> None:
    values = np.random.default_rng(0).normal(size=(3, 500)).cumsum(axis=1)
    level, slope = line(values, 60)
    x = np.arange(-240, 1) * 60.0
    for i in range(3):
        b, a = np.polyfit(x, values[i, -241:], 1)
        assert level[i] == pytest.approx(a)
        assert slope[i] == pytest.approx(b)
    assert time_to(values, 60, level[0] + 1e9, above=True)[0] in (np.inf, pytest.approx(1e9 / slope[0]))


def test_what_is_kept_of_a_series_is_bounded() -> None:
    cost = measure_cost(catalogue_of(["node_cpu_usage"]), cycles=2)
    assert cost.series == 8
    assert 1e5 < cost.stored / cost.series < 1e6  # bytes, of 35 days by the minute
    assert 0 < cost.later < cost.first
