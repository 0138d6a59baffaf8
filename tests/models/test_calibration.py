"""The odds: counted against slow loops, learned where examples allow it, and from nothing that was not known yet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from models import Forecaster, forecast
from models.calibration import (
    LEAST_SLOPE,
    PRIOR,
    PRIOR_STRENGTH,
    Calibrator,
    anchor_cells,
    between_anchors,
    logit,
    regress,
    share_of,
)
from models.examples import FEWEST_PATHS, Past, base_rates, examples_of, first_crossings, next_breach
from models.synthetic import ar_noise, make_series

NAN = np.nan


def wander(columns=400, leading=17, seed=0):
    y = ar_noise(1, columns, phi=0.9, seed=seed)[0]
    y[:leading] = NAN
    y[200:204] = NAN
    return y


def is_beyond(value, threshold, above):
    return bool(value > threshold if above else value < threshold)


def starts_of_runs(y, threshold, above, run):
    """Columns in which ``run`` consecutive values beyond begin."""
    return [t for t in range(len(y) - run + 1) if all(is_beyond(v, threshold, above) for v in y[t : t + run])]


def slow_counts(y, threshold, above, run, reach, without=()):
    """Of the columns that were not beyond (and not in ``without``): how many, and after how many a run ended in reach.

    A run that holds in a column that is beyond already is no new breach; it starts after the column.
    """
    begin = int(np.isfinite(y).argmax())
    starts = starts_of_runs(y, threshold, above, run)
    hits = chances = 0
    for t in range(begin, len(y) - reach):
        if t not in without and not is_beyond(y[t], threshold, above):
            chances += 1
            hits += any(t < s and s + run - 1 <= t + reach for s in starts)
    return hits, chances


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("run", [1, 2, 4])
def test_base_rates_are_the_shares_counted_one_by_one(above, run):
    y, ahead = wander(), np.array([1, 3, 20, 110, 399, 450])
    for threshold in (-1.0, 0.0, 1.2, 50.0):
        got = base_rates(y, threshold, above, run, ahead)
        for a, reach in enumerate(ahead):
            hits, chances = slow_counts(y, threshold, above, run, reach)
            windows = max(1.0, chances / reach)
            share = hits / chances if chances else 0.5
            np.testing.assert_allclose(got[a], (share * windows + 0.5) / (windows + 1), rtol=1e-12)
    assert (got > 0).all() and (got < 1).all()


@pytest.mark.parametrize("run", [1, 3])
def test_the_next_breach_is_the_next_start_of_a_run(run):
    y = wander()
    first, beyond = next_breach(y, 0.3, True, run)
    starts = starts_of_runs(y, 0.3, True, run)
    np.testing.assert_array_equal(beyond, [v > 0.3 for v in y])
    for t in range(len(y) + 1):
        assert first[t] == min((s for s in starts if s >= t), default=2**40)


def slow_crossing(centre, residual, threshold, above, run, narrow):
    """The first start of a run of steps, or wide cell beyond: one by one."""
    H = len(centre)
    beyond = [is_beyond(c + r, threshold, above) for c, r in zip(centre, residual, strict=True)]
    runs = [h for h in range(H) if all(h + j < min(H, narrow) and beyond[h + j] for j in range(run))]
    # A wide cell is beyond by itself; its lift has seen to the length of the run.
    return min([*runs, *(h for h in range(narrow, H) if beyond[h])], default=H)


@given(st.integers(0, 10**6), st.integers(1, 100), st.integers(1, 40), st.integers(0, 110), st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_first_crossing_is_the_first_run_of_steps_or_the_first_wide_cell(seed, H, run, narrow, above):
    """Restless paths, unknown cells, values at the threshold itself, and a run planted anywhere on a calm path."""
    rng, sign = np.random.default_rng(seed), 1.0 if above else -1.0
    centre = rng.integers(-3, 3, (4, H)).astype(np.float32)
    residual = rng.integers(-3, 3, (5, H)).astype(np.float32)
    at = rng.integers(H)
    centre[0], residual[0] = -9.0, 0.0
    residual[0, at : at + run // 2] = 10.5  # a run whose one half is the error's, and the other the forecast's
    centre[0, at + run // 2 : at + run] = 3.0
    centre[1, at : at + run] = 3.0
    residual[1] = 0.5
    centre[2, rng.random(H) < 0.1] = NAN
    residual[2, rng.random(H) < 0.1] = NAN
    asked = np.where(rng.random((4, 5)) < 0.5, H, rng.integers(0, H + 9, (4, 5)))
    found = first_crossings(sign * centre, sign * residual, asked, sign * 1.0, above, run, narrow)
    for c, k in np.ndindex(4, 5):
        want = slow_crossing(sign * centre[c], sign * residual[k], sign * 1.0, above, run, narrow)
        if min(found[c, k], want) < asked[c, k]:  # beyond, it may be found or not
            assert found[c, k] == want, (c, k)


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("run", [1, 2])
def test_examples_are_what_the_other_paths_and_the_rest_of_the_past_said(above, run):
    rng = np.random.default_rng(1)
    y, H = wander(500), 40
    T, K, threshold = len(y), 30, 0.8 if above else -0.8
    anchors = anchor_cells(H)
    ahead = anchors + 1
    at = np.sort(rng.choice(np.arange(1, T), 24, replace=False))
    centre = np.where(np.isfinite(y[at - 1]), y[at - 1], 0.0)[:, None].repeat(H, 1).astype(np.float32)
    origins = np.sort(rng.choice(np.arange(30, T), K, replace=False))
    origins[:4] = 0
    residual = rng.normal(size=(K, H)).cumsum(1).astype(np.float32) / 4
    want = []
    begin = int(np.isfinite(y).argmax())
    starts = starts_of_runs(y, threshold, above, run)
    for a, reach in enumerate(ahead):
        rows = []
        for c, o in enumerate(at):
            if o <= begin or o + ahead[0] > T or is_beyond(y[o - 1], threshold, above) or o + reach > T:
                continue
            others = [j for j in range(K) if origins[j] > 0 and abs(origins[j] - o) >= reach]
            if len(others) < FEWEST_PATHS:
                continue
            paths = np.full((1, 1), H), threshold, above, run, H
            crossed = [first_crossings(centre[c : c + 1], residual[[j]], *paths)[0, 0] <= anchors[a] for j in others]
            around = range(max(0, o - 1 - reach), o - 1 + reach)
            hits, chances = slow_counts(y, threshold, above, run, reach, around)
            windows = max(1.0, chances / reach)
            base = ((hits / chances if chances else 0.5) * windows + 0.5) / (windows + 1)
            happened = any(o <= s and s + run - 1 <= o - 1 + reach for s in starts)
            rows.append([a, logit((sum(crossed) + 0.5) / (len(others) + 1)), logit(base), happened])
        independent = max(1.0, slow_counts(y, threshold, above, run, reach)[1] / reach)
        want += [[*row, min(1.0, independent / len(rows))] for row in rows]
    got = examples_of(y, centre, at, residual, origins, threshold, above, run, H, anchors, ahead)
    assert len(got) == len(want) > 50
    np.testing.assert_allclose(got, np.array(want, float), rtol=1e-6, atol=1e-9)
    assert 0 < got[:, 3].mean() < 1


def test_an_anchor_beyond_the_paths_has_no_examples():
    rng, y = np.random.default_rng(3), wander(500)
    at, origins = np.arange(100, 400, 20), np.arange(50, 450, 10)
    known = np.zeros((len(at), 8), np.float32), at, rng.normal(size=(len(origins), 8)).astype(np.float32), origins
    anchors = np.array([3, 7, 20])
    got = examples_of(y, *known, 2.0, True, 1, 8, anchors, anchors + 1)
    assert set(got[:, 0]) == {0, 1}


def examples(coefficients, n, seed=0, weight=1.0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(-1, 1.5, n), rng.normal(-2, 1, n)])
    happened = rng.random(n) < expit(X @ coefficients)
    return np.column_stack([np.zeros(n), X[:, 1:], happened, np.full(n, weight)])


@pytest.mark.parametrize("planted", [(0.0, 1.0, 0.0), (-0.4, 0.6, 0.4), (1.0, 0.2, 1.5), (-1.5, 1.8, 0.3)])
def test_regression_recovers_planted_coefficients(planted):
    got = regress(examples(np.array(planted), 40_000))
    np.testing.assert_allclose(got, np.maximum(planted, [-9, LEAST_SLOPE, LEAST_SLOPE]), atol=0.12)


def test_without_examples_the_prior_holds_and_few_move_it_little():
    np.testing.assert_array_equal(regress(np.empty((0, 6))), PRIOR)
    planted = np.array([1.0, 1.5, 1.0])
    distance = [np.abs(regress(examples(planted, n)) - planted).sum() for n in (2, 100, 10_000)]
    assert distance[0] > distance[1] > distance[2]
    assert np.abs(regress(examples(planted, 2)) - PRIOR).max() < 0.2
    # Overlapping examples weigh less: a thousand of them are worth a few.
    light = regress(examples(planted, 1000, weight=1e-4))
    assert np.abs(light - PRIOR).max() < 0.1
    assert np.array_equal(regress(examples(planted, 100)), regress(examples(planted, 100)))


def test_odds_never_fall_as_the_paths_or_the_base_rate_rise():
    against = regress(examples(np.array([0.0, -1.0, -1.0]), 20_000))
    np.testing.assert_array_equal(against[1:], LEAST_SLOPE)


@given(st.integers(0, 10_000), st.integers(1, 300), st.floats(0.5, 12.0))
@settings(max_examples=60, deadline=None)
def test_the_regression_is_at_the_top_of_its_penalised_likelihood(seed, n, spread):
    """Any features, however extreme: Newton's method must have arrived."""
    rng = np.random.default_rng(seed)
    rows = np.column_stack([np.zeros(n), rng.normal(0, spread, (n, 2)), rng.random(n) < 0.5, rng.random(n)])
    b = regress(rows)
    assert np.isfinite(b).all() and (b[1:] >= LEAST_SLOPE).all()
    if (b[1:] > LEAST_SLOPE).all():
        X = np.column_stack([np.ones(n), rows[:, 1:3]])
        slope = X.T @ (rows[:, 4] * (rows[:, 3] - expit(X @ b))) - PRIOR_STRENGTH * (b - PRIOR)
        np.testing.assert_allclose(slope, 0, atol=1e-4)


