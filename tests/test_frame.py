from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.frame import SeriesFrame, label_key, merge_frames


def frame(values: list[list[float]], names: str, start: int = 600, step: int = 60) -> SeriesFrame:
    return SeriesFrame(
        np.array(values, dtype=float).reshape(len(names), -1), tuple({"i": n} for n in names), start, step
    )


def test_times_run_from_start_to_end_by_the_step() -> None:
    one = frame([[1, 2, 3]], "a")
    assert one.times.tolist() == [600, 660, 720]
    assert one.times.dtype == np.int64
    assert (one.n, one.T, one.end) == (1, 3, 720)
    assert SeriesFrame.empty(600, 60).end == 540


@pytest.mark.parametrize(
    ("values", "labels", "step", "said"),
    [
        (np.zeros(3), ({},), 60, "1 dimensions"),
        (np.zeros((2, 3)), ({},), 60, "expected 2 label sets, one a series, got 1"),
        (np.zeros((1, 3)), ({},), 0, "step must be 1 second or more, got 0"),
    ],
)
def test_shapes_that_contradict_each_other_are_refused(values: np.ndarray, labels: tuple, step: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SeriesFrame(values, labels, 0, step)


def test_the_newest_point_is_found_before_gaps_and_infinities() -> None:
    one = frame([[1, 2, np.nan], [np.nan, np.nan, np.nan], [np.inf, 0, np.inf]], "abc")
    assert one.newest.tolist() == [660, 540, 660]
    assert np.array_equal(one.now, [2, np.nan, 0], equal_nan=True)


def test_without_columns_there_is_no_newest_point() -> None:
    one = SeriesFrame(np.empty((2, 0)), ({"i": "a"}, {"i": "b"}), 600, 60)
    assert one.newest.tolist() == [540, 540]
    assert np.isnan(one.now).tolist() == [True, True]
    assert SeriesFrame.empty(600, 60, columns=3).now.shape == (0,)


def test_the_tail_is_a_view_of_the_last_columns() -> None:
    one = frame([[1, 2, 3]], "a")
    assert one.tail(2).values.tolist() == [[2, 3]]
    assert one.tail(2).start == 660
    assert one.tail(2).values.base is not None
    assert one.tail(9).T == 3
    assert one.tail(0).T == 0


@pytest.mark.parametrize(
    ("start", "end", "times"),
    [
        (600, 720, [600, 660, 720]),
        (601, 719, [660]),
        (0, 10_000, [600, 660, 720]),
        (721, 10_000, []),
        (0, 599, []),
        (661, 662, []),
        (700, 650, []),
    ],
)
def test_a_slice_has_the_columns_between_its_ends(start: int, end: int, times: list[int]) -> None:
    assert frame([[1, 2, 3]], "a").slice_time(start, end).times.tolist() == times


def test_series_are_selected_by_index_or_by_mask() -> None:
    one = frame([[1], [2], [3]], "abc")
    assert one.select([2, 0]).labels == ({"i": "c"}, {"i": "a"})
    assert one.select(np.array([False, True, False])).values.tolist() == [[2]]


def test_concat_unites_series_and_times_and_the_later_points_win() -> None:
    both = frame([[1, 2, 3], [4, 5, 6]], "ab").concat(frame([[30, np.nan, 50], [7, 8, 9]], "ac", start=720))
    assert both.labels == ({"i": "a"}, {"i": "b"}, {"i": "c"})
    nan = np.nan
    np.testing.assert_array_equal(both.values, [[1, 2, 30, nan, 50], [4, 5, 6, nan, nan], [nan, nan, 7, 8, 9]])
    assert (both.start, both.end) == (600, 840)


def test_a_gap_in_the_later_frame_does_not_erase_a_point() -> None:
    assert frame([[1, 2]], "a").concat(frame([[np.nan, 5]], "a")).values.tolist() == [[1, 5]]


@pytest.mark.parametrize("other", [frame([[1]], "a", start=630), frame([[1]], "a", step=30)])
def test_grids_that_do_not_fit_are_refused(other: SeriesFrame) -> None:
    with pytest.raises(ValueError, match="share their points"):
        frame([[1]], "a").concat(other)


def test_frames_without_columns_or_series_merge_to_what_the_others_have() -> None:
    one = frame([[1, 2]], "a")
    assert one.concat(SeriesFrame.empty(0, 60)).values.tolist() == [[1, 2]]
    assert one.concat(SeriesFrame.empty(720, 60, 2)).T == 4
    with pytest.raises(ValueError, match="at least one"):
        merge_frames([])


def test_pandas_and_back_keeps_values_labels_and_times() -> None:
    pytest.importorskip("pandas")
    labels = ({"i": "a", "zone": "x"}, {"i": "b"})
    one = SeriesFrame(np.array([[1, np.nan, 3], [4, 5, 6]]), labels, 600, 60)
    table = one.to_pandas()
    assert str(table.index.tz) == "UTC"
    assert table.columns.names == ["i", "zone"]
    back = SeriesFrame.from_pandas(table)
    np.testing.assert_array_equal(back.values, one.values)
    assert (back.labels, back.start, back.step) == (labels, 600, 60)


def test_a_series_without_labels_survives_pandas() -> None:
    one = SeriesFrame(np.array([[1.0, 2.0]]), ({},), 600, 60)
    assert SeriesFrame.from_pandas(one.to_pandas()).labels == ({},)


def test_a_plain_table_becomes_a_frame_and_missing_rows_are_gaps() -> None:
    import pandas as pd

    index = pd.to_datetime([600, 660, 780], unit="s")
    table = pd.DataFrame({"cpu": [1, 2, 4], "disk": [5, 6, 8]}, index=index)
    one = SeriesFrame.from_pandas(table)
    np.testing.assert_array_equal(one.values, [[1, 2, np.nan, 4], [5, 6, np.nan, 8]])
    assert one.labels == ({"series": "cpu"}, {"series": "disk"})
    assert SeriesFrame.from_pandas(table["cpu"]).labels == ({"series": "cpu"},)
    with pytest.raises(ValueError, match="DatetimeIndex"):
        SeriesFrame.from_pandas(table.reset_index(drop=True))
    with pytest.raises(ValueError, match="grid of 50s"):
        SeriesFrame.from_pandas(table, step=50)


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=5))
def test_a_label_key_does_not_depend_on_order_or_empty_values(labels: dict[str, str]) -> None:
    turned = dict(reversed(labels.items()))
    assert label_key(labels) == label_key(turned) == label_key(dict(label_key(labels)))
