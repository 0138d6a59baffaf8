"""The engine: fit on series that share a grid, update with new columns, forecast as sample paths.

Shapes: n series, T columns, K sample paths, H cells of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.anomaly import AnomalyScorer, Scores
from models.block import Block, Now, Terms, describe, fit_block, look, paths_of
from models.blocks import calibrator_of, joined, lifts_of
from models.calibration import Learned
from models.explain import Explanation, explain
from models.grid import Grid, nested_grid, uniform_grid, within_history
from models.panel import Float, Index
from models.paths import Forecast
from models.regimes import NONE, Regimes, find_regimes, span_of
from models.registry import chosen
from models.saved import grid_of, read, restore, to_bytes

BLOCK = 16  # series fitted at a time: bounds the memory
MIN_POINTS = 48  # observations below which a series has no forecast


@dataclass
class Forecaster:
    """Forecasts of n series that share a grid.

    ``step`` and ``horizon`` in seconds; ``bounds`` (low, high) of the data, either may be None; ``seasons`` in
    seconds (None: those found, and a day and a week where the history holds two), each used where the backtest favours
    it; ``grid`` overrides the nested grid; ``members``: names in models/registry.py (None: all of the ensemble).

    >>> f = Forecaster(step=300, horizon=3600)
    >>> y = np.sin(np.arange(2000) * 2 * np.pi / 288)[None]
    >>> f.fit(y, start=0).forecast().quantile([0.5]).shape
    (1, 1, 12)
    """

    step: int
    horizon: int
    bounds: tuple[float | None, float | None] = (None, None)
    seasons: tuple[int, ...] | None = None
    seed: int = 0
    grid: Grid = field(default_factory=lambda: Grid(0, ()))
    members: Sequence[str] | None = None
    _values: Float = field(default_factory=lambda: np.empty((0, 0)), repr=False)
    _end: int = field(default=0, repr=False)  # of the first series, unix seconds
    _learned_to: Index = field(default_factory=lambda: np.empty(0, np.int64), repr=False)  # the last column of the fit
    _regimes: Regimes = field(default=NONE, repr=False)
    _blocks: list[tuple[Index, Block]] = field(default_factory=list, repr=False)
    _now: list[Now] = field(default_factory=list, repr=False)  # of each block; empty: not looked at since the update
    _questions: Learned = field(default_factory=dict, repr=False)  # of the calibrator, for all copies of this fit
    _scorer: AnomalyScorer | None = field(default=None, repr=False)
    _scores: Scores | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        chosen(self.members)  # a wrong name is an error before anything is learned
        if not self.grid.segments:
            self.grid = nested_grid(self.step, self.horizon)

    def fit(self, values: ArrayLike, start: ArrayLike) -> Forecaster:
        """Learn from ``values [n, T]`` (NaN = missing) whose column 0 is at ``start`` unix seconds; returns self.

        ``start``: one, or ``[n]`` where the series are of different times; none learns from what was later than its
        own end.

        Raises:
            ValueError: not a two-dimensional array, or no column.
        """
        v = np.array(values, dtype=np.float64)
        if v.ndim != 2 or v.shape[1] < 1:
            raise ValueError(f"values: expected an array [n, T] with T >= 1, got shape {v.shape}")
        v[~np.isfinite(v)] = np.nan
        self._values = v
        ends = np.atleast_1d(np.asarray(start, np.int64)) + (v.shape[1] - 1) * self.step
        self._end, self._learned_to = int(ends[0]), np.array(np.broadcast_to(ends, len(v)))
        self._scorer = AnomalyScorer(self.step, self.seasons)
        self._scores = self._scorer.run_history(v)
        return self._learn()

    def _learn(self) -> Forecaster:
        """Learn the forecasts of the values that are there."""
        v = self._values
        self._blocks, self._now, self._questions = [], [], {}
        self._regimes = find_regimes(v, self.step)
        past, told = self._levelled(), self._regimes.levelled(v, excursions=True)
        terms = Terms(
            self.step, self.seasons, self.seed, within_history(self.grid, v.shape[1]), v.shape[1], self.members
        )
        if v.shape[1] < MIN_POINTS or not terms.near.segments:
            return self
        about = describe(past, terms)
        for a in range(0, len(v), BLOCK):
            rows = np.arange(a, min(a + BLOCK, len(v)))
            block, now = fit_block(past[rows], terms, about.select(rows), v[rows], told[rows])
            self._blocks.append((rows, block))
            self._now.append(now)
        return self

    def update(self, columns: ArrayLike) -> Forecaster:
        """Append new ``columns [n, k]``; the oldest fall out. Nothing is learned again.

        Raises:
            ValueError: a wrong number of series.
        """
        new = np.array(columns, dtype=np.float64)
        if new.ndim != 2 or len(new) != len(self._values):
            raise ValueError(f"columns: expected [{len(self._values)}, k], got shape {new.shape}")
        new[~np.isfinite(new)] = np.nan
        k, T = new.shape[1], self._values.shape[1]
        self._values = np.concatenate([self._values, new], axis=1)[:, -T:]
        self._end += k * self.step
        self._regimes = self._regimes.later(k)
        self._now = []
        if self._scorer is not None and self._scores is not None:
            self._scorer = self._scorer.copy()  # a copy of this forecaster may go on from the same state
            self._scores = self._scores.then(self._scorer.run(new), T)
        return self

    def renew(self) -> int:
        """Learn anew the series of which a fit would take other parts of the past for what they are now (a repair, a
        new level; see models/regimes.py); how many they are. All else ages slowly. The anomaly scores go on as before.
        """
        now = find_regimes(self._values, self.step)
        other = self._regimes.unlike(now, len(self._values), span_of(self.step))
        if not self._blocks or not other.any():
            return 0
        rows, stay = np.flatnonzero(other), np.flatnonzero(~other)
        scorer, scores = self._scorer, self._scores
        self._scorer = self._scores = None
        known = self.select(stay)
        learned_to = np.full(len(rows), self._end)
        new = replace(self, _values=self._values[rows], _learned_to=learned_to)._learn()
        both = known.beside(new).select(np.argsort(np.concatenate([stay, rows])))
        for name in ("_regimes", "_blocks", "_now", "_learned_to", "_questions"):
            setattr(self, name, getattr(both, name))
        self._scorer, self._scores = scorer, scores
        return len(rows)

    @property
    def end(self) -> int:
        """Unix seconds of the last column."""
        return self._end

    @property
    def state(self) -> NDArray[np.str_]:
        """Per series, ``[n]``: ``ok``, ``insufficient_history`` (under 48 observations) or ``no_data``."""
        count = np.isfinite(self._values).sum(1)
        return np.where(count == 0, "no_data", np.where(count < MIN_POINTS, "insufficient_history", "ok"))

    def forecast(self) -> Forecast:
        """Paths from the last column on."""
        past = self._levelled()
        if not self._now:
            raw = self._values if len(self._regimes) else None
            self._now = [look(b, past[rows], None if raw is None else raw[rows]) for rows, b in self._blocks]
        placed = zip(self._blocks, self._now, strict=True)
        parts = [paths_of(b, past[r], now, self._values[r]) for (r, b), now in placed]
        restored = [p + b.about.centre[:, None] for (_, b), (p, _) in zip(self._blocks, parts, strict=True)]
        n, cells = len(self._values), self.grid.cells
        paths = joined([np.asarray(p, np.float32) for p in restored], self._blocks, n, cells)
        paths[self.state != "ok"] = np.nan
        low, high = self.bounds
        if low is not None or high is not None:
            paths = np.clip(paths, low, high)
        follows = np.zeros(paths.shape[:2], np.bool_)
        for (rows, _), (_, of_block) in zip(self._blocks, parts, strict=True):
            follows[rows] = of_block
        return Forecast(
            paths,
            (self.grid.ends * self.step).astype(np.float64),
            self.end,
            self.step,
            self._regimes.levelled(self._values, excursions=True),
            self.state,
            self._reach(),
            lifts_of(self._blocks, n, cells),
            follows,
            calibrator_of(self._blocks, self._learned_to, self.grid.ends, self._questions),
            self.bounds,
        )

    def explain(self) -> Explanation:
        """The parts that the median of the forecast is made of, in the unit of the series, and the members' say."""
        return explain(self.forecast(), self._levelled(), self._blocks)

    def scores(self, last: int = 1, direction: str = "both") -> Float:
        """Anomaly scores of the ``last`` newest columns, ``[n, last]``: 1.0 = the alert threshold, NaN = not observed.

        ``direction``: both, above_expected or below_expected.
        """
        last = min(last, self._values.shape[1])
        if self._scores is None:
            return np.where(np.isfinite(self._values[:, self._values.shape[1] - last :]), 0.0, np.nan)
        found = self._scores.read(direction)
        return found[:, max(0, found.shape[1] - last) :]

    def select(self, rows: ArrayLike) -> Forecaster:
        """A forecaster of some of the series, ``rows [r]`` in that order, without learning anything again.

        Their forecasts are the same; their odds are learned from fewer series.
        """
        chosen = np.asarray(rows, np.int64)
        out = replace(
            self,
            _values=self._values[chosen],
            _learned_to=self._learned_to[chosen],
            _regimes=self._regimes.select(chosen),
        )
        out._blocks, out._now, out._questions = [], [], {}
        for mine, block in self._blocks:
            place = np.full(len(self._values), -1)
            place[mine] = np.arange(len(mine))
            at = np.flatnonzero(place[chosen] >= 0)
            if len(at):
                out._blocks.append((at, block.select(place[chosen[at]])))
        if self._scorer is not None and self._scores is not None:
            out._scorer, out._scores = self._scorer.select(chosen), self._scores.select(chosen)
        return out

    def beside(self, other: Forecaster) -> Forecaster:
        """A forecaster of these series and then those of ``other``, without learning anything again.

        Raises:
            ValueError: another step, horizon, grid, end or length of the history, or other bounds, seasons or seed.
        """
        keys = ("step", "horizon", "bounds", "seasons", "seed", "grid", "members", "end")
        differ = [key for key in keys if getattr(self, key) != getattr(other, key)]
        if differ or self._values.shape[1] != other._values.shape[1]:
            key = differ[0] if differ else "_values.shape[1]"
            mine, its = (getattr(f, key) if differ else f._values.shape[1] for f in (self, other))
            raise ValueError(f"beside: expected {key.strip('_')} {mine}, got {its}")
        n = len(self._values)
        out = replace(
            self,
            _values=np.concatenate([self._values, other._values]),
            _learned_to=np.concatenate([self._learned_to, other._learned_to]),
            _regimes=self._regimes.beside(other._regimes, n),
        )
        out._blocks = self._blocks + [(rows + n, block) for rows, block in other._blocks]
        out._now, out._questions = [], {}
        if self._scorer and self._scores and other._scorer and other._scores:
            out._scorer, out._scores = self._scorer.beside(other._scorer), self._scores.beside(other._scores)
        return out

    def to_bytes(self, values: bool = True) -> bytes:
        """Everything that is needed to go on elsewhere, to the last bit: an npz file without objects.

        Without ``values`` it is smaller: the history that it stands on must be given to :meth:`from_bytes`, and only
        the newest scores are there.
        """
        return to_bytes(self, values)

    @classmethod
    def from_bytes(cls, data: bytes, values: ArrayLike | None = None) -> Forecaster:
        """The forecaster whose :meth:`to_bytes` gave ``data``; ``values [n, T]`` where they were left out.

        Raises:
            ValueError: other bytes, damaged ones, those of another version, or another history.

        >>> f = Forecaster(step=300, horizon=3600).fit(np.arange(200.0)[None] % 24, start=0)
        >>> again = Forecaster.from_bytes(f.to_bytes())
        >>> bool((again.forecast().paths == f.forecast().paths).all())
        True
        """
        header, arrays = read(data)
        seasons = header["seasons"] if header["seasons"] is None else tuple(header["seasons"])
        low, high = header["bounds"]
        grid = grid_of(header)
        seed, members = int(header["seed"]), header["members"]
        f = cls(int(header["step"]), int(header["horizon"]), (low, high), seasons, seed, grid, members)
        try:
            restore(f, header, arrays, None if values is None else np.asarray(values, np.float64))
        except KeyError as error:
            raise ValueError(f"saved forecaster: expected {error} as this version makes it, got none") from error
        return f

    def _levelled(self) -> Float:
        """The history as if each series had always been what it is now, ``[n, T]``."""
        return self._regimes.levelled(self._values)

    def _reach(self) -> Float:
        """How far each series may be forecast: as far as it has a history, in seconds."""
        there = np.isfinite(self._values)
        first = np.where(there.any(1), there.argmax(1), self._values.shape[1])
        reach = np.asarray((self._values.shape[1] - first) * self.step, np.float64)
        if not self._blocks:
            return reach
        near = self._blocks[0][1].terms.near
        return np.minimum(reach, near.ends[-1] * self.step) if near.cells < self.grid.cells else reach


