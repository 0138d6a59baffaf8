"""A ramp that was reset is told from one that ended, and the tooth before the reset tells the slope of the next."""

from __future__ import annotations

import numpy as np
import pytest

from models import Forecaster
from models.sawtooth import Tooth, _best_teeth, last_tooth
from models.synthetic import ar_noise

STEP, DAY, DAYS, AHEAD = 300, 288, 35, 2
T = DAYS * DAY
LIMIT, SEEDS = 90.0, 8
ONSETS = np.unique(np.round(12 * 1.04 ** np.arange(110)).astype(np.int64))
t = np.arange(T + AHEAD * DAY)


def teeth(length: int, onset: int, reset: int, slope: float, again: float | None = None) -> np.ndarray:
    """A tooth from ``onset`` to ``reset`` cells before the end, and since then another with the slope ``again``."""
    age = np.arange(length)[::-1] + 0.5
    since = (reset - age) * (slope if again is None else again)
    return np.where(age > onset, 0.0, np.where(age > reset, (onset - age) * slope, since))


def found(d: np.ndarray, ramp_gain: float = 0.0) -> Tooth | None:
    return last_tooth(d, ONSETS[len(d) >= ONSETS], 1.0, ramp_gain)


@pytest.mark.parametrize(("onset", "reset"), [(300, 100), (170, 43), (90, 61), (500, 370)])
def test_the_onset_the_reset_and_the_slope_of_the_tooth_before_are_found(onset: int, reset: int) -> None:
    tooth = found(teeth(600, onset, reset, 0.3) + np.random.default_rng(onset).normal(size=600))
    assert tooth is not None
    assert abs(tooth.reset - reset) <= 3
    assert abs(tooth.onset - onset) <= 8
    assert abs(tooth.slope - 0.3) < 4 * tooth.error < 0.1


def test_the_teeth_explain_what_least_squares_says_and_no_other_pair_more() -> None:
    d = np.random.default_rng(3).normal(size=80).cumsum()
    d[50:53] = np.nan
    onsets = np.array([12, 15, 20, 30, 40, 60])
    onset, reset, gain = _best_teeth(d, onsets)
    use = np.isfinite(d)

    def explained(s: int, r: int) -> float:
        x, y = teeth(80, s, r, 1.0)[use], d[use]
        older = np.arange(80)[use] < 80 - r
        if (x[older] @ y[older]) * (x[~older] @ y[~older]) <= 0:
            return 0.0
        return float((x @ y) ** 2 / (x @ x))

    np.testing.assert_allclose(gain, explained(onset, reset))
    assert gain >= max(explained(s, r) for r in onsets for s in onsets if s - r >= 12)


def test_one_ramp_a_spike_a_step_and_noise_have_no_tooth_before_a_reset() -> None:
    rng = np.random.default_rng(5)
    spike = np.zeros(600)
    spike[300:320] = 30.0
    for made in (teeth(600, 300, 0, 0.3), spike, np.where(np.arange(600) > 400, 20.0, 0.0), np.zeros(600)):
        d = made + rng.normal(size=600)
        age = np.arange(600)[::-1] + 0.5
        lines = [np.clip(w - age, 0, None) for w in ONSETS]
        assert found(d, max((line @ d) ** 2 / (line @ line) for line in lines)) is None


def test_a_slope_that_agrees_is_known_better_and_another_is_left_alone() -> None:
    tooth = Tooth(300, 100, 1.0, 0.01)
    slope, error = tooth.agreed(np.array([1.1, 3.0]), np.array([0.2, 0.2]))
    assert 1.0 < slope[0] < 1.05
    assert error[0] < 0.1
    assert (slope[1], error[1]) == (3.0, 0.2)


def disks(shift: np.ndarray) -> np.ndarray:
    """Disks with a daily swing about 60 %, moved by ``shift [T + ...]``."""
    daily = np.stack([np.sin(2 * np.pi * (t / DAY + s / SEEDS)) for s in range(SEEDS)])
    return 60 + daily + ar_noise(SEEDS, len(t), sd=0.3, seed=7) + shift


def test_a_disk_that_fills_again_after_a_clean_up_is_foreseen_in_time() -> None:
    filling = np.concatenate([teeth(T, 200, 60, 0.2), (60.5 + np.arange(AHEAD * DAY)) * 0.2])
    y = disks(filling)
    beyond = y[:, T:] > LIMIT
    truth = ((beyond[:, :-2] & beyond[:, 1:-1] & beyond[:, 2:]).argmax(1) + 1) * STEP
    breach = Forecaster(STEP, 7 * 86400).fit(y[:, :T], start=0).forecast().breach(LIMIT, run=3)
    assert (breach.probability_within([86400.0]) > 0.8).all()
    low, median, high = breach.time_to([0.1, 0.5, 0.9]).T
    assert np.median(np.abs(median - truth) / truth) < 0.1
    assert ((low <= truth) & (truth <= high)).mean() >= 0.6


@pytest.mark.parametrize("hours", [2, 4, 12])
def test_a_disk_that_was_cleaned_and_no_longer_fills_raises_nothing(hours: int) -> None:
    y = disks(np.pad(teeth(T, hours * 12 + 130, hours * 12, 0.2, again=0.0), (0, AHEAD * DAY)))
    breach = Forecaster(STEP, 7 * 86400).fit(y[:, :T], start=0).forecast().breach(LIMIT, run=3)
    assert (breach.probability < 0.5).all()
