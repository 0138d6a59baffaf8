"""Seasons that were planted must be found, and none where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from models.grid import DAY, HOUR
from models.seasons import find_seasons
from models.synthetic import ar_noise

SEEDS = 20
SHAPES = {
    "sine": lambda f: 1.41 * np.sin(2 * np.pi * f),
    "short peak": lambda f: 3.6 * (f % 1 < 1 / 12),
    "square": lambda f: 2.1 * (f % 1 < 1 / 3),
    "sawtooth": lambda f: 3.46 * (f % 1 - 0.5),
    "strong second harmonic": lambda f: np.sin(2 * np.pi * f) + 1.3 * np.sin(4 * np.pi * f + 1),
}
# step in seconds, columns, period in columns
RHYTHMS = {
    "a day on five minutes": (300, 14 * 288, 288),
    "7 minutes on 10 seconds": (10, 8640, 42),
    "an hour on 10 seconds": (10, 8640, 360),
    "6 hours on 10 seconds": (10, 17280, 2160),
    "37 minutes on a minute": (60, 1440, 37),
    "a day on an hour": (3600, 720, 24),
}


def cycles(columns, period, seed, jitter=0.0):
    """Cycles passed at each column, from a random phase on; each cycle longer or shorter by ``jitter``."""
    rng = np.random.default_rng(seed)
    lengths = period * np.maximum(1 + jitter * rng.normal(size=2 * columns // period + 3), 0.3)
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    return np.interp(np.arange(columns), ends, np.arange(len(ends))) + rng.random()


def planted(rhythm, shape, *, phi=0.8, amplitude=1.0, jitter=0.0):
    _, columns, period = RHYTHMS[rhythm]
    noise = ar_noise(SEEDS, columns, phi=phi, seed=99)
    return noise + amplitude * np.stack([SHAPES[shape](cycles(columns, period, s, jitter)) for s in range(SEEDS)])


def share_found(values, step, period):
    found = find_seasons(values, step)
    return (np.abs(found - period) <= 0.03 * period).any(axis=1).mean()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rhythm", RHYTHMS)
def test_a_rhythm_of_any_length_and_shape_is_found(rhythm, shape):
    step, _, period = RHYTHMS[rhythm]
    assert share_found(planted(rhythm, shape), step, period) >= 0.95


@pytest.mark.parametrize("rhythm", RHYTHMS)
def test_nothing_else_is_found_beside_it(rhythm):
    found = find_seasons(planted(rhythm, "square"), RHYTHMS[rhythm][0])
    assert ((found > 0).sum(axis=1) == 1).mean() >= 0.9


@pytest.mark.parametrize("rhythm", RHYTHMS)
def test_a_rhythm_is_found_in_noise_that_wanders(rhythm):
    step, _, period = RHYTHMS[rhythm]
    assert share_found(planted(rhythm, "square", phi=0.97), step, period) >= 0.9


@pytest.mark.parametrize("rhythm", RHYTHMS)
@pytest.mark.parametrize("shape", ["sine", "square"])
def test_a_rhythm_that_drifts_by_a_few_per_cent_a_cycle_is_found(rhythm, shape):
    step, _, period = RHYTHMS[rhythm]
    assert share_found(planted(rhythm, shape, jitter=0.03), step, period) >= 0.9


def with_gaps(values, rng):
    for row in values:
        for a in rng.integers(0, values.shape[1], 3):
            row[a : a + rng.integers(1, values.shape[1] // 20)] = np.nan
    return values


def with_spikes(values, rng):
    for row in values:
        row[rng.integers(0, len(row), 8)] += 30 * rng.normal(size=8)
    return values


def with_ramp(values, rng):
    return values + 15 * np.linspace(0, 1, values.shape[1])


def with_heavy_tails(values, rng):
    return values + 0.3 * rng.standard_t(2, size=values.shape)


def short(values, rng):
    values[:, : values.shape[1] // 4] = np.nan
    return values


@pytest.mark.parametrize(
    "spoil", [with_gaps, with_spikes, with_ramp, with_heavy_tails, short], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("rhythm", RHYTHMS)
def test_a_rhythm_is_found_in_spoilt_data(rhythm, spoil):
    step, _, period = RHYTHMS[rhythm]
    values = spoil(planted(rhythm, "square"), np.random.default_rng(5))
    assert share_found(values, step, period) >= 0.9


@pytest.mark.parametrize(
    ("step", "columns", "periods"),
    [(10, 8640, (42, 360)), (10, 8640, (42, 360, 2160)), (300, 4032, (12, 288)), (60, 4320, (60, 1440))],
)
def test_rhythms_of_their_own_are_found_together(step, columns, periods):
    values = ar_noise(SEEDS, columns, seed=3)
    for period, shape in zip(periods, ["short peak", "sawtooth", "sine"], strict=False):
        values += 1.5 * np.stack([SHAPES[shape](cycles(columns, period, s)) for s in range(SEEDS)])
    found = find_seasons(values, step)
    want = (*periods, 0)[:3]
    assert (np.abs(found - want) <= 0.03 * np.array(want)).all(axis=1).mean() >= 0.9


def business(step, weeks, seed):
    t = np.arange(weeks * 7 * DAY // step) * step / DAY + seed
    return 4.4 * ((t % 1 > 0.35) & (t % 1 < 0.75) & (t % 7 < 5))


def test_business_hours_are_a_day_and_a_week():
    values = np.stack([business(1800, 4, s) for s in range(SEEDS)]) + ar_noise(SEEDS, 1344)
    assert (find_seasons(values, 1800) == [48, 336, 0]).all(axis=1).mean() >= 0.9


def test_a_week_needs_two_whole_weeks():
    values = np.stack([business(1800, 2, s) for s in range(SEEDS)])[:, 1:] + 0.1 * ar_noise(SEEDS, 671)
    found = find_seasons(values, 1800)
    assert (found < 336).all()
    assert (found == 48).any(axis=1).mean() >= 0.9


def test_a_day_with_a_strong_half_day_is_one_season():
    found = find_seasons(planted("a day on five minutes", "strong second harmonic"), 300)
    assert (found == [288, 0, 0]).all(axis=1).mean() >= 0.9


def test_a_series_without_any_noise_has_its_season_once():
    t = np.arange(2016)
    for period in (12, 24, 42):
        sine, peaks, work = np.sin(2 * np.pi * t / period), t % period == 3, (t % period) * 3 < period
        assert (find_seasons(np.stack([sine, peaks, work]), 300) == [period, 0, 0]).all()


def test_a_whole_number_of_columns_is_met_exactly():
    found = find_seasons(planted("7 minutes on 10 seconds", "short peak"), 10)
    assert (found[:, 0] == 42).all()


def random_steps(n, columns, rng):
    values = rng.normal(size=(n, columns))
    for row in values:
        for at in rng.integers(0, columns, rng.integers(1, 8)):
            row[at:] += 20 * rng.normal()
    return values


def random_bursts(n, columns, rng):
    values = rng.normal(size=(n, columns))
    for row in values:
        for at in rng.integers(0, columns, rng.integers(2, 14)):
            row[at : at + rng.integers(1, columns // 30)] += 20 * rng.exponential()
    return values


def wandering(phi):
    def make(n, columns, rng):
        return lfilter([1.0], [1.0, -phi], rng.normal(size=(n, columns)), axis=1)

    return make


NOTHING = {
    "white noise": wandering(0.0),
    "AR .8": wandering(0.8),
    "AR .97": wandering(0.97),
    "AR .99": wandering(0.99),
    "random walk": wandering(1.0),
    "heavy tails": lambda n, columns, rng: rng.standard_t(2, size=(n, columns)),
    "steps": random_steps,
    "bursts": random_bursts,
}


@pytest.mark.parametrize(("step", "columns"), [(300, 2016), (300, 4032), (10, 8640), (60, 1440), (3600, 336)])
@pytest.mark.parametrize("kind", NOTHING)
def test_no_season_is_found_where_there_is_none(kind, step, columns):
    values = NOTHING[kind](200, columns, np.random.default_rng(11))
    assert (find_seasons(values, step)[:, 0] > 0).mean() <= 0.03  # two in a hundred, as a sample of 200 shows them


def mixed():
    """Four series of 2,016 columns: a day, 7 minutes, noise, and a day with gaps and a late beginning."""
    values = ar_noise(4, 2016, seed=1)
    values[[0, 3]] += 3 * np.sin(2 * np.pi * np.arange(2016) / 288)
    values[1] += SHAPES["short peak"](np.arange(2016) / 42)
    values[3, :300] = np.nan
    values[3, 900:950] = np.nan
    return values


def test_a_series_is_judged_by_itself():
    values = mixed()
    together = find_seasons(values, 300)
    assert np.array_equal(together, np.concatenate([find_seasons(row[None], 300) for row in values]))
    assert np.array_equal(together[[2, 0]], find_seasons(values[[2, 0]], 300))
    assert (together[[0, 3]] == [288, 0, 0]).all()


def test_blocks_do_not_matter(monkeypatch):
    values = np.tile(mixed(), (3, 1))
    whole = find_seasons(values, 300)
    monkeypatch.setattr("models.seasons.BLOCK", 5000)
    assert np.array_equal(find_seasons(values, 300), whole)


def test_units_do_not_matter():
    values = mixed()
    whole = find_seasons(values, 300)
    for times, plus in ((1e6, 0.0), (-0.001, 5.0), (3.0, 1e5)):
        assert np.array_equal(find_seasons(times * values + plus, 300), whole)


def test_the_input_is_left_alone():
    values = mixed()
    before = values.copy()
    find_seasons(values, 300)
    assert np.array_equal(values, before, equal_nan=True)


@pytest.mark.parametrize("columns", [0, 1, 2, 7, 8, 9, 13, 30, 100])
def test_degenerate_series_have_no_season(columns):
    constant = np.full(columns, 0.1)
    late, once, huge = np.full(columns, np.nan), constant.copy(), constant.copy()
    late[-3:] = np.array([1.0, 2.0, 1.5])[:columns]
    once[columns // 2 : columns // 2 + 1] = 5.0
    huge[::3] = np.inf
    nothing = np.full(columns, np.nan)
    most = np.where(np.arange(columns) % 2, 1e308, -1e308)
    values = np.stack([constant, nothing, late, once, huge, most, 1e-308 / 1e308 * most])
    for step in (1, 10, HOUR, DAY):
        assert (find_seasons(values, step) == 0).all()


def test_as_many_as_asked_for():
    assert find_seasons(mixed(), 300, most=1).tolist() == [[288], [42], [0], [288]]
    assert find_seasons(np.empty((0, 50)), 300, most=2).shape == (0, 2)


@pytest.mark.parametrize(
    ("values", "step", "most"), [(np.zeros(9), 1, 3), (np.zeros((2, 9)), 0, 3), (np.zeros((2, 9)), 1, 0)]
)
def test_a_wrong_argument_is_named(values, step, most):
    with pytest.raises(ValueError, match="expected values"):
        find_seasons(values, step, most=most)
