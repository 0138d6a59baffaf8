"""Series that are mostly at rest: bursts, errors in trading hours, hourly jobs, a queue that is nearly always empty."""

from __future__ import annotations

import numpy as np
import pytest

from models import Forecaster, forecast
from models.backtest import backtest
from models.intermittent import Intermittent
from models.panel import LEARNS, lengths_table, make_panel
from models.registry import MEMBERS

STEP, DAY, HOUR = 300, 288, 12
T = 14 * DAY
COPIES = 6
ORIGINS = [T, T + 77, T + 200]
HORIZON = DAY
ALL = ORIGINS[-1] + HORIZON


def bursts(n, seed, per_day=6.0, lasts=3.0):
    """Bursts that come independently of each other and of the hour, ``[n, ALL]``."""
    rng = np.random.default_rng(seed)
    out = np.zeros((n, ALL))
    for row in out:
        for t in np.flatnonzero(rng.random(ALL) < per_day / DAY):
            row[t : t + rng.geometric(1 / lasts)] = rng.lognormal(2.5, 0.5)
    return out


def trading_errors(n, seed):
    """Errors in a quarter of the intervals from 9 to 17 o'clock on working days."""
    rng = np.random.default_rng(seed)
    t = np.arange(ALL)
    trading = (t % DAY >= 9 * HOUR) & (t % DAY < 17 * HOUR) & (t // DAY % 7 < 5)
    return (trading & (rng.random((n, ALL)) < 0.25)) * rng.poisson(3, size=(n, ALL)).clip(1).astype(float)


def hourly_job(n, seed):
    """One interval of every hour, one run in ten left out."""
    rng = np.random.default_rng(seed)
    at = np.arange(ALL) % HOUR == rng.integers(HOUR, size=(n, 1))
    return (at & (rng.random((n, ALL)) < 0.9)) * rng.lognormal(4, 0.15, size=(n, ALL))


def empty_queue(n, seed):
    """Arrivals now and then that drain at a steady rate: empty 95 % of the time."""
    rng = np.random.default_rng(seed)
    coming = np.where(rng.random((n, ALL)) < 0.012, rng.gamma(2.0, 20.0, size=(n, ALL)), 0.0)
    out = np.zeros((n, ALL))
    for t in range(1, ALL):
        out[:, t] = np.round((out[:, t - 1] + coming[:, t] - 12.0).clip(0))
    return out


def down_from_full(n, seed):
    return 100.0 - bursts(n, seed, per_day=4.0).clip(0, 100)


KINDS = {
    "bursts": bursts,
    "long bursts": lambda n, seed: bursts(n, seed, per_day=2.0, lasts=24.0),
    "trading errors": trading_errors,
    "hourly job": hourly_job,
    "empty queue": empty_queue,
    "down from full": down_from_full,
}
REST = {name: 100.0 if name == "down from full" else 0.0 for name in KINDS}
kinds = pytest.mark.parametrize("kind", list(KINDS))
WITHOUT = [name for name, member in MEMBERS.items() if not isinstance(member, Intermittent)]


@pytest.fixture(scope="module")
def made():
    """Each kind and its backtest by the whole ensemble."""
    out = {}
    for j, (name, make) in enumerate(KINDS.items()):
        y = make(COPIES, 20 + j)
        out[name] = y, backtest(y, step=STEP, horizon=HORIZON, origins=ORIGINS)
    return out


@kinds
def test_the_kinds_are_at_rest_most_of_the_time(made, kind):
    y, _ = made[kind]
    assert 0.7 < (y == REST[kind]).mean() < 0.99


@pytest.mark.parametrize("kind", ["bursts", "trading errors", "empty queue", "down from full"])
def test_the_median_is_at_rest_once_a_burst_under_way_is_over(made, kind):
    _, result = made[kind]
    later = result.median[:, :, 4 * HOUR :]
    assert (np.abs(later - REST[kind]) < 1e-6).mean() > 0.9


def test_a_job_that_is_due_is_expected_at_its_minute_and_at_no_other(made):
    y, result = made["hourly job"]
    due = (y[:, :T].reshape(COPIES, -1, HOUR) > 0).mean(1) > 0.5
    for r, origin in enumerate(ORIGINS):
        now = due[:, (origin + np.arange(HORIZON)) % HOUR]
        assert np.median(result.median[r][now]) == pytest.approx(np.median(y[y > 0]), rel=0.15)
        assert (result.median[r][~now] < 0.1 * np.median(y[y > 0])).mean() > 0.95


@pytest.mark.parametrize("kind", [name for name in KINDS if REST[name] == 0.0])
def test_no_path_of_a_series_that_never_was_below_zero_is(made, kind):
    y, _ = made[kind]
    assert forecast(y[:, :T], step=STEP, horizon=HORIZON).paths.min() >= 0.0


@kinds
def test_quantiles_on_the_side_of_the_bursts_cover_what_they_say(made, kind):
    y, result = made[kind]
    for share in (0.8, 0.95):
        inside = []
        for r, origin in enumerate(ORIGINS):
            fc = forecast(y[:, :origin], step=STEP, horizon=HORIZON)
            tail = 1 - share if kind == "down from full" else share
            edge = fc.quantile([tail])[:, 0]
            far = result.truth[r] < edge - 1e-4 if kind == "down from full" else result.truth[r] > edge + 1e-4
            inside.append(~far)
        # Most of the mass is in one value: a quantile may cover more than it says, not less.
        assert np.mean(inside) >= share - 0.04


@kinds
def test_the_score_is_no_worse_than_that_of_any_simple_member_or_of_the_others_together(made, kind):
    y, result = made[kind]
    others = (["seasonal_naive_short"], ["level_newest"], ["level_slow"], ["level_all"], WITHOUT)
    best = min(backtest(y, step=STEP, horizon=HORIZON, origins=ORIGINS, members=m).crps() for m in others)
    assert result.crps() <= 1.005 * best


def test_bursts_are_forecast_better_than_without_the_members_for_them(made):
    for kind in ("bursts", "long bursts", "empty queue", "down from full"):
        y, result = made[kind]
        without = backtest(y, step=STEP, horizon=HORIZON, origins=ORIGINS, members=WITHOUT)
        assert result.crps() < 0.95 * without.crps(), kind


def test_a_level_reached_on_one_day_in_twenty_has_about_that_chance():
    columns = 28 * DAY
    rng = np.random.default_rng(6)
    y = (rng.random((12, columns)) < 0.03) * rng.exponential(5.0, size=(12, columns))
    y[rng.random(y.shape) < 0.05 / DAY] = 90.0  # far above the others, on 5 % of the days
    breach = Forecaster(step=STEP, horizon=86400).fit(y, start=0).forecast().breach(80.0)
    assert 0.02 <= breach.probability.mean() <= 0.12
    assert breach.probability.max() < 0.3


@kinds
def test_ordinary_bursts_never_foretell_a_breach(made, kind):
    y, _ = made[kind]
    if kind == "down from full":
        limit, above = y.min() - 5.0, False
    else:
        limit, above = 1.2 * y.max(), True
    for origin in range(T, T + 4 * HOUR, 5):
        breach = forecast(y[:, :origin], step=STEP, horizon=HOUR).breach(limit, above=above)
        assert (breach.probability < 0.2).all()


@pytest.mark.parametrize("kind", ["bursts", "empty queue", "trading errors"])
def test_a_burst_under_way_raises_no_alarm_for_a_level_seen_only_a_few_times(made, kind):
    y, _ = made[kind]
    for row in y:
        limit = np.sort(row[:T])[-4]
        started = T + np.flatnonzero((row[T:-HORIZON] > 0) & (row[T - 1 : -HORIZON - 1] == 0))[:3] + 1
        for origin in started:
            breach = forecast(row[None, :origin], step=STEP, horizon=HOUR).breach(limit, run=3)
            assert breach.probability[0] < 0.8


def panel(values):
    return make_panel(values, STEP, 1, lengths_table(None, None, STEP, np.full(len(values), values.shape[1])))


def test_what_rests_is_said_by_the_beginning_of_a_history_alone():
    rng = np.random.default_rng(1)
    quiet = np.where(rng.random(T) < 0.2, rng.normal(size=T), 3.0)
    busy = rng.normal(size=T)
    first = int(LEARNS * T)
    late, early = busy.copy(), quiet.copy()
    late[first:], early[first:] = quiet[first:], busy[first:]
    new = np.where(np.arange(T) < T - 400, np.nan, quiet)
    rests = panel(np.stack([quiet, busy, late, early, new, np.full(T, np.nan)])).resting
    np.testing.assert_array_equal(rests, [3.0, np.nan, np.nan, 3.0, 3.0, np.nan])


def test_what_comes_is_expected_where_its_chance_at_that_phase_is_above_a_half():
    hour = np.arange(6 * DAY) % DAY
    day = np.arange(6 * DAY) // DAY
    y = np.where(hour == 100, 7.0, np.where((hour == 200) & (day % 3 == 0), 40.0, 2.0))[None]
    p = panel(y)
    member = MEMBERS["intermittent_short"]
    got = member.predict(p, member.fit(p), np.array([6 * DAY]), DAY)[0, 0]
    want = np.full(DAY, 2.0)
    want[100] = 7.0
    np.testing.assert_allclose(got, want)
    plain = MEMBERS["intermittent"]
    np.testing.assert_allclose(plain.predict(p, plain.fit(p), np.array([6 * DAY]), DAY), 2.0)


def test_a_series_that_rests_no_more_is_expected_at_its_new_size():
    rng = np.random.default_rng(2)
    y = (rng.random((1, T)) < 0.05) * 10.0
    y[:, -3 * DAY :] = 30.0
    p = panel(y)
    member = MEMBERS["intermittent"]
    got = member.predict(p, member.fit(p), np.array([8 * DAY, T]), 5)[0, :, 0]
    np.testing.assert_allclose(got, [0.0, 30.0], rtol=1e-3)
