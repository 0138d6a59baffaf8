"""Losses against naive loops, the evaluation against what it promises, and the made series against their truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models import forecast
from models.backtest import QUANTILES, backtest
from models.losses import brier, brier_skill, coverage, crps, mase, mean_of_known, pinball
from models.synthetic import ar_noise, make_series, ramp, runs, spike, step_change

NAN = np.nan
numbers = st.floats(-1e6, 1e6)


@given(arrays(float, (3, 5), elements=numbers), arrays(float, (3, 5), elements=numbers), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_pinball_is_the_quantile_loss_of_each_pair(truth, guess, q):
    want = [
        [q * (y - f) if y >= f else (1 - q) * (f - y) for y, f in zip(*r, strict=True)]
        for r in zip(truth, guess, strict=True)
    ]
    np.testing.assert_allclose(pinball(truth, guess, q), want, atol=1e-9)


def test_the_expected_pinball_loss_is_smallest_at_the_true_quantile():
    y = np.random.default_rng(0).normal(size=20_000)
    losses = [pinball(y, np.full_like(y, f), 0.9).mean() for f in (0.9, 1.2816, 1.7)]
    assert losses[1] == min(losses)


def test_crps_of_quantiles_tends_to_that_of_the_samples_they_come_from():
    rng = np.random.default_rng(1)
    samples, truth = rng.normal(size=400), np.array([[-1.0, 0.0, 0.3, 2.5]])
    levels = np.linspace(0.005, 0.995, 100)
    guess = np.repeat(np.quantile(samples, levels)[None, :, None], 4, axis=2)
    got = crps(truth, guess, levels.tolist())[0]
    for y, value in zip(truth[0], got, strict=True):
        naive = np.abs(samples - y).mean() - np.abs(samples[:, None] - samples).mean() / 2
        assert value == pytest.approx(naive, abs=0.02)


def test_mase_scales_by_the_seasonal_naive_error_of_the_history_and_skips_gaps():
    history = np.array([[1.0, 5.0, 2.0, NAN, 4.0, 8.0], [3.0] * 6])
    truth, guess = np.array([[1.0, NAN, 3.0], [3.0, 4.0, 3.0]]), np.array([[2.0, 2.0, 1.0], [3.0, 3.0, 3.0]])
    naive = np.mean([abs(2.0 - 1.0), abs(4.0 - 2.0)])  # two columns apart, both there
    np.testing.assert_allclose(mase(truth, guess, history, season=2), [np.mean([1.0, 2.0]) / naive, np.inf])
    assert mase(truth[1:, :1], guess[1:, :1], history[1:])[0] == 0.0


def test_coverage_counts_the_known_truth_within_the_band():
    y, low, high = [1.0, 2.0, NAN, 4.0, 5.0], [0.0, 2.0, 0.0, 5.0, NAN], [2.0, 2.0, 9.0, 6.0, 9.0]
    assert coverage(y, low, high) == pytest.approx(2 / 3)
    assert np.isnan(coverage([NAN], [0.0], [1.0]))


def test_brier_and_its_skill_compare_with_the_base_rate_or_another_forecast():
    happened, probability = [1.0, 0.0, 0.0, NAN, 1.0], [0.9, 0.2, 0.0, 0.5, NAN]
    assert brier(happened, probability) == pytest.approx((0.01 + 0.04 + 0.0) / 3)
    base = np.mean([(1 - 1 / 3) ** 2, (1 / 3) ** 2, (1 / 3) ** 2])
    assert brier_skill(happened, probability) == pytest.approx(1 - (0.05 / 3) / base)
    assert brier_skill([1.0, 0.0], [0.5, 0.5]) == 0.0
    assert brier_skill([1.0, 0.0], [0.8, 0.2], reference=[0.6, 0.4]) == pytest.approx(1 - 0.04 / 0.16)
    assert np.isnan(brier_skill([0.0, 0.0], [0.1, 0.1]))


def test_a_mean_over_nothing_is_not_a_number_and_not_a_warning():
    np.testing.assert_array_equal(mean_of_known(np.array([[1.0, NAN, 3.0], [NAN] * 3]), axis=1), [2.0, NAN])


def test_the_evaluation_forecasts_from_the_past_alone():
    y = make_series(2, 700, daily=8.0, seed=4).values
    origins = [500, 600]
    got = backtest(y, step=300, horizon=24, origins=origins, threshold=56.0, run=2)
    for k, o in enumerate(origins):
        fc = forecast(y[:, :o], step=300, horizon=24)
        np.testing.assert_array_equal(got.quantiles[k], fc.quantile(QUANTILES))
        np.testing.assert_array_equal(got.probability[k], fc.breach(56.0, run=2).probability)
        np.testing.assert_array_equal(got.truth[k], y[:, o : o + 24])
        for i in range(2):  # a run may have begun before the origin, but ends after it
            ends = [t for t in range(o, o + 24) if y[i, t] > 56.0 and y[i, t - 1] > 56.0]
            assert got.happened[k, i] == bool(ends)
    later = y.copy()
    later[:, 600:] = 1e3
    again = backtest(later, step=300, horizon=24, origins=origins, threshold=56.0, run=2)
    np.testing.assert_array_equal(again.quantiles, got.quantiles)
    np.testing.assert_array_equal(again.probability, got.probability)


def test_on_noise_around_a_season_the_band_covers_and_the_median_beats_the_naive_forecast():
    y = make_series(4, 288 * 6, daily=20.0, noise=1.0, phi=0.5, seed=2).values
    got = backtest(y, step=300, horizon=36, origins=range(288 * 4, 288 * 6 - 36, 60))
    assert 0.7 <= got.coverage(0.8) <= 0.9
    assert (got.mase(season=288) < 1.0).all()
    assert 0.45 <= got.crps() <= 0.75  # of a normal distribution of deviation 1: 0.564
    assert np.isnan(got.probability).all() and np.isnan(got.happened).all()


@pytest.mark.parametrize("origins", [[], [0], [90]])
def test_the_evaluation_refuses_an_origin_without_a_past_or_a_whole_future(origins):
    with pytest.raises(ValueError, match="origins"):
        backtest(np.ones((1, 100)), step=300, horizon=24, origins=origins)


def test_made_series_are_seeded_and_consist_of_what_they_say():
    event = step_change(600, 500, 30.0)
    one, two = (make_series(2, 600, planted=event, seed=s) for s in (1, 2))
    np.testing.assert_array_equal(one.values, make_series(2, 600, planted=event, seed=1).values)
    assert (one.values != two.values).all()
    np.testing.assert_array_equal(one.clean, two.clean)
    np.testing.assert_allclose(one.clean - make_series(2, 600).clean, np.broadcast_to(event, (2, 600)), atol=1e-9)
    assert abs((one.values - one.clean).std() - 1) < 0.2


def test_events_are_where_they_were_planted():
    np.testing.assert_array_equal(ramp(7, 2, 1.5), [0, 0, 0, 1.5, 3, 4.5, 6])
    np.testing.assert_array_equal(ramp(7, 2, 1.5, until=4), [0, 0, 0, 1.5, 3, 3, 3])
    np.testing.assert_array_equal(step_change(4, 2, -3.0), [0, 0, -3, -3])
    np.testing.assert_array_equal(spike(5, 1, 9.0, width=2), [0, 9, 9, 0, 0])


def test_noise_has_the_deviation_and_the_autocorrelation_asked_for():
    x = ar_noise(4, 20_000, phi=0.8, sd=3.0, seed=3)
    np.testing.assert_allclose(x.std(axis=1), 3.0, rtol=0.1)
    np.testing.assert_allclose([np.corrcoef(r[1:], r[:-1])[0, 1] for r in x], 0.8, atol=0.03)


@given(arrays(bool, st.tuples(st.integers(1, 3), st.integers(4, 20))), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_runs_are_consecutive(beyond, run):
    got = runs(beyond, run)
    for i, t in np.ndindex(got.shape):
        assert got[i, t] == all(beyond[i, t : t + run])


def test_the_true_breach_is_the_first_column_of_the_first_run():
    made = make_series(1, 100, daily=0.0, noise=1e-9, planted=spike(100, 20, 9.0) + ramp(100, 50, 1.0))
    assert made.breach_column(55.5, run=1)[0] == 20
    assert made.breach_column(55.5, run=3)[0] == 56
    assert made.breach_column(1e9)[0] == 100
    assert made.breach_column(49.0, above=False)[0] == 100
