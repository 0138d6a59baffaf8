from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from detector import Detector
from detector.api import MAX_POINTS, choose_step
from detector.catalogue import Endpoint
from detector.catalogue.durations import format_duration
from detector.errors import ConfigError, DetectorError, QueryRejected, SourceUnavailable
from detector.loopback import free_port
from detector.outlook import FrameForecast
from detector.watched import Subject, WatchedFrame
from detector.wording import value_text

DAY = 86400
START = 1_800_000_000


@pytest.fixture(scope="module")
def detector(failing_platform: str) -> Detector:
    return Detector.from_catalogue("day_trade", url=failing_platform)


@pytest.fixture(scope="module")
def disks(detector: Detector) -> FrameForecast:
    return detector.fetch("node_disk_usage").forecast("24h")


def daily(series: int = 2, days: int = 10, step: int = 300, **subject: object) -> WatchedFrame:
    """Series that swing between 40 and 60 every day, with a little noise."""
    times = START + step * np.arange(days * DAY // step)
    noise = np.random.default_rng(0).normal(scale=0.5, size=(series, times.size))
    values = 50 + 10 * np.sin(2 * np.pi * times / DAY) + noise
    labels = tuple({"instance": f"node-{i}"} for i in range(series))
    return WatchedFrame(values, labels, START, step, Subject("load", unit="percent", timezone="UTC", **subject))  # type: ignore[arg-type]


# ---- fetching -----------------------------------------------------------------------------------------------


def test_a_query_of_the_catalogue_brings_its_step_unit_and_objective(detector: Detector) -> None:
    frame = detector.fetch("ml_ensemble_accuracy", window="2d")
    assert (frame.n, frame.step, frame.T) == (1, 60, 2 * DAY // 60 + 1)
    subject = frame.subject
    assert (subject.unit, subject.threshold, subject.above, subject.run) == ("ratio", 0.93, False, 3)
    assert subject.timezone == "Asia/Tokyo"


def test_anything_else_is_promql_without_an_objective(detector: Detector) -> None:
    frame = detector.fetch("avg(ml_cpu_usage)", window="1d")
    assert frame.n == 1
    assert dict(frame.labels[0]) == {}
    assert frame.subject.threshold is None


def test_without_a_catalogue_a_name_is_a_metric_like_any_other(failing_platform: str) -> None:
    with Detector(failing_platform) as plain:
        frame = plain.fetch("ml_ensemble_accuracy", window=timedelta(days=1))
        assert frame.subject.threshold is None
        with pytest.raises(ConfigError, match="from_catalogue"):
            plain.queries()


def test_the_step_of_promql_follows_the_window() -> None:
    for days in (1, 7, 8, 30, 90, 400):
        step = choose_step(days * DAY)
        assert days * DAY / step <= MAX_POINTS
    assert choose_step(DAY) == 60


def test_a_window_can_end_in_the_past(detector: Detector) -> None:
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=3)
    for moment in (end, end.timestamp(), end.isoformat(), end.replace(tzinfo=None)):
        assert detector.fetch("ml_cpu_usage", window="6h", end=moment).end == end.timestamp()


def test_the_catalogue_is_listed_with_its_objectives(detector: Detector) -> None:
    table = detector.queries()
    assert table.loc["ml_ensemble_accuracy", "objective"] == "above 0.93"
    assert table.loc["ml_cpu_usage", "objective"] == "below 80"
    assert "day_trade" in repr(detector)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("ml_ensamble_accuracy", "did you mean 'ml_ensemble_accuracy'"),
        ("ml_model_performanse{model='lstm'}", "did you mean 'ml_model_performance'"),
        ("something_else_altogether", "look at the metric's name"),
        ("redis_memory_usage", "is the exporter of redis_memory_usage scraped"),
    ],
)
def test_nothing_found_says_what_to_do_next(detector: Detector, query: str, said: str) -> None:
    with pytest.raises(DetectorError, match=said):
        detector.fetch(query, window="1d")


def test_wrong_promql_brings_the_words_of_prometheus(detector: Detector) -> None:
    with pytest.raises(QueryRejected, match="unclosed left parenthesis"):
        detector.fetch("rate(ml_cpu_usage[5m]")


def test_a_prometheus_that_is_down_is_a_clear_error() -> None:
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        Detector(Endpoint(url=f"http://127.0.0.1:{free_port()}", timeout=1)).fetch("up")


