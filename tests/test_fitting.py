"""What was learned of a query's series is kept while others come and go, in this process and in the next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.catalogue import Query
from detector.fitting import Fittings, fit_boundary, restore_forecaster
from detector.frame import SeriesFrame
from detector.store import FileStore, Store
from models.synthetic import ar_noise

STEP = 300
COLUMNS = 7 * 288
NOW = 1_800_000_000 // STEP * STEP
QUERY = Query(name="cpu", expr="cpu", unit="percent", step=STEP, every=STEP, history=7 * 86400, horizons=(3600, 86400))
LIMIT = 62.0


def platform() -> dict[str, np.ndarray]:
    t = np.arange(COLUMNS)
    noise = ar_noise(6, COLUMNS, seed=8)
    return {name: 50 + i + 8 * np.sin(2 * np.pi * t / 288 + i) + noise[i] for i, name in enumerate("abcdef")}


def frame_of(names: str) -> SeriesFrame:
    values = np.stack([platform()[name] for name in names])
    return SeriesFrame(values, tuple({"instance": name} for name in names), NOW - (COLUMNS - 1) * STEP, STEP)


def answers(fittings: Fittings, names: str) -> tuple[np.ndarray, ...]:
    forecaster = fittings.at(QUERY, "0", frame_of(names), NOW)
    fc = forecaster.forecast()
    breach = fc.breach(LIMIT, True, 3)
    return fc.quantile([0.1, 0.5, 0.9]), breach.probability_within([3600.0, 86400.0]), forecaster.scores(3)


@pytest.mark.parametrize(
    ("before", "after", "learned"),
    [
        ("abc", "ac", 0),
        ("abc", "abcd", 1),
        ("abc", "dca", 1),
        ("abcd", "fbe", 2),
        ("ab", "cd", 2),
    ],
)
def test_series_that_come_or_go_cost_nothing_but_themselves_and_change_no_answer(
    before: str, after: str, learned: int
) -> None:
    kept, fresh = Fittings(3600), Fittings(3600)
    answers(kept, before)
    assert kept.refits == {"cpu": len(before)}
    for got, want in zip(answers(kept, after), answers(fresh, after), strict=True):
        np.testing.assert_array_equal(got, want)
    assert kept.refits == {"cpu": len(before) + learned}


def keeping(store: Store) -> Fittings:
    return Fittings(3600, store=store, restore=restore_forecaster)


def test_after_a_restart_nothing_is_learned_again_and_no_answer_changes(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    before, after = keeping(store), keeping(store)
    want = answers(before, "abc")
    for got, wanted in zip(answers(after, "abc"), want, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert (before.refits, after.refits) == ({"cpu": 3}, {})


@pytest.mark.parametrize("change", ["other series", "other values", "damaged", "another version"])
def test_what_does_not_fit_is_learned_anew_and_told_where_it_is_damaged(
    change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileStore(tmp_path)
    answers(keeping(store), "abc")
    [key] = store.keys("fit/")
    kept = store.load(key)
    assert kept is not None
    names = "abd" if change == "other series" else "abc"
    frame = frame_of(names)
    if change == "other values":
        frame.values[0, 5] += 1
    elif change == "damaged":
        path = next(tmp_path.rglob("*.state"))
        path.write_bytes(path.read_bytes()[:-100])
    elif change == "another version":
        store.save(key, kept[:32] + b"what an older worker kept")
    fittings = keeping(store)
    fittings.at(QUERY, "0", frame, NOW)
    assert fittings.refits == {"cpu": 3}
    assert ("learning anew" in caplog.text) == (change in ("damaged", "another version"))
    again = keeping(store)
    again.at(QUERY, "0", frame, NOW)
    assert again.refits == {}


def test_a_query_that_is_forgotten_is_learned_anew(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    fittings = keeping(store)
    answers(fittings, "ab")
    fittings.forget("cpu")
    assert store.keys("fit/") == []
    answers(fittings, "ab")
    assert fittings.refits == {"cpu": 4}


def test_a_store_that_takes_nothing_stops_no_forecast(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    answers(keeping(FileStore(tmp_path / "file" / "no")), "ab")
    assert "cannot be kept" in caplog.text


def test_a_new_boundary_is_learned_anew_with_all_series() -> None:
    fittings = Fittings(3600)
    boundary = fit_boundary(QUERY, 3600, NOW - (COLUMNS - 1) * STEP, NOW)
    fittings.at(QUERY, "0", frame_of("ab"), boundary - STEP)
    fittings.at(QUERY, "0", frame_of("abc"), NOW)
    assert fittings.refits == {"cpu": 2 + 3}


def test_a_repair_is_known_before_the_next_fit_and_costs_the_repaired_series_alone() -> None:
    calm = frame_of("abc")
    boundary = fit_boundary(QUERY, 6 * 3600, calm.start, NOW)
    repaired = boundary + STEP
    times = calm.start + STEP * np.arange(calm.T)
    climb = np.where(times < repaired, np.clip(1 - (repaired - times) / 86400, 0, 1) * 30, 0.0)
    values = calm.values.copy()
    values[1] += climb
    frame = SeriesFrame(values, calm.labels, calm.start, STEP)

    def chance(fittings: Fittings, column: int) -> np.ndarray:
        forecaster = fittings.at(QUERY, "0", frame.slice_time(frame.start, column), column)
        return forecaster.forecast().breach(85.0, True, 3).probability_within([86400.0])[:, 0]

    one, other = Fittings(6 * 3600), Fittings(6 * 3600)
    assert chance(one, boundary)[1] > 0.8
    assert one.refits == {"cpu": 3}
    assert chance(one, repaired + 2400)[1] < 0.1
    assert one.refits == {"cpu": 4}
    np.testing.assert_array_equal(chance(other, repaired + 2400), chance(one, repaired + 2400))
