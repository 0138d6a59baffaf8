"""What a cycle leaves in the store for people to see: `detector serve` reads it, in another process or the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from detector.catalogue.durations import format_duration
from detector.curves import curves_key, curves_of
from detector.cycle import FORECAST, valid_until
from detector.errors import StateError

if TYPE_CHECKING:
    from detector.cycle import CycleResult
    from detector.store import Store

_FORMAT = 1


@dataclass(frozen=True)
class Line:
    """One series: newest value, median forecast and P(breach) by horizon, times to breach in seconds; None: unknown.

    A time of infinity is written as -1: it does not happen within the longest horizon.
    """

    labels: dict[str, str]
    state: str
    firing: bool = False
    now: float | None = None
    median: list[float | None] = field(default_factory=list)
    probability: list[float | None] = field(default_factory=list)
    time_to: list[float | None] = field(default_factory=list)


@dataclass(frozen=True)
class Showing:
    """What the newest cycle of one query and shard came to, at ``slot`` in unix seconds; ``error``: why to nothing."""

    slot: int
    valid_until: int
    horizons: list[str]
    lines: list[Line]
    error: str = ""
    has_curves: bool = False

    def to_bytes(self) -> bytes:
        """JSON, the same bytes for the same showing."""
        return orjson.dumps({"format": _FORMAT, **asdict(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Showing:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            StateError: the bytes are something else.
        """
        try:
            read: dict[str, Any] = orjson.loads(data)
            if read.pop("format") != _FORMAT:
                raise ValueError(f"expected format {_FORMAT}")
            return cls(**{**read, "lines": [Line(**line) for line in read["lines"]]})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"no showing of a cycle: {type(error).__name__}: {error}") from error


def show(store: Store, result: CycleResult) -> None:
    """Keep a cycle's curves, and then its figures: who sees these finds curves that are no older.

    A failed cycle leaves the curves of the one before; they count until they are no longer valid.

    Raises:
        StateError: the store cannot keep them.
    """
    curves = curves_of(result) if result.error is None else None
    if curves is not None:
        store.save(curves_key(result.query.name, result.shard), curves.to_bytes())
    store.save(showing_key(result.query.name, result.shard), showing_of(result, curves is not None).to_bytes())


def showing_of(result: CycleResult, has_curves: bool) -> Showing:
    """What is shown of a cycle."""
    failed = result.error is not None
    labels = () if failed or result.frame is None else result.frame.labels
    return Showing(
        slot=result.slot,
        valid_until=valid_until(result.query, result.slot),
        horizons=[format_duration(seconds) for seconds in result.query.horizons],
        lines=[_line(result, row, dict(one)) for row, one in enumerate(labels)],
        error=str(result.error or ""),
        has_curves=has_curves,
    )


def _line(result: CycleResult, row: int, labels: dict[str, str]) -> Line:
    state = result.states[row] if result.states else None
    firing = bool(result.decisions and result.decisions[row].firing)
    [now] = _known(result.now[row : row + 1]) or [None]
    if state not in FORECAST or result.values is None:
        return Line(labels, str(state or "no_data"), firing, now)
    median = result.values.shape[1] // 2
    return Line(
        labels,
        str(state),
        firing,
        now,
        median=_known(result.values[row, median]),
        probability=[] if result.probability is None else _known(result.probability[row]),
        time_to=[] if result.time_to is None else _known(result.time_to[row]),
    )


def _known(values: Sequence[float] | Any) -> list[float | None]:
    return [None if math.isnan(one) else -1.0 if math.isinf(one) else float(one) for one in values]


def showing_key(query: str, shard: str) -> str:
    """Where the figures of one query and shard are kept in the store."""
    return f"showing/{query}/{shard}"
