"""Anomalies in the newest part of a watched frame: scores learned from what was before, and a table of them.

n series, T columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector.errors import DetectorError
from detector.frame import SeriesFrame, series_index
from detector.stretches import stretches

if TYPE_CHECKING:
    import pandas as pd

    from detector.watched import WatchedFrame

ANOMALOUS = 1.0
SAME_ANOMALY = 6
"""Points that may lie between two anomalous ones of the same stretch."""


def score_frame(frame: WatchedFrame, last: int) -> SeriesFrame:
    """Anomaly scores of the columns within the last seconds, learned from those before; 1 is the threshold."""
    from models import Forecaster

    columns = min(max(1, last // frame.step), frame.T // 2)
    if columns < 1:
        raise DetectorError(f"too little history to find anomalies in: {frame.T} points")
    engine = Forecaster(step=frame.step, horizon=frame.step)
    engine.fit(frame.values[:, :-columns], frame.start)
    engine.update(frame.values[:, -columns:])
    scores = engine.scores(columns, frame.subject.direction)
    return SeriesFrame(scores, frame.labels, frame.end - (columns - 1) * frame.step, frame.step)


def anomaly_table(frame: WatchedFrame, last: int) -> pd.DataFrame:
    """One row for each stretch of anomalous points, the highest score first."""
    import pandas as pd

    scores = score_frame(frame, last)
    values = frame.tail(scores.T).values
    found = [
        (row, first, end)
        for row in range(frame.n)
        for first, end in stretches(scores.values[row] >= ANOMALOUS, SAME_ANOMALY)
    ]
    table = pd.DataFrame(
        {
            "start": pd.to_datetime([int(scores.times[first]) for _, first, _ in found], unit="s", utc=True),
            "end": pd.to_datetime([int(scores.times[end - 1]) for _, _, end in found], unit="s", utc=True),
            "points": [int((scores.values[row, first:end] >= ANOMALOUS).sum()) for row, first, end in found],
            "score": [float(np.nanmax(scores.values[row, first:end])) for row, first, end in found],
            "value": [float(values[row, first]) for row, first, _ in found],
        }
    )
    table.index = series_index([frame.labels[row] for row, _, _ in found], frame.label_names)
    return table.sort_values("score", ascending=False)
