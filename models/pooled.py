"""A pooled reference member: one ridge regression of scikit-learn for all series of the panel.

Each cell ahead is a regression on what a series did before its origin, in units of its own scale about its last value:
the same phase in the last cycles of each season, recent means, the newest changes. The coefficients, one set for each
bucket of horizon (1, 2-3, 4-7 ... cells), are learned at a few columns of the panel (KNOTS), from targets before them.
Source of the idea: Montero-Manso & Hyndman (2021), Principles and algorithms for forecasting groups of time series,
International Journal of Forecasting 37.

Shapes: n series, T columns, K origins, H cells, F features, B buckets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.base import Array32, Fitted, Member, Origins
from models.panel import MOST_SEASONS, Float, Panel
from models.recursions import exponential_mean

KNOTS = (0.25, 0.5, 0.75, 1.0)  # of the panel: columns before which the coefficients are learned
BUCKETS = 12  # 1, 2-3 ... 2048 cells and more
MEMORIES = (4.0, 16.0, 64.0, 1e9)  # of the recent means, in columns
LAGS = (1, 2, 3)
CYCLES = 2  # of each season, newest first, at the phase of the target
SAMPLES = 100  # origins that a bucket learns from, per series
FEWEST = 24  # columns before an origin
FEATURES = len(MEMORIES) + len(LAGS) + MOST_SEASONS * CYCLES
PENALTY = 1.0
CALM = 1e-9  # of the level: a smaller scale is rounding


class Pooled(Member):
    """Ridge regression over all series together: what one series learns depends on the others of its panel."""

    windowed = None
    pooled = True

    def __init__(self, name: str) -> None:
        self.name = name

    def _fit(self, panel: Panel) -> Fitted:
        sides = [Side(panel, i) for i in range(panel.n)]
        learned = np.full((len(KNOTS), BUCKETS, FEATURES), np.nan)
        for j, knot in enumerate(self._knots(panel)):
            for b in range(BUCKETS):
                learned[j, b] = learn(sides, int(knot), 2**b)
        return {"learned": np.repeat(learned[None], panel.n, axis=0)}

    def _predict(self, panel: Panel, fitted: Fitted, origins: Origins, rows: NDArray[np.int64], out: Array32) -> None:
        H = out.shape[2]
        bucket = np.minimum(np.floor(np.log2(np.arange(1, H + 1))).astype(np.int64), BUCKETS - 1)
        at = self._knots(panel)
        for i in rows:
            side = Side(panel, i)
            for k, o in enumerate(origins[i]):
                era = int(np.searchsorted(at, o, side="right")) - 1
                if era < 0 or o - side.first < FEWEST:
                    continue
                weights = fitted["learned"][i, era, bucket]
                ahead = np.arange(1, H + 1)
                moves = (side.features(np.full(H, o), ahead) * weights).sum(1)
                out[i, k] = side.y[o - 1] + side.scale[o - 1] * moves

    def _knots(self, panel: Panel) -> NDArray[np.int64]:
        return np.asarray(np.ceil(np.array(KNOTS) * panel.T), np.int64)


class Side:
    """One series and what is known of it after each column."""

    def __init__(self, panel: Panel, row: int) -> None:
        self.y, self.first = panel.values[row], int(panel.first[row])
        self.seasons = panel.seasons_of(row)
        self.means = [exponential_mean(self.y, m) for m in MEMORIES]
        spread = np.sqrt(exponential_mean((self.y - np.nan_to_num(self.means[-1])) ** 2, MEMORIES[-1]))
        rounding = CALM * np.abs(self.y)
        self.scale = np.where(spread > rounding, spread, 0.0)

    def features(self, o: NDArray[np.int64], ahead: NDArray[np.int64]) -> Float:
        """For cells ``ahead`` of origins ``o`` (both ``[J]``), ``[J, F]``; 0 for what there is no history for."""
        columns = [mean[o - 1] for mean in self.means]
        columns += [self._at(o - 1 - lag) for lag in LAGS]
        for s in self.seasons:
            newest = o - 1 + ahead - s * ((ahead - 1) // s + 1)
            columns += [self._at(newest - s * c) for c in range(CYCLES)]
        out = np.zeros((len(o), FEATURES))
        scale = np.where(self.scale[o - 1] > 0, self.scale[o - 1], np.inf)
        out[:, : len(columns)] = np.nan_to_num((np.stack(columns, 1) - self.y[o - 1][:, None]) / scale[:, None])
        return out

    def _at(self, column: NDArray[np.int64]) -> Float:
        return np.where(column >= self.first, self.y[np.maximum(column, 0)], np.nan)

    def examples(self, knot: int, ahead: int) -> tuple[Float, Float]:
        """Features and targets of origins whose target lies before ``knot``."""
        last = knot - ahead
        if last <= self.first + FEWEST:
            return np.empty((0, FEATURES)), np.empty(0)
        o = np.unique(np.linspace(self.first + FEWEST, last, SAMPLES).astype(np.int64))
        o = o[self.scale[o - 1] > 0]
        target = (self.y[o - 1 + ahead] - self.y[o - 1]) / self.scale[o - 1]
        return self.features(o, np.full(len(o), ahead)), target


def learn(sides: list[Side], knot: int, ahead: int) -> Float:
    """Coefficients ``[F]`` of ``ahead`` cells over all series; 0, the last value, where there is nothing to learn."""
    from sklearn.linear_model import Ridge

    parts = [side.examples(knot, ahead) for side in sides]
    if sum(len(y) for _, y in parts) < FEATURES:
        return np.zeros(FEATURES)
    x, y = (np.concatenate(side) for side in zip(*parts, strict=True))
    made = Ridge(alpha=PENALTY, fit_intercept=False).fit(x, y)
    return np.asarray(made.coef_, np.float64)
