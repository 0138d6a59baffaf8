"""Curves ready to be sent: all series of one query that share their points in time.

Labels are encoded when the curves arrive, samples when they are sent: a thousand series of 289 points take some ten
milliseconds, while encoded points kept for later would take four times the memory of the values. Shapes: n series,
Q quantiles, P points.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector import conventions as names
from detector.curves import LOOKBACK_SECONDS, Curves, dense
from detector.cycle import QUANTILES, labels_of
from detector.serve.matching import Selection
from detector.serve.protobuf import encode_labels, encode_samples
from detector.track_record import FIGURES, TrackRecord, interval_of

if TYPE_CHECKING:
    from detector.catalogue import Query

_COMMON = frozenset({"__name__", names.SOURCE, names.FOR, names.ISSUED})
_BANDS = len(FIGURES) - 1


class Curve(NamedTuple):
    """One series of one quantile: its place in the sheet, its labels, and these encoded."""

    row: int
    quantile: int
    labels: Mapping[str, str]
    encoded: bytes

    @property
    def order(self) -> list[tuple[str, str]]:
        """What Prometheus sorts series by."""
        return sorted(self.labels.items())


class Sheet:
    """Curves of n series with the same times.

    Args:
        common: the labels that all of them have.
        labels: the source series' labels, n of them.
        quantiles: Q of them.
        times: unix seconds, rising ``[P]``.
        values: ``[n, Q, P]``; NaN is no point.
        valid_until: unix seconds after which the curves count for nothing.
        widest: gaps in time of more seconds are not bridged.
        like: an older sheet; its encoded labels are taken where they are the same.
    """

    def __init__(
        self,
        common: Mapping[str, str],
        labels: Sequence[Mapping[str, str]],
        quantiles: Sequence[float],
        times: NDArray[np.int64],
        values: NDArray[np.float32],
        *,
        valid_until: float = np.inf,
        widest: float = np.inf,
        like: Sheet | None = None,
    ) -> None:
        self.common = {**common, "__name__": names.FORECAST_CURVE.name, names.SOURCE: names.FROM_FORECAST}
        self.labels, self.quantiles = tuple(labels), tuple(quantiles)
        self.valid_until = valid_until
        self._times, self._values, self._widest = times, values, widest
        same = like is not None and (like.labels, like.quantiles) == (self.labels, self.quantiles)
        self.curves: list[Curve] = like.curves if like is not None and same else list(self._named())

    def _named(self) -> Iterator[Curve]:
        for row, one in enumerate(self.labels):
            for place, quantile in enumerate(self.quantiles):
                level = {names.QUANTILE: names.quantile_label(quantile)}
                labels = {**names.curve_labels(one), **self.common, **level}
                yield Curve(row, place, labels, encode_labels(labels))

    def select(self, wanted: Selection) -> list[Curve]:
        """The curves that the selection takes."""
        if not wanted.on(_COMMON).takes(self.common):
            return []
        rest = wanted.beside(_COMMON)
        return [curve for curve in self.curves if rest.takes(curve.labels)]

    def most_points(self, start: int, end: int) -> int:
        """As many points as a curve may have from ``start`` to ``end`` (unix seconds), or a few more."""
        if not len(self._times) or start > end:
            return 0
        first, last = np.searchsorted(self._times, (start, end + 1))
        span = min(end, int(self._times[-1])) - max(start, int(self._times[0]))
        return int(last - first) + max(0, span // LOOKBACK_SECONDS + 1)

    def samples(self, chosen: Sequence[Curve], start: int, end: int) -> list[bytes]:
        """The encoded samples of each curve from ``start`` to ``end`` (unix seconds, both included)."""
        # With the points around the range, so that a straight line into it is the same whatever the range.
        first = max(0, int(np.searchsorted(self._times, start, side="right")) - 1)
        last = int(np.searchsorted(self._times, end)) + 1
        rows, quantiles = [curve.row for curve in chosen], [curve.quantile for curve in chosen]
        times, values = dense(self._times[first:last], self._values[rows, quantiles, first:last], self._widest)
        inside = slice(*np.searchsorted(times, (start, end + 1)))
        values = values[:, inside]
        there = np.isfinite(values)
        complete = np.all(there, axis=1).tolist()
        encoded = encode_samples(times[inside], values)
        return [
            (samples if whole else samples[known]).tobytes()
            for samples, known, whole in zip(encoded, there, complete, strict=True)
        ]


def latest_sheet(query: Query, curves: Curves, like: Sheet | None = None) -> Sheet:
    """The newest forecast, after the sheet before it."""
    return Sheet(
        {names.FOR: query.name},
        curves.labels,
        curves.quantiles,
        curves.times,
        curves.values,
        valid_until=curves.valid_until,
        like=like,
    )


def issued_sheets(query: Query, record: TrackRecord) -> list[Sheet]:
    """What was forecast for each moment one horizon before it, for every horizon of the query."""
    sheets = []
    for horizon, known in record.horizons.items():
        sheets.append(
            Sheet(
                {names.FOR: query.name, names.ISSUED: names.horizon_label(horizon)},
                [labels_of(key) for key in record.series],
                QUANTILES,
                known.origins + horizon,
                np.moveaxis(known.figures[:_BANDS], 0, 1).astype(np.float32),
                widest=2 * interval_of(query, horizon),
            )
        )
    return sheets
