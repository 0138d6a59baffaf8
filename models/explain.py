"""Why the forecast is what it is: parts in the unit of the series that add up to its median, and who said what.

The median is laid against what an operator would name. The *level* is where the series is now without its rhythm. Each
*season* adds what past cycles had at that phase, over their mean. The *trend* is the straight line in what is left: a
ramp, a drift. The *rest* is everything else: a deviation that fades, a peak that is expected smaller, the members'
disagreement. How much of a season, and how much slope, is least squares, drawn towards the whole season and no slope
where the horizon is too short to tell them apart.

Shapes: n series, S seasons, M members, H cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.block import Block, panels
from models.ensemble import predict_all
from models.panel import MOST_SEASONS, Float, Index, Panel
from models.paths import Forecast

CYCLES = 7  # that make a profile, or as many as there are
PULL = 0.05  # towards a whole season and no slope, as a share of what the horizon has to say
NEWEST = 12  # points whose median deviation from the rhythm is the level


@dataclass(frozen=True)
class Explanation:
    """Parts of the median forecast; ``offsets [H]`` seconds after the origin.

    ``level [n]``; ``trend, rest, median [n, H]``; ``seasonal [n, S, H]`` of the ``seasons [n, S]`` in seconds (0:
    none), and ``seasonal_now [n, S]`` at the origin. ``level + trend + seasonal.sum(1) + rest`` is the median; NaN
    where there is no forecast. ``members``: names; ``weights, said [n, M, H]``: how much each counts, and what it
    forecasts.
    """

    offsets: Float
    level: Float
    trend: Float
    seasonal: Float
    seasonal_now: Float
    rest: Float
    median: Float
    seasons: Index
    members: tuple[str, ...]
    weights: Float
    said: Float


def explain(forecast: Forecast, past: Float, blocks: list[tuple[Index, Block]]) -> Explanation:
    """Take ``forecast`` apart; ``past [n, T]``: the history that it was made from, ``blocks``: of its forecaster."""
    n, H = forecast.paths.shape[::2]
    median = forecast.quantile([0.5])[:, 0]
    names = tuple(dict.fromkeys(m.name for _, block in blocks for c in block.combinations for m in c.members))
    seasons = MOST_SEASONS
    out = Explanation(
        forecast.offsets,
        np.full(n, np.nan),
        np.full((n, H), np.nan),
        np.zeros((n, seasons, H)),
        np.zeros((n, seasons)),
        np.full((n, H), np.nan),
        median,
        np.zeros((n, seasons), np.int64),
        names,
        np.zeros((n, len(names), H)),
        np.full((n, len(names), H), np.nan),
    )
    for rows, block in blocks:
        made = panels(past[rows], block.terms, block.about)
        _who_said_what(out, rows, block, made)
        for j, i in enumerate(rows):
            if np.isfinite(median[i]).any():
                _take_apart(out, int(i), made[1], j, float(block.about.centre[j, 0]), block)
    return out


def _who_said_what(out: Explanation, rows: Index, block: Block, made: dict[int, Panel]) -> None:
    first = 0
    for s, c in zip(block.terms.near.segments, block.combinations, strict=True):
        panel = made[s.width]
        now = np.full((panel.n, 1), panel.T, np.int64)
        said = predict_all((c.members, c.fitted), panel, now, s.last)[:, :, 0, s.first :]
        cells = slice(first, first + s.cells)
        for m, member in enumerate(c.members):
            place = out.members.index(member.name)
            known = np.isfinite(said[m])
            out.said[rows, place, cells] = said[m] + block.about.centre
            out.weights[rows, place, cells] = np.where(known, c.weights[:, m, s.first :], 0)
        first = cells.stop
    total = out.weights[rows].sum(1, keepdims=True)
    out.weights[rows] /= np.where(total > 0, total, 1)


def _take_apart(out: Explanation, i: int, panel: Panel, row: int, centre: float, block: Block) -> None:
    """Fill in the parts of series ``i``, which is ``row`` of the panel."""
    y = panel.values[row, int(panel.first[row]) :]
    lengths = [length for length in panel.seasons_of(row) if 2 * length <= len(y)]
    ahead = np.asarray(block.terms.near.ends - (block.terms.near.widths + 1) / 2, np.float64)
    at = np.clip(ahead.astype(np.int64), 0, None)
    rest_of_past = y.copy()
    columns, present = [], []
    for length in lengths:
        profile = _profile(rest_of_past, length)
        phase = (np.arange(len(y)) - len(y)) % length
        rest_of_past = rest_of_past - profile[phase]
        columns.append(profile[at % length])
        present.append(profile[-1])
    level = float(np.median(rest_of_past[-NEWEST:]))
    H = len(at)
    median = out.median[i, :H] - centre
    known = np.isfinite(median)
    slope = np.linspace(0, 1, H + 1)[1:] * float(np.abs(median[known] - level).max(initial=0))
    X, whole = np.column_stack([*columns, slope]), np.array([1.0] * len(columns) + [0.0])
    gram = X[known].T @ X[known]
    pull = PULL * np.diag(gram) + 1e-12 * float((median[known] ** 2).sum()) + 1e-300
    share = np.linalg.solve(gram + np.diag(pull), X[known].T @ (median[known] - level) + pull * whole)
    share[:-1] = np.clip(share[:-1], 0, 1.5)
    out.level[i] = level + centre
    for s, length in enumerate(lengths):
        out.seasons[i, s] = length * panel.step
        out.seasonal[i, s, :H] = share[s] * columns[s]
        out.seasonal_now[i, s] = share[s] * present[s]
    out.trend[i, :H] = share[-1] * slope
    out.rest[i, :H] = median - level - out.trend[i, :H] - out.seasonal[i, :, :H].sum(0)


def _profile(y: Float, length: int) -> Float:
    """What the last cycles had at each phase over their own mean, by the median, ``[length]``; the last phase is that
    of the last column. A cycle in which something happened counts as one among many.
    """
    cycles = y[len(y) % length :].reshape(-1, length)[-CYCLES:]
    middle = np.median(cycles - cycles.mean(axis=1, keepdims=True), axis=0)
    return np.asarray(middle - middle.mean())
