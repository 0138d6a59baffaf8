"""The engine behind the interface of an external harness says what the engine itself says."""

from __future__ import annotations

import numpy as np
import pytest

from bench.adapter import BELOW, FIT_EVERY, REST, Engine, Steady, onsets
from models import Forecaster, score_anomalies
from models.grid import uniform_grid
from models.synthetic import make_series

STEP, T, H = 300, 1200, 24
Q = [0.1, 0.5, 0.9]


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return make_series(3, T + 2 * FIT_EVERY, step=STEP, daily=6.0, seed=4).values


def window(values: np.ndarray, moved: int) -> np.ndarray:
    return values[:, moved : moved + T].copy()


def own(values: np.ndarray, moved: int = 0) -> Forecaster:
    return Forecaster(STEP, STEP * H, grid=uniform_grid(STEP, H)).fit(window(values, 0), moved * STEP)


def test_forecasts_odds_and_scores_are_the_engine_s(values: np.ndarray) -> None:
    engine, Y = Engine(), window(values, 0)
    made = own(values).forecast()
    limit = Y.mean(1) + 2
    np.testing.assert_array_equal(engine.forecast(Y, STEP, 0, H, Q), made.quantile(Q))
    odds = engine.breach(Y, STEP, 0, H, limit, np.array([True, False, True]), 3)
    np.testing.assert_array_equal(odds, made.breach(limit, np.array([True, False, True]), 3).probability)
    want = [onsets(row, REST // STEP) for row in score_anomalies(Y, step=STEP)]
    for scores in (engine.anomaly_batch(Y, STEP, 0), Engine().anomaly_batch(Y, STEP, 0)):
        np.testing.assert_allclose(scores, want, rtol=1e-9)
    np.testing.assert_allclose(engine.anomaly(Y[1], STEP, 0), want[1], rtol=1e-9)


def test_points_that_nothing_stands_behind_are_missing(values: np.ndarray) -> None:
    Y = window(values, 0)
    n = np.ones_like(Y)
    n[0, 100:160] = 0
    without = Y.copy()
    without[0, 100:160] = np.nan
    np.testing.assert_array_equal(Engine().forecast(Y, STEP, 0, H, Q, n=n), Engine().forecast(without, STEP, 0, H, Q))


def test_a_steady_engine_updates_between_two_fits_and_learns_anew_after_an_hour(values: np.ndarray) -> None:
    steady, followed = Steady(), own(values)
    steady.forecast(window(values, 0), STEP, 0, H, Q)
    for moved in range(1, FIT_EVERY):
        followed.update(values[:, T + moved - 1 : T + moved])
        got = steady.forecast(window(values, moved), STEP, moved * STEP, H, Q)
        np.testing.assert_array_equal(got, followed.forecast().quantile(Q))
    hour = window(values, FIT_EVERY)
    anew = Engine().forecast(hour, STEP, FIT_EVERY * STEP, H, Q)
    np.testing.assert_array_equal(steady.forecast(hour, STEP, FIT_EVERY * STEP, H, Q), anew)
    assert (anew != followed.update(values[:, T + FIT_EVERY - 1 : T + FIT_EVERY]).forecast().quantile(Q)).any()


def test_a_steady_engine_learns_anew_what_does_not_follow(values: np.ndarray) -> None:
    steady = Steady()
    steady.forecast(window(values, 0), STEP, 0, H, Q)
    other = window(values, 1)
    other[2, 500] += 1.0  # a past that was another one
    np.testing.assert_array_equal(steady.forecast(other, STEP, STEP, H, Q), Engine().forecast(other, STEP, STEP, H, Q))


def test_of_an_episode_only_the_onset_is_an_alert() -> None:
    score = np.array([0.2, 1.5, 1.2, 0.1, np.nan, 1.1, 3.0])
    np.testing.assert_array_equal(onsets(score, 4), [0.2, 1.5, BELOW, 0.1, np.nan, 1.1, BELOW])