@pytest.mark.parametrize(
    "arguments",
    [{"window": "soon"}, {"window": "1m"}, {"window": -5}, {"step": "0s"}, {"end": "yesterday"}],
)
def test_an_argument_that_makes_no_sense_is_a_config_error(detector: Detector, arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        detector.fetch("ml_cpu_usage", **arguments)  # type: ignore[arg-type]


def test_a_wrong_url_or_time_zone_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="URL"):
        Detector("localhost")
    with pytest.raises(ConfigError, match="time zone"):
        Detector("http://localhost:9090", timezone="Mars/Olympus")


# ---- frames -------------------------------------------------------------------------------------------------


def test_a_frame_goes_to_pandas_and_back(detector: Detector) -> None:
    frame = detector.fetch("node_disk_usage", window="1d")
    back = WatchedFrame.from_pandas(frame.to_pandas(), subject=frame.subject)
    np.testing.assert_array_equal(back.values, frame.values)
    assert [dict(one) for one in back.labels] == [dict(one) for one in frame.labels]
    assert (back.start, back.step, back.subject) == (frame.start, frame.step, frame.subject)


def test_a_table_of_ones_own_is_forecast_without_any_prometheus() -> None:
    index = pd.date_range("2026-03-01", periods=2000, freq="5min")
    table = pd.DataFrame({"a": np.sin(np.arange(2000) * 2 * np.pi / 288)}, index=index)
    forecast = WatchedFrame.from_pandas(table).forecast("6h", bounds=(-1, 1))
    band = forecast.quantile([0.1, 0.9])
    truth = np.sin((2000 + np.arange(72)) * 2 * np.pi / 288)
    assert len(band) == 72
    assert np.abs(band.mean(axis=1).to_numpy() - truth).max() < 0.1


def test_an_irregular_table_says_to_resample() -> None:
    times = pd.to_datetime(["2026-03-01 00:00", "2026-03-01 01:00", "2026-03-01 02:07"])
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index=times)
    with pytest.raises(DetectorError, match="resample"):
        WatchedFrame.from_pandas(table, step=3600)


def test_a_series_is_found_by_row_or_by_labels() -> None:
    frame = daily(3)
    assert frame.row(-1) == frame.row({"instance": "node-2"}) == 2
    assert frame.select({"instance": "node-1"}).labels[0]["instance"] == "node-1"
    for wrong in (3, {"instance": "node-9"}, {}):
        with pytest.raises(DetectorError, match=r"the labels of one series.*node-0"):
            frame.row(wrong)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            {"instanc": "node-1"},
            r"a label of these series, one of 'instance', 'job', got 'instanc'; did you mean 'insta",
        ),
        ({"zone": "node-1"}, r"one of 'instance', 'job', got 'zone'$"),
        (
            {"instance": "node-7x"},
            r"instance to be one of 'node-0', .* and 2 more, got 'node-7x'; did you mean 'node-7'",
        ),
        ({"instance": 1}, r"instance to be one of .*, got 1"),
        ({"instance": "node-1", "job": "b"}, r"none has them together"),
    ],
)
def test_labels_that_no_series_has_are_refused_with_those_there_are(wanted: dict[str, str], said: str) -> None:
    labels = tuple({"instance": f"node-{i}", "job": "a" if i else "b"} for i in range(14))
    frame = WatchedFrame(np.zeros((14, 2)), labels, start=0, step=60)
    with pytest.raises(DetectorError, match=said):
        frame.select(wanted)


def test_labels_choose_the_series_that_have_them_and_an_empty_value_those_without() -> None:
    frame = WatchedFrame(np.zeros((3, 2)), ({"a": "1"}, {"a": "1", "b": "2"}, {"b": "2"}), start=0, step=60)
    assert frame.select({"a": "1"}).n == 2
    assert frame.select({"a": "1", "b": ""}).labels == ({"a": "1"},)
    assert frame.select({}).n == 3
    assert frame.select([]).select({"a": "1"}).n == 0


def test_now_is_the_newest_number_of_each_series() -> None:
    frame = daily(3)
    frame.values[1, -2:] = np.nan
    frame.values[2] = np.nan
    now = frame.now
    assert now[0] == frame.values[0, -1]
    assert now[1] == frame.values[1, -3]
    assert np.isnan(now[2])


# ---- forecasts ----------------------------------------------------------------------------------------------


def test_the_filling_disk_is_the_most_worrying_and_its_breach_is_foreseen(disks: FrameForecast) -> None:
    worst = disks.frame.labels[disks.order[0]]
    assert (worst["instance"], worst["mountpoint"]) == ("node-2", "/data")
    table = disks.breach()
    row = table.iloc[disks.order[0]]
    assert row.probability_24h >= 0.8
    assert row.time_to_breach_p50 < pd.Timedelta("24h")
    assert (table.drop(table.index[disks.order[0]]).probability_24h < 0.5).all()


