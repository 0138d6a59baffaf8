"""Vectorised arithmetic against slow, obvious loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import Forecaster
from models.ensemble import buckets, combine, weigh
from models.grid import nested_grid, within_history
from models.level import ProfileLevel
from models.library import MIN_KNOWN, PathLibrary, build_library, choose_donors, hold_known
from models.panel import coarsen, fill, make_panel, moving_mean, row_centre
from models.ramp import _ended_gain, _fit_hinges, past_slopes
from models.ridge import PENALTY, Ridge, lags_for
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
    return make_panel(values, STEP, 1, None)


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
    season = 7
    want = values.copy()
    for i in range(5):
        apart = 0.0
        for t in range(60):
            if t < season:
                continue
            if np.isnan(want[i, t]):
                want[i, t] = want[i, t - season] + apart
            elif np.isfinite(want[i, t - season]):
                apart = want[i, t] - want[i, t - season]
        for t in range(1, 60):
            if np.isnan(want[i, t]):
                want[i, t] = want[i, t - 1]
    np.testing.assert_allclose(fill(values, season), want, atol=1e-12)
    without_season = fill(values, None)
    for i in range(5):
        last = NAN
        for t in range(60):
            last = values[i, t] if np.isfinite(values[i, t]) else last
            np.testing.assert_equal(without_season[i, t], last)


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
@pytest.mark.parametrize("wide", [False, True])
def test_a_profile_is_the_trimmed_mean_of_past_cycles_at_the_same_phase(which, wide):
    values = np.random.default_rng(1).normal(size=(2, 288 * 15))
    values[0, :900], values[1, 3000:3100] = NAN, NAN
    panel = make_panel(values, 300, 1, None)
    smooth, reach = panel.hourly if wide else panel.smoothed
    season = panel.seasons[which]
    origins = np.array([700, 2900, panel.T])
    positions = origins[:, None] + np.array([-40, -3, -1, 0, 1, 50, 288, 2100])
    got = profile_at(panel, positions, origins, which, wide)
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


def test_ridge_coefficients_solve_the_regularised_normal_equations():
    panel = seasonal_panel()
    fit = Ridge()._fit(panel)
    lags = lags_for(panel)
    np.testing.assert_array_equal(fit.lags, lags)
    for i in range(panel.n):
        v = panel.values[i].astype(float)
        z = (v - np.nanmean(v)) / np.nanstd(v)
        rows, targets = [], []
        for t in range(int(lags[-1]), panel.T):
            row = [z[t - lag] for lag in lags] + [1.0]
            if np.isfinite([*row, z[t]]).all():
                rows.append(row)
                targets.append(z[t])
        penalty = np.sqrt(PENALTY * len(targets) / 100) * np.eye(len(lags) + 1)
        X = np.vstack([rows, penalty])
        y = np.concatenate([targets, np.zeros(len(penalty))])
        want = np.linalg.lstsq(X, y, rcond=None)[0]
        np.testing.assert_allclose(fit.coefficients[i], want, atol=2e-4)


@pytest.mark.parametrize("horizon", [1, 5, 30])
def test_ridge_forecasts_are_the_recursion_written_out(horizon):
    panel = seasonal_panel()
    member = Ridge()
    fit = member._fit(panel)
    origins = np.array([400, 480, panel.T])
    got = member.predict(panel, fit, origins, horizon)
    for i in range(panel.n):
        for k, o in enumerate(origins):
            z = list((panel.values[i, :o] - fit.mean[i]) / fit.scale[i])
            for _ in range(horizon):
                z.append(sum(c * z[-lag] for c, lag in zip(fit.coefficients[i], fit.lags, strict=False)))
                z[-1] += fit.coefficients[i, -1]
            np.testing.assert_allclose(got[i, k], np.array(z[o:]) * fit.scale[i] + fit.mean[i], atol=2e-3)


def test_seasonal_naive_repeats_the_last_cycle():
    panel = seasonal_panel()
    got = SeasonalNaive(0, "naive").predict(panel, None, np.array([200, panel.T]), 60)
    for k, o in enumerate((200, panel.T)):
        last = panel.values[:, o - 24 : o]
        np.testing.assert_array_equal(got[:, k], np.concatenate([last, last, last], axis=1)[:, :60])


def test_a_level_without_a_season_is_exponential_smoothing():
    panel = seasonal_panel()
    memory = 4
    got = ProfileLevel("level", -1, memory=memory * STEP, fade=None).predict(panel, None, np.array([400]), 3)
    for i in range(panel.n):
        weight = np.exp(-np.arange(3 * memory) / memory)
        want = (weight * panel.values[i, 399 : 399 - 3 * memory : -1]).sum() / weight.sum()
        np.testing.assert_allclose(got[i, 0], want, rtol=1e-4, atol=1e-4)


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
    slope, gain, spread, step_gain = _fit_hinges(d, shapes, onsets)
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
    np.testing.assert_allclose(_ended_gain(d, onsets), best)


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("run", [1, 2, 3])
def test_a_cells_extreme_is_the_level_that_a_run_of_points_stayed_beyond_in_it(above, run):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(2, 60)).astype(np.float32)
    values[1, 20:23] = NAN
    widths = np.array([1, 1, 1, 2, 2, 5, 5, 6])
    ends = np.cumsum(widths)
    origins = np.array([10, 25, 37])
    raw = np.zeros((2, 3, len(widths)), np.float32)  # the forecast of each cell is its mean
    donor = np.broadcast_to(np.arange(3, dtype=np.int16)[:, None], raw.shape)
    got = PathLibrary(raw, donor, values, origins, ends, raw).extremes(widths, above, run)
    extreme, most = (max, min) if above else (min, max)
    for i in range(2):
        for k, o in enumerate(origins):
            for h, (end, width) in enumerate(zip(o + ends, widths, strict=True)):
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
    library = build_library(residual, np.zeros((1, 9)), np.array([1, 2, 3]), np.array([1, 2]), seed=0)
    assert set(library.residuals[0, :, 0].tolist()) <= {1.0, 2.0}
    assert set(library.residuals[0, :, 1].tolist()) <= {4.0, 5.0}


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


def test_weights_sum_to_one_and_follow_the_errors_to_the_minus_fourth_power():
    rng = np.random.default_rng(8)
    truth = rng.normal(size=(2, 30, 7)).astype(np.float32)
    size = np.array([1.0, 2.0, 4.0])
    parts = truth + size[:, None, None, None].astype(np.float32)
    weights = weigh(parts.astype(np.float32), truth)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
    raw = size**-4 / (size**-4).sum()
    want = raw * 30 / 34 + (4 / 34) / 3
    np.testing.assert_allclose(weights[0, :, 3], want, rtol=1e-3)


def test_weights_are_constant_within_a_bucket_of_horizon_and_do_not_depend_on_the_unit():
    rng = np.random.default_rng(9)
    truth, parts = rng.normal(size=(2, 20, 12)), rng.normal(size=(4, 2, 20, 12))
    weights = weigh(parts.astype(np.float32), truth.astype(np.float32))
    for b in np.unique(buckets(12)):
        inside = weights[:, :, buckets(12) == b]
        np.testing.assert_array_equal(inside, np.repeat(inside[:, :, :1], inside.shape[2], 2))
    for unit in (1e-12, 1e12):
        scaled = weigh((unit * parts).astype(np.float32), (unit * truth).astype(np.float32))
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
