"""The base class of the ensemble's members.

A member forecasts every series of a panel from several origins at once. The base class checks and cleans what a
member returns; a member writes only ``_fit`` and ``_predict``. Shapes: n series, T columns, K origins, H cells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.panel import Panel

Array32 = NDArray[np.float32]
Origins = NDArray[np.int64]

# A forecast further from the data before its origin than this many times their range has exploded and is left out.
EXPLODED = 3.0
ROUNDING = 1e-5  # of the level: single precision, after a few sums


class Member(ABC):
    """One forecasting method. ``name`` is the key in the registry."""

    name: str

    def fit(self, panel: Panel) -> Any:
        """Coefficients for :meth:`predict`, or ``None`` where there is nothing to learn."""
        return self._fit(panel)

    def predict(self, panel: Panel, fitted: Any, origins: Origins, horizon: int) -> Array32:
        """Forecast cells ``o .. o + horizon - 1`` from columns before ``o``, for each origin ``o``.

        Returns ``[n, K, horizon]``; NaN where the member has no answer (too little history, or it exploded).

        Raises:
            ValueError: an origin outside ``1 .. T``, or a horizon below 1.
        """
        if horizon < 1 or origins.min() < 1 or origins.max() > panel.T:
            raise ValueError(
                f"{self.name}: expected horizon >= 1 and origins in 1..{panel.T}, got {horizon}, {origins}"
            )
        out = self._predict(panel, fitted, origins, horizon)
        low, high = (reached[:, origins - 1, None] for reached in panel.reached)
        room = EXPLODED * (high - low) + ROUNDING * np.maximum(np.abs(low), np.abs(high))
        with np.errstate(invalid="ignore"):
            wild = ((out < low - room) | (out > high + room)).any(axis=2, keepdims=True)
        return np.where(wild, np.nan, out).astype(np.float32)

    def applies(self, panel: Panel) -> bool:
        """Whether the panel has what the member needs (a season, say)."""
        return True

    def _fit(self, panel: Panel) -> Any:
        return None

    @abstractmethod
    def _predict(self, panel: Panel, fitted: Any, origins: Origins, horizon: int) -> Array32: ...
