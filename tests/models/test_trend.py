"""A disk that has always filled is foreseen; what wanders, ended or was cleaned is not taken for it."""

from __future__ import annotations

import numpy as np
import pytest

from models import Forecaster
from models.paths import Breach
from models.synthetic import ar_noise
from models.trend import level_now

STEP, DAYS, AHEAD = 300, 35, 2
DAY = 288
T = DAYS * DAY
SEEDS = 16
LIMIT = 90.0
t = np.arange(T + AHEAD * DAY)


def filling(rate: float, noise: float, season: float, hours: float) -> np.ndarray:
    """``rate`` percent a day from the first day on, that reach the limit in ``hours``; ``[n, T + two days]``."""
    line = LIMIT - rate * hours / 24 + rate * (t - T + 1) / DAY
    daily = np.stack([season * np.sin(2 * np.pi * (t / DAY + s / SEEDS)) for s in range(SEEDS)])
    return line + daily + ar_noise(SEEDS, len(t), sd=noise, seed=11)


def foreseen(y: np.ndarray) -> Breach:
    return Forecaster(STEP, 7 * 86400).fit(y[:, :T], start=0).forecast().breach(LIMIT, run=3)


def hours_to_breach(y: np.ndarray) -> np.ndarray:
    """When it really happens: the first of three points in a row beyond, ``[n]``; inf where it does not."""
    beyond = y[:, T:] > LIMIT
    three = beyond[:, :-2] & beyond[:, 1:-1] & beyond[:, 2:]
    return np.where(three.any(1), three.argmax(1) + 1.0, np.inf) * STEP / 3600


@pytest.mark.parametrize(("rate", "noise", "season", "hours"), [(2, 0.2, 0.3, 12), (2, 0.2, 0.0, 20), (10, 0.5, 2, 8)])
def test_a_disk_that_has_filled_for_the_whole_history_is_foreseen_in_time(
    rate: float, noise: float, season: float, hours: float
) -> None:
    y = filling(rate, noise, season, hours)
    truth, breach = hours_to_breach(y), foreseen(y)
    soon = (truth >= 2) & (truth <= 24)
    assert soon.sum() >= SEEDS - 4
    assert (breach.probability_within([86400.0])[soon, 0] >= 0.8).all()
    low, median, high = (breach.time_to([0.1, 0.5, 0.9]) / 3600)[soon].T
    assert np.median(np.abs(median - truth[soon]) / truth[soon]) <= 0.15
    assert ((low <= truth[soon]) & (truth[soon] <= high)).mean() >= 0.6


def test_a_disk_that_fills_too_slowly_to_matter_raises_nothing() -> None:
    assert (foreseen(filling(3, 0.5, 1, 5 * 24)).probability_within([86400.0]) < 0.05).all()


@pytest.mark.parametrize("ended_hours_ago", [6, 12, 48])
def test_a_disk_that_has_stopped_filling_raises_nothing(ended_hours_ago: float) -> None:
    since = np.maximum(0, t - (T - 1 - ended_hours_ago * 12))
    y = filling(6, 0.2, 0.3, 12) - since * 6 / DAY
    assert (foreseen(y).probability_within([86400.0]) < 0.8).all()


@pytest.mark.parametrize("cleaned_minutes_ago", [60, 180, 720, 2000])
def test_a_disk_that_was_cleaned_is_no_longer_about_to_be_full(cleaned_minutes_ago: int) -> None:
    y = filling(4, 0.3, 0.5, 4) - np.where(t > T - 1 - cleaned_minutes_ago // 5, 30.0, 0.0)
    probability = foreseen(y).probability_within([3600.0, 86400.0])
    assert (probability < 0.8).all()
    assert np.median(probability[:, 0]) < 0.05


def test_a_clean_up_in_the_past_hides_no_trend() -> None:
    y = filling(2, 0.2, 0.3, 12) + np.where(t < T - 10 * DAY, 20.0, 0.0)
    truth, breach = hours_to_breach(y), foreseen(y)
    assert (breach.probability_within([86400.0])[truth <= 24, 0] >= 0.8).all()


def test_a_rhythm_far_larger_than_the_growth_is_left_to_the_members() -> None:
    y = filling(1, 0.2, 10, 12)[:, :T]
    f = Forecaster(STEP, 7 * 86400).fit(y, start=0)
    assert [ramp for now in f._now for ramp in now.ramps if ramp.lasts is not None] == []


@pytest.mark.parametrize("kind", ["random walk", "slow walk", "wandering"])
def test_what_only_wanders_has_no_trend(kind: str) -> None:
    rng = np.random.default_rng(2)
    if kind == "random walk":
        y = rng.standard_normal((SEEDS, len(t))).cumsum(1) * 0.1
    elif kind == "slow walk":
        y = np.repeat(rng.standard_normal((SEEDS, len(t) // DAY)).cumsum(1), DAY, axis=1)
        y = y + ar_noise(SEEDS, y.shape[1], seed=3) * 0.3
    else:
        y = ar_noise(SEEDS, len(t), phi=0.999, sd=5.0, seed=3)
    f = Forecaster(STEP, 7 * 86400).fit(y[:, :T], start=0)
    f.forecast()
    followed = [ramp.row for now in f._now for ramp in now.ramps if ramp.lasts is not None]
    assert len(followed) <= 1


def test_the_level_now_averages_noise_away_and_follows_a_step() -> None:
    rng = np.random.default_rng(1)
    level, error = level_now(rng.normal(5, 1, 288))
    assert abs(level - 5) < 3 * error < 0.5
    stepped = rng.normal(5, 1, 288)
    stepped[-30:] += 20
    level, error = level_now(stepped)
    assert abs(level - 25) < 1
