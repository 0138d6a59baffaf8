"""Sample paths of the future, and everything that is read off them.

Shapes: n series, K paths, H cells, Q quantiles. One :class:`Forecast` holds, for each series and path, the mean of
every cell and what a breach needs to know about a cell: its extreme. Quantiles are those of the paths, all alike. The
probability of a breach starts from the share of paths that cross and is calibrated on the past
(models/calibration.py); the quantiles of the time to it are read off that probability, horizon by horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from models.base import Array32
from models.calibration import Calibrator, anchor_cells, logit, share_of
from models.examples import base_rates
from models.panel import Float, Index

LARGEST = float(np.finfo(np.float32).max)
Lifts = Callable[[bool, int], Array32 | None]


@dataclass(frozen=True)
class Breach:
    """When each series breaks its threshold.

    ``chance [n, H]``: probability that a breach has begun by ``when [H]`` seconds after the origin; never falls. Rows
    without a forecast are NaN. ``reach [n]``: seconds to which the history lets us look; nothing is said beyond.
    """

    chance: Float
    when: Float
    origin: int
    reach: Float

    @property
    def probability(self) -> Float:
        """P(breach within the whole horizon), ``[n]``, in 0..1; NaN without a forecast."""
        return self.chance[:, -1]

    def probability_within(self, seconds: Sequence[float]) -> Float:
        """P(breach starts within each of ``seconds``), ``[n, len(seconds)]``; never falls as the seconds grow."""
        limit = np.asarray(seconds, float)
        cell = np.searchsorted(self.when, limit, side="right") - 1
        before = np.where(np.isnan(self.chance[:, -1:]), np.nan, 0.0)
        out = np.where(cell >= 0, self.chance[:, np.maximum(cell, 0)], before)
        return np.where((limit > self.reach[:, None]) & np.isfinite(limit), np.nan, out)

    def time_to(self, quantiles: Sequence[float], conditional: bool = False) -> Float:
        """Quantiles of the time to breach in seconds, ``[n, Q]``.

        Unconditional (the default): inf where less than that mass breaks the threshold at all. Conditional: given
        that it does within the horizon; inf where it cannot.
        """
        # Rounded, so that the median is there exactly where the probability is a half.
        chance = np.round(self.chance, 9)
        total = chance[:, -1:]
        out = np.full((len(chance), len(quantiles)), np.nan)
        for j, q in enumerate(quantiles):
            level = np.round(q * total, 9) if conditional else np.full_like(total, round(q, 9))
            reached = (chance >= level) & (chance > 0)
            out[:, j] = np.where(reached.any(1), self.when[reached.argmax(1)], np.inf)
        out[np.isnan(self.chance[:, -1])] = np.nan
        return out


@dataclass(frozen=True)
class Forecast:
    """Paths of n series from one origin.

    ``paths [n, K, H]``: cell means in the unit of the series, NaN rows where there is no forecast. ``offsets [H]``:
    seconds from the origin (the last column) to the end of each cell. ``lifts(above, run)``: what to add to a path for
    the level that ``run`` consecutive points stay beyond somewhere in a cell ``[n, K, H]``, None where all cells are
    steps. ``history [n, T]``: the observations, brought to the present level. ``state [n]``: ok, insufficient_history
    or no_data. ``reach [n]``: seconds to which the history lets us look; cells beyond are NaN. ``follows [n, K]``:
    paths that follow a ramp, whose odds are those of the ramp; ``calibrator``: of the others' odds. ``bounds``: of the
    data.
    """

    paths: Array32
    offsets: Float
    origin: int
    step: int
    history: Float
    state: NDArray[np.str_]
    reach: Float
    lifts: Lifts
    follows: NDArray[np.bool_]
    calibrator: Calibrator
    bounds: tuple[float | None, float | None] = (None, None)

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
        ordered = np.sort(np.moveaxis(self.paths, 1, 2), axis=2)  # [n, H, K]; NaN last
        at = q * (ordered.shape[2] - 1)
        low = np.floor(at).astype(np.int64)
        share = (at - low).astype(np.float32)
        high = np.minimum(low + 1, ordered.shape[2] - 1)
        out = np.moveaxis(ordered[:, :, low] + (ordered[:, :, high] - ordered[:, :, low]) * share, 2, 1).astype(float)
        out[self.state != "ok"] = np.nan
        return np.where(self.offsets > self.reach[:, None, None], np.nan, out)

    def breach(self, threshold: ArrayLike, above: ArrayLike = True, run: int = 1) -> Breach:
        """When ``run`` consecutive points go beyond ``threshold``.

        ``threshold`` and ``above`` (True: a breach is a value above it) are one value or ``[n]``. A series whose
        last ``run`` observations already are beyond breaks at 0 s with probability 1.

        Raises:
            ValueError: ``run`` below 1, a threshold that is not finite, or a wrong number of them.
        """
        n, _, H = self.paths.shape
        limit = np.asarray(threshold, float)
        if run < 1 or not np.isfinite(limit).all() or limit.shape not in ((), (1,), (n,)):
            raise ValueError(f"breach: expected run >= 1 and 1 or {n} finite thresholds, got run {run} and {limit}")
        limit = np.ascontiguousarray(np.broadcast_to(limit, n))
        up = np.ascontiguousarray(np.broadcast_to(np.asarray(above, bool), n))
        width = np.diff(self.offsets, prepend=0.0)
        # A breach is where its run starts: at best one step ahead, on average in the middle of a wide cell.
        when = np.concatenate([[0.0], self.offsets - (width - self.step) / 2])
        chance = np.zeros((n, H + 1))
        for direction in np.unique(up):
            rows = np.flatnonzero((up == direction) & (self.state == "ok"))
            if len(rows):
                chance[rows, 1:] = self._chance(rows, limit, bool(direction), run, width)
        last = self.history[:, -run:]
        with np.errstate(invalid="ignore"):
            already = (np.where(up[:, None], last > limit[:, None], last < limit[:, None])).all(1)
        chance[already & (last.shape[1] == run)] = 1.0
        chance[self.state != "ok"] = np.nan
        return Breach(chance, when, self.origin, self.reach)

    def _chance(self, rows: Index, limit: Float, above: bool, run: int, width: Float) -> Float:
        """P(breach has begun by each cell) of ``rows``, ``[r, H]``."""
        limit = limit[rows]
        coefficients = self.calibrator.coefficients(rows, limit, above, run)
        lifts = self.lifts(above, run)
        none = np.zeros((1, 1, 1), np.float32)
        # In the precision of the paths: a constant at its threshold is not beyond it.
        far = np.clip(limit, -LARGEST, LARGEST).astype(np.float32)
        narrow = int((width <= self.step).sum())
        reached = (self.offsets <= self.reach[rows][:, None]).sum(1)
        counts = _crossings(
            self.paths, none if lifts is None else lifts, rows, far, above, run, narrow, reached, self.follows
        )
        free = (~self.follows[rows]).sum(1)
        raw = np.cumsum(counts[0], axis=1)
        ahead = np.maximum(1, (self.offsets[anchor_cells(len(self.offsets))] / self.step).astype(np.int64))
        base = np.stack([base_rates(self.history[i], t, above, run, ahead) for i, t in zip(rows, limit, strict=True)])
        calm = _calibrated(raw, free, base, coefficients)
        calm[~self._possible(rows, limit, above)] = 0.0
        ramp = np.cumsum(counts[1], axis=1) / np.maximum(self.paths.shape[1] - free, 1)[:, None]
        weight = (free / self.paths.shape[1])[:, None]
        chance = _monotone(weight * calm + (1 - weight) * ramp)
        last = np.maximum(reached - 1, 0)
        return np.asarray(np.minimum(chance, chance[np.arange(len(rows)), last][:, None]))

    def _possible(self, rows: Index, limit: Float, above: bool) -> NDArray[np.bool_]:
        """Whether a series can go beyond its threshold at all: not beyond its bounds, nor a constant, ``[r]``."""
        bound = self.bounds[1] if above else self.bounds[0]
        inside = np.ones(len(rows), bool) if bound is None else (limit < bound if above else limit > bound)
        history = np.where(np.isfinite(self.history[rows]), self.history[rows], np.nan)
        varies = np.fmax.reduce(history, axis=1) > np.fmin.reduce(history, axis=1)
        return np.asarray(inside & varies)


def _monotone(chance: Float) -> Float:
    """``chance [r, H]`` that never falls with the horizon: halfway between the least such curve above it and the
    greatest below. The coefficients of the horizons are learned apart, and neither side is to be believed more.
    """
    least_above = np.maximum.accumulate(chance, axis=1)
    greatest_below = np.minimum.accumulate(chance[:, ::-1], axis=1)[:, ::-1]
    return np.asarray((least_above + greatest_below) / 2)


def _calibrated(raw: Float, free: Index, base: Float, coefficients: Float) -> Float:
    """Odds of the paths that follow no ramp ``[r, H]``: ``raw [r, H]`` of ``free [r]`` have crossed by each cell;
    ``base [r, A]`` rates at the anchors, ``coefficients [r, H, 3]``.
    """
    H = raw.shape[1]
    x, xp = np.log(np.arange(1.0, H + 1)), np.log(anchor_cells(H) + 1.0)
    odds = np.stack([np.interp(x, xp, row) for row in logit(base)])
    odds += np.minimum(x - xp[0], 0)  # before the first anchor a base rate falls with the time
    share: Float = logit(share_of(raw, free[:, None].astype(np.float64)))
    constant, of_share, of_base = np.moveaxis(coefficients, 2, 0)
    return np.asarray(expit(constant + of_share * share + of_base * odds))


@njit(cache=True)
def _crossings(
    paths: Array32,
    lifts: Array32,
    rows: Index,
    limit: Array32,
    above: bool,
    run: int,
    narrow: int,
    reached: Index,
    follows: NDArray[np.bool_],
) -> Float:
    """How many paths break first in each cell, ``[2, r, H]``: of those that follow no ramp, and of those that do.

    In the first ``narrow`` cells, of one step each, ``run`` consecutive points count from where they start.
    """
    K, H = paths.shape[1:]
    sign = np.float32(1.0 if above else -1.0)
    out = np.zeros((2, len(rows), H))
    lifted = lifts.shape[0] > 1 or lifts.shape[2] > 1
    for r in range(len(rows)):
        i = rows[r]
        for k in range(K):
            held = 0
            for h in range(reached[r]):
                level = paths[i, k, h] + (lifts[i, k, h] if lifted else np.float32(0.0))
                beyond = sign * level > sign * limit[r]
                held = held + 1 if beyond else 0
                if beyond and (h >= narrow or held >= run):
                    out[int(follows[i, k]), r, h if h >= narrow else h - run + 1] += 1
                    break
    return out
