"""How good the published forecasts were, now that the truth has come.

Everything is computed from the records and the history at scoring time; nothing else is kept. Shapes: n series, T
columns of the history, R records of one horizon, H horizons. A figure is NaN until enough forecasts have matured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detector.track_record import Records, TrackRecord, interval_of
from models.grid import nested_grid
from models.losses import mean_of_known

if TYPE_CHECKING:
    from detector.catalogue import Query
    from detector.frame import SeriesFrame

Float = NDArray[np.float64]
Columns = NDArray[np.int64]

ENOUGH = 12
"""Matured forecasts below which no figure is published."""
ENOUGH_TO_JUDGE = 72
"""Matured forecasts below which no series is called not skilful …"""
INDEPENDENT, LEAST_SPAN = 3, 86_400
"""… and so many of them must not overlap: the first and the last origin are two horizons apart, and at least a day,
because the errors of one evening say nothing about the morning."""
LOSES_ABOVE, RECOVERS_AT = 1.2, 1.0
"""Error relative to the seasonal naive forecast above which a series is not skilful, and at which it is again.

The margin is for chance, which makes one of two equal forecasts look better over a few independent horizons; between
the two levels a series stays what it was, so that it cannot flap.
"""
DAY, WEEK = 86_400, 604_800
LINE_SECONDS = 4 * 3600
"""The range of `predict_linear(metric[4h], …)`, the usual rule."""
PRECISION = 1e-6
"""Forecasts are made in single precision: an error this small, relative to the truth, is none."""


@dataclass(frozen=True)
class Quality:
    """Figures ``[n, H]`` as published (see `conventions`), and ``against_naive [n, H]`` for the judgement.

    ``against_naive`` is the error relative to the naive one where enough independent forecasts have matured to judge
    by: the smaller of the MASE and of the same ratio of medians, so that forecasts that lose must lose on average and
    most of the time. A slide that somebody repairs because he was warned makes a few forecasts very wrong; it must
    not silence the next warning. inf where the naive forecast made no error and ours did.
    """

    coverage: Float
    bias: Float
    mase: Float
    to_linear: Float
    brier_skill: Float
    against_naive: Float


def score(query: Query, frame: SeriesFrame, record: TrackRecord, series: Sequence[str]) -> Quality:
    """Score the matured records of ``series [n]``, which are the rows of ``frame``."""
    breaches = _Breaches(query, frame) if query.threshold is not None else None
    columns = []
    for horizon in query.horizons:
        records = record.of(horizon, series)
        figures = np.full((6, frame.n), np.nan)
        if frame.n and records.origins.size:
            figures[[0, 1, 2, 3, 5]] = _errors(query, frame, horizon, records)
            if breaches is not None:
                figures[4] = _brier_skill(query, frame, horizon, records, breaches)
        columns.append(figures)
    return Quality(*np.stack(columns, axis=2))


def lost(query: Query, quality: Quality, series: Sequence[str], before: frozenset[str]) -> frozenset[str]:
    """The series that are not skilful, given those that were ``before``.

    Judged at the longest horizon up to the alert's at which enough has matured; without one a series is given the
    benefit of the doubt.
    """
    usable = [h for h, horizon in enumerate(query.horizons) if horizon <= query.alert_horizon]
    ratios = quality.against_naive[:, usable]
    found = set()
    for key, row in zip(series, ratios, strict=True):
        judged = row[~np.isnan(row)]
        if judged.size and judged[-1] > (RECOVERS_AT if key in before else LOSES_ABOVE):
            found.add(key)
    return frozenset(found)


def _errors(query: Query, frame: SeriesFrame, horizon: int, records: Records) -> Float:
    """Coverage, bias, MASE, error relative to the line, and MASE to judge by, ``[5, n]``."""
    width, ahead = _cell(query, horizon)
    origin = (records.origins - frame.start) // frame.step
    matured = origin + ahead < frame.T
    origin, target = origin[matured], origin[matured] + ahead
    low, median, high, _ = records.figures[:, :, matured]
    truth = _cell_means(frame.values, target, width)
    naive = _cell_means(frame.values, target - _seasons_back(horizon, frame.step), width)
    line = _line(frame.values, origin, ahead - (width - 1) / 2, LINE_SECONDS // frame.step + 1)
    slack = PRECISION * np.abs(truth)
    inside = np.where(np.isfinite(truth - low + high), (truth >= low - slack) & (truth <= high + slack), np.nan)
    mase, counts = _relative(truth, median, naive)
    seconds = records.origins[matured].astype(np.float64)
    first = np.where(counts, seconds, np.inf).min(axis=1, initial=np.inf)
    newest = np.where(counts, seconds, -np.inf).max(axis=1, initial=-np.inf)
    judged = (counts.sum(axis=1) >= ENOUGH_TO_JUDGE) & (newest - first >= max((INDEPENDENT - 1) * horizon, LEAST_SPAN))
    typical, _ = _relative(truth, median, naive, _median)
    against = np.where(judged, np.minimum(mase, typical), np.nan)
    to_linear, _ = _relative(truth, median, line)
    return np.stack([_mean(inside), _mean(median - truth), _finite(mase), _finite(to_linear), against])


def _relative(
    truth: Float, forecast: Float, reference: Float, middle: Callable[[Float], Float] | None = None
) -> tuple[Float, NDArray[np.bool_]]:
    """Mean absolute error of the forecast over that of the reference ``[n]``, and the pairs that count ``[n, R]``.

    ``middle`` replaces the mean.

    With the seasonal naive forecast of the same targets as the reference this is the relative MAE of Hyndman & Koehler
    (2006), Another look at measures of forecast accuracy, International Journal of Forecasting 22.
    """
    counts = np.isfinite(truth + forecast + reference)
    middle = middle or _mean
    ours = middle(np.where(counts, np.abs(forecast - truth), np.nan))
    theirs = middle(np.where(counts, np.abs(reference - truth), np.nan))
    none = PRECISION * middle(np.where(counts, np.abs(truth), np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = ours / np.where(theirs <= none, 0.0, theirs)
    return np.where((ours <= none) & (theirs <= none), np.nan, ratio), counts


def _seasons_back(horizon: int, step: int) -> int:
    """Columns from a target back to the same time of the last whole season before the origin.

    The season is a day, or a week for horizons beyond a day.

    >>> [_seasons_back(horizon, 3600) for horizon in (3600, 86400, 172800, 1209600)]
    [24, 24, 168, 336]
    """
    season = DAY if horizon <= DAY else WEEK
    return -(-(-(-horizon // season) * season) // step)


def _cell(query: Query, horizon: int) -> tuple[int, int]:
    """Width of the forecast's cell at a horizon, and how far its end is from the origin, in steps.

    The published value is the mean over a cell: a step within the hour, 5 minutes to a day, an hour beyond. The truth
    is taken over the same cell.
    """
    grid = nested_grid(query.step, max(query.horizons))
    at = int(np.searchsorted(grid.ends * query.step, horizon))
    return int(grid.widths[at]), int(grid.ends[at])


def _cell_means(values: Float, last: Columns, width: int) -> Float:
    """Mean of the ``width`` columns up to each of ``last [R]``, ``[n, R]``; NaN where one has no point."""
    return mean_of_known(_gather(values, last, width), axis=2)


def _gather(values: Float, last: Columns, width: int) -> Float:
    """The ``width`` columns up to each of ``last [R]``, ``[n, R, width]``; NaN outside of ``values``."""
    columns = last[:, None] + np.arange(1 - width, 1)
    outside = (columns < 0) | (columns >= values.shape[1])
    found = values[:, np.clip(columns, 0, values.shape[1] - 1)]
    if outside.any():
        found[:, outside] = np.nan
    return found


def _line(values: Float, origin: Columns, ahead: float, width: int) -> Float:
    """What `predict_linear` says ``ahead`` steps after each origin ``[R]``: ``[n, R]``, NaN without two points.

    The least-squares line through the ``width`` columns up to the origin.
    """
    window = _gather(values, origin, width)
    there = np.isfinite(window)
    x = np.arange(1 - width, 1, dtype=np.float64)
    count, sum_x, sum_xx = there.sum(axis=2), there @ x, there @ (x * x)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = mean_of_known(window, axis=2)
        centred = np.where(there, window - level[:, :, None], 0.0)  # so that a large level costs no digits
        mean_x = sum_x / count
        slope = (centred @ x) / (sum_xx - sum_x * mean_x)
        return np.where(count > 1, level + slope * (ahead - mean_x), np.nan)


class _Breaches:
    """Where a series was in breach: ``run`` points in a row beyond the threshold, known by their last one."""

    def __init__(self, query: Query, frame: SeriesFrame) -> None:
        threshold = np.float64(np.nan if query.threshold is None else query.threshold)
        beyond = frame.values > threshold if query.breach_above else frame.values < threshold
        ends = beyond.copy()
        for back in range(1, query.breach.run):
            ends[:, back:] &= beyond[:, :-back]
            ends[:, :back] = False
        self._ends = _counted(ends)
        self._there = _counted(np.isfinite(frame.values))
        self.T = frame.T

    def within(self, origin: Columns, reach: int) -> Float:
        """Whether a run ended in the ``reach`` columns after each origin, ``[n, R]``: 1 or 0.

        NaN where the series was in breach at the origin already, where the columns are not all here, or (without a
        breach) where more than half of them are gaps.
        """
        here = (origin >= 0) & (origin + reach < self.T)
        at = np.where(here, origin, 0)
        until = np.where(here, origin + reach, 0) + 1
        happened = self._ends[:, until] > self._ends[:, at + 1]
        known = happened | (2 * (self._there[:, until] - self._there[:, at + 1]) >= reach)
        quiet = self._ends[:, at + 1] == self._ends[:, at]
        return np.where(here & known & quiet, happened, np.nan)


def _counted(flags: NDArray[np.bool_]) -> NDArray[np.int32]:
    """How many of ``flags [n, T]`` are set before each column, ``[n, T + 1]``."""
    counts = np.zeros((len(flags), flags.shape[1] + 1), np.int32)
    np.cumsum(flags, axis=1, out=counts[:, 1:])
    return counts


def _brier_skill(query: Query, frame: SeriesFrame, horizon: int, records: Records, breaches: _Breaches) -> Float:
    """Brier skill ``[n]`` of the probabilities of records that were not in breach, against the causal base rate.

    The base rate at an origin is the share of earlier origins, one a recording interval, whose horizon had ended by
    then and held a breach; with half a breach and half a quiet horizon added to the independent ones (Krichevsky &
    Trofimov (1981), The performance of universal encoding, IEEE Transactions on Information Theory 27), so that a
    series that never broke is not called impossible to break. NaN where there never was a breach, neither then nor
    since: nothing can be told from it. Skill: Murphy (1973), A new vector partition of the probability score, Journal
    of Applied Meteorology 12.
    """
    reach = horizon // frame.step + query.breach.run - 1
    interval = interval_of(query, horizon)
    origin = (records.origins - frame.start) // frame.step
    happened = breaches.within(origin, reach)
    earlier = np.arange(query.breach.run - 1, frame.T, interval // frame.step)
    past = breaches.within(earlier, reach)
    ended = np.searchsorted(earlier + reach, origin, side="right")
    breached = _counted(past == 1)[:, ended]
    number = _counted(np.isfinite(past))[:, ended]
    independent = number * min(1.0, interval / horizon)
    share = breached / np.maximum(number, 1)
    base_rate = np.where(number > 0, (share * independent + 0.5) / (independent + 1), np.nan)
    probability = records.figures[3]
    counts = np.isfinite(happened + probability + base_rate)
    ours = _mean(np.where(counts, (probability - happened) ** 2, np.nan))
    theirs = _mean(np.where(counts, (base_rate - happened) ** 2, np.nan))
    ever = (counts & ((happened == 1) | (breached > 0))).any(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(ever, _finite(1 - ours / theirs), np.nan)


def _mean(values: Float) -> Float:
    """Mean over the records of ``values [n, R]`` that are known; NaN under `ENOUGH` of them."""
    return np.where(np.isfinite(values).sum(axis=1) >= ENOUGH, mean_of_known(values, axis=1), np.nan)


def _median(values: Float) -> Float:
    """Median over the records of ``values [n, R]`` that are known; NaN under `ENOUGH` of them."""
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    known = np.isfinite(values).sum(axis=1)
    ranked = np.sort(values, axis=1)  # NaN comes last
    low, high = (np.maximum(at, 0)[:, None] for at in ((known - 1) // 2, np.minimum(known // 2, values.shape[1] - 1)))
    middle = (np.take_along_axis(ranked, low, axis=1) + np.take_along_axis(ranked, high, axis=1))[:, 0] / 2
    return np.where(known >= ENOUGH, middle, np.nan)


def _finite(values: Float) -> Float:
    return np.where(np.isfinite(values), values, np.nan)
