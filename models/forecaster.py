"""The engine: fit on a block of series, update with new columns, forecast as sample paths.

Shapes: n series, T columns, K origins of the backtest (= sample paths), H cells of the grid.

A forecast is the members' combination from now, plus each error path that the same combination made from K origins in
the series' own past. Where a ramp is under way, a share of the paths follows the ramp instead (see models/ramp.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.anomaly import AnomalyScorer
from models.base import Array32, Origins
from models.ensemble import Combination, actuals, fit_combination, predict_now
from models.grid import DAY, MINUTE, Grid, nested_grid, uniform_grid, within_history
from models.library import PathLibrary, build_library
from models.panel import Float, Panel, make_panel, row_centre
from models.paths import Forecast
from models.ramp import Ramp, RampReference, find_ramps, fit_reference, profile_between, ramp_paths, shapes_of

PATHS = 96  # origins of the backtest and sample paths
BLOCK = 16  # series fitted at a time: bounds the memory
MIN_POINTS = 48  # observations below which a series has no forecast
RAMP_CELL = 5 * MINUTE  # ramps are looked for on cells of this width
BELIEVED = 0.5  # weight from which a ramp's own errors are left out of the library
RECENT = 1440  # observations kept for "already in breach"


@dataclass
class _Block:
    """What was learned about the series ``rows``; arrays as in the module's head."""

    rows: slice
    combinations: list[Combination]
    library: PathLibrary
    reference: RampReference | None
    scorer: AnomalyScorer