@given(st.integers(1, 3000))
@settings(max_examples=60, deadline=None)
def test_anchors_are_cells_in_order_and_the_last_is_one(cells):
    anchors = anchor_cells(cells)
    assert anchors[-1] == cells - 1 and (np.diff(anchors) > 0).all() and 1 <= len(anchors) <= 5
    assert anchors[0] == min(12, cells) - 1


def test_between_anchors_coefficients_are_linear_in_the_log_of_the_horizon():
    rng = np.random.default_rng(2)
    for cells in (1, 5, 13, 288):
        anchors = anchor_cells(cells)
        at = rng.normal(size=(3, len(anchors), 3))
        got = between_anchors(at, anchors, cells)
        assert got.shape == (3, cells, 3)
        np.testing.assert_allclose(got[:, anchors], at)
        for i, j in np.ndindex(3, 3):
            want = np.interp(np.log(np.arange(1, cells + 1)), np.log(anchors + 1), at[i, :, j])
            np.testing.assert_allclose(got[i, :, j], want, atol=1e-12)


def test_a_share_is_never_sure_and_its_log_odds_come_back():
    share = share_of(np.array([0.0, 5.0, 10.0]), np.array([10.0, 10.0, 10.0]))
    np.testing.assert_allclose(share, [0.5 / 11, 0.5, 10.5 / 11])
    np.testing.assert_allclose(expit(logit(share)), share)


