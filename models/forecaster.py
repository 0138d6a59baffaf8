"""The engine: fit on a block of series, update with new columns, forecast as sample paths.

Shapes: n series, T columns, K origins of the backtest (= sample paths), H cells of the grid.

A forecast is the members' combination from now, plus each error path that the same combination made from K origins in
the series' own past. Where a ramp is under way, a share of the paths follows the ramp instead (see models/ramp.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.anomaly import AnomalyScorer, Scores
from models.base import Array32, Origins
from models.calibration import EXAMPLES, Calibrator, Past
from models.ensemble import Combination, actuals, fit_combination, predict_now
from models.grid import MINUTE, Grid, nested_grid, uniform_grid, within_history
from models.library import CALM, RESTLESS_MEMORY, PathLibrary, build_library
from models.panel import Float, Index, Panel, clip_spikes, coarsen, fill, lengths_table, make_panel, row_centre
from models.paths import Forecast
from models.ramp import Ramp, RampReference, find_ramps, fit_reference, profile_between, ramp_paths, shapes_of
from models.recursions import cycle_mean, exponential_mean, from_profile
from models.seasons import find_seasons
from models.window import find_windows

PATHS = 96  # origins of the backtest and sample paths
ALIGNED = 0.5  # of the origins are at the present phase of the season: noise has its hours too
JITTER = 48  # parts of a season that aligned origins are apart where they share a cycle
RECENT = 1.6  # how much denser newer origins are than older ones: power of their distance
OLDEST_CYCLES, OLDEST_SHARE, OLDEST_MOST = 2, 0.3, 0.5  # of the history that no origin may be in: members need a past
BLOCK = 16  # series fitted at a time: bounds the memory
MIN_POINTS = 48  # observations below which a series has no forecast
RAMP_CELL = 5 * MINUTE  # ramps are looked for on cells of this width
BELIEVED = 0.5  # weight from which a ramp is followed: on wandering series, less is mostly nothing
OUTSIDE = 0.5  # of the range a series has had: how far beyond it a path that follows no ramp may go
PROFILE_SHARE = 0.15


@dataclass
class _Block:
    """What was learned about the series ``rows``; arrays as in the module's head."""

    rows: slice
    combinations: list[Combination]
    library: PathLibrary
    reference: RampReference | None


@dataclass(frozen=True)
class _Now:
    """What a block's series are like at the last column: ``base [n, H]``, the combined forecast; ``restless [n]``; the
    R ``ramps`` under way, with the ``profile [R, H]`` and its ``shapes [B, R, H]`` that they go on along.
    """

    base: Array32
    restless: Float
    ramps: Sequence[Ramp] = ()
    profile: Array32 = field(default_factory=lambda: np.empty((0, 0), np.float32))
    shapes: Float = field(default_factory=lambda: np.empty((0, 0, 0)))


