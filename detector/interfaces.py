"""What the pipeline asks of its neighbours, said once: data in, forecasts, results out.

Shapes: n series, T columns, Q quantiles, H cells of the forecast's grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from detector.catalogue import Query
    from detector.frame import SeriesFrame


class Source(Protocol):
    """What the worker needs of Prometheus besides the history."""

    def ready(self) -> bool:
        """Whether it answers queries now."""
        ...


class HistoryLike(Protocol):
    """Where the past of a query comes from."""

    def window(self, query: Query, shard: str, end: int) -> SeriesFrame:
        """The query's history up to ``end``."""
        ...

    def flush(self) -> None:
        """Save what a restart would have to fetch again."""
        ...


class BreachLike(Protocol):
    """What the worker reads off a breach; n series."""

    def probability_within(self, seconds: list[float]) -> NDArray[np.float64]:
        """Probability of a breach within each of ``seconds``, ``[n, len(seconds)]``."""
        ...

    def time_to(self, quantiles: list[float]) -> NDArray[np.float64]:
        """Seconds to the breach, ``[n, len(quantiles)]``, inf where it does not happen."""
        ...


class ForecastLike(Protocol):
    """What the worker reads off a forecast; n series, Q quantiles, H cells."""

    @property
    def offsets(self) -> Any:
        """Seconds from the origin to the end of each cell, ``[H]``."""
        ...

    def at(self, seconds: float) -> int:
        """Index of the cell that holds the point so many seconds ahead."""
        ...

    def quantile(self, quantiles: list[float]) -> NDArray[np.float64]:
        """Quantiles of every cell, ``[n, Q, H]``."""
        ...

    def breach(self, threshold: float, above: bool = True, run: int = 1) -> BreachLike:
        """When each series crosses the threshold."""
        ...


class ForecasterLike(Protocol):
    """What the worker needs of a forecaster; ``models.Forecaster`` is the one it uses."""

    def fit(self, values: NDArray[np.float64], start: int) -> Any:
        """Learn from ``values [n, T]``."""
        ...

    def update(self, columns: NDArray[np.float64]) -> Any:
        """Append ``columns [n, k]``; must not change arrays that a shallow copy shares."""
        ...

    def select(self, rows: Sequence[int]) -> ForecasterLike:
        """A forecaster of some of the series, in that order; nothing is learned again."""
        ...

    def beside(self, other: Any) -> ForecasterLike:
        """A forecaster of these series and then those of ``other``; nothing is learned again."""
        ...

    def renew(self) -> int:
        """Learn the series anew that have become others than were learned, and say how many; as for ``update``."""
        ...

    def to_bytes(self, values: bool = True) -> bytes:
        """What is needed to go on in another process; without ``values``, beside the history it was fitted on."""
        ...

    def forecast(self) -> ForecastLike:
        """Forecast from the last column."""
        ...

    def scores(self, last: int = 1, direction: str = "both") -> NDArray[np.float64]:
        """Anomaly scores of the last columns, ``[n, last]``."""
        ...

    @property
    def state(self) -> Any:
        """State of each series, ``[n]``."""
        ...
