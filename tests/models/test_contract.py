"""What every member of the ensemble, and every public function, keeps to. A new member is tested by registering it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import Breach, Forecaster, forecast, score_anomalies
from models import forecaster as engine
from models.forecaster import BLOCK, MIN_POINTS
from models.intermittent import Intermittent
from models.panel import lengths_table, make_panel
from models.registry import MEMBERS, REFERENCE_MEMBERS
from models.synthetic import make_series, ramp

STEP, DAY = 1800, 48  # half-hour points: two weeks are 672 columns
T = 15 * DAY
WINDOW = 12  # columns of the trailing means that the window members are asked about
QUANTILES = [0.05, 0.1, 0.5, 0.9, 0.95]
NAN = np.nan

ALL = MEMBERS | REFERENCE_MEMBERS
members = pytest.mark.parametrize("member", ALL.values(), ids=list(ALL))


def series(n=4, columns=T, seed=0, **options):
    return make_series(n, columns, step=STEP, seed=seed, weekly=4.0, **options).values


def trailing_mean(values, window):
    total = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    return (total[:, window:] - total[:, :-window]) / window


def resting(n, columns=T, seed=0):
    """Zero, with a job at the same hour of every day and something else now and then."""
    rng = np.random.default_rng(seed)
    job = np.isin(np.arange(columns) % DAY, [20, 21]) * rng.normal(30, 2, size=(n, columns))
    return np.where(rng.random((n, columns)) < 0.05, rng.uniform(10, 40, size=(n, columns)), job)


def suited(member, n=4, seed=0):
    """Series of the kind that ``member`` serves."""
    if isinstance(member, Intermittent):
        return resting(n, seed=seed)
    if not member.windowed:
        return series(n, seed=seed)
    return trailing_mean(make_series(n, T + WINDOW - 1, step=STEP, daily=0.0, phi=0.3, seed=seed).values, WINDOW)


def panel_for(member, values):
    """A panel on which ``member`` serves every row: all seasons known, trailing means where it wants them."""
    windows = np.full(len(values), WINDOW if member.windowed else 0)
    lengths = lengths_table(None, None, STEP, np.full(len(values), values.shape[1]))
    return make_panel(np.where(np.isfinite(values), values, NAN), STEP, 1, lengths, windows)


def awkward(columns=T, values=None):
    """Rows that real fleets have: whole, late, broken off, with holes, empty, constant, too new, bursty."""
    rng = np.random.default_rng(11)
    values = series(12, columns) if values is None else values.copy()
    values[1, : columns // 2] = NAN
    values[2, -20:] = NAN
    values[3, columns // 3 : columns // 3 + 70] = NAN
    values[4, rng.random(columns) < 0.7] = NAN
    values[5] = NAN
    values[6] = 7.3
    values[7] = 0.0
    values[8, : columns - 10] = NAN
    values[9] = np.where(rng.random(columns) < 0.02, 100.0, 0.0)
    values[10, columns // 2 :] = 55.0
    values[11, ::2] = np.inf
    return values


def outcome(fc, threshold=58.0, run=2):
    """Everything a caller reads off a forecast, in one dictionary."""
    breach = fc.breach(threshold, run=run)
    below = fc.breach(threshold - 16, above=False)
    return {
        "quantiles": fc.quantile(QUANTILES),
        "probability": breach.probability,
        "within": breach.probability_within([3600, 6 * 3600, 86400]),
        "time": breach.time_to([0.1, 0.5, 0.9]),
        "below": below.probability,
    }


def assert_same(a, b, rows=slice(None), tolerance=0.0, keys=None):
    for key in keys or a:
        np.testing.assert_allclose(a[key][rows], b[key], rtol=tolerance, atol=tolerance, err_msg=key)


# Members


@members
@pytest.mark.parametrize("horizon", [1, 5, DAY + 3])
def test_a_member_answers_for_every_series_origin_and_cell(member, horizon):
    panel = panel_for(member, awkward(values=suited(member, 12)))
    assert member.applies(panel) and member.serves(panel)[[0, 1, 2, 3, 4, 6, 7, 9, 10, 11]].all()
    origins = np.array([1, DAY, 5 * DAY, T])
    got = member.predict(panel, member.fit(panel), origins, horizon)
    assert got.shape == (12, 4, horizon)
    assert got.dtype == np.float32
    assert np.isnan(got[5]).all(), "a series without data has no forecast"
    constant = [] if member is MEMBERS["ridge_log"] else [6, 7]  # there is no logarithm of a distance of 0
    assert np.isfinite(got[:, 3])[[0, 1, 2, 3, 4, 10, *constant]].all()
    assert not np.isinf(got).any()


@members
def test_a_member_answers_only_for_the_rows_that_it_serves(member):
    plain = resting(1) if isinstance(member, Intermittent) else series(1)
    mean = trailing_mean(series(1, T + WINDOW - 1, seed=3), WINDOW)
    values = np.concatenate([plain, plain, mean])
    lengths = lengths_table(None, None, STEP, np.full(3, T))
    lengths[1] = 0
    panel = make_panel(values, STEP, 1, lengths, np.array([0, 0, WINDOW]))
    seasonal = getattr(member, "which", None) is not None or getattr(member, "view", "") in ("seasonal", "deviation")
    want = [not member.windowed, not member.windowed and not seasonal, member.windowed is not False]
    np.testing.assert_array_equal(member.serves(panel), want)
    assert member.applies(panel)
    got = member.predict(panel, member.fit(panel), np.array([9 * DAY, T]), 5)
    np.testing.assert_array_equal(np.isfinite(got), np.broadcast_to(np.array(want)[:, None, None], got.shape))


@members
def test_a_member_takes_origins_of_each_series_own(member):
    panel = panel_for(member, suited(member))
    fitted = member.fit(panel)
    own = np.array([[9 * DAY, 0, T], [T, 10 * DAY, 8 * DAY], [0, 0, 0], [T - 1, T, 0]])
    got = member.predict(panel, fitted, own, 7)
    assert np.isnan(got[own == 0]).all() and np.isfinite(got[own > 0]).all()
    for i, k in np.argwhere(own > 0):
        alone = member.predict(panel, fitted, own[i, [k]], 7)
        np.testing.assert_array_equal(got[i, k], alone[i, 0])
    with pytest.raises(ValueError, match=member.name):
        member.predict(panel, fitted, own - 1, 7)


@members
def test_a_member_forecasts_a_constant_by_itself(member):
    values = np.repeat([[0.0], [0.93], [-7e11], [3e-9]], T, axis=1)
    panel = panel_for(member, values)
    got = member.predict(panel, member.fit(panel), np.array([T]), 20)[:, 0]
    if member is MEMBERS["ridge_log"]:  # there is no logarithm of a distance of 0: it leaves constants to the others
        assert np.isnan(got).all()
    else:
        np.testing.assert_allclose(got, values[:, :20], rtol=1e-5)


@members
def test_a_member_sees_nothing_from_its_origin_on(member):
    panel = panel_for(member, suited(member))
    fitted = member.fit(panel)
    origins = np.array([4 * DAY, 9 * DAY])
    values = panel.observed.copy()
    values[:, 9 * DAY :] = np.random.default_rng(1).normal(size=(4, T - 9 * DAY)) * 1e4
    later = panel_for(member, values)
    before = member.predict(panel, fitted, origins, DAY)
    np.testing.assert_array_equal(member.predict(later, fitted, origins, DAY), before)
    assert np.isfinite(before[:, 1]).all()


@members
def test_a_member_learns_each_series_alone_or_where_it_pools_them_in_any_order(member):
    panel = panel_for(member, suited(member, 6))
    origins = np.array([9 * DAY, T])
    together = member.predict(panel, member.fit(panel), origins, 30)
    for rows in ([5, 0, 2, 1, 4, 3],) if member.pooled else ([3], [5, 0, 2]):
        some = panel.select(rows)
        np.testing.assert_allclose(
            member.predict(some, member.fit(some), origins, 30), together[rows], rtol=1e-4, atol=1e-3
        )


@members
def test_a_member_leaves_its_input_alone(member):
    panel = panel_for(member, suited(member))
    values, observed, origins = panel.values.copy(), panel.observed.copy(), np.array([200, T])
    lengths, windows = panel.lengths.copy(), panel.windows.copy()
    fitted = member.fit(panel)
    learned = {key: array.copy() for key, array in fitted.items()}
    member.predict(panel, fitted, origins, 10)
    np.testing.assert_array_equal(panel.values, values)
    np.testing.assert_array_equal(panel.observed, observed)
    np.testing.assert_array_equal(panel.lengths, lengths)
    np.testing.assert_array_equal(panel.windows, windows)
    np.testing.assert_array_equal(origins, [200, T])
    for key, array in learned.items():
        np.testing.assert_array_equal(fitted[key], array)


@members
@pytest.mark.parametrize(("origin", "horizon"), [(0, 5), (T + 1, 5), (T, 0)])
def test_a_member_refuses_an_origin_outside_the_panel_and_an_empty_horizon(member, origin, horizon):
    panel = panel_for(member, suited(member))
    with pytest.raises(ValueError, match=member.name):
        member.predict(panel, member.fit(panel), np.array([origin]), horizon)


@members
def test_a_member_moves_with_the_unit_of_the_series(member):
    y = suited(member) - 50
    results = []
    for unit in (1.0, 1e12, 1e-12):
        panel = panel_for(member, y * unit)
        results.append(member.predict(panel, member.fit(panel), np.array([9 * DAY, T]), 40) / np.float32(unit))
    assert np.isfinite(results[0]).all()
    np.testing.assert_allclose(results[1], results[0], rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-3, atol=2e-3)


# forecast and Forecaster


def test_awkward_series_get_a_finite_answer_or_a_state_and_never_hurt_their_neighbours():
    values = awkward()
    fc = forecast(values, step=STEP, horizon=DAY)
    got = outcome(fc)
    ok = fc.state == "ok"
    assert fc.state[5] == "no_data" and fc.state[8] == "insufficient_history"
    assert ok.sum() == 10
    assert got["quantiles"].shape == (12, len(QUANTILES), DAY)
    for key in ("quantiles", "probability", "within", "below"):
        assert np.isfinite(got[key][ok]).all(), key
        assert np.isnan(got[key][~ok]).all(), key
    assert not np.isnan(got["time"][ok]).any() and np.isnan(got["time"][~ok]).all()
    alone = outcome(forecast(values[[0]], step=STEP, horizon=DAY))
    assert_same(got, alone, [0], 1e-4, ["quantiles"])  # odds are calibrated on all the series of a question


@pytest.mark.parametrize("columns", [1, 2, 3, 7, 47, 48, 49, 60, 61, 95, 96, 97, 2 * DAY + 1, 3 * DAY, 14 * DAY - 1])
@pytest.mark.parametrize("seconds", [60, STEP])
def test_every_length_of_history_gives_a_forecast_or_says_insufficient(columns, seconds):
    values = series(3, columns)
    f = Forecaster(step=seconds, horizon=7 * 86400).fit(values, start=0)
    fc = f.forecast()
    enough = columns >= MIN_POINTS
    assert (f.state == ("ok" if enough else "insufficient_history")).all()
    reached = fc.offsets <= columns * seconds
    quantiles = fc.quantile([0.5])[:, 0]
    assert np.isfinite(quantiles[:, reached]).all() == enough
    assert np.isnan(quantiles[:, ~reached]).all()
    assert np.isfinite(fc.breach(60.0, run=3).probability).all() == enough
    assert f.scores(last=5).shape == (3, min(5, columns))


def test_no_probability_is_given_beyond_what_the_history_reaches():
    fc = Forecaster(step=60, horizon=7 * 86400).fit(series(2, 200), start=0).forecast()
    near, far = fc.breach(1e9).probability_within([3600, 86400]).T
    assert np.isfinite(near).all() and np.isnan(far).all()


def test_no_series_at_all_is_an_empty_answer():
    f = Forecaster(step=STEP, horizon=86400).fit(np.empty((0, T)), start=0)
    assert f.forecast().quantile([0.5]).shape == (0, 1, f.grid.cells)
    assert f.forecast().breach(1.0).probability.shape == (0,)
    assert f.scores(2).shape == (0, 2)
    assert score_anomalies(np.empty((0, T)), step=STEP).shape == (0, T)


@pytest.mark.parametrize(("scale", "shift"), [(1e12, 0.0), (1e-12, 0.0), (3.0, -700.0), (1.0, 1e6), (2.5e9, 4e12)])
def test_a_change_of_unit_changes_nothing_but_the_unit(scale, shift):
    y = series(6, planted=ramp(T, 14 * DAY, 0.4))
    plain, moved = (forecast(v, step=STEP, horizon=30) for v in (y, scale * y + shift))
    got = (moved.quantile(QUANTILES) - shift) / scale
    size = 1e-3 + abs(shift / scale) * 1e-6
    np.testing.assert_allclose(got, plain.quantile(QUANTILES), atol=size)
    for threshold in (52.3, 58.1, 75.0):
        a = plain.breach(threshold, run=2).probability
        b = moved.breach(scale * threshold + shift, run=2).probability
        np.testing.assert_allclose(a, b, atol=1.5 / 96)


def test_the_order_and_the_number_of_series_do_not_matter(monkeypatch):
    n = BLOCK + 5
    y = series(n, planted=ramp(T, 14 * DAY, 0.3))
    fc = outcome(forecast(y, step=STEP, horizon=30))
    order = np.random.default_rng(2).permutation(n)
    shuffled = outcome(forecast(y[order], step=STEP, horizon=30))
    assert_same(fc, shuffled, order, 1e-4)
    # Odds are calibrated on the examples of all the series of a question: alone they may be a little different.
    for i in (0, BLOCK - 1, n - 1):
        alone = outcome(forecast(y[[i]], step=STEP, horizon=30))
        assert_same(fc, alone, [i], 1e-4, ["quantiles"])
        assert_same(fc, alone, [i], 0.1, ["probability", "within", "below"])
    monkeypatch.setattr(engine, "BLOCK", 5)
    assert_same(fc, outcome(forecast(y, step=STEP, horizon=30)), tolerance=1e-6)


def test_a_series_without_a_past_changes_nothing_for_the_others():
    y = series(4, planted=ramp(T, 12 * DAY, 0.1)) * np.array([[1.0], [10.0], [0.1], [1.0]])
    limits = np.array([58.0, 620.0, 5.2, 61.0])
    want = Forecaster(step=STEP, horizon=3 * 86400).fit(y, start=0).forecast()
    nothing, short = np.full((1, T), NAN), np.where(np.arange(T) < T - 9, NAN, y[:1])
    more = np.concatenate([nothing, y[:2], short, nothing, y[2:]])
    got = Forecaster(step=STEP, horizon=3 * 86400).fit(more, start=0).forecast()
    own, rows = np.full(7, 7.0), [1, 2, 5, 6]
    own[rows] = limits
    np.testing.assert_allclose(got.quantile(QUANTILES)[rows], want.quantile(QUANTILES), rtol=1e-5)
    for run in (1, 3):
        np.testing.assert_allclose(
            got.breach(own, run=run).chance[rows], want.breach(limits, run=run).chance, atol=1e-3
        )


def test_the_same_seed_gives_the_same_forecast_to_the_last_bit():
    y = series(3, planted=ramp(T, 14 * DAY, 0.4))
    first, second = (outcome(forecast(y, step=STEP, horizon=30, seed=5)) for _ in range(2))
    assert_same(first, second)


def test_inputs_are_never_written_to():
    y = awkward()
    before = y.copy()
    y.flags.writeable = False
    forecast(y, step=STEP, horizon=5).breach(3.0)
    score_anomalies(y, step=STEP)
    f = Forecaster(step=STEP, horizon=86400).fit(y[:, :-3], start=0).update(y[:, -3:])
    f.forecast()
    np.testing.assert_array_equal(y, before)


def test_a_forecast_is_what_it_was_after_its_forecaster_learns_something_else():
    f = Forecaster(step=STEP, horizon=86400).fit(series(2), start=0)
    fc = f.forecast()
    want = outcome(f.forecast())
    f.fit(100 * series(2, seed=8), start=0)
    assert_same(want, outcome(fc))


def test_updates_append_columns_without_learning():
    y = series(3, T + 12)
    once = Forecaster(step=STEP, horizon=86400).fit(y[:, :T], start=1000).update(y[:, T:])
    twice = Forecaster(step=STEP, horizon=86400).fit(y[:, :T], start=1000)
    twice.update(y[:, T : T + 5]).update(y[:, T + 5 : T + 5]).update(y[:, T + 5 :])
    assert once.end == twice.end == 1000 + (T + 11) * STEP == once.forecast().origin
    assert_same(outcome(once.forecast()), outcome(twice.forecast()))
    np.testing.assert_array_equal(once.scores(20), twice.scores(20))
    nothing = Forecaster(step=STEP, horizon=86400).fit(y[:, :T], start=1000)
    assert_same(outcome(nothing.forecast()), outcome(nothing.update(np.empty((3, 0))).forecast()))


def test_an_update_reaches_what_a_fit_would_where_there_is_nothing_new_to_learn():
    t = np.arange(T + 9)
    y = 50 + 5 * np.sin(2 * np.pi * t / DAY)[None]
    updated = Forecaster(step=STEP, horizon=86400).fit(y[:, :T], start=0).update(y[:, T:])
    fitted = Forecaster(step=STEP, horizon=86400).fit(y[:, 9:], start=9 * STEP)
    assert updated.end == fitted.end
    np.testing.assert_allclose(updated.forecast().quantile([0.5]), fitted.forecast().quantile([0.5]), atol=0.05)


def test_quantiles_rise_and_stay_within_the_bounds():
    y = np.clip(series(6, level=97.0), None, 100.0)
    fc = forecast(y, step=STEP, horizon=DAY, bounds=(90.0, 100.0))
    quantiles = fc.quantile(np.linspace(0, 1, 21))
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert quantiles.min() >= 90.0 and quantiles.max() <= 100.0
    assert (fc.breach(100.0).probability == 0).all(), "nothing goes beyond its bound"
    assert (fc.breach(90.0, above=False).probability == 0).all()


def test_points_without_outcomes_behind_them_are_missing():
    y = series(2)
    weights = np.ones_like(y)
    weights[:, 100:140] = 0
    missing = y.copy()
    missing[:, 100:140] = NAN
    spoiled = np.where(weights > 0, y, 1e6)
    a = outcome(forecast(spoiled, step=STEP, horizon=12, weights=weights))
    assert_same(a, outcome(forecast(missing, step=STEP, horizon=12)))


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("run", [1, 3, 20])
def test_a_series_already_in_breach_breaks_now_and_a_quiet_constant_never_does(above, run):
    constant = np.repeat(np.array([[0.1], [0.93], [51.7], [-4e9], [0.0]]), T, axis=1)
    fc = forecast(constant, step=STEP, horizon=DAY)
    margin = np.abs(constant[:, 0]) * 1e-3 + 1e-3
    inside = constant[:, 0] + (margin if above else -margin)
    for quiet in (constant[:, 0], inside):  # a value at its threshold is not beyond it
        breach = fc.breach(quiet, above=above, run=run)
        np.testing.assert_array_equal(breach.probability, 0.0)
        assert np.isinf(breach.time_to([0.01, 0.5, 0.99])).all()
    broken = fc.breach(constant[:, 0] - (inside - constant[:, 0]), above=above, run=run)
    np.testing.assert_array_equal(broken.probability, 1.0)
    np.testing.assert_array_equal(broken.time_to([0.01, 0.5, 0.99]), 0.0)


def test_a_direction_may_differ_from_series_to_series():
    fc = forecast(series(2), step=STEP, horizon=DAY)
    both = fc.breach([55.0, 45.0], above=[True, False]).probability
    # Odds are learned from the series that are asked in the same direction: here each from itself.
    for i, above in enumerate((True, False)):
        alone = forecast(series(2)[i : i + 1], step=STEP, horizon=DAY).breach([55.0, 45.0][i], above=above)
        np.testing.assert_allclose(both[i], alone.probability[0], rtol=1e-6)


@pytest.fixture(scope="module")
def restless():
    y = series(8, noise=2.0, planted=ramp(T, 14 * DAY, 0.2))
    return Forecaster(step=STEP, horizon=4 * 86400).fit(y, start=0).forecast()


@given(threshold=st.floats(30, 90), run=st.integers(1, 5), above=st.booleans())
@settings(max_examples=60, deadline=None)
def test_probabilities_never_fall_with_the_horizon_and_agree_with_the_times(restless, threshold, run, above):
    breach = restless.breach(threshold, above=above, run=run)
    within = breach.probability_within([*restless.offsets, np.inf])
    assert (np.diff(within, axis=1) >= 0).all()
    assert ((within >= 0) & (within <= 1)).all()
    np.testing.assert_array_equal(within[:, -1], breach.probability)
    time = breach.time_to([0.1, 0.5, 0.9])
    for j, q in enumerate((0.1, 0.5, 0.9)):
        np.testing.assert_array_equal(np.isfinite(time[:, j]), breach.probability >= q)
    assert (time[:, 1:] >= time[:, :-1]).all()
    some = breach.probability > 0
    sure = breach.time_to([0.5], conditional=True)[some, 0]
    assert np.isfinite(sure).all() and (sure <= time[some, 1]).all()


# Each question learns its own calibration: what two of them have learned may differ by this much in a probability.
SLACK = 0.08


@given(low=st.floats(30, 90), rise=st.floats(0, 30), run=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_a_harder_breach_is_never_likelier(restless, low, rise, run):
    easy = restless.breach(low, run=run).probability
    assert (restless.breach(low + rise, run=run).probability <= easy + SLACK).all()
    assert (restless.breach(low, run=run + 1).probability <= easy + SLACK).all()


@given(st.lists(st.integers(0, 100), min_size=1, max_size=120), st.integers(1, 99))
@settings(max_examples=200, deadline=None)
def test_the_time_of_a_quantile_is_finite_exactly_where_the_probability_reaches_it(percents, percent):
    chance = np.sort(percents)[None] / 100
    when = 60.0 * np.arange(len(percents))
    breach = Breach(chance, when, 0, np.array([1e9]))
    reached = [w for w, p in zip(when, np.sort(percents), strict=True) if p >= percent]
    assert breach.probability[0] == max(percents) / 100
    assert breach.time_to([percent / 100])[0, 0] == (reached[0] if reached else np.inf)
    some = [w for w, p in zip(when, np.sort(percents), strict=True) if 100 * p >= percent * max(percents) and p > 0]
    assert breach.time_to([percent / 100], conditional=True)[0, 0] == (some[0] if some else np.inf)
    within = breach.probability_within([-1.0, 0.0, 59.0, 60.0, np.inf])[0]
    np.testing.assert_array_equal(within[[0, 1, 2, 4]], [0.0, chance[0, 0], chance[0, 0], chance[0, -1]])
    assert within[3] == chance[0, min(1, len(percents) - 1)]


def test_nothing_is_said_about_a_series_without_a_forecast():
    breach = Breach(np.full((1, 3), NAN), np.array([0.0, 60.0, 120.0]), 0, np.array([120.0]))
    assert np.isnan(breach.probability).all()
    assert np.isnan(breach.time_to([0.5])).all() and np.isnan(breach.time_to([0.5], conditional=True)).all()
    assert np.isnan(breach.probability_within([-1.0, 60.0, np.inf])).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: forecast([1.0, 2.0], step=60, horizon=5), r"\[n, T\]"),
        (lambda: forecast([[1.0]], step=0, horizon=5), "step"),
        (lambda: forecast([[1.0]], step=60, horizon=0), "horizon"),
        (lambda: forecast(np.empty((2, 0)), step=60, horizon=5), "T >= 1"),
        (lambda: forecast(np.ones((2, 60)), step=60, horizon=5, weights=np.ones(60)), "weights"),
        (lambda: forecast(np.ones((2, 60)), step=60, horizon=5).quantile([1.5]), "quantiles"),
        (lambda: forecast(np.ones((2, 60)), step=60, horizon=5).breach([1.0, 2.0, 3.0]), "2 finite thresholds"),
        (lambda: forecast(np.ones((2, 60)), step=60, horizon=5).breach(NAN), "finite"),
        (lambda: forecast(np.ones((2, 60)), step=60, horizon=5).breach(1.0, run=0), "run"),
        (lambda: forecast(np.ones((2, 60)), step=60, horizon=5).at(301), "300 s"),
        (lambda: Forecaster(step=60, horizon=3600).fit(np.ones((2, 60)), 0).update(np.ones((3, 1))), r"\[2, k\]"),
        (lambda: score_anomalies([1.0], step=60), r"\[n, T\]"),
    ],
)
def test_a_wrong_call_says_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# score_anomalies


def test_a_score_is_there_exactly_where_a_value_is():
    y = awkward()
    scores = score_anomalies(y, step=STEP)
    assert scores.shape == y.shape and scores.dtype == np.float64
    np.testing.assert_array_equal(np.isnan(scores), ~np.isfinite(y))
    assert (scores[np.isfinite(scores)] >= 0).all()
    assert not np.isinf(scores).any()


@pytest.mark.parametrize("cut", [97, 200, 14 * DAY - 5, 14 * DAY + 1])
def test_a_score_does_not_change_when_later_columns_change_or_go(cut):
    y = series(3)
    want = score_anomalies(y, step=STEP)[:, :cut]
    later = y.copy()
    later[:, cut:] = 1e4 * np.random.default_rng(3).normal(size=(3, T - cut))
    np.testing.assert_array_equal(score_anomalies(later, step=STEP)[:, :cut], want)
    np.testing.assert_allclose(score_anomalies(y[:, :cut], step=STEP), want, rtol=1e-3, atol=1e-4)


def test_scores_do_not_depend_on_the_unit_or_on_the_neighbours():
    y = series(4)
    want = score_anomalies(y, step=STEP)
    for scale, shift in ((1e12, 0.0), (1e-12, 0.0), (3.0, 1e6)):
        np.testing.assert_allclose(score_anomalies(scale * y + shift, step=STEP), want, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(score_anomalies(y[[2]], step=STEP), want[[2]], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(score_anomalies(y[::-1], step=STEP), want[::-1], rtol=1e-3, atol=1e-4)


def test_a_constant_is_never_anomalous():
    assert (score_anomalies(np.repeat([[5.0], [0.93], [-3e9]], T, axis=1), step=STEP) < 1).all()


# Memory


def peak_megabytes(n):
    y = series(n)
    tracemalloc.start()
    f = Forecaster(step=STEP, horizon=86400).fit(y, start=0)
    f.forecast()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (peak - kept) / 1e6


def test_what_a_fit_needs_beyond_what_it_keeps_does_not_grow_with_the_number_of_series():
    few, many = peak_megabytes(BLOCK), peak_megabytes(4 * BLOCK)
    assert many < 1.5 * few + 5
