"""From numbers to words: what state a series' data are in, and whether its predictive alert fires.

Pure logic: no clock, no I/O. The alert of one series is an :class:`AlertState`; :func:`decide` gives
the next one. An alert fires after ``hold`` slots *with new data* in a row at or above ``probability``
and clears at once under ``clear``. Between the two levels it stays as it is, so that it cannot flap.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from detector.catalogue import Query

STALE_STEPS = 5
"""A series without a new point for more steps than this is stale."""

VALID_SLOTS = 3
"""How many slots a published forecast is valid: two cycles may fail before it counts as old."""

_FORMAT = 1


class DataState(StrEnum):
    """What can be said about one series now; only ``OK`` may alert."""

    OK = "ok"
    INSUFFICIENT_HISTORY = "insufficient_history"
    NO_DATA = "no_data"
    STALE = "stale"
    NOT_SKILFUL = "not_skilful"
    ERROR = "error"


@dataclass(frozen=True)
class Policy:
    """When to fire (probability at or above, that many times in a row) and when to clear (below)."""

    probability: float
    clear: float
    hold: int


QUIET = Policy(probability=np.inf, clear=np.inf, hold=1)
"""Never fires."""


def policy_of(query: Query) -> Policy | None:
    """When the query's alert fires and clears; None without an alert."""
    alert = query.alert
    return Policy(alert.probability, alert.clear, alert.hold) if alert else None


@dataclass(frozen=True)
class AlertState:
    """What is remembered of one series' alert.

    ``streak`` counts slots with new data in a row at or above the firing probability, ``slot`` is the
    last slot decided, ``newest`` the time of the newest point it had seen. Times are unix seconds; -1
    is "never".
    """

    firing: bool = False
    streak: int = 0
    slot: int = -1
    newest: int = -1


def decide(
    state: AlertState, policy: Policy, *, slot: int, newest: int, probability: float, data: str = DataState.OK
) -> AlertState:
    """Return the state of the alert after ``slot``.

    A slot already decided, or an older one, changes nothing. Without a point newer than the last one
    seen the slot is passed over. Data that are not ``ok`` (or a probability that is NaN) clear the
    alert and its streak.

    >>> policy, state = Policy(probability=0.8, clear=0.5, hold=2), AlertState()
    >>> for slot, p in [(60, 0.9), (120, 0.95), (180, 0.6), (240, 0.4)]:
    ...     state = decide(state, policy, slot=slot, newest=slot, probability=p)
    ...     print(slot, state.firing)
    60 False
    120 True
    180 True
    240 False
    """
    if slot <= state.slot:
        return state
    if data != DataState.OK or np.isnan(probability):
        return AlertState(slot=slot, newest=max(newest, state.newest))
    if newest <= state.newest:
        return replace(state, slot=slot)
    if probability >= policy.probability:
        streak = state.streak + 1
        return AlertState(state.firing or streak >= policy.hold, streak, slot, newest)
    return AlertState(state.firing and probability >= policy.clear, 0, slot, newest)


def data_states(
    newest_age_steps: NDArray[np.float64], engine: Iterable[str], lost: NDArray[np.bool_]
) -> list[DataState]:
    """State of each series, ``[n]``.

    ``newest_age_steps [n]``: steps since the newest point (inf where there is none); ``engine [n]``:
    what the forecaster says (ok, insufficient_history or no_data); ``lost [n]``: whether its forecasts
    are worse than the naive ones.

    >>> ages, lost = np.array([0.0, 6.0, np.inf, 0.0]), np.array([False, True, True, True])
    >>> [str(s) for s in data_states(ages, ["ok"] * 4, lost)]
    ['ok', 'stale', 'no_data', 'not_skilful']
    """
    states = []
    for age, said, loses in zip(newest_age_steps, engine, lost, strict=True):
        if np.isinf(age):
            states.append(DataState.NO_DATA)
        elif age > STALE_STEPS:
            states.append(DataState.STALE)
        elif said == DataState.OK and loses:
            states.append(DataState.NOT_SKILFUL)
        else:
            states.append(DataState(str(said)))
    return states


def series_key(labels: Mapping[str, str]) -> str:
    """One text for one set of labels, whatever their order.

    >>> series_key({"b": "2", "a": "1"})
    '{"a":"1","b":"2"}'
    """
    return json.dumps(dict(labels), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True)
class Register:
    """The alerts of one query and shard after ``slot``, by :func:`series_key`; kept in the worker's store."""

    slot: int = -1
    alerts: Mapping[str, AlertState] = field(default_factory=dict)

    def of(self, key: str) -> AlertState:
        """Return a series' alert; a series never seen has one that is quiet."""
        return self.alerts.get(key, AlertState())

    def as_of(self, slot: int, unit: int, policy: Policy | None = None) -> Register:
        """Return what of this register still counts at ``slot``.

        Nothing after more than ``VALID_SLOTS`` slots of ``unit`` seconds (what was published is no
        longer valid), nor when it comes from so far ahead that the clock must have been set back. A
        streak older than ``hold`` slots is no longer one in a row.
        """
        if self.slot < 0 or not -VALID_SLOTS * unit <= slot - self.slot <= VALID_SLOTS * unit:
            return Register()
        if policy is not None and slot - self.slot > policy.hold * unit:
            return replace(self, alerts={key: replace(one, streak=0) for key, one in self.alerts.items()})
        return self

    def is_past(self, slot: int, unit: int) -> bool:
        """Whether a later slot was decided; one so far ahead that the clock was set back does not count."""
        return self.slot > slot and self.as_of(slot, unit).slot >= 0

    def after(
        self,
        slot: int,
        policy: Policy | None,
        series: Sequence[str],
        *,
        newest: NDArray[np.int64],
        probability: NDArray[np.float64],
        data: Sequence[DataState],
    ) -> Register:
        """Return the register after ``slot``: :func:`decide` for each of the n ``series``; all others are dropped.

        ``newest``, ``probability`` and ``data`` are ``[n]``. Without a policy the entries stay quiet.
        """
        alerts = {
            key: decide(self.of(key), policy or QUIET, slot=slot, newest=int(at), probability=float(chance), data=state)
            for key, at, chance, state in zip(series, newest, probability, data, strict=True)
        }
        return Register(max(slot, self.slot), alerts)

    def to_bytes(self) -> bytes:
        """JSON, the same bytes for the same register."""
        alerts = {key: [int(a.firing), a.streak, a.slot, a.newest] for key, a in sorted(self.alerts.items())}
        return json.dumps({"format": _FORMAT, "slot": self.slot, "alerts": alerts}, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Register:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            ValueError: the bytes are something else.
        """
        try:
            read: dict[str, Any] = json.loads(data)
            if read["format"] != _FORMAT:
                raise ValueError(f"expected format {_FORMAT}, got {read['format']}")
            alerts = {
                key: AlertState(bool(firing), int(streak), int(slot), int(newest))
                for key, (firing, streak, slot, newest) in read["alerts"].items()
            }
            return cls(int(read["slot"]), alerts)
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"no register of alerts: {type(error).__name__}: {error}") from error
