"""What goes wrong on the simulated platform, and the truth about it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from detector.simulate import KINDS, Platform, Scenario, parse_scenario
from detector.simulate.scenarios import OF_NO_QUERY, RESTART_PERCENT, SLIDE_MINUTES
from detector.simulate.server import Exposition

START = 1_789_344_000 + 2 * 86_400 + 3 * 3600  # a Wednesday, 12:00 in Tokyo
HOUR = 3600
DAY = 86_400
SLOW = ("accuracy-slide", "memory-leak", "disk-fill", "queue-backlog", "cpu-growth")


def move(kind: str, query: str, hours: float = 48, **options: Any) -> tuple[np.ndarray, Platform]:
    """What a scenario adds to every series of a query, a minute at a time from START (noise cancels)."""
    platform = Platform(4, [Scenario(kind, START, **options)], clock="around_the_clock")
    minutes = np.arange(START // 60 - 60, START // 60 + int(hours * 60))
    healthy = Platform(4, clock="around_the_clock").process(query, minutes)
    return platform.process(query, minutes) - healthy, platform


def brute_force_breach(platform: Platform, query_name: str, row: int, until: float) -> float | None:
    """The first of `run` points beyond the threshold, looked for one point after the other."""
    query = platform.catalogue.query(query_name)
    assert query.threshold is not None
    at = -(-START // query.step) * query.step
    values = platform.query(query_name, at, until, query.step).values[row]
    streak = 0
    for column, value in enumerate(values.tolist()):
        beyond = value > query.threshold if query.breach_above else value < query.threshold
        streak = streak + 1 if beyond else 0
        if streak == query.breach.run:
            return float(at + (column - query.breach.run + 1) * query.step)
    return None


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("healthy", *OF_NO_QUERY)])
@pytest.mark.parametrize("seed", [0, 1])
def test_truth_equals_a_search_point_by_point(kind: str, seed: int) -> None:
    platform = Platform(seed, [Scenario(kind, START)], clock="around_the_clock")
    truth = platform.truth(within=4 * DAY)
    assert truth
    for one in truth:
        row = [s.labels.items() >= one.labels.items() for s in platform.series(one.query)].index(True)
        if one.threshold is None:
            assert one.breach_at is None
        else:
            assert one.breach_at == brute_force_breach(platform, one.query, row, START + 4 * DAY)


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("seed", range(3))
def test_a_slow_scenario_really_ends_in_a_breach(kind: str, seed: int) -> None:
    truth = Platform(seed, [Scenario(kind, START)], clock="around_the_clock").truth()
    assert truth[0].breach_at is not None
    assert truth[0].breach_at > START


def test_a_healthy_platform_has_no_truth_to_tell() -> None:
    assert Platform(1, [Scenario("healthy", START)]).truth() == []


@pytest.mark.parametrize(
    ("kind", "query"),
    [("accuracy-slide", "ml_ensemble_accuracy"), ("disk-fill", "node_disk_usage"),
     ("queue-backlog", "scheduler_queue_length"), ("memory-leak", "ml_memory_usage")],
)  # fmt: skip
def test_a_slide_of_severity_one_covers_the_daily_swing_in_six_hours(kind: str, query: str) -> None:
    moved, platform = move(kind, query, hours=7)
    hit = [row for row, s in enumerate(platform.series(query)) if platform.scenarios[0].hits(s)]
    assert len(hit) == 1
    series = platform.series(query)[hit[0]]
    assert moved[hit[0], 60 + SLIDE_MINUTES] == pytest.approx(series.worse * series.swing, rel=1e-6)
    assert (moved[hit[0], :61] == 0).all()
    assert (np.delete(moved, hit[0], axis=0) == 0).all()


def test_severity_scales_a_slide() -> None:
    once, _ = move("disk-fill", "node_disk_usage", hours=3)
    half, _ = move("disk-fill", "node_disk_usage", hours=3, severity=0.5)
    assert np.allclose(half, once / 2)


def test_an_accuracy_slide_takes_one_model_with_it() -> None:
    moved, platform = move("accuracy-slide", "ml_model_performance")
    models = {s.labels["model"] for s, row in zip(platform.series("ml_model_performance"), moved, strict=True)
              if row.any()}  # fmt: skip
    assert models == {"transformer"}


def test_a_cliff_is_beyond_the_objective_at_once_even_in_the_best_hour() -> None:
    for seed in range(5):
        for hour in (0, 6, 12, 18):
            at = START + hour * HOUR
            truth = Platform(seed, [Scenario("accuracy-cliff", at)]).truth(within=HOUR)
            assert truth[0].breach_at is not None
            assert truth[0].breach_at <= at + 120


def test_a_leaking_process_is_restarted_before_memory_is_full() -> None:
    moved, platform = move("memory-leak", "ml_memory_usage", hours=72)
    leak = moved[1]
    assert (np.diff(leak) < -5).sum() >= 2
    values = platform.query("ml_memory_usage", START, START + 3 * DAY, 60).values[1]
    assert values.max() <= 100
    noisefree = platform.series("ml_memory_usage")[1]
    minutes = np.arange(START // 60, START // 60 + 72 * 60)
    course = noisefree.healthy(minutes) + platform.displaced(noisefree, minutes)
    assert RESTART_PERCENT - 1 < course.max() < RESTART_PERCENT


@pytest.mark.parametrize(("kind", "query"), [("disk-fill", "node_disk_usage"), ("memory-leak", "ml_memory_usage")])
def test_a_reset_takes_a_ramp_back_to_its_healthy_course_once(kind: str, query: str) -> None:
    plain, _ = move(kind, query, hours=5, severity=0.2)
    reset, _ = move(kind, query, hours=5, severity=0.2, reset=2 * HOUR)
    row = int(np.abs(plain).max(axis=1).argmax())
    at = 60 + 120  # the minutes begin an hour before the scenario
    assert np.array_equal(reset[:, :at], plain[:, :at])
    assert plain[row, at] > 0
    assert reset[row, at] == pytest.approx(0, abs=1e-9)
    assert np.allclose(reset[row, at:], plain[row, 60 : 60 + reset.shape[1] - at])


@pytest.mark.parametrize(("kind", "reset"), [("cpu-growth", 60.0), ("disk-fill", 0.0), ("disk-fill", float("inf"))])
def test_a_reset_that_cannot_be_is_an_error(kind: str, reset: float) -> None:
    with pytest.raises(ValueError, match="reset"):
        Scenario(kind, START, reset=reset)


def test_a_sawtooth_does_not_depend_on_the_window() -> None:
    platform = Platform(4, [Scenario("memory-leak", START)])
    whole = platform.query("ml_memory_usage", START - HOUR, START + 3 * DAY, 60).values
    part = platform.query("ml_memory_usage", START + 2 * DAY, START + 3 * DAY, 60).values
    assert np.array_equal(part, whole[:, -part.shape[1] :])


def test_growing_cpu_raises_the_peak_and_leaves_the_trough() -> None:
    platform = Platform(4, [Scenario("cpu-growth", START)])
    series = platform.series("node_cpu_usage")[3]
    minutes = np.arange(START // 60, START // 60 + 2 * 1440)
    moved = platform.displaced(series, minutes) / series.sigma
    load = series.load(minutes)
    assert np.allclose(moved, 6 * load * np.arange(minutes.size) / 1440)
    assert moved[load < 0.01].max() < 0.2


def test_an_outage_takes_every_series_of_the_data_service_and_no_other() -> None:
    platform = Platform(4, [Scenario("data-outage", START, duration=1800)])
    for name in platform.catalogue.queries:
        values = platform.query(name, START - 600, START + 2400, 300).values
        gone = np.isnan(values)
        service = platform.series(name)[0].labels["service"]
        assert gone.all(axis=0).tolist() == ([False] * 2 + [True] * 6 + [False] * 3 if service == "data-service"
                                             else [False] * 11)  # fmt: skip
    exposition = Exposition(platform)
    assert b"data_quality_score" in exposition.render(START - 1)
    during = exposition.render(START + 1)
    assert b"data_" not in during
    assert b"market_data_lag" not in during
    assert b"ml_ensemble_accuracy{" in during
    truth = [one for one in platform.truth() if one.query == "data_quality_score"]
    assert truth[0].absent == [(START, START + 1800)]


def test_a_retrain_repairs_an_accuracy_slide_within_half_an_hour() -> None:
    slide = Scenario("accuracy-slide", START)
    retrain = Scenario("retrain", START + 6 * HOUR)
    sick = Platform(4, [slide, retrain])
    series = sick.series("ml_ensemble_accuracy")[0]
    minutes = (START + 6 * HOUR) // 60 + np.array([-1, 0, 15, 30, 600])
    moved = sick.displaced(series, minutes)
    assert moved[0] < -0.9 * series.swing
    assert moved[2] == pytest.approx(moved[1] / 2, rel=0.1)
    assert moved[3] == moved[4] == 0
    repaired = next(one for one in sick.truth() if one.kind == "retrain")
    assert repaired.recovered_at == START + 6 * HOUR + 1800


def test_a_spike_is_over_after_four_minutes_and_the_truth_says_where() -> None:
    moved, platform = move("spike", "ml_ensemble_accuracy", hours=2)
    hit = np.flatnonzero(moved[0])
    assert hit.tolist() == [60, 61, 62, 63]
    assert np.abs(moved[0, 60]) > 6 * platform.series("ml_ensemble_accuracy")[0].sigma
    assert platform.truth()[0].anomalies == [(START, START + 240)]


def test_a_level_shift_stays_on_the_good_side() -> None:
    moved, platform = move("level-shift", "node_memory_usage", hours=2)
    series = platform.series("node_memory_usage")[4]
    assert np.allclose(moved[4, 60:], -6 * series.sigma)
    truth = platform.truth()[0]
    assert truth.breach_at is None
    assert truth.anomalies == [(START, None)]


def test_scenarios_act_together() -> None:
    both = Platform(4, [Scenario("accuracy-slide", START), Scenario("disk-fill", START + HOUR)])
    assert {one.query for one in both.truth()} == {
        "ml_ensemble_accuracy", "ml_model_performance", "node_disk_usage",
    }  # fmt: skip


def test_the_past_does_not_know_the_future() -> None:
    healthy = Platform(4)
    for kind in KINDS:
        platform = Platform(4, [Scenario(kind, START)])
        for name in platform.queries:
            window = (START - 2 * HOUR, START - 1, 60)
            assert np.array_equal(platform.query(name, *window).values, healthy.query(name, *window).values)


def test_a_target_and_a_query_can_be_chosen() -> None:
    chosen = parse_scenario("disk-fill:0.5@instance=node-5,mountpoint=/", START)
    (truth,) = Platform(4, [chosen]).truth(within=HOUR)
    assert (truth.labels["instance"], truth.labels["mountpoint"]) == ("node-5", "/")
    assert chosen.severity == 0.5
    spike = parse_scenario("spike@query=redis_memory_usage,instance=redis-1", START)
    (truth,) = Platform(4, [spike]).truth(within=HOUR)
    assert (truth.query, truth.labels["instance"]) == ("redis_memory_usage", "redis-1")


@pytest.mark.parametrize(
    ("text", "said"),
    [("meteor", "must be one of healthy, accuracy-slide"), ("spike:", "KIND"), ("spike:0", "positive"),
     ("spike@node-1", "LABEL=VALUE"), ("disk-fill@query=ml_cpu_usage", "only spike, level-shift, slide, cliff")],
)  # fmt: skip
def test_a_wrong_scenario_is_refused_with_what_was_expected(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_scenario(text, START)


def test_a_scenario_that_finds_no_series_is_refused() -> None:
    with pytest.raises(ValueError, match="finds no series"):
        Platform(1, [Scenario("disk-fill", START, target={"instance": "node-99"})])


def test_the_truth_is_json() -> None:
    platform = Platform(4, [Scenario(kind, START) for kind in KINDS])
    told = json.loads(json.dumps([one.to_json() for one in platform.truth()]))
    assert {one["kind"] for one in told} == set(KINDS) - {"healthy", *OF_NO_QUERY}
    assert {"query", "labels", "breach_at", "anomalies", "absent", "threshold", "start"} <= told[0].keys()
