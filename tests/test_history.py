from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.catalogue.schema import Endpoint, Query
from detector.errors import SourceUnavailable, StateError
from detector.frame import SeriesFrame, label_key
from detector.grid import Grid
from detector.history import History
from detector.servers import Prometheus, prometheus_config
from detector.source import PrometheusSource
from detector.store import FileStore, MemoryStore

NOON = 1_700_049_600  # 2023-11-15 12:00 UTC
DAY = 86_400


class CountingSource:
    """Serves a value for every (series, column), remembers what was asked, and has a clock of its own."""

    def __init__(self, series: dict[str, tuple[float, float]] | None = None) -> None:
        self.series = series or {"a": (0, float("inf")), "b": (0, float("inf"))}
        self.asked: list[tuple[int, int]] = []
        self.clock: int | None = None
        self.down = False

    def now(self) -> int | None:
        return self.clock

    def range(self, expr: str, start: int, end: int, step: int) -> SeriesFrame:
        if self.down:
            raise SourceUnavailable("down")
        self.asked.append((start, end))
        times = np.arange(start, end + 1, step)
        rows, labels = [], []
        for name, (born, died) in sorted(self.series.items()):
            there = (times >= born) & (times <= died) & (times <= (self.clock or np.inf))
            if there.any():
                rows.append(np.where(there, value(name, times), np.nan))
                labels.append({"i": name})
        return SeriesFrame(np.array(rows).reshape(len(rows), times.size), tuple(labels), start, step)

    @property
    def columns_asked(self) -> int:
        return sum((end - start) // 60 + 1 for start, end in self.asked)


def value(name: str, times: Any) -> Any:
    return (np.asarray(times) // 60) % 100_003 + 0.25 * ord(name[0])


def query(history: int = 3600, step: int = 60, **more: Any) -> Query:
    fields = {"name": "cpu", "expr": "cpu", "unit": "percent", "horizons": [3600], **more}
    return Query(history=history, step=step, **fields)


def assert_right(frame: SeriesFrame, names: str, end: int, columns: int) -> None:
    assert (frame.end, frame.T) == (end // frame.step * frame.step, columns)
    assert [labels["i"] for labels in frame.labels] == list(names)
    for row, name in enumerate(names):
        np.testing.assert_array_equal(frame.values[row], value(name, frame.times))


def test_the_first_window_is_one_fetch_of_the_whole_history_on_the_grid() -> None:
    source = CountingSource()
    frame = History(source, MemoryStore()).window(query(), "0", NOON + 59)
    assert source.asked == [(NOON - 59 * 60, NOON)]
    assert_right(frame, "ab", NOON, 60)


def test_later_windows_ask_for_the_new_columns_and_the_last_two_again() -> None:
    source = CountingSource()
    history = History(source, MemoryStore())
    history.window(query(), "0", NOON)
    source.asked.clear()
    for minute in range(1, 200):
        end = NOON + 60 * minute
        assert_right(history.window(query(), "0", end), "ab", end, 60)
    assert source.asked[0] == (NOON - 60, NOON + 60)
    assert source.columns_asked == 3 * 199


def test_the_same_window_again_asks_for_nothing_and_is_equal() -> None:
    source = CountingSource()
    history = History(source, MemoryStore())
    first = history.window(query(), "0", NOON)
    again = history.window(query(), "0", NOON + 30)
    assert len(source.asked) == 1
    np.testing.assert_array_equal(first.values, again.values)


def test_an_earlier_end_is_served_from_memory() -> None:
    source = CountingSource()
    history = History(source, MemoryStore())
    history.window(query(), "0", NOON)
    history.window(query(), "0", NOON + 1800)
    asked = len(source.asked)
    assert_right(history.window(query(), "0", NOON + 600), "ab", NOON + 600, 60)
    far = history.window(query(), "0", NOON - 1800)
    assert (far.T, far.end) == (60, NOON - 1800)
    np.testing.assert_array_equal(far.values[0, 30:], value("a", far.times[30:]))
    assert np.isnan(far.values[:, :30]).all()
    assert history.window(query(), "0", NOON - 10 * DAY).n == 0
    assert len(source.asked) == asked


def test_columns_ahead_of_prometheus_clock_are_asked_for_again() -> None:
    source = CountingSource()
    source.clock = NOON
    history = History(source, MemoryStore())
    ahead = history.window(query(), "0", NOON + 3000)
    assert np.isnan(ahead.values[:, -50:]).all()
    source.clock = NOON + 600
    back = history.window(query(), "0", NOON + 600)
    np.testing.assert_array_equal(back.values[0, -20:], value("a", back.times[-20:]))
    assert source.asked[-1] == (NOON - 60, NOON + 600)


def test_a_late_sample_within_the_last_two_columns_is_seen() -> None:
    source = CountingSource({"a": (0, float("inf")), "b": (0, NOON - 120)})
    history = History(source, MemoryStore())
    assert np.isnan(history.window(query(), "0", NOON).values[1, -2:]).all()
    source.series["b"] = (0, float("inf"))
    assert_right(history.window(query(), "0", NOON + 60), "ab", NOON + 60, 60)


def test_series_that_appear_and_vanish_come_and_go() -> None:
    source = CountingSource({"a": (0, float("inf")), "c": (0, NOON), "b": (NOON + 300, float("inf"))})
    history = History(source, MemoryStore())
    assert [labels["i"] for labels in history.window(query(), "0", NOON).labels] == ["a", "c"]
    frame = history.window(query(), "0", NOON + 600)
    assert [labels["i"] for labels in frame.labels] == ["a", "b", "c"]
    assert np.isnan(frame.values[1, :-6]).all()
    assert np.isnan(frame.values[2, -10:]).all()
    np.testing.assert_array_equal(frame.values[1, -6:], value("b", frame.times[-6:]))
    np.testing.assert_array_equal(frame.values[2, :-10], value("c", frame.times[:-10]))
    for minute in range(11, 60):
        last = history.window(query(), "0", NOON + 60 * minute)
    assert [labels["i"] for labels in last.labels] == ["a", "b", "c"]
    assert [labels["i"] for labels in history.window(query(), "0", NOON + 3600).labels] == ["a", "b"]
    assert [labels["i"] for labels in history.window(query(), "0", NOON + 1800).labels] == ["a", "b"]


def test_nothing_found_is_a_window_without_series_and_is_not_fetched_again() -> None:
    source = CountingSource({"z": (NOON + 60, float("inf"))})
    store = MemoryStore()
    history = History(source, store)
    assert history.window(query(), "0", NOON).values.shape == (0, 60)
    assert History(source, store).window(query(), "0", NOON).values.shape == (0, 60)
    assert len(source.asked) == 1
    assert history.window(query(), "0", NOON + 60).n == 1


def test_a_pause_longer_than_the_history_fetches_the_history_once_more() -> None:
    source = CountingSource()
    history = History(source, MemoryStore())
    history.window(query(), "0", NOON)
    end = NOON + 5 * DAY
    assert_right(history.window(query(), "0", end), "ab", end, 60)
    assert source.asked[1] == (end - 59 * 60, end)


def test_a_failed_fetch_loses_nothing() -> None:
    source = CountingSource()
    history = History(source, MemoryStore())
    history.window(query(), "0", NOON)
    source.down = True
    with pytest.raises(SourceUnavailable):
        history.window(query(), "0", NOON + 60)
    source.down = False
    assert_right(history.window(query(), "0", NOON + 600), "ab", NOON + 600, 60)
    assert source.columns_asked == 60 + 12


def test_a_restart_asks_for_the_gap_only(tmp_path: Path) -> None:
    source = CountingSource()
    wanted = query(history=3 * DAY)
    columns = 3 * 1440
    before = History(source, FileStore(tmp_path))
    before.window(wanted, "0", NOON)
    for minute in range(1, 40):
        before.window(wanted, "0", NOON + 60 * minute)
    source.asked.clear()
    end = NOON + 60 * 45
    assert_right(History(source, FileStore(tmp_path)).window(wanted, "0", end), "ab", end, columns)
    assert source.columns_asked <= 15 + 6 + 2
    before.flush()
    source.asked.clear()
    end = NOON + 60 * 50
    assert_right(History(source, FileStore(tmp_path)).window(wanted, "0", end), "ab", end, columns)
    assert source.asked == [(NOON + 60 * 38, end)]


def test_a_restart_after_days_asks_for_those_days_and_forgets_the_oldest() -> None:
    source, store = CountingSource(), MemoryStore()
    wanted = query(history=3 * DAY)
    History(source, store).window(wanted, "0", NOON)
    source.asked.clear()
    end = NOON + 2 * DAY
    assert_right(History(source, store).window(wanted, "0", end), "ab", end, 3 * 1440)
    assert source.asked == [(NOON - 60, end)]
    days = [key.rpartition("/")[2] for key in store.keys("history/")]
    assert days == ["2023-11-14", "2023-11-15", "2023-11-16", "2023-11-17"]


def test_the_store_is_bounded_while_running_too() -> None:
    source, store = CountingSource(), MemoryStore()
    history = History(source, store)
    for hour in range(24 * 6):
        history.window(query(history=2 * DAY), "0", NOON + 3600 * hour)
    assert len(store.keys()) == 3


def test_a_damaged_day_is_dropped_logged_and_fetched_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = CountingSource()
    wanted = query(history=3 * DAY)
    History(source, FileStore(tmp_path)).window(wanted, "0", NOON)
    (damaged,) = tmp_path.rglob("2023-11-14.state")
    damaged.write_bytes(damaged.read_bytes()[:-10])
    source.asked.clear()
    with caplog.at_level(logging.WARNING):
        frame = History(source, FileStore(tmp_path)).window(wanted, "0", NOON)
    assert_right(frame, "ab", NOON, 3 * 1440)
    midnight = NOON - 12 * 3600
    assert source.asked == [(midnight - DAY, midnight - 60)]
    assert "2023-11-14" in caplog.text
    source.asked.clear()
    History(source, FileStore(tmp_path)).window(wanted, "0", NOON)
    assert source.asked == []


@pytest.mark.parametrize("junk", [b"", b"junk", b"PK\x03\x04junk"])
def test_a_day_of_another_content_is_fetched_again(junk: bytes) -> None:
    source, store = CountingSource(), MemoryStore()
    History(source, store).window(query(), "0", NOON)
    (key,) = store.keys()
    store.save(key, junk)
    assert_right(History(source, store).window(query(), "0", NOON), "ab", NOON, 60)


def test_another_expression_or_step_never_gets_the_old_past() -> None:
    source, store = CountingSource(), MemoryStore()
    history = History(source, store)
    history.window(query(), "0", NOON)
    for other in (query(expr="sum(cpu)"), query(step=120), query(history=7200)):
        source.asked.clear()
        frame = history.window(other, "0", NOON)
        assert source.asked != []
        assert_right(frame, "ab", NOON, other.history // other.step)
    assert len({key.split("/")[3] for key in store.keys("history/")}) == 1, "the past of other expressions is deleted"


def test_shards_and_queries_do_not_share_a_past() -> None:
    source, store = CountingSource(), MemoryStore()
    history = History(source, store)
    for name, shard in (("cpu", "a"), ("cpu", "a/b"), ("cpu", ""), ("cpu2", "a")):
        history.window(query(name=name), shard, NOON)
    assert len(source.asked) == 4
    fresh = History(source, store)
    for name, shard in (("cpu", "a"), ("cpu", "a/b"), ("cpu", ""), ("cpu2", "a")):
        fresh.window(query(name=name), shard, NOON)
    assert len(source.asked) == 4


class BrokenStore(MemoryStore):
    def load(self, key: str) -> bytes | None:
        raise StateError("no")

    def save(self, key: str, data: bytes) -> None:
        raise StateError("disk full")

    def keys(self, prefix: str = "") -> list[str]:
        raise StateError("no")


def test_a_store_that_fails_is_logged_and_the_windows_are_right(caplog: pytest.LogCaptureFixture) -> None:
    source = CountingSource()
    history = History(source, BrokenStore())
    with caplog.at_level(logging.WARNING):
        history.window(query(), "0", NOON)
    assert "disk full" in caplog.text
    assert_right(history.window(query(), "0", NOON + 1800), "ab", NOON + 1800, 60)


def test_a_step_that_does_not_divide_the_day_survives_a_restart() -> None:
    source, store = CountingSource(), MemoryStore()
    wanted = query(history=420 * 600, step=420, horizons=[4200])
    History(source, store).window(wanted, "0", NOON)
    source.asked.clear()
    frame = History(source, store).window(wanted, "0", NOON)
    assert source.asked == []
    assert_right(frame, "ab", NOON, 600)


def test_a_window_cannot_be_written_to() -> None:
    frame = History(CountingSource(), MemoryStore()).window(query(), "0", NOON)
    with pytest.raises(ValueError, match="read-only"):
        frame.values[0, 0] = 1.0


def test_a_real_prometheus_is_asked_for_the_gap_only_after_a_restart(
    prometheus: Callable[..., Prometheus], tmp_path: Path
) -> None:
    log = tmp_path / "queries.log"
    server = prometheus(prometheus_config(**{"global": {"scrape_interval": "1s", "query_log_file": str(log)}}))
    source = PrometheusSource(Endpoint(url=server.url))
    wanted = query(history=2 * DAY, expr="vector(7)")
    end = int(time.time()) // 60 * 60 - 120
    first = History(source, FileStore(tmp_path / "state"))
    np.testing.assert_array_equal(first.window(wanted, "0", end).values, np.full((1, 2880), 7.0))
    second = History(source, FileStore(tmp_path / "state")).window(wanted, "0", end + 60)
    np.testing.assert_array_equal(second.values, np.full((1, 2880), 7.0))
    import orjson

    asked = [orjson.loads(line)["params"] for line in log.read_text().splitlines()]
    spans = [(_unix(params["end"]) - _unix(params["start"])) // 60 + 1 for params in asked]
    assert spans == [240, 2640, 3]


def _unix(text: str) -> int:
    from datetime import datetime

    return int(datetime.fromisoformat(text).timestamp())


@settings(deadline=None)
@given(st.data())
def test_a_grid_equals_a_dictionary_of_points(data: st.DataObject) -> None:
    columns = data.draw(st.integers(1, 12))
    grid = Grid(60, columns, 1000)
    grid._capacity, grid._buffer = columns + 2, np.full((0, columns + 2), np.nan)  # so that it often moves
    points: dict[tuple[Any, int], float] = {}
    newest = 1000
    for _ in range(data.draw(st.integers(1, 8))):
        begin = data.draw(st.integers(max(1000, newest - 3), newest + 4))
        T = data.draw(st.integers(1, min(4, columns)))
        names = data.draw(st.lists(st.sampled_from("abcd"), unique=True))
        cell = st.floats(0, 1) | st.just(float("nan"))
        rows = [data.draw(st.lists(cell, min_size=T, max_size=T)) for _ in names]
        grid.write(SeriesFrame(np.array(rows).reshape(len(names), T), tuple({"i": n} for n in names), begin * 60, 60))
        newest = max(newest, begin + T)
        points = {(key, c): v for (key, c), v in points.items() if not begin <= c < begin + T}
        for name, row in zip(names, rows, strict=True):
            points |= {(label_key({"i": name}), begin + i): v for i, v in enumerate(row) if not np.isnan(v)}
        first = newest - columns
        frame = grid.read(first, newest)
        want = sorted({key for key, c in points if first <= c < newest})
        have = {label_key(labels): row for labels, row in zip(frame.labels, frame.values, strict=True)}
        assert set(want) <= set(have)
        assert columns == frame.T
        for key, row in have.items():
            np.testing.assert_array_equal(row, [points.get((key, c), np.nan) for c in range(first, newest)])


def test_a_minute_more_of_two_hundred_series_costs_next_to_nothing() -> None:
    columns, n = 10_000, 200
    grid = Grid(60, columns, 0)
    labels = tuple({"i": f"{i:03}", "job": "x"} for i in range(n))
    rng = np.random.default_rng(0)
    grid.write(SeriesFrame(rng.normal(size=(n, columns)), labels, 0, 60))
    block = rng.normal(size=(n, 3))
    seconds = []
    for last in range(columns, columns + 300):
        began = time.perf_counter()
        grid.write(SeriesFrame(block, labels, (last - 2) * 60, 60))
        frame = grid.read(last + 1 - columns, last + 1)
        seconds.append(time.perf_counter() - began)
        assert frame.values.base is not None
    whole_copy = min(_seconds_to_copy(frame.values) for _ in range(5))
    assert np.median(seconds) < max(whole_copy, 0.002), "an update must cost less than a copy of the whole"


def _seconds_to_copy(values: Any) -> float:
    began = time.perf_counter()
    values.copy()
    return time.perf_counter() - began
