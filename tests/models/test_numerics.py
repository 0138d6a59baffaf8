"""Vectorised arithmetic against slow, obvious loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from models import Forecaster
from models.ensemble import LEAST, POWER, PRIOR_WINDOWS, RESTING_POWER, SCARCE, actuals, buckets, combine, weigh
from models.freedom import FRESH, PER_ERROR, independent_errors, stretch
from models.freedom import LEAST as LEAST_FREEDOM
from models.grid import nested_grid, within_history
from models.level import Level
from models.library import (
    BIAS_WINDOWS,
    MIN_KNOWN,
    RESTLESS_LASTS,
    RESTLESS_MOST,
    VOLATILE_FROM,
    VOLATILE_MOST,
    PathLibrary,
    build_library,
    choose_donors,
    hold_known,
)
from models.origins import PATHS, origins_back
from models.panel import SPIKE_LASTS, clip_spikes, coarsen, fill, lengths_table, make_panel, moving_mean, row_centre
from models.profile_level import ProfileLevel, half_width
from models.ramp_checks import ended_gain, fit_hinges
from models.ramp_reference import past_slopes
from models.recursions import centred_mean, cycle_mean, exponential_mean, from_profile, profile_ahead
from models.ridge import FOLDS, PENALTY, PROFILE_SHARE, SEASONS_FIRST, STIFFER, TOGETHER, Ridge, lags_for
from models.robust import nan_quantile, scale_about_zero
from models.seasonal_naive import SeasonalNaive
from models.seasonal_profile import KERNEL_WIDTH, cycles_of, pooled_profile, profile_at

STEP = 3600
NAN = np.nan


def with_gaps(n, columns, share, seed=0, leading=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, columns)).cumsum(axis=1)
    values[rng.random((n, columns)) < share] = NAN
    values[:, :leading] = NAN
    return values


def seasonal_panel(n=3, columns=24 * 25, seed=0, leading=30):
    rng = np.random.default_rng(seed)
    values = 10 * np.sin(np.arange(columns) * 2 * np.pi / 24) + rng.normal(size=(n, columns))
    values[0, :leading] = NAN
    values[1, 100:110] = NAN
    return panel_of(values, STEP)


def panel_of(values, step):
    """A panel with the seasons of the calendar."""
    return make_panel(values, step, 1, lengths_table(None, None, step, np.full(len(values), values.shape[1])))


@pytest.mark.parametrize("width", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("columns", [1, 4, 13, 30])
def test_coarsening_is_the_mean_of_each_block_from_the_right(width, columns):
    values = with_gaps(4, columns, 0.4)
    got = coarsen(values, width)
    assert got.shape == (4, columns // width)
    for i in range(4):
        for c in range(columns // width):
            right = columns - (columns // width - 1 - c) * width
            block = [x for x in values[i, right - width : right] if np.isfinite(x)]
            want = sum(block) / len(block) if block else NAN
            np.testing.assert_allclose(got[i, c], want, rtol=1e-12)


def test_a_gap_is_filled_with_the_cycle_before_at_the_level_of_now_and_never_from_the_future():
    values = with_gaps(5, 60, 0.3, leading=3)
    seasons = np.array([7, 7, 0, 5, 59])
    want = values.copy()
    for i, season in enumerate(seasons):

        def before(t, row=want[i], season=season):
            return row[t - season] if season and t >= season else NAN

        there = np.flatnonzero(np.isfinite(values[i]))
        for t in range(there[0], 60):
            if np.isfinite(values[i, t]):
                continue
            last = there[there < t][-1]
            apart = values[i, last] - before(last)
            cycle = before(t) + (apart if np.isfinite(apart) else 0.0)
            want[i, t] = cycle if np.isfinite(cycle) else want[i, t - 1]
    got = fill(values, seasons)
    np.testing.assert_allclose(got, want, atol=1e-12)
    assert np.isnan(got[:, :3]).all() and np.isfinite(got[:, -30:]).all()
    without_season = fill(values, np.zeros(5, np.int64))
    for i in range(5):
        last = NAN
        for t in range(60):
            last = values[i, t] if np.isfinite(values[i, t]) else last
            np.testing.assert_equal(without_season[i, t], last)


def calm_rows(n=4, columns=500):
    return np.random.default_rng(3).uniform(-1, 1, size=(n, columns))


@pytest.mark.parametrize("size", [40.0, -40.0])
@pytest.mark.parametrize("width", [1, 3])
def test_an_isolated_spike_is_clipped_to_half_the_range_beyond_the_bulk(size, width):
    values = calm_rows()
    spoilt = values.copy()
    spoilt[1, 200 : 200 + width] = size
    spoilt[2, 201] = NAN
    spoilt[2, [200, 202]] = size  # a gap does not end a spike
    got = clip_spikes(spoilt)
    low, high = np.nanquantile(spoilt, [0.01, 0.99], axis=1)
    edge = high + (high - low) / 2 if size > 0 else low - (high - low) / 2
    np.testing.assert_allclose(got[1, 200 : 200 + width], edge[1])
    np.testing.assert_allclose(got[2, [200, 202]], edge[2])
    clipped = np.abs(spoilt) > 10
    np.testing.assert_array_equal(got[~clipped], spoilt[~clipped])
    assert np.abs(got[clipped]).max() < 3


def test_a_shift_that_lasts_is_no_spike():
    for lasts in (SPIKE_LASTS, SPIKE_LASTS + 1, 60):
        values = calm_rows(1, 4000)  # so many that the shift is not of the bulk
        values[0, 3000 : 3000 + lasts] += 20.0
        kept = (clip_spikes(values) == values).all()
        assert kept == (lasts > SPIKE_LASTS), lasts


@pytest.mark.parametrize(("newest", "kept"), [(1, False), (2, False), (3, True), (10, True)])
def test_the_newest_values_may_be_a_new_level_from_the_third_on(newest, kept):
    values = calm_rows(1, 4000)
    values[0, -newest:] = 20.0
    assert (clip_spikes(values) == values).all() == kept


def test_clipping_leaves_its_input_and_constants_and_empty_rows_alone():
    values = np.stack([np.full(400, 3.0), np.full(400, NAN), np.full(400, 3.0)])
    values[2, 50] = 1e6  # without any spread, nothing says what is far
    before = values.copy()
    np.testing.assert_array_equal(clip_spikes(values), before)
    spoilt = calm_rows()
    spoilt[:, 7] = 99.0
    before = spoilt.copy()
    assert (clip_spikes(spoilt) != spoilt).any()
    np.testing.assert_array_equal(spoilt, before)


def test_spikes_teach_no_member_but_stay_observed():
    values = calm_rows()
    values[:, 250] = 99.0
    panel = panel_of(values, STEP)
    assert panel.values.dtype == np.float64
    assert panel.values[:, 250].max() < 3
    np.testing.assert_array_equal(panel.observed, values)
    np.testing.assert_array_equal(actuals(panel.observed, np.full((4, 1), 249), 3)[:, 0, 1], np.float32(99.0))


def test_seasons_are_those_found_and_those_of_the_calendar_that_a_history_holds_twice():
    found = np.array([[100, 0], [24, 0], [0, 0], [5, 24]])
    got = lengths_table(found, None, STEP, np.array([24 * 14, 24 * 14 - 1, 47, 24 * 14]))
    np.testing.assert_array_equal(got, [[24, 100, 168], [24, 0, 0], [0, 0, 0], [5, 24, 168]])
    np.testing.assert_array_equal(lengths_table(None, (7200 * 3,), STEP, np.array([12, 11]))[:, 0], [6, 0])


def test_past_origins_are_multiples_of_the_widest_cell_and_leave_the_members_a_past():
    for columns, season, width in [(2016, 288, 12), (700, 0, 1), (336, 24, 1), (60, 0, 5), (50, 24, 1), (12, 0, 10)]:
        back = origins_back(columns, season, width)
        assert (back % width == 0).all() and (np.diff(back) < 0).all()
        assert len(back) <= PATHS
        if len(back):
            assert back.min() >= width and columns - back.max() >= min(2 * season, columns / 2)
    aligned = origins_back(2016, 288, 12) % 288
    assert (np.minimum(aligned, 288 - aligned) <= 36).sum() >= PATHS / 4


@pytest.mark.parametrize("half", [0, 1, 3, 50])
def test_moving_mean_equals_the_mean_of_what_is_in_the_window(half):
    values = with_gaps(3, 40, 0.5).astype(np.float32)
    got = moving_mean(values, half)
    for i in range(3):
        for t in range(40):
            window = values[i, max(0, t - half) : t + half + 1]
            window = window[np.isfinite(window)]
            want = window.mean() if len(window) else NAN
            np.testing.assert_allclose(got[i, t], want, rtol=1e-5, atol=1e-6)


def test_robust_figures_equal_numpy_on_each_slice_without_its_gaps():
    values = with_gaps(6, 31, 0.4)
    values[5] = NAN
    quantile, scale = nan_quantile(values, [0.1, 0.5], axis=1), scale_about_zero(values, axis=1)
    for i in range(5):
        there = values[i][np.isfinite(values[i])]
        np.testing.assert_allclose(quantile[:, i], np.quantile(there, [0.1, 0.5]))
        np.testing.assert_allclose(scale[i], 1.4826 * np.median(np.abs(there)))
    assert np.isnan(quantile[:, 5]).all() and np.isnan(scale[5])
    np.testing.assert_array_equal(row_centre(values)[5], [0.0])


def slow_profile(panel, values, reach, i, position, origin, season, cycles):
    k = 1
    while position - k * season + reach >= origin:
        k += 1
    seen = [values[i, p] for p in (position - (k + j) * season for j in range(cycles)) if p >= 0]
    seen = sorted(float(v) for v in seen if np.isfinite(v))
    if len(seen) >= 3:
        seen = seen[1:-1]
    return np.mean(seen) if seen else NAN


@pytest.mark.parametrize("which", [0, 1])
def test_a_profile_is_the_trimmed_mean_of_past_cycles_at_the_same_phase(which):
    values = np.random.default_rng(1).normal(size=(2, 288 * 15))
    values[0, :900], values[1, 3000:3100] = NAN, NAN
    panel = panel_of(values, 300)
    smooth, reach = panel.hourly
    season = panel.seasons[which]
    origins = np.array([700, 2900, panel.T])
    positions = origins[:, None] + np.array([-40, -3, -1, 0, 1, 50, 288, 2100])
    got = profile_at(panel, positions, origins, which)
    for i in range(2):
        for k, o in enumerate(origins):
            for j, p in enumerate(positions[k]):
                want = slow_profile(panel, smooth, reach, i, p, o, season, cycles_of(panel, which))
                np.testing.assert_allclose(got[i, k, j], want, rtol=1e-4, atol=1e-5)


def test_the_pooled_profile_weighs_every_past_day_by_its_likeness_to_the_long_season():
    panel = seasonal_panel()
    origins, ahead = np.array([450, panel.T]), np.array([-5, 0, 3, 30, 100])
    positions = origins[:, None] + ahead
    got = pooled_profile(panel, positions, origins)
    hourly = panel.hourly[0]
    for i in range(panel.n):
        width = KERNEL_WIDTH * panel.cycle_scale[i]
        for k, o in enumerate(origins):
            for j, p in enumerate(positions[k]):
                reference = slow_profile(panel, hourly, 0, i, p, o, 168, 5)
                back = 1
                while p - back * 24 >= o:
                    back += 1
                total, mass = 1e-6 * reference, 1e-6
                for day in range(back, back + 28):
                    column = p - day * 24
                    if column >= 0 and np.isfinite(panel.values[i, column]):
                        w = np.exp(-0.5 * ((hourly[i, column] - reference) / width) ** 2)
                        total, mass = total + w * panel.values[i, column], mass + w
                np.testing.assert_allclose(got[i, k, j], total / mass, rtol=2e-3, atol=2e-3)


def slow_cycle_mean(y, season, share):
    """Weights ``share * (1 - share) ** cycles`` over what is there at the same phase."""
    out = np.full(len(y), NAN)
    for t in range(len(y)):
        cycles = [(k, y[t - k * season]) for k in range(t // season + 1)]
        known = [((1 - share) ** k, v) for k, v in cycles if np.isfinite(v)]
        if known:
            out[t] = sum(w * v for w, v in known) / sum(w for w, _ in known)
    return out


def slow_centred_mean(y, half):
    out = np.full(len(y), NAN)
    for t in range(len(y)):
        window = y[max(0, t - half) : t + half + 1]
        if np.isfinite(window).any():
            out[t] = window[np.isfinite(window)].mean()
    return out


def late_row(columns=90, leading=13):
    y = np.random.default_rng(4).normal(size=columns).cumsum()
    y[:leading] = NAN
    return y


@pytest.mark.parametrize("memory", [1.0, 6.0, 1e9])
def test_an_exponential_mean_weighs_by_age(memory):
    y = late_row()
    got = exponential_mean(y, memory)
    assert np.isnan(got[:13]).all()
    for t in range(13, len(y)):
        weight = np.exp(-np.arange(t - 12) / memory)
        np.testing.assert_allclose(got[t], (weight * y[t:12:-1]).sum() / weight.sum(), rtol=1e-6)


@pytest.mark.parametrize("share", [0.15, 0.5])
@pytest.mark.parametrize("half", [0, 2])
def test_the_profile_of_cycles_equals_the_sums_written_out(share, half):
    y, season = late_row(), 12
    y[40:44] = NAN
    mean = cycle_mean(y, season, share)
    np.testing.assert_allclose(mean, slow_cycle_mean(y, season, share), rtol=1e-10)
    np.testing.assert_allclose(centred_mean(mean, half), slow_centred_mean(mean, half), rtol=1e-10)


@pytest.mark.parametrize("half", [0, 2, 4, 9])
def test_a_profile_ahead_of_an_origin_and_a_deviation_know_nothing_from_there_on(half):
    y, season, share = late_row(), 4, 0.3
    profile = centred_mean(cycle_mean(y, season, share), half)
    deviation = from_profile(y, profile, season, half)
    for origin in (30, 47, 90):
        known = np.where(np.arange(90) < origin, y, NAN)
        past = slow_centred_mean(slow_cycle_mean(known, season, share)[:origin], half)
        ahead = profile_ahead(profile, season, half, origin, 11)
        for h in range(11):
            column = origin + h
            while column + half >= origin:
                column -= season
            want = past[column] if column >= 0 else NAN
            np.testing.assert_allclose(ahead[h], want, rtol=1e-10)
            if h == 0 and origin < 90 and half < 2 * season - 1:
                np.testing.assert_allclose(deviation[origin], y[origin] - want, rtol=1e-10)


VIEWS = ["values", "logs", "seasonal", "deviation"]


def slow_view(y, season, view):
    """What a ridge regression sees of one series, and the way back: (z, floor)."""
    z, floor = y, 0.0
    if view == "logs":
        low, high = np.nanquantile(y, [0.01, 0.99])
        floor = low - 0.3 * (high - low)
        z = np.log(np.maximum(y - floor, 0.3 * (high - low) / 4))
    if view in ("seasonal", "deviation"):
        z = np.full(len(y), NAN)
        expected = y if view == "seasonal" else slow_cycle_mean(y, season, PROFILE_SHARE)
        z[season:] = y[season:] - expected[:-season]
    return z, floor


def standard(z, view):
    centre = 0.0 if view == "seasonal" else np.nanmean(z)
    scale = np.sqrt(np.nanmean((z - centre) ** 2))
    return (z - centre) / scale, centre, scale


def folds_of(z, lags):
    """First row, and the fold of each column of ``z`` (as a function)."""
    first = int(np.isfinite(z).argmax()) + int(lags[-1])
    return first, lambda t: max(0, t - first) * FOLDS // (len(z) - first)


def normal_equations(z, lags, penalty, without=()):
    first, _ = folds_of(z, lags)
    edges = [first + f * (len(z) - first) // FOLDS for f in range(FOLDS + 1)]
    out = {t for f in without if f < FOLDS for t in range(edges[f], edges[f + 1])}
    rows = [t for t in range(first, len(z)) if t not in out]
    X = np.array([[*(z[t - lag] for lag in lags), 1.0] for t in rows])
    strength = np.full(len(lags) + 1, penalty * len(rows) + 1e-3)
    strength[-1] = 1e-3
    return np.linalg.solve(X.T @ X + np.diag(strength), X.T @ z[rows])


def long_panel(columns=24 * 60, **options):
    return seasonal_panel(columns=columns, **options)


@pytest.mark.parametrize("view", VIEWS)
def test_ridge_coefficients_solve_the_regularised_normal_equations_of_all_rows_and_without_each_fold(view):
    panel = long_panel()
    member = Ridge("ridge", view)
    fit = member.fit(panel)
    assert half_width(24) == 0
    penalty = PENALTY * (STIFFER if view == "deviation" else 1.0)
    for i in range(panel.n):
        z, centre, scale = standard(slow_view(panel.values[i], 24, view)[0], view)
        np.testing.assert_allclose(fit["scale"][i, :2], [centre, scale], atol=1e-9)
        lags = lags_for(np.isfinite(z).sum(), (24, 168), 0, view in SEASONS_FIRST)
        np.testing.assert_array_equal(fit["lags"][i, : len(lags)], lags)
        assert (fit["lags"][i, len(lags) :] == 0).all()
        for j in range(1 + FOLDS):
            want = normal_equations(z, lags, penalty, (j - 1, j) if j else ())
            got = fit["coefficients"][i, j]
            np.testing.assert_allclose(got[: len(lags)], want[:-1], atol=2e-3)
            np.testing.assert_allclose(got[-1], want[-1], atol=2e-3)
            assert np.isnan(got[len(lags) : -1]).all()


@pytest.mark.parametrize("columns", [16, 40, 120, 400])
def test_the_shortest_history_that_is_learned_from_is_forecast_by_what_lies_outside_the_fold(columns):
    values = np.sin(np.arange(columns) * 2 * np.pi / 9) + with_gaps(2, columns, 0.0)
    fit = Ridge("ridge", "values").fit(make_panel(values, STEP, 1, np.zeros((2, 3), np.int64)))
    coefficients = fit["coefficients"][0][:, np.isfinite(fit["coefficients"][0, 0])]
    assert np.isfinite(coefficients).all()
    assert (coefficients[1:] != coefficients[0]).any(1).all()


@pytest.mark.parametrize("horizon", [1, 5, 30])
@pytest.mark.parametrize("view", VIEWS)
def test_ridge_forecasts_are_the_recursion_written_out(view, horizon):
    panel = long_panel(leading=0)
    member = Ridge("ridge", view)
    fit = member.fit(panel)
    origins = np.array([400, 719, 720, 731, 732, 1000, panel.T - 1, panel.T])
    got = member.predict(panel, fit, origins, horizon)
    for i in range(panel.n):
        y = panel.values[i]
        view_of, floor = slow_view(y, 24, view)
        z, centre, scale = standard(view_of, view)
        profile = slow_cycle_mean(y, 24, PROFILE_SHARE)
        lags = [int(lag) for lag in fit["lags"][i] if lag]
        first, fold = folds_of(z, lags)
        for k, o in enumerate(origins):
            c = fit["coefficients"][i, 0 if o == panel.T or o + horizon <= first else 1 + fold(o)]
            path, out = list(z[:o]), list(y[:o])
            for h in range(horizon):
                path.append(c[-1] + sum(c[j] * path[-lag] for j, lag in enumerate(lags)))
                value = path[-1] * scale + centre
                if view == "logs":
                    value = np.exp(value) + floor
                if view == "seasonal":
                    value += out[-24]
                if view == "deviation":
                    value += profile[o + h - 24 * (h // 24 + 1)]
                out.append(value)
            np.testing.assert_allclose(got[i, k], out[o:], atol=5e-3)


@pytest.mark.parametrize("view", ["values", "logs"])
def test_what_is_in_the_fold_of_an_origin_and_in_the_next_teaches_nothing_about_it(view):
    """What is standardised is scaled by all of a series: what came after the origin, in its fold and the next, is put
    in another order here, which leaves the values' mean, deviation and quantiles as they were.
    """
    panel, rng = long_panel(leading=0), np.random.default_rng(5)
    member = Ridge("ridge", view)
    one = member.fit(panel)
    _, fold = folds_of(slow_view(panel.values[0], 24, view)[0], [int(lag) for lag in one["lags"][0] if lag])
    origin = next(t for t in range(760, panel.T) if fold(t) > fold(t - 1))
    ends = next(t for t in range(origin, panel.T) if fold(t) > fold(origin) + 1)
    # Lags reach over the end of the second fold: what is moved must not reach them.
    ends -= int(one["lags"].max())
    later = panel.observed.copy()
    later[:, origin:ends] = rng.permuted(later[:, origin:ends], axis=1)
    other = panel_of(later, STEP)
    two = member.fit(other)
    at = np.array([origin])
    before, after = member.predict(panel, one, at, 40), member.predict(other, two, at, 40)
    np.testing.assert_allclose(after, before, atol=1e-3)
    # With what was learned from all of it, the same forecasts do change.
    whole = [{**f, "coefficients": np.repeat(f["coefficients"][:, :1], 1 + FOLDS, axis=1)} for f in (one, two)]
    changed = member.predict(panel, whole[0], at, 40) - member.predict(other, whole[1], at, 40)
    assert np.abs(changed).max() > 0.01


def test_lags_hold_the_ends_of_a_window_and_leave_enough_rows_to_learn_from():
    assert {59, 60, 61} <= set(lags_for(2000, (24,), 60).tolist())
    assert not {59, 60, 61} & set(lags_for(2000, (), 0).tolist())
    for length in (16, 40, 100, 700, 5000):
        lags = lags_for(length, (24, 168), 30)
        assert (np.diff(lags) > 0).all() and lags[0] == 1 and lags[-1] <= length / 4
        assert len(lags) <= 8 or length - lags[-1] >= 25 * len(lags)


def test_seasonal_naive_repeats_the_last_cycle():
    panel = seasonal_panel()
    got = SeasonalNaive(0, "naive").predict(panel, {}, np.array([200, panel.T]), 60)
    for k, o in enumerate((200, panel.T)):
        last = panel.values[:, o - 24 : o].astype(np.float32)
        np.testing.assert_array_equal(got[:, k], np.concatenate([last, last, last], axis=1)[:, :60])


@pytest.mark.parametrize("horizon", [1, 8, 60])
def test_seasonal_naive_before_a_whole_season_has_passed_answers_only_what_it_has_seen(horizon):
    panel = seasonal_panel()
    origins = np.array([1, 10, 23, 24, 25])
    got = SeasonalNaive(0, "naive").predict(panel, {}, origins, horizon)
    for k, o in enumerate(origins):
        columns = o - 24 + np.arange(horizon) % 24
        known = np.where(columns >= 0, panel.values[:, columns], NAN).astype(np.float32)
        whole = np.isfinite(known).all(1)  # the others are left out whole
        np.testing.assert_array_equal(got[whole, k], known[whole])
        assert np.isnan(got[~whole, k]).any(1).all()


@pytest.mark.parametrize("view", VIEWS)
def test_a_ridge_forecast_is_the_same_in_whatever_company_of_origins(view):
    panel = long_panel(leading=0)
    member = Ridge("ridge", view)
    fit = member.fit(panel)
    many = np.arange(700, panel.T, 5)[: 2 * TOGETHER + 3]
    assert len(many) == 2 * TOGETHER + 3
    together = member.predict(panel, fit, many, 30)
    assert np.isfinite(together).all()
    for k in (0, TOGETHER - 1, TOGETHER, 2 * TOGETHER + 2):
        alone = member.predict(panel, fit, many[k : k + 1], 30)
        np.testing.assert_allclose(together[:, k], alone[:, 0], rtol=1e-5)


def test_a_level_without_a_season_is_exponential_smoothing():
    panel = seasonal_panel()
    memory = 4
    got = Level("level", memory).predict(panel, {}, np.array([400]), 3)
    for i in range(panel.n):
        past = panel.values[i, 399::-1]
        past = past[np.isfinite(past)]
        weight = np.exp(-np.arange(len(past)) / memory)
        np.testing.assert_allclose(got[i, 0], (weight * past).sum() / weight.sum(), rtol=1e-5)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("cycle", [24, 96])
def test_a_profile_and_its_level_are_the_sums_written_out(which, smooth, cycle):
    step = 86400 // cycle
    y = 10 * np.sin(np.arange(cycle * 20) * 2 * np.pi / cycle) + with_gaps(2, cycle * 20, 0.0)
    panel = panel_of(y, step)
    season, share, memory, fade = (cycle, 7 * cycle)[which], 0.3, 0.25, 1.5
    half = half_width(cycle) * smooth
    assert half_width(24) == 0 and half_width(96) == 2
    member = ProfileLevel("profile", which, share=share, memory=memory, fade=fade, smooth=smooth)
    origins = np.array([cycle * 10 + 3, panel.T])
    got = member.predict(panel, {}, origins, cycle + 9)
    for i in range(panel.n):
        for k, o in enumerate(origins):
            past = panel.values[i, :o]
            mean = slow_cycle_mean(past, season, share)
            deviation = np.full(o, NAN)
            for t in range(season, o):
                near = mean[max(0, t - season - half) : t - season + half + 1]
                deviation[t] = past[t] - near[np.isfinite(near)].mean()
            recent = deviation[season:][::-1]
            weight = np.exp(-np.arange(len(recent)) / (memory * cycle))
            level = (weight * recent).sum() / weight.sum()
            for h in range(cycle + 9):
                column = o + h - season
                while column + half >= o:
                    column -= season
                profile = mean[max(0, column - half) : column + half + 1].mean()
                want = profile + level * np.exp(-(h + 1) / (fade * cycle))
                np.testing.assert_allclose(got[i, k, h], want, rtol=1e-4, atol=1e-4)


def hinge(length, shape):
    return (np.arange(length) + 0.5) * shape


def test_past_slopes_are_least_squares_slopes_of_hinges():
    rng = np.random.default_rng(3)
    deviation = rng.normal(size=(3, 80)).cumsum(1)
    deviation[1, 20:26] = NAN
    shapes = np.stack([np.ones((3, 80)), rng.random((3, 80)), rng.random((3, 80))])
    onsets, at = np.array([6, 11, 40]), np.array([6, 30, 55, 80])
    got = past_slopes(deviation, shapes, onsets, at)
    for b in range(3):
        for i in range(3):
            for s, end in enumerate(at):
                for w, length in enumerate(onsets):
                    if length > end:
                        assert np.isnan(got[b, i, s, w])
                        continue
                    y, x = deviation[i, end - length : end], hinge(length, shapes[b, i, end - length : end])
                    use = np.isfinite(y)
                    want = np.linalg.lstsq(x[use, None], y[use], rcond=None)[0][0]
                    np.testing.assert_allclose(got[b, i, s, w], want, rtol=1e-7, atol=1e-9)


def test_hinges_that_end_now_have_least_squares_slopes_and_explain_what_they_remove():
    rng = np.random.default_rng(4)
    d = rng.normal(size=(3, 60)).cumsum(1)
    d[2, 50:54] = NAN
    shapes = np.stack([np.ones((3, 60)), rng.random((3, 60))])
    onsets = np.array([6, 20, 60])
    slope, gain, spread, step_gain = fit_hinges(d, shapes, onsets)
    for i in range(3):
        steps = []
        for w in range(1, 61):
            tail = d[i, -w:][np.isfinite(d[i, -w:])]
            steps.append(len(tail) * tail.mean() ** 2 if len(tail) else 0.0)
        np.testing.assert_allclose(step_gain[i], max(steps))
        for b in range(2):
            for w, length in enumerate(onsets):
                y, x = d[i, -length:], hinge(length, shapes[b, i, -length:])
                use = np.isfinite(y)
                want = np.linalg.lstsq(x[use, None], y[use], rcond=None)[0][0]
                np.testing.assert_allclose(slope[b, i, w], want)
                removed = (y[use] ** 2).sum() - ((y[use] - want * x[use]) ** 2).sum()
                np.testing.assert_allclose(gain[b, i, w], removed)
                np.testing.assert_allclose(spread[b, i, w], (x[use] ** 2).sum())


def test_a_ramp_that_ended_explains_what_the_best_line_with_a_plateau_or_a_recovery_removes():
    d = np.random.default_rng(5).normal(size=60).cumsum()
    d[30:33] = NAN
    onsets = np.array([6, 13, 20, 45, 60])
    use, best = np.isfinite(d), 0.0
    age = np.arange(60)[::-1] + 0.5
    for onset in onsets:
        for end in onsets[onsets < onset]:
            line = np.clip(onset - age, 0, None)
            for x in (np.minimum(line, onset - end), np.where(age > end, line, 0)):
                c = np.linalg.lstsq(x[use, None], d[use], rcond=None)[0][0]
                best = max(best, (d[use] ** 2).sum() - ((d[use] - c * x[use]) ** 2).sum())
    np.testing.assert_allclose(ended_gain(d, onsets), best)


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("run", [1, 2, 3])
def test_a_cells_extreme_is_the_level_that_a_run_of_points_stayed_beyond_in_it(above, run):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(2, 60)).astype(np.float32)
    values[1, 20:23] = NAN
    widths = np.array([1, 1, 1, 2, 2, 5, 5, 6])
    ends = np.cumsum(widths)
    origins = np.array([10, 25, 37, 0])
    none = np.zeros((2, 4, len(widths)), np.float32)
    donor = np.broadcast_to(np.array([0, 1, 2, 3], np.int16)[:, None], none.shape).copy()
    donor[1, 3] = 2
    own = np.broadcast_to(origins, (2, 4))
    got = PathLibrary(none, donor, values, own, ends, np.ones((2, 4)), np.ones((2, 4))).lifts(widths, above, run)
    assert got.dtype == np.float32 and got.shape == none.shape
    assert (got[:, :, widths == 1] == 0).all(), "a cell of one step is its own extreme"
    assert (got[0, 3] == 0).all(), "no origin, no errors"
    np.testing.assert_array_equal(got[1, 3], got[1, 2])
    extreme, most = (max, min) if above else (min, max)
    for i in range(2):
        for k, o in enumerate(origins[:3]):
            for h, (end, width) in enumerate(zip(o + ends, widths, strict=True)):
                if width == 1:
                    continue
                cell = values[i, end - width : end]
                held = [values[i, t - run + 1 : t + 1] for t in range(end - width, end)]
                held = [most(r.tolist()) for r in held if np.isfinite(r).all()]
                mean = cell[np.isfinite(cell)].mean() if np.isfinite(cell).any() else NAN
                want = extreme(held) - mean if held else 0.0
                np.testing.assert_allclose(got[i, k, h], want, atol=1e-5)


def test_a_steep_hour_lends_no_slope_to_the_peak_hour():
    t = np.arange(35 * 1440) * 60
    noise = np.random.default_rng(2).normal(size=t.size)
    step_up = 20 * np.clip((t % 86400 - 32400) / 600, 0, 1) * (t % 86400 < 61200)
    engine = Forecaster(step=60, horizon=3 * 86400).fit((step_up + noise)[None], 0)
    near, far = engine.forecast().breach(26.0, True, run=3).probability_within([86400, 3 * 86400])[0]
    assert far - near <= 0.1


def test_donors_lend_errors_only_where_an_origin_has_none():
    known = np.random.default_rng(6).random((3, 8, 5)) < 0.5
    known[2, :, 4] = False
    donor = choose_donors(known, seed=1)
    for i, k, h in np.ndindex(known.shape):
        if known[i, k, h] or not known[i, :, h].any():
            assert donor[i, k, h] == k
        else:
            assert known[i, donor[i, k, h], h]


def test_a_library_draws_known_errors_only():
    residual = np.array([[[1.0, 4.0], [2.0, 5.0], [NAN, NAN]]], np.float32)
    ends, history = np.array([1, 2]), np.array([9])
    origins, calm = np.array([[1, 2, 3]]), np.ones((1, 3))
    library = build_library(residual, np.zeros((1, 9)), origins, ends, history, calm, calm, seed=0)
    windows = 9 / ends
    plain = library.residuals[0] / stretch(windows[None], 3, seed=0)[0]
    drawn = np.take_along_axis(residual[0], library.donor[0], axis=0)
    assert set(drawn[:, 0].tolist()) <= {1.0, 2.0} and set(drawn[:, 1].tolist()) <= {4.0, 5.0}
    for h in range(2):
        bias = np.median(drawn[:, h]) * BIAS_WINDOWS / (windows[h] + BIAS_WINDOWS)
        np.testing.assert_allclose(plain[:, h], drawn[:, h] - bias, rtol=1e-5)


def test_a_series_is_stretched_by_its_own_history_and_without_errors_stays_where_it_is():
    rng = np.random.default_rng(1)
    residual = np.repeat(rng.normal(size=(1, 20, 3)), 3, axis=0).astype(np.float32)
    residual[2] = NAN
    args = (np.zeros((3, 9)), np.ones((3, 20), np.int64), np.array([1, 5, 20]))
    calm = np.ones((3, 20))
    short = build_library(residual, *args, np.array([30, 3000, 30]), calm, calm, seed=3)
    one = args[0][:1], args[1][:1], args[2], np.array([3000])
    alone = build_library(residual[1:2], *one, calm[:1], calm[:1], seed=3)
    np.testing.assert_array_equal(short.residuals[1], alone.residuals[0])
    assert (short.residuals[0].std(0) > short.residuals[1].std(0)).all()
    assert (short.residuals[2] == 0).all()


def test_errors_that_forget_soon_are_many_and_errors_that_stay_are_as_few_as_their_windows():
    rng = np.random.default_rng(4)
    history, ends = np.array([2000, 2000, 2000]), np.array([5, 100, 500])
    origins = np.tile(np.arange(600, 1560, 10), (3, 1))
    fresh = rng.normal(size=(96, 3))
    lasting = np.cumsum(fresh, axis=0) / 5  # as the errors of a random walk
    residual = np.stack([fresh, lasting, fresh + 10.0]).astype(np.float32)  # and a bias
    windows = 2000 / ends
    got = independent_errors(residual, origins, history, ends)
    np.testing.assert_allclose(got[:, 0], windows[0])  # plenty, whatever they are like
    assert (got[0, 1:] > 1.5 * windows[1:]).all()
    assert (got[0, 1:] <= np.sqrt(windows[1:] * 200)).all(), "no more than there are origins"
    np.testing.assert_allclose(got[2, 1:], windows[1:], rtol=0.01)
    assert (got[1, 1:] < got[0, 1:]).all() and (got[1] >= windows * 0.999).all()


def test_errors_that_nobody_knows_are_as_many_as_windows():
    residual, ends = np.full((2, 96, 2), NAN, np.float32), np.array([50, 400])
    residual[1, :7] = 1.0
    origins = np.tile(np.arange(600, 1560, 10), (2, 1))
    got = independent_errors(residual, origins, np.array([2000, 1000]), ends)
    np.testing.assert_allclose(got, [[40.0, 5.0], [20.0, 2.5]])


@pytest.mark.parametrize("paths", [5, 96])
def test_paths_are_stretched_by_the_quantiles_of_students_t_over_the_normal(paths):
    windows = np.array([4000.0, 300.0, 40.0, 12.0, 7.5, 1.0, 0.2])
    got = stretch(windows[None], paths, seed=2)[0]
    assert got.shape == (paths, len(windows)) and got.dtype == np.float32
    share = (np.arange(paths) + 0.5) / paths
    for h, independent in enumerate(windows):
        freedom = max(PER_ERROR * independent, LEAST_FREEDOM)
        want = np.sqrt(freedom / chi2.isf(share, freedom)) * np.sqrt(1 + 1 / freedom) * FRESH
        np.testing.assert_allclose(np.sort(got[:, h]), np.sort(want), rtol=0.03)
    order = np.argsort(got[:, 2])
    assert (np.diff(got[order], axis=0) > -1e-6).all(), "a path has the same quantile in all cells"
    assert (np.diff(got.std(axis=0)) >= -1e-6).all(), "fewer windows, more spread"
    assert (order != np.arange(paths)).any()


def test_a_series_that_is_restless_now_errs_more_for_a_while():
    rng = np.random.default_rng(2)
    errors, restless = rng.normal(size=(4, 6, 5)).astype(np.float32), rng.uniform(0.5, 2.0, size=(4, 6))
    ends, now = np.array([1, 6, 30, 160, 300]), np.array([1.0, 50.0, 1e-4, NAN])
    restless[0, 2] = 0.0
    donor, deviation, volatile = np.zeros((4, 6, 5), np.int16), np.zeros((4, 9), np.float32), np.ones((4, 6))
    library = PathLibrary(errors, donor, deviation, now, ends, restless, volatile)
    got = library.stretched(now, np.ones(4))
    for i, k, h in np.ndindex(errors.shape):
        ratio = np.sqrt(now[i] / restless[i, k]) if restless[i, k] > 0 else np.inf
        ratio = 1.0 if np.isnan(ratio) else min(max(ratio, 1 / RESTLESS_MOST), RESTLESS_MOST)
        want = errors[i, k, h] * ratio ** np.exp(-ends[h] / RESTLESS_LASTS)
        np.testing.assert_allclose(got[i, k, h], want, rtol=3e-3)
    np.testing.assert_array_equal(got[:, :, 4], errors[:, :, 4])


def test_a_series_that_has_become_far_more_volatile_errs_more_at_every_horizon():
    errors, calm = np.ones((5, 6, 3), np.float32), np.ones((5, 6))
    donor, deviation = np.zeros((5, 6, 3), np.int16), np.zeros((5, 9), np.float32)
    ends = np.array([1, 30, 300])
    library = PathLibrary(errors, donor, deviation, np.zeros((5, 6), np.int64), ends, calm, calm)
    now = np.array([0.1, VOLATILE_FROM, 6.0, 1e9, NAN])
    want = [1.0, 1.0, 6.0 / VOLATILE_FROM, VOLATILE_MOST, 1.0]
    np.testing.assert_allclose(
        library.stretched(np.ones(5), now), np.broadcast_to(np.array(want)[:, None, None], (5, 6, 3))
    )


def test_combining_is_the_weighted_mean_of_the_members_that_answer():
    rng = np.random.default_rng(7)
    parts = rng.normal(size=(3, 2, 4, 5)).astype(np.float32)
    parts[1, 0, 2] = NAN
    parts[:, 1, 3, 4] = NAN
    weights = rng.random((2, 3, 5)).astype(np.float32)
    got = combine(parts, weights)
    for i, k, h in np.ndindex(2, 4, 5):
        answers = [m for m in range(3) if np.isfinite(parts[m, i, k, h])]
        mass = sum(weights[i, m, h] for m in answers)
        want = sum(parts[m, i, k, h] * weights[i, m, h] for m in answers) / mass if answers else NAN
        np.testing.assert_allclose(got[i, k, h], want, rtol=1e-4, atol=1e-5)


def slow_weights(parts, truth, windows):
    """Weights of one series ``[M, H]``, horizon by horizon, from ``parts [M, K, H]`` and ``truth [K, H]``."""
    M, _, H = parts.shape
    out = np.zeros((M, H))
    cells_of = [[h for h in range(H) if 2**b <= h + 1 < 2 ** (b + 1)] for b in range(int(np.log2(H)) + 1)]
    errors = []
    for cells in cells_of:
        each = [np.abs(parts[m][:, cells] - truth[:, cells]) for m in range(M)]
        each = [e[np.isfinite(e)] for e in each]
        most = max(len(e) for e in each)
        errors.append([e.mean() if len(e) and len(e) >= SCARCE * most else NAN for e in each])
    silent = np.isnan(errors).all(axis=0)
    prior = np.where(silent, 1e-6, 1.0)
    prior = prior / prior.sum()
    for b, cells in enumerate(cells_of):
        known = [e for e in errors[b] if np.isfinite(e)]
        if known:
            floor = LEAST * min(known)
            raw = np.array([max(e, floor) ** -POWER if np.isfinite(e) else 0.0 for e in errors[b]])
            independent = windows / 2**b
            trust = independent / (independent + PRIOR_WINDOWS)
            prior = trust * raw / raw.sum() + (1 - trust) * prior
        out[:, cells] = prior[:, None]
    return out


@pytest.mark.parametrize("horizon", [1, 7, 20])
def test_weights_follow_the_errors_and_shrink_to_those_of_the_next_shorter_horizon(horizon):
    rng = np.random.default_rng(8)
    truth = rng.normal(size=(5, 30, horizon)).astype(np.float32)
    size = np.array([1.0, 1.5, 0.7, 2.0])[:, None, None, None] * (1 + rng.random((4, 1, 1, horizon)))
    parts = (truth + size * rng.normal(size=(4, 5, 30, horizon))).astype(np.float32)
    truth[1, 25:, :] = NAN
    truth[2, :, 3:] = NAN  # nothing known so far ahead: the weights of the horizons before it
    parts[0, 3] = NAN  # a member without any answer
    parts[1, 3, :20] = NAN  # and one with few
    truth[4] = NAN
    windows = np.array([200.0, 3.0, 60.0, 40.0, 50.0])
    got = weigh(parts, truth, windows)
    assert got.dtype == np.float32 and got.shape == (5, 4, horizon)
    np.testing.assert_allclose(got.sum(1), 1, rtol=1e-5)
    for i in range(5):
        np.testing.assert_allclose(got[i], slow_weights(parts[:, i], truth[i], windows[i]), rtol=1e-3, atol=1e-8)
    assert (got[3, 0] > 0).all() and (got[3, 0] < 1e-6).all()
    np.testing.assert_allclose(got[4], 0.25)


def test_weights_are_those_of_the_errors_where_much_is_known_and_equal_where_nothing_is():
    truth = np.zeros((1, 30, 7), np.float32)
    size = np.array([1.0, 1.5, 4.0])
    parts = np.broadcast_to(size[:, None, None, None], (3, 1, 30, 7)).astype(np.float32)
    np.testing.assert_allclose(weigh(parts, truth, np.array([0.0])), 1 / 3, rtol=1e-6)
    want = size**-POWER / (size**-POWER).sum()
    np.testing.assert_allclose(weigh(parts, truth, np.array([1e9]))[0, :, 5], want, rtol=1e-4)
    far = weigh(parts, truth, np.array([20.0]))[0]
    assert far[0, 0] < far[0, 1] < far[0, 3] < want[0], "each horizon adds what it knows"


def test_the_best_members_speak_alone_where_a_series_rests():
    truth = np.zeros((2, 30, 7), np.float32)
    size = np.array([1.0, 1.02, 1.3, 4.0])
    parts = np.broadcast_to(size[:, None, None, None], (4, 2, 30, 7)).astype(np.float32)
    weights = weigh(parts, truth, np.array([1e9, 1e9]), np.array([True, False]))
    want = size[:2] ** -RESTING_POWER
    np.testing.assert_allclose(weights[0, :2, 3], want / want.sum(), rtol=1e-4)
    assert (weights[0, 2:] == 0).all()
    np.testing.assert_array_equal(weights[1], weigh(parts, truth, np.array([1e9, 1e9]))[1])
    unknown = weigh(parts, np.full_like(truth, NAN), np.array([1e9, 1e9]), np.array([True, False]))
    np.testing.assert_allclose(unknown, 0.25)


def test_weights_are_constant_within_a_bucket_of_horizon_and_do_not_depend_on_the_unit():
    rng = np.random.default_rng(9)
    truth, parts = rng.normal(size=(2, 20, 12)), rng.normal(size=(4, 2, 20, 12))
    windows = np.array([100.0, 20.0])
    weights = weigh(parts.astype(np.float32), truth.astype(np.float32), windows)
    for b in np.unique(buckets(12)):
        inside = weights[:, :, buckets(12) == b]
        np.testing.assert_array_equal(inside, np.repeat(inside[:, :, :1], inside.shape[2], 2))
    for unit in (1e-12, 1e12):
        scaled = weigh((unit * parts).astype(np.float32), (unit * truth).astype(np.float32), windows)
        np.testing.assert_allclose(scaled, weights, rtol=1e-3)


@given(step=st.integers(1, 7200), hours=st.integers(1, 24 * 8))
@settings(max_examples=200, deadline=None)
def test_a_nested_grid_covers_the_horizon_without_gap_or_overlap(step, hours):
    horizon = hours * 3600
    grid = nested_grid(step, horizon)
    done = 0
    for s in grid.segments:
        assert s.first * s.width == done
        done = s.last * s.width
    assert done == grid.ends[-1] == grid.widths.sum()
    assert horizon <= done * step < horizon + step * grid.coarsest
    assert (np.diff(grid.widths) >= 0).all()
    assert all(grid.coarsest % s.width == 0 for s in grid.segments)


@given(columns=st.integers(1, 4000))
@settings(max_examples=50, deadline=None)
def test_a_history_allows_a_prefix_of_the_grid(columns):
    grid = nested_grid(60, 7 * 86400)
    near = within_history(grid, columns)
    assert near.segments == grid.segments[: len(near.segments)]
    assert all(3 * s.width <= columns for s in near.segments)


def test_a_cell_that_few_origins_know_has_the_errors_of_the_last_one_that_enough_know():
    residual = np.arange(12 * 4, dtype=np.float32).reshape(1, 12, 4)
    residual[0, MIN_KNOWN - 1 :, 2] = NAN
    residual[0, :, 3] = NAN
    held = hold_known(residual)
    np.testing.assert_array_equal(held[:, :, :2], residual[:, :, :2])
    np.testing.assert_array_equal(held[:, :, 2], residual[:, :, 1])
    np.testing.assert_array_equal(held[:, :, 3], residual[:, :, 1])
    np.testing.assert_array_equal(hold_known(residual[:, :3, :2]), residual[:, :3, :2])