def test_the_parts_of_the_worst_series_add_up_and_the_trend_is_what_fills_it(disks: FrameForecast) -> None:
    parts = disks.explain()
    assert list(parts.index[:2]) == ["level", "rhythm of 24h"]
    assert parts.index[-1] == "forecast"
    assert list(parts.columns) == ["now", *(format_duration(h) for h in disks.horizons)]
    np.testing.assert_allclose(parts.iloc[:-1].sum(), parts.loc["forecast"], rtol=1e-6)
    median = disks.paths.quantile([0.5])[disks.order[0], 0, disks.paths.at(DAY)]
    np.testing.assert_allclose(parts.loc["forecast", "24h"], median)
    grown = parts.loc["forecast", "24h"] - parts.loc["forecast", "now"]
    assert parts.loc["trend", "24h"] > 0.5 * grown > 0
    quiet = disks.order[-1]
    assert abs(disks.explain(quiet).loc["trend", "24h"]) < 0.2 * grown


def test_the_methods_are_listed_by_weight_with_what_they_say(disks: FrameForecast) -> None:
    methods = disks.methods()
    weights = methods["24h", "weight"]
    assert len(methods) >= 3
    assert 0.8 < weights.sum() <= 1 + 1e-6
    assert np.isfinite(methods["24h", "forecast"][weights > 0]).all()


def test_quantiles_are_a_table_of_labels_and_quantile(disks: FrameForecast) -> None:
    table = disks.quantile([0.1, 0.5, 0.9])
    assert table.columns.names[-1] == "quantile"
    assert table.shape == (disks.paths.offsets.size, disks.frame.n * 3)
    assert table.index[-1] == pd.Timestamp(disks.frame.end + DAY, unit="s", tz="UTC")
    node = (
        table.xs("node-2", axis=1, level="instance").xs("/data", axis=1, level="mountpoint").droplevel([0, 1], axis=1)
    )
    assert (node[0.1] <= node[0.5]).all()
    assert (node[0.5] <= node[0.9]).all()


def test_a_label_that_is_called_quantile_stays_apart() -> None:
    frame = daily(1)
    named = WatchedFrame(frame.values, ({"quantile": "0.99"},), frame.start, frame.step)
    assert named.forecast("1h").quantile([0.5]).columns.names == ["exported_quantile", "quantile"]


def test_the_horizons_are_those_of_the_catalogue_up_to_the_one_asked_for() -> None:
    assert daily().forecast("1h").horizons == (3600,)
    table = daily(threshold=80.0).forecast("30h").breach()
    assert [name for name in table.columns if name.startswith("probability")] == [
        "probability_1h", "probability_24h", "probability_30h",
    ]  # fmt: skip
    assert (table.filter(like="probability").diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)


def test_another_threshold_is_another_question_to_the_same_forecast() -> None:
    forecast = daily().forecast("24h", objective={"below": 80})
    never, surely = forecast.breach(), forecast.breach(55)
    assert (never.probability_24h < 0.02).all(), "no path and no day of the past goes there: hardly ever"
    assert never.time_to_breach_p50.isna().all()
    assert (surely.probability_24h > 0.95).all()
    assert (forecast.breach(45, above=False).probability_24h > 0.95).all()