def past_of(y, H, seed):
    rng = np.random.default_rng(seed)
    at = np.arange(60, len(y) - 5, 9)
    centre = np.repeat(y[at - 1][:, None], H, 1).astype(np.float32)
    origins = np.linspace(60, len(y) - 5, 40).astype(np.int64)
    return Past(0.0, y, centre, at, rng.normal(size=(40, H)).cumsum(1).astype(np.float32) / 3, origins)


def calibrator_of(ys, ends, H=24):
    past = [past_of(y, H, seed=i) for i, y in enumerate(ys)]
    return Calibrator(past, np.array(ends), np.arange(1, H + 1), lambda above, run: None)


def test_coefficients_are_learned_for_each_question_and_shared_between_series_of_one_end():
    ys = ar_noise(6, 700, phi=0.9, seed=3)
    calibrator = calibrator_of(ys, [90_000] * 6)
    one = calibrator.coefficients(np.arange(6), np.full(6, 1.0), True, 1)
    assert one.shape == (6, 24, 3)
    np.testing.assert_array_equal(one, np.repeat(one[:1], 6, axis=0))
    assert (one[:, :, 1:] >= LEAST_SLOPE).all()
    assert np.abs(one - PRIOR).max() > 0.01
    for other in ((1.3, True, 1), (1.0, False, 1), (1.0, True, 2)):
        assert (calibrator.coefficients(np.arange(6), np.full(6, other[0]), *other[1:]) != one).any()
    np.testing.assert_array_equal(calibrator.coefficients(np.arange(6), np.full(6, 1.0), True, 1), one)


