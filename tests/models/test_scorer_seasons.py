"""Anomaly scores of series whose rhythm is none of the calendar's: it is found, and never before its time."""

from __future__ import annotations

import io

import numpy as np
import pytest

from models import Forecaster
from models.anomaly import AnomalyScorer, score_anomalies
from models.scorer_seasons import looks_within, seasons_of
from models.synthetic import make_series

DAY = 86400
STEP, HOURLY = 10, 360
T = 10000  # 28 hours on a grid of 10 seconds, the last look at 4,000
AT = 26 * HOURLY + HOURLY // 2  # where a trough begins


def rhythmic(cycle, columns, n=4, seed=0):
    """A wave of ``cycle`` columns and noise, ``[n, columns]``."""
    wave = np.sin(2 * np.pi * np.arange(columns) / cycle)
    return 50 + 10 * wave + np.random.default_rng(seed).normal(size=(n, columns))


def with_a_peak_for_a_trough(y, cycle, at):
    """The same, but the trough that begins at ``at`` is a peak like any other."""
    out = y.copy()
    half = np.arange(cycle // 2)
    out[:, at : at + cycle // 2] += 20 * np.sin(2 * np.pi * half / cycle)
    return out


@pytest.mark.parametrize(
    ("step", "cycle", "columns"),
    [(10, 42, T), (10, 360, T), (10, 2160, 20000), (60, 90, 6000)],
    ids=["7 minutes at 10 s", "1 hour at 10 s", "6 hours at 10 s", "90 minutes at 1 minute"],
)
def test_a_peak_at_the_time_of_the_trough_is_found_and_the_rhythm_itself_is_calm(step, cycle, columns):
    at = (columns * 9 // 10) // cycle * cycle + cycle // 2
    y = rhythmic(cycle, columns)
    clean = score_anomalies(y, step=step)
    assert (clean[:, at - 2 * cycle :] < 1).all()
    scores = score_anomalies(with_a_peak_for_a_trough(y, cycle, at), step=step)
    assert (scores[:, at : at + cycle // 2].max(axis=1) > 1).all()


def test_only_the_rhythm_tells_that_peak_from_the_others():
    y = with_a_peak_for_a_trough(rhythmic(HOURLY, T), HOURLY, AT)
    assumed = score_anomalies(y, step=STEP, seasons=(DAY, 7 * DAY))
    assert (assumed[:, AT : AT + HOURLY // 2] < 1).all()


def test_a_forecaster_goes_on_with_the_seasons_that_its_history_showed():
    y = with_a_peak_for_a_trough(rhythmic(HOURLY, T), HOURLY, AT)
    f = Forecaster(STEP, 600).fit(y[:, :AT], start=0).update(y[:, AT : AT + HOURLY // 2])
    assert (f.scores(HOURLY // 2).max(axis=1) > 1).all()
    np.testing.assert_array_equal(f.scores(AT), score_anomalies(y[:, : AT + HOURLY // 2], step=STEP)[:, -AT:])


def test_each_series_has_its_own_seasons_and_the_calendar_where_it_shows_none():
    y = np.concatenate([rhythmic(HOURLY, 4000, n=1), rhythmic(42, 4000, n=1), np.zeros((1, 4000))])
    assert seasons_of(y, STEP).tolist() == [[3600, DAY], [420, DAY], [DAY, 7 * DAY]]
    daily = make_series(2, 4032, step=300, daily=10.0, seed=1).values
    assert seasons_of(daily, 300).tolist() == [[DAY, 7 * DAY]] * 2


def test_without_a_rhythm_of_their_own_series_score_as_with_a_day_and_a_week():
    y = make_series(3, 4032, step=300, daily=10.0, seed=1).values
    given = score_anomalies(y, step=300, seasons=(DAY, 7 * DAY))
    np.testing.assert_array_equal(score_anomalies(y, step=300), given)


def mixed():
    """Rows with and without a rhythm, and one that has only just begun."""
    late = rhythmic(HOURLY, T, n=1)
    late[:, :7000] = np.nan
    noise = np.random.default_rng(3).normal(size=(1, T))
    return np.concatenate([rhythmic(HOURLY, T, n=1), noise, late, rhythmic(42, T, n=1)])


@pytest.mark.parametrize("cut", [700, 2000, 2001, 8100])
def test_neither_a_score_nor_a_season_knows_what_comes_after(cut):
    y = mixed()
    want = score_anomalies(y, step=STEP)
    np.testing.assert_array_equal(score_anomalies(y[:, :cut], step=STEP), want[:, :cut])
    y[:, cut:] = rhythmic(1000, T, n=len(y), seed=4)[:, cut:]
    np.testing.assert_array_equal(score_anomalies(y, step=STEP)[:, :cut], want[:, :cut])


def test_after_a_look_a_scorer_is_as_if_it_had_known_the_seasons_from_the_start():
    y = rhythmic(HOURLY, T)
    look = looks_within(T)[-1]
    given = score_anomalies(y, step=STEP, seasons=(3600, DAY))
    found = score_anomalies(y, step=STEP)
    np.testing.assert_array_equal(found[:, look:], given[:, look:])
    assert (found[:, :1000] != given[:, :1000]).any()  # it had to be found first


def test_series_apart_and_together_score_the_same_from_a_file_too():
    y = mixed()
    want = score_anomalies(y, step=STEP)
    whole = AnomalyScorer(STEP)
    whole.run_history(y[:, :9000])
    some, others = whole.select(np.array([0, 2])), whole.select(np.array([3, 1]))
    joined = some.beside(others)
    file = io.BytesIO()
    np.savez(file, **joined.to_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        restored = AnomalyScorer.from_arrays(dict(arrays))
    rows = [0, 2, 3, 1]
    np.testing.assert_array_equal(restored.run(y[rows, 9000:]).read(), want[rows, 9000:])
    with pytest.raises(ValueError, match="first"):
        whole.run_history(y)
