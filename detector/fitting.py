"""Fitted forecasters, kept in the process and in the store: learned at times that every process agrees on.

A forecaster is fitted on data up to its *boundary*, a multiple of the refit period plus a stagger of
the query's own (so that not all queries are fitted in one cycle), and then given the columns since.
What it forecasts at a column depends on the data and that column alone, never on which process asks, or
what it was asked before. Between boundaries, series that have become others (a repair, a new level) are
looked for at fixed times too, and learned anew.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from detector.errors import StateError
from detector.frame import LabelKey, SeriesFrame, label_key
from detector.interfaces import ForecasterLike, ForecastLike

if TYPE_CHECKING:
    from detector.catalogue import Query
    from detector.store import Store

log = logging.getLogger(__name__)

LOOK = 600
"""Seconds between looks for series that have become others than were learned."""
SPANS_PER_FIT = 8
"""A fit lasts at most for this share of the history it learned from: young series are fitted more often."""


MakeForecaster = Callable[["Query"], ForecasterLike]
RestoreForecaster = Callable[[bytes, NDArray[np.float64]], ForecasterLike]


def make_forecaster(query: Query) -> ForecasterLike:
    """The engine of ``models`` for one query."""
    from models import Forecaster

    return cast(
        ForecasterLike,
        Forecaster(step=query.step, horizon=max(query.horizons), bounds=query.data_range, seed=seed_of(query.name)),
    )


def restore_forecaster(data: bytes, values: NDArray[np.float64]) -> ForecasterLike:
    """A forecaster of :func:`make_forecaster` that was saved without its history. Raises ValueError for other bytes."""
    from models import Forecaster

    return cast(ForecasterLike, Forecaster.from_bytes(data, values))


def select_at_horizons(
    forecast: ForecastLike, curve: NDArray[np.float64], horizons: Sequence[int]
) -> NDArray[np.float64]:
    """What of ``curve [n, Q, H]``, quantiles of the forecast, lies at each horizon (seconds)."""
    return curve[:, :, [forecast.at(seconds) for seconds in horizons]]


def seed_of(name: str) -> int:
    """A number of the query's own, the same in every process.

    >>> seed_of("ml_ensemble_accuracy")
    1165569912
    """
    return zlib.crc32(name.encode())


def fit_boundary(query: Query, refit: int, first: int, at: int) -> int:
    """Last column to learn from for a forecast at column ``at``; ``first`` is where the data begin (unix s).

    >>> from detector.catalogue import Query
    >>> query = Query(name="q", expr="up", unit="ratio")
    >>> at = 1_800_000_000
    >>> boundaries = {fit_boundary(query, 3600, at - 86400, at + minute * 60) for minute in range(60)}
    >>> len(boundaries), {b % 60 for b in boundaries}
    (2, {0})
    """
    period = max(query.step, refit)
    while period >= 2 * query.step and period * SPANS_PER_FIT > at - first:
        period //= 2
    period -= period % query.step
    stagger = seed_of(query.name) % (period // query.step) * query.step
    return (at - stagger) // period * period + stagger


@dataclass(frozen=True)
class _Fitted:
    boundary: int
    series: tuple[LabelKey, ...]
    columns: int
    forecaster: ForecasterLike


class Fittings:
    """The fitted forecasters of one process, by query and shard.

    Args:
        refit: seconds that a fit lasts.
        make: builds an unfitted forecaster for a query.
        store: where fits are kept for a restart, and for other processes.
        restore: builds a forecaster from what was kept; none keeps nothing.

    ``refits``: by query, how many series were learned so far. Series that come or go cost nothing but themselves.
    """

    def __init__(
        self,
        refit: int,
        make: MakeForecaster = make_forecaster,
        store: Store | None = None,
        restore: RestoreForecaster | None = None,
    ) -> None:
        self.refit = refit
        self._make = make
        self._store = store if restore is not None else None
        self._restore = restore
        self._fitted: dict[tuple[str, str], _Fitted] = {}
        self._looked: dict[tuple[str, str], tuple[_Fitted, int, ForecasterLike]] = {}
        self.refits: dict[str, int] = {}

    def at(self, query: Query, shard: str, frame: SeriesFrame, column: int) -> ForecasterLike:
        """Return the forecaster as it stands at ``column`` (unix seconds) of ``frame``; the caller's own."""
        boundary = fit_boundary(query, self.refit, _first_point(frame), column)
        fitted = self._fit(query, shard, frame, boundary)
        period = max(1, LOOK // frame.step) * frame.step
        looked = boundary + (column - boundary) // period * period
        forecaster = copy.copy(self._look(query, shard, frame, fitted, looked))
        forecaster.update(frame.slice_time(looked + frame.step, column).values)
        return forecaster

    def _look(self, query: Query, shard: str, frame: SeriesFrame, fitted: _Fitted, at: int) -> ForecasterLike:
        """The forecaster at column ``at``, series that have become others learned anew."""
        known = self._looked.get((query.name, shard))
        if known is not None and known[0] is fitted and known[1] == at:
            return known[2]
        forecaster = fitted.forecaster
        if at > fitted.boundary:
            forecaster = copy.copy(forecaster)
            forecaster.update(frame.slice_time(fitted.boundary + frame.step, at).values)
            self._count(query, forecaster.renew())
        self._looked[query.name, shard] = fitted, at, forecaster
        return forecaster

    def forget(self, query: str) -> None:
        """Drop what was learned for a query, here and in the store."""
        self._fitted = {key: one for key, one in self._fitted.items() if key[0] != query}
        self._looked = {key: one for key, one in self._looked.items() if key[0] != query}
        if self._store is not None:
            with contextlib.suppress(StateError):
                for key in self._store.keys(f"fit/{query}/"):
                    self._store.delete(key)

    def _fit(self, query: Query, shard: str, frame: SeriesFrame, boundary: int) -> _Fitted:
        series = tuple(label_key(labels) for labels in frame.labels)
        known = self._fitted.get((query.name, shard))
        if known is not None and known.boundary != boundary:
            known = None
        if known is not None and known.series == series:
            return known
        past = frame.slice_time(boundary - query.history + frame.step, boundary)
        values, start = past.values, past.start
        if not past.T:
            values, start = np.full((frame.n, 1), np.nan), boundary
        if known is None or known.columns != values.shape[1]:
            forecaster = self._kept_or_learned(query, shard, series, values, start)
        else:
            forecaster = self._follow(query, known, series, values, start)
        fitted = _Fitted(boundary, series, values.shape[1], forecaster)
        self._fitted[query.name, shard] = fitted
        return fitted

    def _kept_or_learned(
        self, query: Query, shard: str, series: tuple[LabelKey, ...], values: NDArray[np.float64], start: int
    ) -> ForecasterLike:
        """What another process, or this one before a restart, has learned from the same values; or learned now."""
        if self._store is None or self._restore is None:
            return self._learn(query, values, start)
        key, mark = f"fit/{query.name}/{shard}", _mark(query, series, values, start)
        fields = {"query": query.name, "shard": shard}
        try:
            kept = self._store.load(key)
            if kept is not None and kept.startswith(mark):
                return self._restore(kept[len(mark) :], values)
        except (StateError, ValueError) as error:
            log.warning("what was learned before is unusable, learning anew: %s", error, extra=fields)
        forecaster = self._learn(query, values, start)
        try:
            self._store.save(key, mark + forecaster.to_bytes(values=False))
        except StateError as error:
            log.warning("what was learned cannot be kept: %s", error, extra=fields)
        return forecaster

    def _learn(self, query: Query, values: NDArray[np.float64], start: int) -> ForecasterLike:
        forecaster = self._make(query)
        forecaster.fit(values, start)
        self._count(query, len(values))
        return forecaster

    def _count(self, query: Query, learned: int) -> None:
        if learned:
            self.refits[query.name] = self.refits.get(query.name, 0) + learned

    def _follow(
        self, query: Query, known: _Fitted, series: tuple[LabelKey, ...], values: NDArray[np.float64], start: int
    ) -> ForecasterLike:
        """What was learned of the series that stay, beside what is learned of those that are new."""
        of_known = {key: i for i, key in enumerate(known.series)}
        stay = [of_known[key] for key in series if key in of_known]
        new = [i for i, key in enumerate(series) if key not in of_known]
        if not stay:
            return self._learn(query, values, start)
        forecaster = known.forecaster.select(stay)
        if not new:
            return forecaster
        together = forecaster.beside(self._learn(query, values[new], start))
        at = [*(i for i in range(len(series)) if series[i] in of_known), *new]  # where each row belongs
        return together.select(np.argsort(at).tolist())


def _mark(query: Query, series: tuple[LabelKey, ...], values: NDArray[np.float64], start: int) -> bytes:
    """What a fit depends on, in 32 bytes: its series, their values and times, and how far and within what to look."""
    said = repr((query.step, query.horizons, query.data_range, series, values.shape, start))
    return hashlib.sha256(said.encode() + np.ascontiguousarray(values).tobytes()).digest()


def _first_point(frame: SeriesFrame) -> int:
    there = np.isfinite(frame.values).any(axis=0)
    return int(frame.start + frame.step * (int(there.argmax()) if there.any() else frame.T - 1))