def test_a_question_learns_from_the_series_that_are_asked_with_it_by_their_own_thresholds():
    ys = ar_noise(3, 700, phi=0.9, seed=3)
    limits = np.array([1.0, 15.0, -4.0])
    one = calibrator_of(ys, [90_000] * 3).coefficients(np.arange(len(limits)), limits, True, 1)
    moved = calibrator_of(ys + 0.0, [90_000] * 3)
    order = [2, 0, 1]
    moved.past = [moved.past[i] for i in order]
    np.testing.assert_allclose(moved.coefficients(np.arange(3), limits[order], True, 1), one[order], rtol=1e-6)


def test_examples_teach_only_series_that_end_no_earlier():
    ys = ar_noise(3, 700, phi=0.9, seed=4)
    ends = [90_000, 95_000, 90_000 + 700 * 60]
    limits = np.full(3, 1.0)
    together = calibrator_of(ys, ends).coefficients(np.arange(len(limits)), limits, True, 1)
    assert (together[0] != together[2]).any()
    for changed in (1, 2):
        other = ys.copy()
        other[changed] = 5 * np.random.default_rng(5).normal(size=700)
        again = calibrator_of(other, ends).coefficients(np.arange(len(limits)), limits, True, 1)
        np.testing.assert_array_equal(again[:changed], together[:changed])
        assert (again[changed] != together[changed]).any()
        assert (again[2] != together[2]).any()


def test_later_data_changes_nothing_for_a_series_that_ended_earlier():
    step, T = 300, 900
    y = make_series(4, T, step=step, daily=6.0, seed=6).values
    start = np.array([0, 0, 200, 400]) * step
    changed = y.copy()
    changed[2, -150:] += 9.0  # later than the end of the first two
    changed[3, -350:] = 55 + 4 * np.random.default_rng(7).normal(size=350)
    limits = y.mean(axis=1) + 5.0
    results = []
    for values in (y, changed):
        f = Forecaster(step=step, horizon=7200).fit(values, start=start)
        fc = f.forecast()
        results.append([fc.quantile([0.1, 0.9]), fc.breach(limits).chance, fc.breach(limits, run=3).chance])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one[:2], two[:2])
        assert (one[2:] != two[2:]).any()


def test_probabilities_are_near_the_frequencies_of_what_happens():
    """A band of questions about wandering series whose future is known."""
    n, T, H = 60, 1200, 30
    y = ar_noise(n, T + H, phi=0.95, seed=8)
    fc = forecast(y[:, :T], step=300, horizon=H)
    for limit in (0.5, 1.2, 2.0):
        calm = y[:, T - 1] <= limit
        probability = fc.breach(limit).probability[calm]
        happened = (y[calm, T:] > limit).any(axis=1)
        assert abs(probability.mean() - happened.mean()) < 0.12, limit
        assert ((probability - happened) ** 2).mean() < happened.var() + 0.01, limit