def test_a_threshold_that_cannot_be_crossed_is_refused() -> None:
    forecast = daily(bounds=(0, 100)).forecast("1h")
    with pytest.raises(ConfigError, match=r"expected a value within \[0, 100\] \(the unit is percent\), got 800"):
        forecast.breach(800)
    with pytest.raises(ConfigError, match="there is no threshold"):
        forecast.breach()
    with pytest.raises(ConfigError, match="key 'run': expected 1 or more points in a row, got 0"):
        forecast.breach(50, run=0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"horizon": "7m"},
        {"horizon": "later"},
        {"bounds": (1, 0)},
        {"objective": {"over": 3}},
        {"horizon": "1s"},
        {"objective": 3},
        {"members": "ets"},
    ],
)
def test_a_forecast_that_makes_no_sense_is_a_config_error(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        daily().forecast(**arguments)  # type: ignore[arg-type]


def test_too_little_history_says_how_much_is_needed() -> None:
    with pytest.raises(DetectorError, match=r"expected at least 48 points in a series, got 20 at step 5m"):
        daily().tail(20).forecast("1h")


def test_a_young_a_silent_and_an_empty_series_leave_their_neighbours_alone() -> None:
    frame = daily(4, threshold=80.0)
    frame.values[1, :-20] = np.nan
    frame.values[2, -20:] = np.nan
    frame.values[3] = np.nan
    table = frame.forecast("1h").breach()
    assert list(table.state) == ["ok", "insufficient_history", "stale", "no_data"]
    assert np.isfinite(table.probability_1h.iloc[0])
    assert np.isnan(table.probability_1h.iloc[[1, 3]]).all()


def test_the_same_frame_gives_the_same_forecast() -> None:
    first, second = (daily().forecast("6h").quantile() for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


# ---- anomalies ----------------------------------------------------------------------------------------------


def test_a_planted_spike_is_the_one_anomaly() -> None:
    frame = daily()
    frame.values[1, -30:-27] += 25
    found = frame.anomalies("12h")
    assert list(found.index.get_level_values("instance")) == ["node-1"]
    one = found.iloc[0]
    assert one.start == pd.Timestamp(int(frame.times[-30]), unit="s", tz="UTC")
    assert one.score > 1
    assert one.value == frame.values[1, -30]
    assert frame.scores("12h").shape == (144, 2)


def test_a_quiet_frame_has_no_anomalies_and_still_its_columns() -> None:
    found = daily().anomalies("6h")
    assert found.empty
    assert list(found.columns) == ["start", "end", "points", "score", "value"]
    assert found.index.names == ["instance"]


# ---- charts -------------------------------------------------------------------------------------------------


def text_of(figure: object) -> str:
    axes = figure.axes[0]  # type: ignore[attr-defined]
    return "\n".join([axes.get_title(loc="left"), *(one.get_text() for one in axes.texts)])


def test_the_fan_chart_says_what_it_shows(disks: FrameForecast, tmp_path: Path) -> None:
    figure = disks.plot()
    said = text_of(figure)
    assert said.startswith("node_disk_usage\n")
    assert "instance=node-2" in said
    assert re.search(r"P\(above 90 % within 24h\) (= |>)\d+ %", said)
    assert "breach: above 90 %" in said
    figure.savefig(tmp_path / "fan.png")
    assert (tmp_path / "fan.png").read_bytes().startswith(b"\x89PNG")
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("horizon", ["1h", "24h"])
def test_the_axis_of_a_chart_names_the_day_however_short_it_is(horizon: str) -> None:
    forecast = daily().forecast(horizon)
    axes = forecast.plot(0).axes[0]
    ticks = axes.xaxis.get_major_formatter().format_ticks(axes.get_xticks())
    texts = " ".join([axes.get_xlabel(), *ticks])
    last = datetime.fromtimestamp(forecast.frame.end, UTC)
    assert f"{last:%b}" in texts
    assert f"{last:%Y}" in texts


def test_a_threshold_far_away_does_not_flatten_the_chart() -> None:
    figure = daily().forecast("6h", objective={"below": 1e6}).plot(0)
    assert figure.axes[0].get_ylim()[1] < 100
    assert "beyond the upper edge" in text_of(figure)


def test_a_series_in_breach_is_drawn_as_such() -> None:
    assert "in breach now" in text_of(daily().forecast("6h", objective={"below": 20}).plot(0))


def test_a_series_without_a_forecast_is_drawn_without_a_fan() -> None:
    frame = daily(3, threshold=80.0)
    frame.values[1, :-20] = np.nan
    frame.values[2] = np.nan
    forecast = frame.forecast("1h")
    for row in (1, 2):
        assert "no forecast" in text_of(forecast.plot(row))


def test_the_past_is_drawn_with_a_name_for_each_series() -> None:
    figure = daily(3).plot("1d")
    assert [line.get_label() for line in figure.axes[0].lines] == [f"instance=node-{i}" for i in range(3)]


def test_charts_open_no_window_and_leave_nothing_behind() -> None:
    code = (
        "import sys, numpy as np; from detector.watched import WatchedFrame;"
        "frame = WatchedFrame(np.random.default_rng(0).normal(size=(1, 99)), ({},), 0, 60);"
        "frame.forecast('1h').plot(0); frame.plot(); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_importing_detector_brings_neither_pandas_nor_matplotlib() -> None:
    code = "import sys, detector, detector.api; assert not {'pandas', 'matplotlib', 'models'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_values_read_in_their_unit() -> None:
    assert value_text(8.27e6, "per_second") == "8.27 M/s"
    assert value_text(-0.5, "ratio") == "-50.00 %"
    assert value_text(7200, "seconds") == "2 h"
    assert value_text(12345) == "12345"


# ---- documentation ------------------------------------------------------------------------------------------


def test_every_line_of_the_documentation_runs(
    failing_platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[1] / "docs" / "python-api.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 6
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks).replace("http://localhost:9090", failing_platform), {})
    assert "probability_24h" in capsys.readouterr().out
    assert {path.name for path in tmp_path.glob("*.png")} == {"accuracy.png", "fan-chart.png"}
