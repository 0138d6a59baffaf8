"""The benchmark of ramps: what it draws, and the bars it holds the engine to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.foresight import SCENARIOS
from bench.ramps import KINDS, LEAD_HOURS, MOST_ERROR, Outcome, Summary, draw, judge
from detector.catalogue.load import load_catalogue


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", KINDS)
def test_a_drawn_ramp_was_reset_before_an_origin_2_to_24_hours_before_its_breach(kind: str, seed: int) -> None:
    query = load_catalogue("day_trade").queries[SCENARIOS[kind]]
    _, truth, origin, back = draw(kind, seed, query)
    assert truth.breach_at is not None
    assert truth.start < back < origin
    assert LEAD_HOURS[0] * 3600 <= truth.breach_at - origin <= LEAD_HOURS[1] * 3600 + query.step


def test_each_bar_that_is_missed_is_named() -> None:
    good = [Outcome("disk-fill", s, 5.0, 10.0, 8.0, 10.0, 12.0 if s % 5 else 9.0, True) for s in range(100)]
    assert Summary.of(good).missed() == []
    late = [replace(o, p50=12.0) for o in good]
    wide = [replace(o, p90=20.0) for o in good]
    loud = [replace(o, silent=o.seed > 1) for o in good]
    for outcomes, word in ((late, "error"), (wide, "coverage"), (loud, "silent")):
        missed = Summary.of(outcomes).missed()
        assert len(missed) == 1
        assert word in missed[0]


def test_the_time_of_a_breach_is_foreseen_in_24_seeds_and_no_healthy_twin_has_one() -> None:
    outcomes = [judge(seed) for seed in range(24)]
    summary = Summary.of(outcomes)
    assert summary.error <= MOST_ERROR
    assert summary.silent == 1
    # What 80 % looks like in 24 draws, nineteen times in twenty.
    assert 15 <= round(24 * summary.coverage) <= 23, outcomes
