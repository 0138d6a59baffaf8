"""Scores of published forecasts against the truth: the figures, and what a restart and a fault do to the record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detector.catalogue import Query
from detector.errors import StateError
from detector.frame import SeriesFrame
from detector.quality import ENOUGH, lost, score
from detector.scorekeeper import Scorekeeper, record_key
from detector.store import FileStore, MemoryStore
from detector.track_record import CAPACITY, TrackRecord, interval_of

NOW = 1_800_000_000
SERIES = ("a", "b", "c")
HOUR, DAY = 3600, 86_400


def query(**options: Any) -> Query:
    options = {"objective": {"below": 1.0}, "history": "14d", "step": "5m", "breach": {"run": 2}, **options}
    return Query(name="q", expr="q", unit="count", **options)


def frame(days: int = 20, step: int = 300) -> SeriesFrame:
    """Three series with a daily season and noise, one with gaps."""
    times = np.arange(NOW - days * DAY + step, NOW + 1, step)
    noise = np.random.default_rng(3).normal(size=(3, times.size))
    noise = 0.4 * (noise + np.roll(noise, 1, axis=1) + np.roll(noise, 2, axis=1))
    values = np.sin(times * 2 * np.pi / DAY) + noise
    values[1, ::7] = np.nan
    return SeriesFrame(values, tuple({"i": one} for one in SERIES), int(times[0]), step)


def record(of: Query, until: int = NOW, days: int = 20, every: int = 300) -> TrackRecord:
    """Forecasts that a worker would have made: random ones."""
    rng, kept = np.random.default_rng(4), TrackRecord()
    for t in range(until - days * DAY, until + 1, every):
        middle = rng.normal(size=(len(SERIES), len(of.horizons)))
        figures = np.stack([middle - 1, middle, middle + 1, rng.uniform(size=middle.shape)])
        kept = kept.as_of(of, t).with_forecast(of, t, SERIES, figures)
    return kept


def slow_scores(of: Query, data: SeriesFrame, kept: TrackRecord, row: int, horizon: int) -> dict[str, float]:
    """The same figures, one forecast at a time."""
    y = {int(t): float(v) for t, v in zip(data.times, data.values[row], strict=True)}
    width = {HOUR: 300, DAY: 300, 7 * DAY: HOUR}[horizon]
    season = DAY if horizon <= DAY else 7 * DAY
    run, step, interval = of.breach.run, data.step, interval_of(of, horizon)

    def cell(end: int) -> float:
        known = [y.get(t, np.nan) for t in range(end, end - width, -step)]
        known = [v for v in known if np.isfinite(v)]
        return float(np.mean(known)) if known else np.nan

    def run_ends(t: int) -> bool:
        return all(y.get(t - k * step, np.nan) > 1.0 for k in range(run))

    def happened(t: int) -> float | None:
        ends = range(t + step, t + horizon + (run - 1) * step + 1, step)
        if ends[-1] > data.end or t < data.start or run_ends(t):
            return None
        if any(run_ends(end) for end in ends):
            return 1.0
        return 0.0 if 2 * sum(np.isfinite(y[end]) for end in ends) >= len(ends) else None

    rates = {t: happened(t) for t in range(data.start + (run - 1) * step, data.end + 1, interval)}
    inside, bias, ours, naive, ours_line, line, brier, reference = ([] for _ in range(8))
    records = kept.of(horizon, SERIES)
    for r, t in enumerate(int(one) for one in records.origins):
        low, median, high, probability = records.figures[:, row, r]
        past = [v for s, v in rates.items() if v is not None and s + horizon + (run - 1) * step <= t]
        if happened(t) is not None and past:
            m = len(past) * min(1, interval / horizon)
            reference.append(((np.mean(past) * m + 0.5) / (m + 1) - happened(t)) ** 2)
            brier.append((probability - happened(t)) ** 2)
        truth = cell(t + horizon)
        if t + horizon > data.end or np.isnan(truth):
            continue
        inside.append(low <= truth <= high)
        bias.append(median - truth)
        back = t + horizon
        while back > t:
            back -= season
        if np.isfinite(cell(back)):
            ours.append(abs(median - truth))
            naive.append(abs(cell(back) - truth))
        window = [(s, y[s]) for s in range(t - 4 * HOUR, t + 1, step) if np.isfinite(y.get(s, np.nan))]
        if len(window) > 1:
            slope, level = np.polyfit([s - t for s, _ in window], [v for _, v in window], 1)
            ours_line.append(abs(median - truth))
            line.append(abs(level + slope * (horizon - (width - step) / 2) - truth))
    return {
        "coverage": float(np.mean(inside)),
        "bias": float(np.mean(bias)),
        "mase": float(np.mean(ours) / np.mean(naive)),
        "to_linear": float(np.mean(ours_line) / np.mean(line)),
        "brier_skill": float(1 - np.mean(brier) / np.mean(reference)) if len(brier) >= ENOUGH else np.nan,
    }


def test_every_figure_is_what_a_slow_loop_over_the_forecasts_finds() -> None:
    of, data = query(), frame()
    kept = record(of)
    found = score(of, data, kept, SERIES)
    for row in range(3):
        for h, horizon in enumerate(of.horizons):
            for name, expected in slow_scores(of, data, kept, row, horizon).items():
                assert getattr(found, name)[row, h] == pytest.approx(expected, rel=1e-9, nan_ok=True), (name, row, h)


def test_nothing_is_scored_before_enough_forecasts_have_matured() -> None:
    of, data = query(), frame()
    young = record(of, days=0).as_of(of, NOW)
    found = score(of, data, young, SERIES)
    assert np.isnan(found.coverage).all() and np.isnan(found.against_naive).all()
    short = record(of, until=NOW, every=300, days=1)
    found = score(of, data, short, SERIES)
    assert np.isfinite(found.coverage[:, 0]).all()
    assert np.isnan(found.coverage[:, 2]).all()


def test_the_record_is_bounded_and_each_horizon_has_its_own_pace() -> None:
    of = query()
    kept = record(of, days=40)
    spans = {h: np.diff(known.origins) for h, known in kept.horizons.items()}
    assert {h: set(gaps.tolist()) for h, gaps in spans.items()} == {HOUR: {900}, DAY: {HOUR}, 7 * DAY: {6 * HOUR}}
    assert {len(known.origins) for known in kept.horizons.values()} == {CAPACITY}
    assert len(kept.to_bytes(of)) < 3 * 3 * CAPACITY * 4 * 8 + 10_000


def test_the_same_slot_again_changes_nothing_and_a_clock_set_back_drops_what_lies_ahead() -> None:
    of = query()
    kept = record(of)
    figures = np.zeros((4, 3, 3))
    assert kept.with_forecast(of, NOW, SERIES, figures) is kept
    back = kept.as_of(of, NOW - HOUR)
    assert all(known.origins[-1] <= NOW - HOUR for known in back.horizons.values())


def test_series_that_left_are_forgotten_when_their_last_forecast_is() -> None:
    of = query(horizons=["1h"])
    kept = record(of)
    for t in range(NOW + 900, NOW + 900 * (CAPACITY + 2), 900):
        kept = kept.as_of(of, t).with_forecast(of, t, ("b",), np.zeros((4, 1, 1)))
    assert kept.series == ("b",)


def test_a_record_survives_as_bytes_and_one_of_another_objective_does_not_count() -> None:
    of = query()
    kept = record(of)
    again = TrackRecord.from_bytes(kept.to_bytes(of), of)
    assert again.series == kept.series and again.to_bytes(of) == kept.to_bytes(of)
    assert TrackRecord.from_bytes(kept.to_bytes(of), query(objective={"below": 2.0})) == TrackRecord()
    for broken in (b"", b"no archive", kept.to_bytes(of)[:-200]):
        with pytest.raises(StateError):
            TrackRecord.from_bytes(broken, of)


def test_a_damaged_record_is_dropped_with_a_log_line_and_written_again(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    of, data = query(), frame(days=2)
    store = FileStore(tmp_path)
    store.save(record_key("q", "0"), b"no archive")
    keeper = Scorekeeper(store)
    standing = keeper.standing(of, "0", data, NOW)
    keeper.remember(of, "0", NOW, standing, np.zeros((4, 3, 3)))
    assert "the record of published forecasts is lost, scores begin again" in caplog.text
    caplog.clear()
    assert Scorekeeper(store).standing(of, "0", data, NOW + 300).record.of(HOUR, ()).origins.tolist() == [NOW]
    assert not caplog.records


def test_a_store_that_fails_leaves_the_record_in_memory() -> None:
    class Full(MemoryStore):
        full = True

        def save(self, key: str, data: bytes) -> None:
            if self.full:
                raise StateError("no space left")
            super().save(key, data)

    of, data, store = query(), frame(days=2), Full()
    keeper = Scorekeeper(store)
    for slot in (NOW, NOW + 900):
        with pytest.raises(StateError):
            keeper.remember(of, "0", slot, keeper.standing(of, "0", data, slot), np.zeros((4, 3, 3)))
    store.full = False
    keeper.remember(of, "0", NOW + 1800, keeper.standing(of, "0", data, NOW + 1800), np.zeros((4, 3, 3)))
    kept = Scorekeeper(store).standing(of, "0", data, NOW + 1800).record
    assert kept.of(HOUR, ()).origins.tolist() == [NOW, NOW + 900, NOW + 1800]


def test_a_perfect_forecast_of_a_constant_is_no_failure() -> None:
    of = query(horizons=["1h"], objective=None)
    times = np.arange(NOW - 3 * DAY, NOW + 1, 300)
    data = SeriesFrame(np.full((3, times.size), 0.1), tuple({"i": one} for one in SERIES), int(times[0]), 300)
    kept = TrackRecord()
    single = np.full((4, 3, 1), float(np.float32(0.1)))
    for t in range(NOW - DAY, NOW + 1, 300):
        kept = kept.as_of(of, t).with_forecast(of, t, SERIES, single)
    found = score(of, data, kept, SERIES)
    assert (found.coverage == 1).all()
    assert np.isnan(found.mase).all() and np.isnan(found.against_naive).all()


def test_a_few_forecasts_that_came_very_wrong_do_not_make_a_series_lose_but_most_do() -> None:
    of, data = query(horizons=["1h"]), frame()
    truth = {int(t): v for t, v in zip(data.times, data.values.T, strict=True)}
    for wrong_share, loses in ((0.3, False), (0.8, True)):
        kept = TrackRecord()
        for i, t in enumerate(range(NOW - 2 * DAY, NOW, 300)):
            come = np.nan_to_num(truth.get(t + HOUR, np.zeros(3)))
            figures = np.repeat((come + 50 * (i % 10 < 10 * wrong_share))[None, :, None], 4, axis=0)
            kept = kept.as_of(of, t).with_forecast(of, t, SERIES, figures)
        quality = score(of, data, kept.as_of(of, NOW), SERIES)
        assert (quality.mase > 5).all()
        assert lost(of, quality, SERIES, frozenset()) == (frozenset(SERIES) if loses else frozenset())