@dataclass
class Forecaster:
    """Forecasts of n series that share a grid.

    ``step`` and ``horizon`` in seconds; ``bounds`` (low, high) of the data, either may be None; ``seasons`` in
    seconds (None: a day and a week, each used where the backtest favours it); ``grid`` overrides the nested grid.

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
    _start: int = 0
    _blocks: list[_Block] = field(default_factory=list, repr=False)
    _fitted: int = 0
    _centre: Float = field(default_factory=lambda: np.empty((0, 1)), repr=False)
    _near: Grid = field(default_factory=lambda: Grid(0, ()), repr=False)  # what the history allows of the grid

    def __post_init__(self) -> None:
        if not self.grid.segments:
            self.grid = nested_grid(self.step, self.horizon)

    def fit(self, values: ArrayLike, start: int) -> Forecaster:
        """Learn from ``values [n, T]`` (NaN = missing) whose column 0 is at ``start`` unix seconds; returns self.

        Raises:
            ValueError: not a two-dimensional array, or no column.
        """
        v = np.array(values, dtype=np.float64)
        if v.ndim != 2 or v.shape[1] < 1:
            raise ValueError(f"values: expected an array [n, T] with T >= 1, got shape {v.shape}")
        v[~np.isfinite(v)] = np.nan
        self._values, self._start, self._fitted = v, int(start), v.shape[1]
        self._centre = row_centre(v)
        self._near = within_history(self.grid, self._fitted)
        if self._fitted < MIN_POINTS or not self._near.segments:
            self._blocks = []
            return self
        self._blocks = [self._fit_block(slice(a, min(a + BLOCK, len(v)))) for a in range(0, len(v), BLOCK)]
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
        self._start += k * self.step
        return self

    @property
    def end(self) -> int:
        """Unix seconds of the last column."""
        return int(self._start + (self._values.shape[1] - 1) * self.step)

    @property
    def state(self) -> NDArray[np.str_]:
        """Per series, ``[n]``: ``ok``, ``insufficient_history`` (under 48 observations) or ``no_data``."""
        count = np.isfinite(self._values).sum(1)
        return np.where(count == 0, "no_data", np.where(count < MIN_POINTS, "insufficient_history", "ok"))

    def forecast(self) -> Forecast:
        """Paths from the last column on."""
        # As they are now: a later fit replaces them.
        blocks, near, centre, H = self._blocks, self._near, self._centre, self.grid.cells
        parts = [self._forecast_block(b) for b in blocks]
        centres = [c for _, c in parts]
        paths = _joined([p for p, _ in parts], len(self._values), H)
        paths[self.state != "ok"] = np.nan

        def extremes(above: bool, run: int) -> Array32:
            out = [np.add(c, b.library.extremes(near.widths, above, run)) for c, b in zip(centres, blocks, strict=True)]
            return self._restored(_joined(out, len(paths), H), centre)

        recent = self._values[:, -RECENT:]
        return Forecast(
            self._restored(paths, centre),
            (self.grid.ends * self.step).astype(np.float64),
            self.end,
            self.step,
            recent,
            self.state,
            self._reach(),
            extremes,
        )

    def scores(self, last: int = 1, direction: str = "both") -> Float:
        """Anomaly scores of the ``last`` newest columns, ``[n, last]``: 1.0 = the alert threshold, NaN = not observed.

        ``direction``: both, above_expected or below_expected.
        """
        last = min(last, self._values.shape[1])
        newest = self._values[:, self._values.shape[1] - last :]
        out = np.where(np.isfinite(newest), 0.0, np.nan)
        for b in self._blocks:
            panel = make_panel(self._centred(b.rows), self.step, 1, self.seasons)
            out[b.rows] = b.scorer.score(panel, last, direction)
        return out

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

    def _restored(self, paths: Array32, centre: Float) -> Array32:
        low, high = self.bounds
        paths = (paths + centre[:, None]).astype(np.float32)
        return paths if low is None and high is None else np.clip(paths, low, high)

    def _panels(self, rows: slice) -> dict[int, Panel]:
        """Panels by cell width: those of the grid and the one for ramps."""
        widths = {s.width for s in self._near.segments} | {self._ramp_width, 1}
        return {w: make_panel(self._centred(rows), self.step, w, self.seasons) for w in widths}

    @property
    def _ramp_width(self) -> int:
        return max(1, RAMP_CELL // self.step)

    def _origins(self) -> Origins:
        """Origins of the backtest in columns, oldest first, in line with the coarsest cells; none twice."""
        T, w = self._fitted, self._near.coarsest
        oldest = max(min(2 * DAY // self.step, T // 2), T * 3 // 10, w)
        back = np.unique(np.round(np.linspace(1, max(1, (T - oldest) // w), PATHS)).astype(np.int64))
        origins = (T - back * w)[::-1]
        return origins[origins >= max(1, w)]

    def _fit_block(self, rows: slice) -> _Block:
        panels = self._panels(rows)
        origins = self._origins()
        combinations, residuals = [], []
        for s in self._near.segments:
            panel = panels[s.width]
            at = panel.T - (self._fitted - origins) // s.width
            combination, backtest = fit_combination(panel, at, s.last)
            combinations.append(combination)
            residuals.append((actuals(panel, at, s.last) - backtest)[:, :, s.first :])
        reference = fit_reference(panels[self._ramp_width])
        residual = np.concatenate(residuals, axis=2)
        # Errors made while the present ramp began belong to the ramp, not to the noise around it.
        target = origins[:, None] + self._near.ends
        for ramp in find_ramps(panels[self._ramp_width], reference):
            if ramp.weight < BELIEVED:
                continue
            residual[ramp.row, target > self._fitted - ramp.onset / self.step] = np.nan
        profile = profile_between(panels[1], 0, panels[1].T)
        deviation = self._centred(rows) - np.where(np.isfinite(profile), profile, panels[1].hourly[0])
        library = build_library(residual, deviation, origins, self._near.ends, self.seed)
        scorer = AnomalyScorer(self.seasons).fit(panels[1])
        return _Block(rows, combinations, library, reference, scorer)

    def _forecast_block(self, b: _Block) -> tuple[Array32, Array32]:
        """Paths ``[n, K, H]`` and the centres ``[n, K, H]`` around which they are drawn."""
        panels = self._panels(b.rows)
        base = np.concatenate(
            [
                predict_now(c, panels[s.width], s.last)[:, s.first :]
                for c, s in zip(b.combinations, self._near.segments, strict=True)
            ],
            axis=1,
        )
        residual = b.library.residuals
        centre = np.repeat(base[:, None], residual.shape[1], axis=1)
        ramps = find_ramps(panels[self._ramp_width], b.reference)
        if ramps and b.reference is not None:
            self._follow(centre, ramps, b.reference, panels)
        return centre + residual, centre

    def _follow(self, centre: Array32, ramps: list[Ramp], reference: RampReference, panels: dict[int, Panel]) -> None:
        """Replace a share of the paths' centres (the ramp's weight) by the profile plus the ramp, in place."""
        rows = [r.row for r in ramps]
        profile = np.concatenate(
            [
                profile_between(panels[s.width].select(rows), panels[s.width].T + s.first, panels[s.width].T + s.last)
                for s in self._near.segments
            ],
            axis=1,
        )
        shapes = shapes_of(profile, reference.low[rows], reference.high[rows])
        offsets = (self._near.ends - (self._near.widths - 1) / 2) * self.step
        for j, ramp in enumerate(ramps):
            path = profile[j] + ramp_paths(ramp, shapes[:, j], offsets, centre.shape[1], self.seed)
            use = np.isfinite(path)  # rows of NaN: paths that do not follow the ramp
            centre[ramp.row] = np.where(use, path, centre[ramp.row])


def _joined(blocks: list[Array32], n: int, cells: int) -> Array32:
    """The blocks' ``[., K, .]`` in one ``[n, K, cells]``; NaN in the cells (or series) that they do not have."""
    out = np.full((n, blocks[0].shape[1] if blocks else PATHS, cells), np.nan, np.float32)
    if blocks:
        out[:, :, : blocks[0].shape[2]] = np.concatenate(blocks)
    return out


def forecast(
    values: ArrayLike,
    *,
    start: float = 0,
    step: int,
    horizon: int,
    seasons: tuple[int, ...] | None = None,
    bounds: tuple[float | None, float | None] | None = None,
    weights: ArrayLike | None = None,
    seed: int = 0,
) -> Forecast:
    """Forecast ``values [n, T]`` ``horizon`` steps ahead on their own grid.

    NaN is missing, a short history is NaN on the left. ``start``: unix seconds of column 0; ``step`` and ``seasons``
    in seconds (None: found); ``bounds`` (low, high) of the data; ``weights [n, T]``: outcomes behind each point, a
    point with none is missing.

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
    return f.fit(v, int(start)).forecast()
