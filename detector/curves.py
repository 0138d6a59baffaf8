"""The whole forecast of a query as curves: every quantile at every cell, not only at the published horizons.

The worker saves them in its store each cycle; `detector serve` offers them to Prometheus. Shapes: n series, Q
quantiles, P points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detector.clock import column_of
from detector.cycle import FORECAST, QUANTILES, valid_until
from detector.errors import StateError
from detector.store import pack, unpack

if TYPE_CHECKING:
    from detector.cycle import CycleResult

LOOKBACK_SECONDS = 300
"""Prometheus takes a point for current at most so long: with wider gaps a curve would be a row of dots."""

_FORMAT = 1


@dataclass(frozen=True)
class Curves:
    """The latest forecast of n series.

    ``times [P]``: unix seconds, rising, where the cells' means lie; ``values [n, Q, P]``: NaN where nothing is
    forecast. ``slot``: when it was made; past ``valid_until`` it counts for nothing.
    """

    slot: int
    valid_until: int
    labels: tuple[Mapping[str, str], ...]
    quantiles: tuple[float, ...]
    times: NDArray[np.int64]
    values: NDArray[np.float32]

    def to_bytes(self) -> bytes:
        """Arrays and a JSON header; the same bytes for the same curves."""
        header = {
            "format": _FORMAT,
            "slot": self.slot,
            "valid_until": self.valid_until,
            "labels": [dict(one) for one in self.labels],
            "quantiles": list(self.quantiles),
        }
        return pack(header, times=self.times, values=self.values)

    @classmethod
    def from_bytes(cls, data: bytes) -> Curves:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            StateError: the bytes are something else.
        """
        header, arrays = unpack(data)
        try:
            if header["format"] != _FORMAT:
                raise ValueError(f"expected format {_FORMAT}, got {header['format']}")
            labels = tuple({str(k): str(v) for k, v in one.items()} for one in header["labels"])
            quantiles = tuple(float(one) for one in header["quantiles"])
            times, values = np.asarray(arrays["times"], np.int64), np.asarray(arrays["values"], np.float32)
            if values.shape != (len(labels), len(quantiles), len(times)):
                raise ValueError(f"expected values [{len(labels)}, {len(quantiles)}, {len(times)}], got {values.shape}")
            return cls(int(header["slot"]), int(header["valid_until"]), labels, quantiles, times, values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"no curves: {type(error).__name__}: {error}") from error


def curves_of(result: CycleResult) -> Curves | None:
    """The curves of a cycle, of the series whose forecasts are published; None of one without a forecast."""
    if result.frame is None or result.forecast is None or result.curve is None:
        return None
    query = result.query
    offsets = np.asarray(result.forecast.offsets, float)
    times = _middles(offsets, query.step)
    rows = [row for row, state in enumerate(result.states) if state in FORECAST]
    values = result.curve[rows].astype(np.float32)
    if times[-1] < offsets[-1]:  # the last cell to its end
        times, values = np.append(times, offsets[-1]), np.concatenate([values, values[:, :, -1:]], axis=2)
    return Curves(
        slot=result.slot,
        valid_until=valid_until(query, result.slot),
        labels=tuple(dict(result.frame.labels[row]) for row in rows),
        quantiles=QUANTILES,
        times=column_of(query, result.slot) + times.astype(np.int64),
        values=values,
    )


def _middles(offsets: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Where the mean of each cell lies, in seconds after the origin; a cell of one step lies at its end."""
    return np.round(offsets - (np.diff(offsets, prepend=0.0) - step) / 2)


def curves_key(query: str, shard: str) -> str:
    """Where the curves of one query and shard are kept in the store."""
    return f"curves/{query}/{shard}"


def dense(
    times: NDArray[np.int64], values: NDArray[np.float32], widest: float = np.inf
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The same curves ``values [..., P]`` without gaps that Prometheus would not bridge, drawn with straight lines.

    Gaps of more than ``widest`` seconds stay.

    >>> dense(np.array([0, 60, 660, 9000]), np.array([0, 0, 1, 3], np.float32), widest=3600)
    (array([   0,   60,  300,  600,  660, 9000]), array([0. , 0. , 0.4, 0.9, 1. , 3. ], dtype=float32))
    """
    if len(times) < 2:
        return times, values
    gaps = np.diff(times)
    wide = np.flatnonzero((gaps > LOOKBACK_SECONDS) & (gaps <= widest))
    grid = np.arange(times[0] // LOOKBACK_SECONDS + 1, -(-times[-1] // LOOKBACK_SECONDS)) * LOOKBACK_SECONDS
    before = np.searchsorted(times, grid, side="right") - 1
    grid = grid[np.isin(before, wide) & (times[before] != grid)]
    every = np.union1d(times, grid)
    low = np.searchsorted(times, every, side="right") - 1
    high = np.minimum(low + 1, len(times) - 1)
    share = ((every - times[low]) / np.maximum(times[high] - times[low], 1)).astype(np.float32)
    start = values[..., low]
    return every, np.where(share > 0, start + (values[..., high] - start) * share, start)
