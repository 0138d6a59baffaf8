"""The simulated platform's healthy life: season, noise, sessions, counters."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from detector.simulate import Platform
from detector.simulate.exposed import FAMILIES, count
from detector.simulate.metrics import HEALTHY_MARGIN, METRICS, WINDOW_MINUTES
from detector.simulate.processes import DAY, WEEK, session_activity, week_profile
from detector.simulate.table import renewed

MONDAY = 1_789_344_000  # 2026-09-14 00:00 UTC
TOKYO = 9 * 3600
DAYS = 86_400
WINDOWED = [m.name for m in METRICS.values() if m.windowed]


def tokyo(day: int, hour: int, minute: int = 0) -> int:
    """Unix minute of a local time; day 0 is a Monday."""
    return (MONDAY - TOKYO) // 60 + day * DAY + hour * 60 + minute


@pytest.fixture(scope="module")
def platform() -> Platform:
    return Platform(seed=3)


def test_the_same_seed_gives_the_same_platform_and_another_seed_another_one() -> None:
    window = (MONDAY, MONDAY + DAYS, 300)
    for name in METRICS:
        values = Platform(seed=5).query(name, *window).values
        assert np.array_equal(values, Platform(seed=5).query(name, *window).values)
        assert not np.array_equal(values, Platform(seed=6).query(name, *window).values)


@pytest.mark.parametrize("name", METRICS)
def test_a_value_does_not_depend_on_the_window_it_was_asked_in(name: str) -> None:
    whole = Platform(seed=5).query(name, MONDAY, MONDAY + 5 * DAYS, 60)
    fresh = Platform(seed=5)
    fresh.query(name, MONDAY + 30 * DAYS, MONDAY + 31 * DAYS, 60)
    left = MONDAY + 2 * DAYS - 3600
    part = fresh.query(name, left, left + 7200, 300)
    first = (left - MONDAY) // 60
    assert np.array_equal(part.values, whole.values[:, first : first + 121 : 5])


@pytest.mark.parametrize("name", METRICS)
def test_noise_is_autocorrelated_and_as_strong_as_the_table_says(name: str) -> None:
    platform = Platform(seed=8, clock="around_the_clock")
    metric = METRICS[name]
    minutes = np.arange(MONDAY // 60, MONDAY // 60 + 21 * DAY)
    residual = platform.observed(name, minutes)
    middle = minutes - (WINDOW_MINUTES + 1) // 2 if metric.windowed else minutes
    residual -= np.stack([one.healthy(middle) for one in platform.series(name)])
    sd = residual.std(axis=1)
    lagged = [np.corrcoef(row[1:], row[:-1])[0, 1] for row in residual]
    assert np.allclose(sd / metric.sigma, 1.0, atol=0.12)
    assert min(lagged) >= 0.8 - 0.02


def test_noise_does_not_jump_where_days_join(platform: Platform) -> None:
    seams = MONDAY // 60 + DAY * np.arange(1, 200)
    metric = METRICS["node_cpu_usage"]
    rows = platform.series("node_cpu_usage")

    def noise(minutes: np.ndarray) -> np.ndarray:
        return platform.observed("node_cpu_usage", minutes) - np.stack([s.healthy(minutes) for s in rows])

    steps = (noise(seams) - noise(seams - 1)) / metric.sigma
    assert np.isclose(steps.std(), np.sqrt(2 * (1 - metric.phi)), rtol=0.1)


def test_every_parameter_of_the_table_is_realistic() -> None:
    for metric in METRICS.values():
        assert 0.8 <= metric.phi < 1.0
        assert 12 <= metric.swing <= 30
        assert metric.help.endswith(".")


@pytest.mark.parametrize("clock", ["sessions", "around_the_clock"])
def test_the_healthy_worst_minute_is_within_three_sigmas_of_the_objective(clock: str) -> None:
    platform = Platform(seed=11, clock=clock)  # type: ignore[arg-type]
    minutes = np.arange(MONDAY // 60, MONDAY // 60 + WEEK)
    seen = 0
    for name in platform.queries:
        for series in platform.series(name):
            if series.threshold is None:
                continue
            distance = series.worse * (series.threshold - series.healthy(minutes)) / series.sigma
            assert distance.min() == pytest.approx(HEALTHY_MARGIN)
            assert 12 <= distance.max() - distance.min() <= 30.0001
            seen += 1
    assert seen > 50


def test_values_stay_in_the_catalogues_range_for_five_weeks(platform: Platform) -> None:
    for name, query in platform.catalogue.queries.items():
        values = platform.query(name, MONDAY, MONDAY + 35 * DAYS, query.step).values
        low, high = query.data_range
        assert np.isfinite(values).all()
        assert low is None or values.min() >= low
        assert high is None or values.max() <= high
        assert values.std(axis=1).min() > 0


def test_the_platform_answers_every_query_of_the_built_in_catalogue(platform: Platform) -> None:
    assert set(platform.catalogue.queries) <= set(platform.queries)
    series = sum(len(platform.series(name)) for name in platform.catalogue.queries)
    assert 180 <= series <= 220


def test_trading_sessions_and_the_lunch_break_are_visible(platform: Platform) -> None:
    series = platform.series("ml_cpu_usage")[0]

    def share(day: int, hour: int, minute: int = 0) -> float:
        at = np.array([tokyo(day, hour, minute)])
        return float(1 - series.worse * (series.worst - series.healthy(at)[0]) / series.swing)

    assert share(2, 9, 20) > 0.85
    assert share(2, 12, 5) < share(2, 10, 30) - 0.4
    assert share(2, 12, 5) < share(2, 13, 30) - 0.4
    assert share(2, 8, 50) < share(2, 9, 20) - 0.4
    assert share(2, 16, 0) < share(2, 15, 20) - 0.4
    assert share(5, 10, 30) < 0.4  # Saturday


def test_a_session_edge_is_ramped_over_ten_to_fifteen_minutes() -> None:
    local = np.arange(9 * 60, 9 * 60 + 30) + 4 * DAY  # 1970-01-05 was a Monday
    activity = session_activity(local)
    assert activity[0] == 0
    assert activity[5] < 0.6
    assert 10 <= int(activity.argmax()) <= 15
    assert np.abs(np.diff(activity)).max() < 0.2


def test_around_the_clock_is_smooth_and_has_a_day_and_a_week() -> None:
    profile = week_profile(13.0, sessions=False)
    assert np.abs(np.diff(np.append(profile, profile[0]))).max() < 0.005
    daily_peaks = np.sort(profile.reshape(7, DAY).max(axis=1))
    assert daily_peaks[-1] == 1.0
    assert daily_peaks[0] < 0.7
    platform = Platform(seed=1, clock="around_the_clock")
    assert np.abs(np.diff(platform.series("ml_cpu_usage")[0].profile)).max() < 0.005


def test_weekends_are_quieter(platform: Platform) -> None:
    for name in ("node_cpu_usage", "ml_cpu_usage"):
        values = platform.query(name, MONDAY - TOKYO, MONDAY - TOKYO + 7 * DAYS - 60, 60).values
        days = values.reshape(values.shape[0], 7, DAY).mean(axis=2)
        assert (days[:, 5:].max(axis=1) < days[:, :5].min(axis=1)).all()


@pytest.mark.parametrize("name", WINDOWED)
def test_counters_grow_except_where_their_instance_restarts(platform: Platform, name: str) -> None:
    minutes = np.arange(MONDAY // 60, MONDAY // 60 + 7 * DAY)
    totals = count(platform, name, minutes).totals
    falls = np.diff(totals, axis=2) < 0
    assert (totals >= 0).all()
    for row, series in zip(falls, platform.series(name), strict=True):
        restarts = np.flatnonzero(row.any(axis=0))
        assert 1 <= restarts.size <= 4, series.labels
        assert (totals[0, 0, :].max() > 0) and (np.diff(restarts) >= 2 * DAY).all()


def test_instances_restart_at_different_times(platform: Platform) -> None:
    minutes = np.arange(MONDAY // 60, MONDAY // 60 + 7 * DAY)
    totals = count(platform, "ml_prediction_duration", minutes).totals[:, 0]
    first = [int((np.diff(row) < 0).argmax()) for row in totals]
    assert len(set(first)) == len(first)


def test_a_counter_does_not_depend_on_the_window_and_grows_within_the_minute(platform: Platform) -> None:
    name = "node_network_io_total"
    whole = platform.values(name, MONDAY, MONDAY + 3 * DAYS, 60).values
    late = Platform(seed=3).values(name, MONDAY + 2 * DAYS, MONDAY + 2 * DAYS + 3600, 60).values
    assert np.array_equal(late, whole[:, 2 * DAY : 2 * DAY + 61])
    seconds = platform.values(name, MONDAY, MONDAY + 120, 1).values
    assert (np.diff(seconds) > 0).all()
    assert np.array_equal(seconds[:, ::60], whole[:, :3])


def test_the_windowed_increase_of_the_counters_is_what_the_query_says(platform: Platform) -> None:
    minutes = np.arange(MONDAY // 60, MONDAY // 60 + 600)
    for name in ("ml_prediction_throughput", "redis_operations_rate", "node_network_io"):
        totals = count(platform, name, minutes).totals[:, 0]
        rate = (totals[:, WINDOW_MINUTES:] - totals[:, :-WINDOW_MINUTES]) / (60 * WINDOW_MINUTES)
        asked = platform.query(name, MONDAY + 600, MONDAY + 599 * 60, 60).values
        whole = rate > 0  # a restart falls
        assert np.allclose(rate[whole], asked[whole], rtol=1e-12)


def test_histogram_buckets_are_cumulative_and_hold_the_percentile(platform: Platform) -> None:
    frame = platform.values("ml_prediction_duration_bucket", MONDAY, MONDAY + 6 * 3600, 600)
    bounds = [float(labels["le"]) for labels in frame.labels[:16]]
    asked = platform.query("ml_prediction_duration", MONDAY + 600, MONDAY + 6 * 3600, 600).values
    for row in range(3):
        buckets = np.diff(frame.values[row * 16 : (row + 1) * 16])
        for column in np.flatnonzero(buckets[-1] > 0):
            counts = buckets[:, column]
            assert (np.diff(counts) >= 0).all()
            wanted = 0.95 * counts[-1]
            k = int(np.searchsorted(counts, wanted))
            inside = (wanted - counts[k - 1]) / (counts[k] - counts[k - 1])
            interpolated = bounds[k - 1] + (bounds[k] - bounds[k - 1]) * inside
            assert abs(interpolated - asked[row, column]) < 1e-9


def test_the_percentile_shown_is_the_one_the_process_has(platform: Platform) -> None:
    minutes = np.arange(tokyo(2, 0), tokyo(2, 8))  # no session edge within
    shown = platform.observed("ml_prediction_duration", minutes + WINDOW_MINUTES)
    every = platform.process("ml_prediction_duration", np.arange(minutes[0], minutes[-1] + WINDOW_MINUTES))
    mean = np.lib.stride_tricks.sliding_window_view(every, WINDOW_MINUTES, axis=1).mean(axis=2)
    assert np.abs(shown - mean).mean() < 0.15 * METRICS["ml_prediction_duration"].sigma


def test_five_weeks_of_every_query_take_seconds() -> None:
    platform = Platform(seed=9)
    began = time.perf_counter()
    for name, query in platform.catalogue.queries.items():
        platform.query(name, MONDAY, MONDAY + 35 * DAYS, query.step)
    assert time.perf_counter() - began < 10


def test_exposed_families_carry_their_types() -> None:
    types = {family.name: family.type for family in FAMILIES}
    assert types["ml_prediction_duration"] == "histogram"
    assert types["node_network_io_total"] == "counter"
    assert types["data_fetch_success_total"] == types["data_fetch_attempts_total"] == "counter"
    assert types["postgresql_connections_max"] == types["ml_predictions_labelled"] == "gauge"


def test_unknown_names_and_windows_are_refused_by_name(platform: Platform) -> None:
    with pytest.raises(KeyError, match="no query 'nonsense'"):
        platform.query("nonsense", MONDAY, MONDAY + 60, 60)
    with pytest.raises(KeyError, match="no metric 'nonsense'"):
        platform.values("nonsense", MONDAY, MONDAY + 60, 60)
    with pytest.raises(ValueError, match="step > 0"):
        platform.query("node_cpu_usage", MONDAY, MONDAY + 60, 0)
    with pytest.raises(ValueError, match="clock must be"):
        Platform(clock="tea_time")  # type: ignore[arg-type]


def test_the_documented_parameters_are_the_ones_in_use() -> None:
    document = (Path(__file__).parents[1] / "docs" / "simulator.md").read_text(encoding="utf-8")
    assert document == renewed(document), "run: python -m detector.simulate.table docs/simulator.md"
