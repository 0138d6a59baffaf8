"""The base class of the ensemble's members.

A member forecasts every series of a panel from several origins at once. The base class checks and cleans what a
member returns; a member writes only ``_fit`` and ``_predict``. Shapes: n series, T columns, K origins, H cells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.panel import Panel

Array32 = NDArray[np.float32]
Origins = NDArray[np.int64]
Fitted = dict[str, NDArray[np.float64]]

# A forecast further from the data before its origin than this many times their range has exploded and is left out.
EXPLODED = 1.0
ROUNDING = 1e-5  # of the level: single precision, after a few sums


class Member(ABC):
    """One forecasting method. ``name`` is the key in the registry.

    ``windowed``: whether it serves series that are trailing means over a window (True), those that are not (False),
    or both (None); see models/window.py. ``pooled``: whether what it learns of a series
    depends on the others of the panel.
    """

    name: str
    windowed: bool | None = False
    pooled: bool = False

    def fit(self, panel: Panel) -> Fitted:
        """Coefficients for :meth:`predict` as arrays by name, each ``[n, ...]``; none where nothing is learned."""
        return self._fit(panel)

    def predict(
        self, panel: Panel, fitted: Fitted, origins: Origins, horizon: int, out: Array32 | None = None
    ) -> Array32:
        """Forecast cells ``o .. o + horizon - 1`` from columns before ``o``, for each origin ``o``.

        ``origins``: ``[K]``, or ``[n, K]`` for origins of each series' own, where 0 is none. Returns
        ``[n, K, horizon]``, written into ``out`` where that is given; NaN where the member has no answer (too little
        history, or it exploded).

        Raises:
            ValueError: an origin outside ``1 .. T``, or a horizon below 1.
        """
        at = np.asarray(origins, np.int64)
        lowest = 1 if at.ndim == 1 else 0
        if horizon < 1 or at.size == 0 or at.min() < lowest or at.max() > panel.T:
            raise ValueError(
                f"{self.name}: expected horizon >= 1 and origins in 1..{panel.T}, got {horizon}, {origins}"
            )
        at = np.ascontiguousarray(np.broadcast_to(at, (panel.n, at.shape[-1])))
        if out is None:
            out = np.empty((panel.n, at.shape[1], horizon), np.float32)
        out[:] = np.nan
        rows = self.serves(panel)
        if rows.any():
            self._predict(panel, fitted, at, np.flatnonzero(rows), out)
            drop_exploded(out, at, *panel.reached)
        return out

    def serves(self, panel: Panel) -> NDArray[np.bool_]:
        """The series that the member may answer for, ``[n]``."""
        if self.windowed is None:
            return np.ones(panel.n, np.bool_)
        return np.asarray((panel.windows > 0) == self.windowed)

    def applies(self, panel: Panel) -> bool:
        """Whether the panel has what the member needs (a season, say)."""
        return bool(self.serves(panel).any())

    def _fit(self, panel: Panel) -> Fitted:
        return {}

    @abstractmethod
    def _predict(self, panel: Panel, fitted: Fitted, origins: Origins, rows: NDArray[np.int64], out: Array32) -> None:
        """Write the forecasts of ``rows`` into ``out [n, K, H]``, which holds NaN."""


@njit(cache=True)
def drop_exploded(out: Array32, origins: Origins, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    """NaN for whole forecasts that leave what the series reached before their origin by far, in place."""
    n, K, H = out.shape
    for i in range(n):
        for k in range(K):
            o = origins[i, k]
            if o == 0:
                out[i, k] = np.nan
                continue
            a, b = low[i, o - 1], high[i, o - 1]
            room = EXPLODED * (b - a) + ROUNDING * max(abs(a), abs(b))
            least, most = np.float32(a - room), np.float32(b + room)
            inside = True
            for h in range(H):
                inside &= (least <= out[i, k, h]) & (out[i, k, h] <= most)
            if not inside:
                out[i, k] = np.nan
