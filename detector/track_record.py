"""What the worker published for each series and horizon, kept until the truth has come and a while after.

One record a horizon every so often, never more than `CAPACITY` of them, so that the memory is bounded. Shapes: n
series, H horizons, R records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detector.clock import unit_of
from detector.errors import StateError
from detector.store import pack, unpack

if TYPE_CHECKING:
    from detector.catalogue import Query

CAPACITY = 128
"""Records kept for each horizon, those that wait for their truth included."""
WAITING = 28
"""At most so many of them wait at a time: a week ahead is recorded every six hours."""
INTERVALS = (900, 3600, 21_600, 86_400)
"""A record is made once in each of these spans of seconds, the shortest that fits the horizon."""
FIGURES = ("low", "median", "high", "probability")
"""What is kept of a forecast: the 80 % band, its median, and the probability of a breach within the horizon."""

_FORMAT = 1


def interval_of(query: Query, horizon: int) -> int:
    """Seconds between two records of a horizon.

    >>> from detector.catalogue import Query
    >>> query = Query(name="q", expr="up", unit="ratio")
    >>> [interval_of(query, horizon) for horizon in query.horizons]
    [900, 3600, 21600]
    """
    least = max(horizon / WAITING, unit_of(query))
    days = -(-least // INTERVALS[-1])
    return next((one for one in INTERVALS if one >= least), int(days) * INTERVALS[-1])


@dataclass(frozen=True)
class Records:
    """Forecasts of one horizon: ``origins [R]`` unix seconds, rising; ``figures [4, n, R]`` as in `FIGURES`.

    NaN where a series was not forecast.
    """

    origins: NDArray[np.int64]
    figures: NDArray[np.float64]


@dataclass(frozen=True)
class TrackRecord:
    """The records of one query and shard: of ``series [n]`` (see `series_key`), by horizon in seconds.

    ``lost`` names the series whose forecasts are not skilful.
    """

    series: tuple[str, ...] = ()
    horizons: Mapping[int, Records] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()

    def of(self, horizon: int, series: Sequence[str]) -> Records:
        """The records of a horizon in the order of ``series``; NaN for those never seen."""
        known = self.horizons.get(horizon)
        if known is None:
            return Records(np.empty(0, np.int64), np.empty((len(FIGURES), len(series), 0)))
        if tuple(series) == self.series:
            return known
        place = {key: row for row, key in enumerate(self.series)}
        rows = np.array([place.get(key, -1) for key in series], dtype=np.int64)
        figures = np.full((len(FIGURES), len(series), len(known.origins)), np.nan)
        figures[:, rows >= 0] = known.figures[:, rows[rows >= 0]]
        return Records(known.origins, figures)

    def as_of(self, query: Query, column: int) -> TrackRecord:
        """What still counts at ``column`` (unix seconds): nothing too old, and nothing from a clock set back."""
        kept = {}
        for horizon, known in self.horizons.items():
            interval = interval_of(query, horizon)
            counts = (known.origins // interval > column // interval - CAPACITY) & (known.origins <= column)
            kept[horizon] = Records(known.origins[counts], known.figures[:, :, counts])
        return TrackRecord(self.series, {h: kept[h] for h in query.horizons if h in kept}, self.lost)

    def with_forecast(
        self, query: Query, column: int, series: Sequence[str], figures: NDArray[np.float64]
    ) -> TrackRecord:
        """With what was published at ``column``, ``figures [4, n, H]``, for the horizons whose turn it is."""
        due = [horizon for horizon in query.horizons if self._is_due(query, horizon, column)]
        if not due or not series:
            return self
        merged = tuple(sorted({*self.series, *series}))
        rows = np.searchsorted(merged, np.array(series))
        horizons = {}
        for h, horizon in enumerate(query.horizons):
            known = self.of(horizon, merged)
            if horizon in due:
                new = np.full((len(FIGURES), len(merged), 1), np.nan)
                new[:, rows, 0] = figures[:, :, h]
                known = Records(np.append(known.origins, column), np.concatenate([known.figures, new], axis=2))
            horizons[horizon] = known
        return TrackRecord(merged, horizons, self.lost).without_the_gone()

    def _is_due(self, query: Query, horizon: int, column: int) -> bool:
        interval = interval_of(query, horizon)
        return not (self.of(horizon, ()).origins // interval == column // interval).any()

    def without_the_gone(self) -> TrackRecord:
        """Without the series of which nothing is left."""
        there = np.zeros(len(self.series), np.bool_)
        for known in self.horizons.values():
            there |= np.isfinite(known.figures).any(axis=(0, 2))
        if there.all():
            return self
        series = tuple(key for key, is_there in zip(self.series, there, strict=True) if is_there)
        horizons = {h: Records(known.origins, known.figures[:, there]) for h, known in self.horizons.items()}
        return TrackRecord(series, horizons, self.lost & frozenset(series))

    def to_bytes(self, query: Query) -> bytes:
        """Arrays and a JSON header; the same bytes for the same record."""
        header = {
            "format": _FORMAT,
            "of": _subject(query),
            "series": list(self.series),
            "lost": sorted(self.lost),
            "horizons": sorted(self.horizons),
        }
        arrays = {f"origins_{h}": known.origins for h, known in self.horizons.items()}
        figures = {f"figures_{h}": known.figures for h, known in self.horizons.items()}
        return pack(header, **arrays, **figures)

    @classmethod
    def from_bytes(cls, data: bytes, query: Query) -> TrackRecord:
        """Read what :meth:`to_bytes` wrote; an empty one where the query has become another.

        Raises:
            StateError: the bytes are something else.
        """
        header, arrays = unpack(data)
        try:
            if header["format"] != _FORMAT:
                raise ValueError(f"expected format {_FORMAT}, got {header['format']}")
            if header["of"] != _subject(query):
                return cls()
            series = tuple(str(key) for key in header["series"])
            horizons = {int(h): _records(arrays, int(h), len(series)) for h in header["horizons"]}
            return cls(series, horizons, frozenset(str(key) for key in header["lost"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"no record of forecasts: {type(error).__name__}: {error}") from error


def _records(arrays: Mapping[str, NDArray[Any]], horizon: int, n: int) -> Records:
    origins = np.asarray(arrays[f"origins_{horizon}"], np.int64)
    figures = np.asarray(arrays[f"figures_{horizon}"], np.float64)
    if figures.shape != (len(FIGURES), n, len(origins)):
        raise ValueError(f"expected figures [{len(FIGURES)}, {n}, {len(origins)}], got {figures.shape}")
    return Records(origins, figures)


def _subject(query: Query) -> list[Any]:
    """What the records are about: with another expression or objective they say nothing any more."""
    return [query.expr, query.samples, query.step, query.threshold, query.breach_above, query.breach.run]
