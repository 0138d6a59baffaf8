"""The alert of one series: hold, hysteresis, freshness, and what survives a restart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.verdict import (
    VALID_SLOTS,
    AlertState,
    DataState,
    Policy,
    Register,
    data_states,
    decide,
    series_key,
)

EVERY = 60
policies = st.builds(
    lambda clear, room, hold: Policy(probability=clear + room, clear=clear, hold=hold),
    st.floats(0.0, 0.5),
    st.floats(0.01, 0.49),
    st.integers(1, 6),
)
probabilities = st.floats(0.0, 1.0) | st.just(float("nan"))
slots_of_data = st.lists(st.tuples(probabilities, st.booleans(), st.sampled_from(list(DataState))), max_size=60)


def walk(policy: Policy, slots: list[tuple[float, bool, DataState]]) -> list[AlertState]:
    state, newest, states = AlertState(), 0, []
    for index, (probability, new, data) in enumerate(slots, start=1):
        newest = index * EVERY if new else newest
        state = decide(state, policy, slot=index * EVERY, newest=newest, probability=probability, data=data)
        states.append(state)
    return states


@given(policies, slots_of_data)
def test_it_never_fires_without_hold_new_points_in_a_row_at_or_above_the_probability(policy, slots):
    was_firing = False
    for index, state in enumerate(walk(policy, slots)):
        if state.firing and not was_firing:
            past = enumerate(slots[: index + 1])  # what is there at the first look is new
            with_data = [(p, data) for i, (p, new, data) in past if new or i == 0 or data is not DataState.OK]
            last = with_data[-policy.hold :]
            assert len(last) == policy.hold
            assert all(data is DataState.OK and p >= policy.probability for p, data in last)
        was_firing = state.firing


@given(policies, slots_of_data)
def test_it_never_flaps_within_its_hold(policy, slots):
    cleared_at = None
    for index, state in enumerate(walk(policy, slots)):
        if state.firing and cleared_at is not None:
            assert index - cleared_at >= policy.hold
            cleared_at = None
        if index and not state.firing and walk(policy, slots[:index])[-1].firing:
            cleared_at = index


@given(policies, slots_of_data)
def test_it_fires_on_only_while_the_probability_stays_at_or_above_clear(policy, slots):
    before = AlertState()
    for (probability, new, data), state in zip(slots, walk(policy, slots), strict=True):
        if before.firing and data is DataState.OK and not np.isnan(probability):
            assert state.firing == (not new or probability >= policy.clear)
        before = state


@given(policies, slots_of_data, probabilities, st.integers(0, 3))
def test_the_same_slot_or_an_older_one_gives_the_same_answer(policy, slots, probability, back):
    for state in walk(policy, slots):
        slot = state.slot - back * EVERY
        assert decide(state, policy, slot=slot, newest=10**9, probability=probability) == state


@given(policies, slots_of_data)
def test_data_that_are_not_ok_clear_the_alert_and_count_for_nothing(policy, slots):
    for (_, _, data), state in zip(slots, walk(policy, slots), strict=True):
        if data is not DataState.OK:
            assert not state.firing
            assert state.streak == 0


@given(policies, slots_of_data, st.data())
def test_a_restart_in_between_changes_no_decision(policy, slots, data):
    states = walk(policy, slots)
    if not states:
        return
    cut = data.draw(st.integers(0, len(states) - 1))
    kept = Register(states[cut].slot, {"a": states[cut]})
    restored = Register.from_bytes(kept.to_bytes())
    assert restored == kept
    state, newest = (
        restored.of("a"),
        max([0] + [i * EVERY for i, s in enumerate(slots[: cut + 1], 1) if s[1]]),
    )
    for index, (probability, new, condition) in enumerate(slots[cut + 1 :], start=cut + 2):
        newest = index * EVERY if new else newest
        state = decide(state, policy, slot=index * EVERY, newest=newest, probability=probability, data=condition)
        assert state == states[index - 1]


def test_a_slot_without_new_data_neither_counts_nor_breaks_the_row():
    policy = Policy(0.8, 0.5, hold=2)
    state = decide(AlertState(), policy, slot=60, newest=60, probability=0.9)
    state = decide(state, policy, slot=120, newest=60, probability=0.9)
    assert not state.firing
    assert decide(state, policy, slot=180, newest=180, probability=0.9).firing


def test_a_register_is_forgotten_when_what_it_published_is_no_longer_valid():
    kept = Register(600, {"a": AlertState(True, 5, 600, 600)})
    policy = Policy(0.8, 0.5, hold=2)
    assert kept.as_of(600 + VALID_SLOTS * EVERY, EVERY, policy).of("a").firing
    assert not kept.as_of(601 + VALID_SLOTS * EVERY, EVERY, policy).of("a").firing
    assert not kept.as_of(600 - 3600, EVERY, policy).of("a").firing


def test_a_streak_from_before_the_hold_is_not_in_a_row_any_more():
    kept = Register(600, {"a": AlertState(True, 1, 600, 600)})
    assert kept.as_of(600 + 2 * EVERY, EVERY, Policy(0.8, 0.5, hold=1)).of("a") == AlertState(True, 0, 600, 600)


def test_a_slot_is_past_after_a_later_one_but_not_after_one_far_ahead_of_a_clock_that_was_set_back():
    kept = Register(600)
    assert kept.is_past(600 - EVERY, EVERY)
    assert not kept.is_past(600, EVERY)
    assert not kept.is_past(600 - (VALID_SLOTS + 1) * EVERY, EVERY)


@pytest.mark.parametrize("policy", [Policy(0.8, 0.5, hold=1), None])
def test_a_register_decides_each_series_and_drops_those_that_left(policy):
    kept = Register(600, {"left": AlertState(True, 1, 600, 600), "b": AlertState(False, 0, 600, 600)})
    after = kept.after(
        660,
        policy,
        ("a", "b"),
        newest=np.array([660, 660]),
        probability=np.array([0.9, 0.9]),
        data=[DataState.OK, DataState.STALE],
    )
    assert after.slot == 660
    assert {key: alert.firing for key, alert in after.alerts.items()} == {"a": policy is not None, "b": False}


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format":9,"slot":1,"alerts":{}}', b"\xff", b"null"])
def test_bytes_that_are_no_register_are_a_value_error(data):
    with pytest.raises(ValueError, match=r"register|format"):
        Register.from_bytes(data)


def test_a_series_is_stale_after_more_than_five_steps_and_without_points_has_no_data():
    ages = np.array([0.0, 5.0, 6.0, np.inf, 0.0])
    engine = ["ok", "ok", "insufficient_history", "ok", "insufficient_history"]
    lost = np.zeros(5, np.bool_)
    assert data_states(ages, engine, lost) == ["ok", "ok", "stale", "no_data", "insufficient_history"]


def test_a_series_key_does_not_depend_on_the_order_of_its_labels():
    assert series_key({"a": "1", "ü": '"'}) == series_key({"ü": '"', "a": "1"})