def forecast(
    values: ArrayLike,
    *,
    start: ArrayLike = 0,
    step: int,
    horizon: int,
    seasons: tuple[int, ...] | None = None,
    bounds: tuple[float | None, float | None] | None = None,
    weights: ArrayLike | None = None,
    seed: int = 0,
    members: Sequence[str] | None = None,
) -> Forecast:
    """Forecast ``values [n, T]`` ``horizon`` steps ahead on their own grid.

    NaN is missing, a short history is NaN on the left. ``start``: unix seconds of column 0, one or ``[n]``; ``step``
    and ``seasons`` in seconds (None: found); ``bounds`` (low, high) of the data; ``weights [n, T]``: outcomes behind
    each point, a point with none is missing; ``members``: names of those to combine (None: all of the ensemble).

    Raises:
        ValueError: a wrong shape, a step or horizon below 1, or a name that no member has.

    >>> fc = forecast(np.arange(100.0)[None] % 24, step=3600, horizon=12)
    >>> fc.quantile([0.1, 0.5, 0.9]).shape
    (1, 3, 12)
    """
    if step < 1 or horizon < 1:
        raise ValueError(f"expected step >= 1 s and horizon >= 1 step, got {step} and {horizon}")
    v = np.array(values, dtype=np.float64)
    if weights is not None:
        w = np.asarray(weights, float)
        if w.shape != v.shape:
            raise ValueError(f"weights: expected the shape of values {v.shape}, got {w.shape}")
        v = np.where(w > 0, v, np.nan)
    grid = uniform_grid(int(step), int(horizon))
    f = Forecaster(int(step), int(step * horizon), bounds or (None, None), seasons, seed, grid, members)
    return f.fit(v, start).forecast()