@dataclass
class Forecaster:
    """Forecasts of n series that share a grid.

    ``step`` and ``horizon`` in seconds; ``bounds`` (low, high) of the data, either may be None; ``seasons`` in
    seconds (None: those found, and a day and a week where the history holds two), each used where the backtest favours
    it; ``grid`` overrides the nested grid.

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
    _values: Float = field(default_factory=lambda: np.empty((0, 0)), repr=False)
    _start: Index = field(default_factory=lambda: np.zeros(1, np.int64), repr=False)
    _blocks: list[_Block] = field(default_factory=list, repr=False)
    _now: list[_Now] = field(default_factory=list, repr=False)  # of each block; empty: not looked at since the update
    _fitted: int = 0
    _centre: Float = field(default_factory=lambda: np.empty((0, 1)), repr=False)
    _found: Index = field(default_factory=lambda: np.empty((0, 0), np.int64), repr=False)
    _history: Index = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    _windows: dict[int, Index] = field(default_factory=dict, repr=False)
    _past: list[Past] = field(default_factory=list, repr=False)
    _calibrator: Calibrator | None = field(default=None, repr=False)
    _scorer: AnomalyScorer | None = field(default=None, repr=False)
    _scores: Scores | None = field(default=None, repr=False)
    _near: Grid = field(default_factory=lambda: Grid(0, ()), repr=False)  # what the history allows of the grid

    def __post_init__(self) -> None:
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
        self._start = np.atleast_1d(np.asarray(start, np.int64)).copy()
        self._values, self._fitted = v, v.shape[1]
        self._scorer = AnomalyScorer(self.step, self.seasons)
        self._scores = self._scorer.run(v)
        self._centre = row_centre(v)
        self._near = within_history(self.grid, self._fitted)
        self._blocks, self._now, self._past = [], [], []
        self._calibrator = self._calibrate()
        if self._fitted < MIN_POINTS or not self._near.segments:
            return self
        there = np.isfinite(v)
        self._history = self._fitted - np.where(there.any(1), there.argmax(1), self._fitted)
        self._found = self._find_seasons()
        self._windows = {w: find_windows(coarsen(v, w)) for w in sorted(self._widths())}
        made = [self._fit_block(slice(a, min(a + BLOCK, len(v)))) for a in range(0, len(v), BLOCK)]
        self._blocks, self._now = [block for block, _ in made], [now for _, now in made]
        self._calibrator = self._calibrate()
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
        self._start = self._start + k * self.step
        self._now = []
        if self._scorer is not None and self._scores is not None:
            self._scorer = AnomalyScorer.from_arrays(
                self._scorer.to_arrays()
            )  # a copy of this forecaster may go on from the same state
            self._scores = self._scores.then(self._scorer.run(new), T)
        return self

    @property
    def end(self) -> int:
        """Unix seconds of the last column."""
        return int(self._start[0] + (self._values.shape[1] - 1) * self.step)

    @property
    def state(self) -> NDArray[np.str_]:
        """Per series, ``[n]``: ``ok``, ``insufficient_history`` (under 48 observations) or ``no_data``."""
        count = np.isfinite(self._values).sum(1)
        return np.where(count == 0, "no_data", np.where(count < MIN_POINTS, "insufficient_history", "ok"))

    def forecast(self) -> Forecast:
        """Paths from the last column on."""
        # As they are now: a later fit replaces them.
        blocks, H = self._blocks, self.grid.cells
        if not self._now:
            self._now = [self._look(b, self._panels(b.rows)) for b in blocks]
        parts = [self._forecast_block(b, now) for b, now in zip(blocks, self._now, strict=True)]
        paths = _joined([p for p, _ in parts], len(self._values), H)
        paths[self.state != "ok"] = np.nan
        follows = np.zeros(paths.shape[:2], np.bool_)
        if parts:
            follows[:] = np.concatenate([f for _, f in parts])
        lifts = self._lifts()

        def padded(above: bool, run: int) -> Array32 | None:
            parts = lifts(above, run)
            return None if parts is None else _joined(parts, len(paths), H)

        return Forecast(
            self._restored(paths),
            (self.grid.ends * self.step).astype(np.float64),
            self.end,
            self.step,
            self._values,
            self.state,
            self._reach(),
            padded,
            follows,
            self._calibrator or self._calibrate(),
            self.bounds,
        )

    def scores(self, last: int = 1, direction: str = "both") -> Float:
        """Anomaly scores of the ``last`` newest columns, ``[n, last]``: 1.0 = the alert threshold, NaN = not observed.

        ``direction``: both, above_expected or below_expected.
        """
        last = min(last, self._values.shape[1])
        if self._scores is None:
            return np.where(np.isfinite(self._values[:, self._values.shape[1] - last :]), 0.0, np.nan)
        found = self._scores.read(direction)
        return found[:, found.shape[1] - last :]

    def _find_seasons(self) -> Index:
        """Found seasons in steps ``[n, S]``."""
        if self.seasons is None:
            return find_seasons(self._values, self.step)
        return np.zeros((len(self._values), 0), np.int64)

    def _widths(self) -> set[int]:
        """Widths of the cells in use: those of the grid, and the step itself."""
        return {s.width for s in self._near.segments} | {1}

    def _lifts(self) -> Callable[[bool, int], list[Array32] | None]:
        """What turns paths into the extremes of their cells, block by block; None where every cell is a step.

        As they are now: a later fit replaces them.
        """
        blocks, near = self._blocks, self._near
        wide = bool(blocks) and bool((near.widths > 1).any())

        def of(above: bool, run: int) -> list[Array32] | None:
            return [b.library.lifts(near.widths, above, run) for b in blocks] if wide else None

        return of

    def _calibrate(self) -> Calibrator:
        starts = np.array(np.broadcast_to(self._start, len(self._values)))
        ends = starts + (self._fitted - 1) * self.step
        lifts = self._lifts()

        def of_series(above: bool, run: int) -> list[Array32] | None:
            parts = lifts(above, run)
            return None if parts is None else [row for part in parts for row in part]

        return Calibrator(self._past, ends, self.grid.ends, of_series)

    def _reach(self) -> Float:
        """How far each series may be forecast: as far as it has a history, in seconds."""
        there = np.isfinite(self._values)
        first = np.where(there.any(1), there.argmax(1), self._values.shape[1])
        reach = np.asarray((self._values.shape[1] - first) * self.step, np.float64)
        cut = self._near.cells < self.grid.cells
        return np.minimum(reach, self._near.widths.sum() * self.step) if cut and self._near.segments else reach

    def _centred(self, rows: slice) -> Float:
        """The values about their centres: single precision is then precise for a small noise on a large level."""
        return np.asarray(self._values[rows] - self._centre[rows])

    def _restored(self, paths: Array32) -> Array32:
        low, high = self.bounds
        paths = (paths + self._centre[:, None]).astype(np.float32)
        return paths if low is None and high is None else np.clip(paths, low, high)

    def _panel(self, rows: slice, width: int) -> Panel:
        found = self._found[rows]
        cells = np.where((found % width == 0) & (found >= 4 * width), found // width, 0)
        table = lengths_table(cells, self.seasons, self.step * width, self._history[rows] // width)
        windows = self._windows[width][rows] if width in self._windows else None
        return make_panel(self._centred(rows), self.step, width, table, windows)

    def _panels(self, rows: slice) -> dict[int, Panel]:
        """Panels by cell width."""
        return {w: self._panel(rows, w) for w in self._widths()}

    def _ramp_panel(self, rows: slice, panels: dict[int, Panel]) -> Panel:
        """The panel on which ramps are looked for, made from one of ``panels`` where that has the same cells."""
        width = max(1, RAMP_CELL // self.step)
        columns = self._fitted // width
        table = lengths_table(None, self.seasons, self.step * width, np.full(rows.stop - rows.start, columns))
        if width not in panels:
            return make_panel(self._centred(rows), self.step, width, table)
        like = panels[width]
        # Where gaps are filled from another season, the same cells have other values.
        differ = (table[:, 0] != like.lengths[:, 0]) & ~np.isfinite(like.observed).all(1)
        values = like.values
        if differ.any():
            values = values.copy()
            values[differ] = fill(clip_spikes(like.observed[differ]), np.ascontiguousarray(table[differ, 0]))
        return Panel(values, like.observed, like.step, table, np.zeros(len(values), np.int64))

    def _origins(self, lengths: Index, rows: slice) -> Origins:
        """Origins of the backtest in columns ``[n, K]``, oldest first, in line with the coarsest cells; 0 where a short
        history has fewer.
        """
        out = np.zeros((len(lengths), PATHS), np.int64)
        for i, columns in enumerate(self._history[rows]):
            back = _origins_back(int(columns), int(lengths[i, 0]), self._near.coarsest)
            out[i, PATHS - len(back) :] = self._fitted - back
        return out

    def _fit_block(self, rows: slice) -> tuple[_Block, _Now]:
        panels = self._panels(rows)
        origins = self._origins(panels[1].lengths, rows)
        combinations, residuals, centres = [], [], []
        for s in self._near.segments:
            panel = panels[s.width]
            at = np.where(origins > 0, panel.T - (self._fitted - origins) // s.width, 0)
            combination, backtest = fit_combination(panel, at, s.last)
            combinations.append(combination)
            residuals.append((actuals(panel, at, s.last) - backtest)[:, :, s.first :])
            centres.append(backtest[:, :, s.first :])
        residual = np.concatenate(residuals, axis=2)
        ramp_panel = self._ramp_panel(rows, panels)
        reference = fit_reference(ramp_panel)
        ramps = _believed(ramp_panel, reference, panels[1].windows)
        # Errors made while the present ramp began belong to the ramp, not to the noise around it.
        target = origins[:, :, None] + self._near.ends
        for ramp in ramps:
            residual[ramp.row, target[ramp.row] > self._fitted - ramp.onset / self.step] = np.nan
        deviation = _deviations(panels[1])
        restless = _restlessness(deviation)
        before = np.take_along_axis(restless, np.maximum(origins - 1, 0), axis=1)
        library = build_library(residual, deviation, origins, self._near.ends, self._history[rows], before, self.seed)
        self._remember(rows, library, np.concatenate(centres, 2))
        block = _Block(rows, combinations, library, reference)
        return block, self._look(block, panels, ramp_panel, ramps, restless[:, -1])

    def _remember(self, rows: slice, library: PathLibrary, centres: Array32) -> None:
        """Keep what the odds are calibrated on: forecasts from some of the origins, and the error paths."""
        for i, y in enumerate(self._centred(rows)):
            known = np.flatnonzero(library.origins[i] > 0)
            if len(known):
                known = known[np.unique(np.linspace(0, len(known) - 1, EXAMPLES).round().astype(np.int64))]
            padded = np.full((len(known), self.grid.cells), np.nan, np.float32)
            padded[:, : centres.shape[2]] = centres[i, known]
            level = float(self._centre[rows][i, 0])
            at, origins = library.origins[i, known], library.origins[i]
            self._past.append(Past(level, y, padded, at, library.residuals[i], origins))

    def _look(
        self,
        b: _Block,
        panels: dict[int, Panel],
        ramp_panel: Panel | None = None,
        ramps: list[Ramp] | None = None,
        restless: Float | None = None,
    ) -> _Now:
        """What a block's series are like at the last column; what is already known of that need not be found again."""
        base = np.concatenate(
            [
                predict_now(c, panels[s.width], s.last)[:, s.first :]
                for c, s in zip(b.combinations, self._near.segments, strict=True)
            ],
            axis=1,
        )
        if restless is None:
            restless = _restlessness(_deviations(panels[1]))[:, -1]
        if b.reference is None:
            return _Now(base, restless.copy())
        if ramp_panel is None:
            ramp_panel = self._ramp_panel(b.rows, panels)
        if ramps is None:
            ramps = _believed(ramp_panel, b.reference, panels[1].windows)
        if not ramps:
            return _Now(base, restless.copy())
        rows = [r.row for r in ramps]
        middle = self._middles()
        cells = int(np.ceil(self._near.ends[-1] * self.step / ramp_panel.step))
        profile = profile_between(ramp_panel.select(rows), ramp_panel.T, ramp_panel.T + cells)
        profile = profile[:, np.clip((middle / ramp_panel.step).astype(np.int64), 0, cells - 1)]
        return _Now(
            base, restless.copy(), ramps, profile, shapes_of(profile, b.reference.low[rows], b.reference.high[rows])
        )

    def _forecast_block(self, b: _Block, now: _Now) -> tuple[Array32, NDArray[np.bool_]]:
        """Paths ``[n, K, H]``, and which of them follow a ramp ``[n, K]``."""
        residual = b.library.stretched(now.restless)
        paths = _within_reason(now.base[:, None] + residual, self._centred(b.rows), self._centre[b.rows])
        follows = np.zeros(paths.shape[:2], np.bool_)
        for j, ramp in enumerate(now.ramps):
            path = ramp_paths(ramp, now.shapes[:, j], self._middles(), paths.shape[1], self.seed)
            path += now.profile[j]
            use = np.isfinite(path).all(1)  # rows of NaN: paths that do not follow the ramp
            paths[ramp.row, use] = path[use] + residual[ramp.row, use]
            follows[ramp.row, use] = True
        return paths, follows

    def _middles(self) -> Float:
        """Middle of each cell in seconds ahead, ``[H]``."""
        return np.asarray((self._near.ends - (self._near.widths - 1) / 2) * self.step, np.float64)


