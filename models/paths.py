"""Sample paths of the future, and everything that is read off them.

Shapes: n series, K paths, H cells, Q quantiles. One :class:`Forecast` holds, for each series and path, the mean of
every cell and what a breach needs to know about a cell: its extreme. Quantiles, the probability of a breach and the
time to it come from the same paths, so they cannot contradict each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Array32 = NDArray[np.float32]
LARGEST = float(np.finfo(np.float32).max)
Extremes = Callable[[bool, int], Array32]


@dataclass(frozen=True)
class Breach:
    """When each path of each series first breaks its threshold.

    ``first [n, K]``: seconds after the origin, inf where a path never does. Rows without a forecast are NaN.
    ``reach [n]``: seconds to which the history lets us look; no probability is given beyond.
    """

    first: Float
    origin: int
    reach: Float

    @property
    def probability(self) -> Float:
        """P(breach within the whole horizon), ``[n]``, in 0..1; NaN without a forecast."""
        return self.probability_within([np.inf])[:, 0]

    def probability_within(self, seconds: Sequence[float]) -> Float:
        """P(breach starts within each of ``seconds``), ``[n, len(seconds)]``; never falls as the seconds grow."""
        limit = np.asarray(seconds, float)
        hit = (self.first[:, :, None] <= limit) & np.isfinite(self.first[:, :, None])
        no_forecast = np.isnan(self.first).any(axis=1, keepdims=True)
        unknown = no_forecast | ((limit > self.reach[:, None]) & np.isfinite(limit))
        return np.where(unknown, np.nan, hit.mean(1))

    def time_to(self, quantiles: Sequence[float], conditional: bool = False) -> Float:
        """Quantiles of the time to breach in seconds, ``[n, Q]``.

        Unconditional (the default): inf where less than that mass breaks the threshold at all. Conditional: among
        the paths that do; inf where none does.
        """
        out = np.full((len(self.first), len(quantiles)), np.nan)
        for i, row in enumerate(np.sort(self.first, axis=1)):
            if np.isnan(row).any():
                continue
            rows = row[np.isfinite(row)] if conditional else row
            # Rounded, so that 0.55 of 100 paths are 55 and the median is there exactly where P is a half.
            rank = np.ceil(np.round(np.asarray(quantiles) * len(rows), 9)).astype(int) - 1
            out[i] = rows[np.clip(rank, 0, len(rows) - 1)] if len(rows) else np.inf
        return out


@dataclass(frozen=True)
class Forecast:
    """Paths of n series from one origin.

    ``paths [n, K, H]``: cell means in the unit of the series, NaN rows where there is no forecast. ``offsets [H]``:
    seconds from the origin (the last column) to the end of each cell. ``extremes(above, run)`` gives ``[n, K, H]``:
    the level that ``run`` consecutive points stay beyond somewhere in the cell (largest for ``above``).
    ``recent [n, r]``: the last observations. ``state [n]``: ok, insufficient_history or no_data. ``reach [n]``:
    seconds to which the history lets us look; cells beyond are NaN.
    """

    paths: Array32
    offsets: Float
    origin: int
    step: int
    recent: Float
    state: NDArray[np.str_]
    reach: Float
    extremes: Extremes

    @property
    def times(self) -> Float:
        """Unix seconds of each cell's end, ``[H]``."""
        return self.origin + self.offsets

    def at(self, seconds: float) -> int:
        """Index of the cell that holds the point ``seconds`` after the origin.

        Raises:
            ValueError: beyond the horizon.
        """
        if not 0 < seconds <= self.offsets[-1]:
            raise ValueError(f"expected a horizon of at most {self.offsets[-1]:g} s and more than 0, got {seconds:g} s")
        return int(np.searchsorted(self.offsets, seconds))

    def quantile(self, quantiles: Sequence[float]) -> Float:
        """Quantiles of every cell over the paths, ``[n, Q, H]``; NaN where there is no forecast.

        Raises:
            ValueError: a quantile outside 0..1.
        """
        q = np.asarray(quantiles, float)
        if q.size == 0 or q.min() < 0 or q.max() > 1:
            raise ValueError(f"quantiles: expected numbers within 0..1, got {list(quantiles)}")
        out = np.moveaxis(np.quantile(self.paths, q, axis=1), 0, 1).astype(float)
        return np.where(self.offsets > self.reach[:, None, None], np.nan, out)

    def breach(self, threshold: ArrayLike, above: ArrayLike = True, run: int = 1) -> Breach:
        """When ``run`` consecutive points go beyond ``threshold``.

        ``threshold`` and ``above`` (True: a breach is a value above it) are one value or ``[n]``. A series whose
        last ``run`` observations already are beyond breaks at 0 s with probability 1.

        Raises:
            ValueError: ``run`` below 1, a threshold that is not finite, or a wrong number of them.
        """
        n = len(self.paths)
        limit = np.asarray(threshold, float)
        if run < 1 or not np.isfinite(limit).all() or limit.shape not in ((), (1,), (n,)):
            raise ValueError(f"breach: expected run >= 1 and 1 or {n} finite thresholds, got run {run} and {limit}")
        limit, up = np.broadcast_to(limit, n), np.broadcast_to(np.asarray(above, bool), n)
        # In the precision of the paths: a constant at its threshold is not beyond it.
        far = np.clip(limit, -LARGEST, LARGEST).astype(np.float32)
        first = np.full(self.paths.shape[:2], np.nan)
        for direction in np.unique(up):
            rows = np.flatnonzero(up == direction)
            level = self.extremes(bool(direction), run)[rows]
            beyond = level > far[rows, None, None] if direction else level < far[rows, None, None]
            beyond &= self.offsets <= self.reach[rows, None, None]
            hit = beyond.argmax(2)
            width = np.diff(self.offsets, prepend=0.0)
            # A run is counted where it ends; a breach is where it starts: at best one step ahead, on average
            # in the middle of a wide cell.
            when = self.offsets - (width - self.step) / 2 - np.where(width <= self.step, (run - 1) * self.step, 0)
            first[rows] = np.where(beyond.any(2), np.maximum(when, self.step)[hit], np.inf)
        last = self.recent[:, -run:]
        with np.errstate(invalid="ignore"):
            already = (np.where(up[:, None], last > limit[:, None], last < limit[:, None])).all(1)
        first[already & (last.shape[1] == run)] = 0.0
        first[self.state != "ok"] = np.nan
        return Breach(first, self.origin, self.reach)
