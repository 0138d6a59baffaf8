"""What is learned about a few series at a time, and the paths that follow from it.

A forecast is the members' combination from now, plus each error path that the same combination made from K origins in
the series' own past. Where a ramp is under way, a share of the paths follows the ramp instead (see models/ramp.py).

Shapes: n series, T columns, K origins of the backtest (= sample paths), H cells of the grid within the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.base import Array32
from models.ensemble import Combination, actuals, fit_combination, predict_now
from models.examples import EXAMPLES, Past
from models.grid import MINUTE, Grid
from models.library import PathLibrary, build_library
from models.origins import choose_origins
from models.panel import Float, Index, Panel, clip_spikes, coarsen, fill, lengths_table, make_panel, row_centre
from models.ramp import Ramp, find_ramps, ramp_paths
from models.ramp_reference import RampReference, fit_reference, shapes_of
from models.restless import deviations, restlessness, volatility
from models.seasons import find_seasons
from models.trend import NEWEST, find_trends, profile_without_trends
from models.window import find_windows

RAMP_CELL = 5 * MINUTE  # ramps are looked for on cells of this width
# Weights from which a ramp and a steady trend are followed: on wandering series, less is mostly nothing.
BELIEVED, TREND_BELIEVED = 0.75, 0.5
OUTSIDE = 0.5  # of the range a series has had: how far beyond it a path that follows no ramp may go


@dataclass(frozen=True)
class Terms:
    """What all blocks of a forecaster share: ``near`` is what a history of ``fitted`` columns allows of its grid;
    ``step`` and ``seasons`` (None: found) in seconds; ``members``: names of those to combine, None: all.
    """

    step: int
    seasons: tuple[int, ...] | None
    seed: int
    near: Grid
    fitted: int
    members: Sequence[str] | None = None

    @property
    def widths(self) -> set[int]:
        """Widths of the cells in use: those of the grid, and the step itself."""
        return {s.width for s in self.near.segments} | {1}

    @property
    def middles(self) -> Float:
        """Middle of each cell in seconds ahead, ``[H]``."""
        return np.asarray((self.near.ends - (self.near.widths - 1) / 2) * self.step, np.float64)


@dataclass(frozen=True)
class About:
    """What the series of a block are like: ``centre [n, 1]`` of their values, ``history [n]`` in columns, ``found
    [n, S]`` seasons in steps, ``windows``: by width of cells ``[n]`` cells of the trailing mean that they are.
    """

    centre: Float
    history: Index
    found: Index
    windows: dict[int, Index]

    def select(self, rows: Index | slice) -> About:
        """The same of some of the series."""
        windows = {width: w[rows] for width, w in self.windows.items()}
        return About(self.centre[rows], self.history[rows], self.found[rows], windows)


@dataclass(frozen=True)
class Block:
    """What was learned about n series."""

    terms: Terms
    about: About
    combinations: tuple[Combination, ...]
    library: PathLibrary
    reference: RampReference | None
    past: tuple[Past, ...]

    def select(self, rows: Index) -> Block:
        """The same of some of the series."""
        return Block(
            self.terms,
            self.about.select(rows),
            tuple(c.select(rows) for c in self.combinations),
            self.library.select(rows),
            None if self.reference is None else self.reference.select(rows),
            tuple(self.past[i] for i in rows),
        )


@dataclass(frozen=True)
class Now:
    """What a block's series are like at the last column: ``base [n, H]``, the combined forecast; ``restless, volatile
    [n]``; the R ``ramps`` under way, with the ``profile [R, H]`` and its ``shapes [B, R, H]`` that they go on along.
    """

    base: Array32
    restless: Float
    volatile: Float
    ramps: Sequence[Ramp] = ()
    profile: Array32 = field(default_factory=lambda: np.empty((0, 0), np.float32))
    shapes: Float = field(default_factory=lambda: np.empty((0, 0, 0)))


def describe(values: Float, terms: Terms) -> About:
    """What there is to say about ``values [n, T]`` before any model."""
    there = np.isfinite(values)
    history = terms.fitted - np.where(there.any(1), there.argmax(1), terms.fitted)
    found = np.zeros((len(values), 0), np.int64) if terms.seasons is not None else find_seasons(values, terms.step)
    windows = {w: find_windows(coarsen(values, w)) for w in sorted(terms.widths)}
    return About(row_centre(values), history, found, windows)


def fit_block(values: Float, terms: Terms, about: About, raw: Float, told: Float) -> tuple[Block, Now]:
    """Learn from ``values [n, T]``, levelled (see models/regimes.py), what the members expect, from them ``raw`` where
    they ramp, and from them ``told``, with their excursions, how wrong that was; what they are like at their end comes
    with it.
    """
    made = panels(values, terms, about)
    origins = choose_origins(made[1].lengths[:, 0], about.history, terms.near.coarsest, terms.fitted)
    combinations, residuals, centres = [], [], []
    for s in terms.near.segments:
        panel = made[s.width]
        at = np.where(origins > 0, panel.T - (terms.fitted - origins) // s.width, 0)
        combination, backtest = fit_combination(panel, at, s.last, terms.members)
        combinations.append(combination)
        came = actuals(coarsen(told - about.centre, s.width), at, s.last)
        residuals.append((came - backtest)[:, :, s.first :])
        centres.append(backtest[:, :, s.first :])
    residual = np.concatenate(residuals, axis=2)
    ramp_panel = _ramp_panel(values, terms, about, made, raw)
    reference = fit_reference(ramp_panel)
    ramps = _believed(ramp_panel, reference, made[1].windows)
    # Errors made while the present ramp began belong to the ramp, not to the noise around it.
    target = origins[:, :, None] + terms.near.ends
    for ramp in ramps:
        if ramp.lasts is None:
            residual[ramp.row, target[ramp.row] > terms.fitted - ramp.began / terms.step] = np.nan
    deviation = deviations(made[1])
    unrest = restlessness(deviation), volatility(deviation)
    before, volatile = (np.take_along_axis(a, np.maximum(origins - 1, 0), axis=1) for a in unrest)
    library = build_library(residual, deviation, origins, terms.near.ends, about.history, before, volatile, terms.seed)
    past = _examples(values, about, library, np.concatenate(centres, 2))
    block = Block(terms, about, tuple(combinations), library, reference, past)
    return block, look(block, values, raw, made, ramp_panel, ramps, unrest)


def look(
    b: Block,
    values: Float,
    raw: Float | None = None,
    made: dict[int, Panel] | None = None,
    ramp_panel: Panel | None = None,
    ramps: list[Ramp] | None = None,
    unrest: tuple[Float, Float] | None = None,
) -> Now:
    """What a block's series are like at the end of ``values``, levelled, and ``raw`` (None: the same); what is known of
    that already is not found again.
    """
    terms = b.terms
    if made is None:
        made = panels(values, terms, b.about)
    base = np.concatenate(
        [
            predict_now(c, made[s.width], s.last)[:, s.first :]
            for c, s in zip(b.combinations, terms.near.segments, strict=True)
        ],
        axis=1,
    )
    if unrest is None:
        deviation = deviations(made[1])
        unrest = restlessness(deviation), volatility(deviation)
    if ramp_panel is None:
        ramp_panel = _ramp_panel(values, terms, b.about, made, raw)
    if ramps is None:
        ramps = _believed(ramp_panel, b.reference, made[1].windows)
    lately, volatile = (a[:, -1].copy() for a in unrest)
    if not ramps:
        return Now(base, lately, volatile)
    for ramp in ramps:
        if ramp.lasts is None:  # what deviates is the ramp, which the paths follow
            lately[ramp.row] = unrest[0][ramp.row, max(0, values.shape[1] - 1 - int(ramp.began // terms.step))]
    rows = [r.row for r in ramps]
    cells = int(np.ceil(terms.near.ends[-1] * terms.step / ramp_panel.step))
    profile = profile_without_trends(ramp_panel, ramps, ramp_panel.T, ramp_panel.T + cells)
    profile = profile[:, np.clip((terms.middles / ramp_panel.step).astype(np.int64), 0, cells - 1)]
    normal = np.zeros((2, len(rows))) if b.reference is None else (b.reference.low[rows], b.reference.high[rows])
    shapes = shapes_of(profile, *normal)
    return Now(base, lately, volatile, ramps, profile, shapes)


def paths_of(b: Block, values: Float, now: Now, raw: Float) -> tuple[Array32, NDArray[np.bool_]]:
    """Paths about the centres ``[n, K, H]``, and which of them follow a ramp ``[n, K]``; ``values`` and ``raw`` as in
    :func:`look`.
    """
    residual = b.library.stretched(now.restless, now.volatile)
    paths = _within_reason(now.base[:, None] + residual, values - b.about.centre, b.about.centre, raw)
    follows = np.zeros(paths.shape[:2], np.bool_)
    for j, ramp in enumerate(now.ramps):
        path = ramp_paths(ramp, now.shapes[:, j], b.terms.middles, paths.shape[1], b.terms.seed)
        path += now.profile[j]
        use = np.isfinite(path).all(1)  # rows of NaN: paths that do not follow the ramp
        error = residual[ramp.row]
        if ramp.lasts is not None:
            error = error - np.median(error, axis=0)  # what the members lagged behind the trend is not its error
        paths[ramp.row, use] = path[use] + error[use]
        follows[ramp.row, use] = True
    return paths, follows


def panels(values: Float, terms: Terms, about: About) -> dict[int, Panel]:
    """Panels of ``values [n, T]`` by the width of their cells.

    The values are taken about their centres: single precision is then precise for a small noise on a large level.
    """
    out = {}
    for width in terms.widths:
        cells = np.where((about.found % width == 0) & (about.found >= 4 * width), about.found // width, 0)
        table = lengths_table(cells, terms.seasons, terms.step * width, about.history // width)
        out[width] = make_panel(values - about.centre, terms.step, width, table, about.windows.get(width))
    return out


def _ramp_panel(values: Float, terms: Terms, about: About, made: dict[int, Panel], raw: Float | None) -> Panel:
    """The panel on which ramps are looked for, from one of those ``made`` where that has the same cells."""
    width = max(1, RAMP_CELL // terms.step)
    columns = terms.fitted // width
    table = lengths_table(None, terms.seasons, terms.step * width, np.full(len(values), columns))
    if width not in made or (raw is not None and not np.array_equal(values, raw, equal_nan=True)):
        return make_panel((values if raw is None else raw) - about.centre, terms.step, width, table)
    like = made[width]
    # Where gaps are filled from another season, the same cells have other values.
    differ = (table[:, 0] != like.lengths[:, 0]) & ~np.isfinite(like.observed).all(1)
    filled = like.values
    if differ.any():
        filled = filled.copy()
        filled[differ] = fill(clip_spikes(like.observed[differ]), np.ascontiguousarray(table[differ, 0]))
    return Panel(filled, like.observed, like.step, table, np.zeros(len(filled), np.int64))


def _believed(panel: Panel, reference: RampReference | None, windows: Index) -> list[Ramp]:
    """The ramps to follow, and where there is none the steady trends; neither in a trailing mean, which rises while a
    bad hour leaves its window.
    """
    ramps = [r for r in find_ramps(panel, reference) if r.weight >= BELIEVED]
    taken = {r.row for r in ramps}
    if panel.T >= NEWEST:
        trends = find_trends(panel)
        ramps += [r for r in trends if r.weight >= TREND_BELIEVED and r.row not in taken]
    return [r for r in ramps if not windows[r.row]]


def _examples(values: Float, about: About, library: PathLibrary, centres: Array32) -> tuple[Past, ...]:
    """What the odds are calibrated on: forecasts from some of the origins, and the error paths."""
    out = []
    for i, y in enumerate(values - about.centre):
        known = np.flatnonzero(library.origins[i] > 0)
        if len(known):
            known = known[np.unique(np.linspace(0, len(known) - 1, EXAMPLES).round().astype(np.int64))]
        level = float(about.centre[i, 0])
        at, origins = library.origins[i, known], library.origins[i]
        out.append(Past(level, y, centres[i, known], at, library.residuals[i], origins))
    return tuple(out)


def _within_reason(paths: Array32, centred: Float, centre: Float, raw: Float) -> Array32:
    """Paths ``[n, K, H]`` that go no further beyond the past than OUTSIDE of its range, nor below 0 if ``raw`` never
    did: a higher level that is brought to a lower one may.
    """
    low, high = np.fmin.reduce(centred, axis=1), np.fmax.reduce(centred, axis=1)
    room = OUTSIDE * (high - low)
    floor = np.where(np.fmin.reduce(raw, axis=1) >= 0, np.maximum(low - room, -centre[:, 0]), low - room)
    return np.clip(paths, floor[:, None, None], (high + room)[:, None, None]).astype(np.float32)