def _believed(panel: Panel, reference: RampReference | None, windows: Index) -> list[Ramp]:
    """The ramps to follow; not in a trailing mean, which rises while a bad hour leaves its window."""
    found = find_ramps(panel, reference)
    return [ramp for ramp in found if ramp.weight >= BELIEVED and not windows[ramp.row]]


def _origins_back(columns: int, season: int, width: int) -> Index:
    """How many columns before the end the origins of a history of ``columns`` are, farthest first; multiples of
    ``width``, about half of them whole seasons.
    """
    oldest = int(min(max(OLDEST_CYCLES * season, OLDEST_SHARE * columns), OLDEST_MOST * columns))
    most = (columns - max(oldest, width)) // width
    if most < 1:
        return np.empty(0, np.int64)
    aligned = np.empty(0, np.int64)
    if season and season % width == 0:
        cycle = season // width
        cycles = max(1, most // cycle)
        each = max(1, int(np.ceil(PATHS * ALIGNED / cycles)))
        each += 1 - each % 2
        jitter = (np.arange(each) - each // 2) * max(1, cycle // JITTER)
        aligned = (np.arange(1, cycles + 1)[:, None] * cycle + jitter).ravel()
        aligned = aligned[(aligned >= 1) & (aligned <= most)][:PATHS]
    spread = np.linspace(0, 1, max(1, PATHS - len(aligned))) ** RECENT
    both = np.concatenate([aligned, np.round(1 + (most - 1) * spread).astype(np.int64)])
    return np.unique(both)[::-1][-PATHS:] * width


def _deviations(panel: Panel) -> Float:
    """Observations from what the profile of the shortest season (without one: the last value) said, ``[n, T]``."""
    out = np.full(panel.observed.shape, np.nan)
    for i, season in enumerate(panel.season(0)):
        y = panel.values[i]
        if season and panel.T - panel.first[i] > 2 * season:
            # Not smoothed: where the profile is steep, a smooth one would lend its slope to the noise.
            expected = y - from_profile(y, cycle_mean(y, int(season), PROFILE_SHARE), int(season), 0)
        else:
            expected = np.concatenate([[np.nan], y[:-1]])
        out[i] = panel.observed[i] - expected
    return out


def _restlessness(deviation: Float) -> Float:
    """Recent mean absolute deviation, never far below that of all, ``[n, T]``."""
    size = np.abs(deviation)
    there = np.isfinite(size)
    mean = np.where(there, size, 0).sum(1) / np.maximum(there.sum(1), 1)
    recent = np.stack([exponential_mean(row, RESTLESS_MEMORY) for row in size]) if len(size) else size
    now = np.where(np.isfinite(recent), recent, mean[:, None])
    return np.asarray(now + CALM * mean[:, None] + 1e-30)


def _within_reason(paths: Array32, centred: Float, centre: Float) -> Array32:
    """Paths ``[n, K, H]`` that go no further beyond the past than OUTSIDE of its range, nor below 0 if it never did."""
    low, high = np.fmin.reduce(centred, axis=1), np.fmax.reduce(centred, axis=1)
    room = OUTSIDE * (high - low)
    floor = np.where(low + centre[:, 0] >= 0, np.maximum(low - room, -centre[:, 0]), low - room)
    return np.clip(paths, floor[:, None, None], (high + room)[:, None, None]).astype(np.float32)


def _joined(blocks: list[Array32], n: int, cells: int) -> Array32:
    """The blocks' ``[., K, .]`` in one ``[n, K, cells]``; NaN in the cells (or series) that they do not have."""
    out = np.full((n, blocks[0].shape[1] if blocks else PATHS, cells), np.nan, np.float32)
    if blocks:
        out[:, :, : blocks[0].shape[2]] = np.concatenate(blocks)
    return out


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
) -> Forecast:
    """Forecast ``values [n, T]`` ``horizon`` steps ahead on their own grid.

    NaN is missing, a short history is NaN on the left. ``start``: unix seconds of column 0, one or ``[n]``; ``step``
    and ``seasons`` in seconds (None: found); ``bounds`` (low, high) of the data; ``weights [n, T]``: outcomes behind
    each point, a point with none is missing.

    Raises:
        ValueError: a wrong shape, or a step or horizon below 1.

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
    f = Forecaster(int(step), int(step * horizon), bounds or (None, None), seasons, seed, grid)
    return f.fit(v, start).forecast()
