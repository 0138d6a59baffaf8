"""What a series was before a lasting step, or while something was wrong, is no precedent for what it is now."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from models import Forecaster
from models.regimes import find_regimes
from models.synthetic import ar_noise

STEP, DAY, WEEK = 300, 288, 2016
T = 5 * WEEK
LIMIT = 90.0


def healthy(seed: int = 0, weekly: bool = False) -> np.ndarray:
    """A level of 60 with a daily course and noise that is correlated."""
    t = np.arange(T + 7 * DAY)
    y = 60 + 5 * np.sin(2 * np.pi * t / DAY) + ar_noise(1, len(t), seed=seed)[0]
    return y - np.where(weekly & (t // DAY % 7 > 4), 4.0, 0.0)


def climb(days: float, height: float, end: int) -> np.ndarray:
    t = np.arange(T + 7 * DAY)
    return np.where(t < end, np.clip((t - (end - days * DAY)) / (days * DAY), 0, 1) * height, 0.0)


def plateau(begin: int, end: int, height: float) -> np.ndarray:
    t = np.arange(T + 7 * DAY)
    return np.where((t >= begin) & (t < end), height, 0.0)


def odds(y: np.ndarray, at: int, above: bool = True, limit: float = LIMIT) -> tuple[float, float]:
    """P(breach) within a day and within a week, from column ``at``."""
    f = Forecaster(STEP, 7 * 86400).fit(y[None, max(0, at - T) : at], start=0)
    day, week = f.forecast().breach(limit, above, run=3).probability_within([86400, 7 * 86400])[0]
    return float(day), float(week)


@pytest.mark.parametrize("weekly", [False, True])
@pytest.mark.parametrize("height", [27.0, 36.0])
def test_after_a_repair_the_odds_are_those_of_a_healthy_series_within_half_an_hour(height: float, weekly: bool) -> None:
    calm = healthy(weekly=weekly)
    y = calm + climb(2, height, T)
    before, after = odds(y, T - 1), odds(y, T + 7)
    assert before[0] > 0.9
    assert after[0] < 0.1
    assert after[1] < 0.35
    assert odds(calm, T + 7)[1] < 0.1


def test_a_breach_that_was_repaired_is_not_forgotten_by_the_base_rate() -> None:
    calm = healthy()
    broken = odds(calm + climb(2, 36.0, T), T + 2 * DAY)
    assert odds(calm, T + 2 * DAY)[1] < broken[1] < 0.35


def test_half_a_day_after_a_disk_is_enlarged_its_old_level_is_no_precedent() -> None:
    y = healthy() + plateau(0, T, 27.0)
    assert odds(y, T - 1)[0] > 0.9
    assert max(odds(y, T + DAY // 2 + 1)) < 0.1


def test_a_step_towards_the_limit_counts_as_the_new_level_too() -> None:
    y = healthy() + plateau(T, T + WEEK, 24.0)
    at = T + DAY // 2 + 1
    f = Forecaster(STEP, 7 * 86400).fit(y[None, max(0, at - T) : at], start=0)
    week_ahead = f.forecast().quantile([0.1, 0.5, 0.9])[0, :, -1]
    assert week_ahead[1] == pytest.approx(healthy()[at + WEEK - DAY - 12 : at + WEEK - DAY].mean() + 24, abs=2.5)
    assert week_ahead[0] > 75


def test_an_incident_that_is_over_leaves_the_rhythm_of_the_week_alone() -> None:
    calm = healthy(weekly=True)
    y = calm + plateau(T - DAY, T - DAY // 4, 20.0)
    f = Forecaster(STEP, 7 * 86400).fit(np.stack([y, calm])[:, :T], start=0)
    median = f.forecast().quantile([0.5])[:, 0]
    assert np.abs(median[0] - median[1]).max() < 1.5


def kept(y: np.ndarray) -> int:
    return len(find_regimes(y[None, :T], STEP))


def test_a_series_of_one_piece_stays_as_it_is() -> None:
    rng = np.random.default_rng(3)
    t = np.arange(T)
    hours = t // 12 % 24
    for seed in range(10):
        assert kept(healthy(seed, weekly=seed % 2 > 0)) == 0
    assert kept(np.cumsum(rng.standard_normal(T))) == 0, "a random walk"
    assert kept(rng.standard_t(2, T)) == 0, "heavy tails"
    assert kept(np.where((hours >= 9) & (hours < 15), 100.0, 5.0) + rng.standard_normal(T)) == 0, "a session"
    assert kept(np.where(t // 100 % 2, 9.0, 3.0) + rng.standard_normal(T)) == 0, "on and off"
    week = 40 + np.where(t // DAY % 7 < 5, 20 * np.sin(t * 2 * np.pi / DAY) + 20, 0) + rng.standard_normal(T)
    assert kept(week) == 0
    assert kept(week[-4 * WEEK :]) == 0
    assert kept(week[-2 * WEEK :]) == 0, "two weekends"
    assert kept(60 + t % (3 * DAY) * 0.03 + rng.standard_normal(T)) == 0, "regular clean-ups"
    assert kept(np.full(T, 7.0)) == 0
    assert kept(np.full(T, np.nan)) == 0


def test_a_dip_that_may_come_back_moves_nothing() -> None:
    assert kept(healthy() - plateau(T - 3 * 12, T, 30.0)) == 0


def test_what_is_no_precedent_is_found_by_where_it_was() -> None:
    y = np.stack([healthy(1), healthy(2) + climb(2, 30.0, T - DAY), healthy(3) + plateau(0, T - WEEK, 15.0)])[:, :T]
    found = find_regimes(y, STEP)
    assert set(found.row.tolist()) == {1, 2}
    level = found.levelled(y)
    np.testing.assert_array_equal(level[0], y[0])
    assert np.nanmax(np.abs(level[1] - healthy(2)[:T])) < 12, "but for the first quarter of the climb"
    assert np.nanmax(np.abs(level[2] - healthy(3)[:T])) < 0.5
    np.testing.assert_array_equal(found.levelled(y, excursions=True)[1], y[1])
    chosen = found.select(np.array([2, 1]))
    np.testing.assert_array_equal(chosen.levelled(y[[2, 1]]), level[[2, 1]])
    parts = found.select(np.array([0])).beside(found.select(np.array([1, 2])), 1)
    np.testing.assert_array_equal(parts.levelled(y), level)


def test_new_columns_move_the_parts_along_and_survive_saving() -> None:
    y = np.stack([healthy(2) + climb(2, 30.0, T - 7), healthy(3) + plateau(0, T - WEEK, 15.0), healthy(4)])
    f = Forecaster(STEP, 86400).fit(y[:, :T], start=0)
    whole = f.update(y[:, T : T + 40])
    again = Forecaster.from_bytes(whole.to_bytes(values=False), y[:, 40 : T + 40])
    np.testing.assert_array_equal(again.forecast().paths, whole.forecast().paths)
    part = whole.select([1, 0]).beside(whole.select([2]))
    np.testing.assert_array_equal(part.forecast().paths, whole.forecast().paths[[1, 0, 2]])
    median = whole.forecast().quantile([0.5])[:, 0]
    assert np.abs(median[:, 11] - y[:, T + 39 + 12]).max() < 4


def test_renewing_learns_what_a_fit_would_and_of_the_changed_series_alone() -> None:
    calm = healthy(5)
    y = np.stack([calm, healthy(6) + climb(2, 30.0, T), healthy(7)])
    f = Forecaster(STEP, 7 * 86400).fit(y[:, :T], start=0)
    f.update(y[:, T : T + 9])
    old = f.forecast()
    copied = copy.copy(f)
    assert f.renew() == 1
    assert f.renew() == 0
    fresh = Forecaster(STEP, 7 * 86400).fit(y[:, 9 : T + 9], start=9 * STEP)
    np.testing.assert_array_equal(f.forecast().paths[[0, 2]], old.paths[[0, 2]])
    np.testing.assert_array_equal(f.forecast().paths[1], fresh.forecast().paths[1])
    np.testing.assert_array_equal(copied.forecast().paths, old.paths)
    np.testing.assert_array_equal(f.scores(T), copied.scores(T))
    again = Forecaster.from_bytes(f.to_bytes())
    np.testing.assert_array_equal(again.forecast().breach(90.0).chance, f.forecast().breach(90.0).chance)


def test_a_level_does_not_last_because_nothing_is_observed() -> None:
    y = healthy() + plateau(T - DAY, T, 40.0)
    y[T - DAY + 9 : T] = np.nan
    assert kept(y) == 0
    climbed = healthy() + climb(2, 30.0, T - DAY)
    gone = climbed.copy()
    gone[T - DAY // 2 : T] = np.nan
    np.testing.assert_array_equal(find_regimes(gone[None, :T], STEP).end, find_regimes(climbed[None, :T], STEP).end)


@pytest.mark.parametrize(("step", "columns"), [(300, 500), (420, 30 * 205)])
def test_without_days_to_compare_an_excursion_is_unknown_to_the_members_and_known_to_the_odds(
    step: int, columns: int
) -> None:
    y = 60 + ar_noise(1, columns, seed=4)
    y[:, columns - 100 : columns - 50] += 40
    found = find_regimes(y, step)
    assert np.isnan(found.levelled(y)[0, columns - 90 : columns - 60]).all()
    np.testing.assert_array_equal(found.levelled(y, excursions=True), y)


@pytest.mark.parametrize("at", range(3, 8))
def test_a_step_within_the_first_minutes_of_a_history_is_found_without_a_warning(at: int) -> None:
    y = 10 + 0.1 * ar_noise(1, 200, seed=5)
    y[:, :at] += 50
    found = find_regimes(y, STEP)
    assert found.end.max() == 200 - at
    assert np.nanmax(found.levelled(y)) < 12


def busy(seed: int = 9) -> np.ndarray:
    """A rate of 100 with a daily course, never below 0."""
    t = np.arange(3 * WEEK)
    return np.maximum(0.0, 100 + 20 * np.sin(2 * np.pi * t / DAY) + 5 * ar_noise(1, len(t), seed=seed)[0])


def test_a_rate_that_came_to_nothing_keeps_no_swing() -> None:
    y = busy()
    y[-DAY:] = 0.0
    f = Forecaster(STEP, 7 * 86400).fit(y[None], start=0)
    assert np.abs(f.forecast().quantile([0.05, 0.95])).max() < 0.1


def test_what_was_never_below_zero_is_not_expected_there_from_a_lower_level() -> None:
    y = busy()
    y[-DAY:] = np.maximum(0.0, y[-DAY:] - 80)
    f = Forecaster(STEP, 7 * 86400).fit(y[None], start=0)
    assert np.nanmin(find_regimes(y[None], STEP).levelled(y[None])) < -1, "the old level, moved, was below 0"
    assert f.forecast().paths.min() >= 0


@pytest.mark.parametrize("days", [8, 12])
def test_the_end_of_a_long_climb_does_not_move_the_healthy_past_below_where_it_was(days: int) -> None:
    calm, end = healthy(), T - 3 * DAY // 4
    y = (calm + climb(days, 36.0, end))[:T]
    found = find_regimes(y[None], STEP)
    level = found.levelled(y[None])[0]
    np.testing.assert_array_equal(level[: end - days * DAY], calm[: end - days * DAY])
    f = Forecaster(STEP, 7 * 86400).fit(y[None], start=0).forecast()
    assert f.quantile([0.5])[0, 0, -24:].mean() == pytest.approx(60, abs=3)
    assert f.breach(40.0, False, 3).probability_within([7 * 86400])[0, 0] < 0.15


def test_the_first_weekend_is_no_excursion_once_there_is_a_second() -> None:
    t = np.arange(14 * DAY)
    y = 60 - np.where(t // DAY % 7 > 4, 30.0, 0.0) + 10 * np.sin(2 * np.pi * t / DAY) + ar_noise(1, len(t), seed=6)[0]
    for days in (12.5, 13.0, 13.6):
        assert len(find_regimes(y[None, : int(days * DAY)], STEP)) == 0
    assert len(find_regimes(y[None, : 9 * DAY], STEP)), "one alone may have been an incident"
