"""Ridge regression of a series on its own lags, run recursively; every series and origin in one batch.

Shapes: n series, T columns, L lags, K origins, H cells. Source of the regularised normal equations:
Hoerl & Kennard (1970), Ridge regression, Technometrics 12.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import Array32, Member, Origins
from models.panel import Panel

SHORT_LAGS = (1, 2, 3, 4, 5, 6, 8, 10, 12)
PENALTY = 0.1  # on the normal equations of standardised data, per 100 rows
ROWS_PER_LAG = 20  # a season is regressed on only where this many rows a coefficient remain
MAX_ROWS = 4000  # rows to learn from: two weeks of 5-minute cells


@dataclass(frozen=True)
class RidgeFit:
    """Standardisation and coefficients: ``mean, scale [n]``, ``lags [L]``, ``coefficients [n, L + 1]``
    (constant last).
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    lags: NDArray[np.int64]
    coefficients: NDArray[np.float64]


def lags_for(panel: Panel) -> NDArray[np.int64]:
    """Short lags and, for each season of which enough is there, the season and its neighbours."""
    lags = {lag for lag in SHORT_LAGS if lag * 4 < panel.T}
    for season in panel.seasons:
        if season + 1 + len(lags) * ROWS_PER_LAG < panel.T:
            lags |= {season - 1, season, season + 1}
        if 2 * season + len(lags) * ROWS_PER_LAG < panel.T:
            lags.add(2 * season)
    return np.array(sorted(lags), np.int64)


class Ridge(Member):
    """Autoregression with seasonal lags, L2-regularised."""

    name = "ridge"

    def applies(self, panel: Panel) -> bool:  # noqa: D102 - as in the base class
        return panel.T >= 48

    def _fit(self, panel: Panel) -> RidgeFit:
        v = panel.values.astype(np.float64)
        there = np.isfinite(v)
        count = np.maximum(there.sum(1), 1)
        mean = np.where(there, v, 0).sum(1) / count
        scale = np.sqrt(np.where(there, (v - mean[:, None]) ** 2, 0).sum(1) / count)
        scale = np.where(scale > 0, scale, 1.0)
        z = ((v - mean[:, None]) / scale[:, None]).astype(np.float32)
        lags = lags_for(panel)
        rows = np.arange(max(int(lags[-1]), panel.T - MAX_ROWS), panel.T)
        coefficients = np.empty((panel.n, len(lags) + 1))
        for i in range(panel.n):
            X = np.column_stack([z[i, rows - lag] for lag in lags] + [np.ones(len(rows), np.float32)])
            y = z[i, rows]
            use = np.isfinite(X).all(1) & np.isfinite(y)
            X, y = X[use], y[use]
            gram = (X.T @ X).astype(np.float64)
            gram[np.diag_indices_from(gram)] += PENALTY * max(len(y), 100) / 100
            coefficients[i] = np.linalg.solve(gram, (X.T @ y).astype(np.float64))
        return RidgeFit(mean, scale, lags, coefficients)

    def _predict(self, panel: Panel, fitted: Any, origins: Origins, horizon: int) -> Array32:
        f: RidgeFit = fitted
        far = f.lags >= horizon  # such a lag never meets a forecast value: no recursion needed
        out = np.repeat(f.coefficients[:, None, -1:], len(origins), 1).repeat(horizon, 2).astype(np.float32)
        h = np.arange(horizon)
        z = ((panel.values - f.mean[:, None]) / f.scale[:, None]).astype(np.float32)
        for j in np.flatnonzero(far):
            column = origins[:, None] + h - f.lags[j]
            value = np.where(column >= 0, z[:, np.maximum(column, 0)], np.nan)
            out += f.coefficients[:, j, None, None].astype(np.float32) * value
        near = np.flatnonzero(~far)
        if len(near):
            self._recurse(z, f, near, origins, out)
        return (out * f.scale[:, None, None] + f.mean[:, None, None]).astype(np.float32)

    @staticmethod
    def _recurse(z: Array32, f: RidgeFit, near: NDArray[np.intp], origins: Origins, out: Array32) -> None:
        """Add the contribution of the lags shorter than the horizon to ``out [n, K, H]``, step by step, in place."""
        lags = f.lags[near]
        depth = int(lags.max())
        column = origins[:, None] + np.arange(-depth, 0)
        history = np.where(column >= 0, z[:, np.maximum(column, 0)], np.nan)
        buffer = np.concatenate([history, out], axis=2).transpose(2, 0, 1).copy()  # [depth + H, n, K]
        weight = f.coefficients[:, near].astype(np.float32).T[:, :, None]  # [l, n, 1]
        for step in range(depth, buffer.shape[0]):
            buffer[step] += (buffer[step - lags] * weight).sum(0)
        out[:] = buffer[depth:].transpose(1, 2, 0)
