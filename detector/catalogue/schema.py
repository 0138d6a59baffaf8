"""The shape of a catalogue: pydantic models that refuse every key and value they do not know.

Durations are written `90s`, `5m`, `24h`, `35d` (or joined: `1h30m`) and held as whole seconds.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from detector.catalogue.contradictions import contradictions, loose_ends
from detector.catalogue.fields import Number, Part, Seconds, Text, Whole, Whom, expectation, plain_text
from detector.catalogue.notifications import Notifications, Severity
from detector.catalogue.platform import Environment, Event, Hosts, Name, Service, ServiceLevelObjective, WorkerAlerts
from detector.catalogue.settings import BasicAuth, Endpoint, Settings, Tls

__all__ = [
    "Alert",
    "BasicAuth",
    "Breach",
    "Catalogue",
    "Endpoint",
    "Environment",
    "Event",
    "Notifications",
    "Objective",
    "Part",
    "Query",
    "Service",
    "ServiceLevelObjective",
    "Settings",
    "ThresholdAlert",
    "Tls",
    "WorkerAlerts",
]

MIN_STEP_SECONDS = 15
"""Below the usual scrape interval a step only repeats samples."""
CLOCKS = ("wall",)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")

Unit = Literal["ratio", "percent", "seconds", "bytes", "count", "per_second"]


class Level(Part):
    """A side of a number: `above` or `below`."""

    above: Number | None = None
    below: Number | None = None


class Objective(Level):
    """What is good, `{above: 0.93}` or `{below: 80}`; a breach is the opposite."""

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise expectation("exactly one of above and below")
        return self


class Breach(Part):
    """How many points in a row beyond the threshold make a breach."""

    run: Whole = Field(default=3, ge=1, le=1000)


class ThresholdAlert(Level):
    """The alert on the metric itself. It fires `above` or `below` its level, by default the objective's."""

    name: Name
    severity: Severity = "warning"
    for_: Seconds = Field(default=0, alias="for")

    @model_validator(mode="after")
    def _at_most_one_side(self) -> Self:
        if self.above is not None and self.below is not None:
            raise expectation("at most one of above and below")
        return self


class Alert(Part):
    """The alert on the forecast: probability to fire, probability to clear, cycles to hold."""

    name: Name
    severity: Severity = "warning"
    probability: Number = Field(default=0.8, gt=0, lt=1)
    clear: Number = Field(default=0.5, ge=0, lt=1)
    hold: Whole = Field(default=3, ge=1, le=1000)
    horizon: Seconds | None = None


class Query(Part):
    """One expression to watch: how it is read, what is good, how far ahead to look, whom to tell."""

    name: str
    expr: Text
    unit: Unit
    data_range: tuple[Number | None, Number | None] = (None, None)
    objective: Objective | None = None
    default_objective: bool = False
    breach: Breach = Field(default_factory=Breach)
    samples: Text | None = None
    every: Seconds = Field(default=60, ge=MIN_STEP_SECONDS)
    step: Seconds = Field(default=60, ge=MIN_STEP_SECONDS)
    history: Seconds = Field(default=14 * 86400, ge=1)
    horizons: tuple[Seconds, ...] = Field(default=(3600, 86400, 7 * 86400), min_length=1)
    clock: str = "wall"
    detection_direction: Literal["both", "above_expected", "below_expected"] = "both"
    service: Whom = ""
    team: Whom = ""
    channel: Annotated[Text, AfterValidator(plain_text)] = "alerts"
    threshold_alert: ThresholdAlert | None = None
    alert: Alert | None = None
    description: str = ""

    @property
    def threshold(self) -> float | None:
        """The number between good and bad, or None without an objective."""
        if self.objective is None:
            return None
        return self.objective.above if self.objective.above is not None else self.objective.below

    @property
    def breach_above(self) -> bool:
        """True where going above the threshold is the breach (the objective is `below`)."""
        return self.objective is not None and self.objective.below is not None

    @property
    def alert_horizon(self) -> int:
        """Seconds within which the predicted breach must lie for the alert: its own, or the longest."""
        chosen = self.alert.horizon if self.alert else None
        return chosen if chosen is not None else max(self.horizons)

    @property
    def threshold_alert_level(self) -> tuple[Literal["<", ">"], float] | None:
        """Comparison and level of the threshold alert, or None where there is none."""
        if self.threshold_alert is None:
            return None
        if self.threshold_alert.above is not None:
            return ">", self.threshold_alert.above
        if self.threshold_alert.below is not None:
            return "<", self.threshold_alert.below
        return (">" if self.breach_above else "<", self.threshold) if self.threshold is not None else None

    @field_validator("clock")
    @classmethod
    def _known_clock(cls, value: str) -> str:
        if value not in CLOCKS:
            raise expectation("wall (trading-session clocks are not available yet)")
        return value

    @field_validator("name")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise expectation("a query name of letters, digits, _ . and -, not starting with a digit")
        return value

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        found = contradictions(self)
        if found:
            raise PydanticCustomError(
                "contradictions",
                "{summary}",
                {
                    "summary": "; ".join(f"{key}: expected {want}, got {got}" for key, want, got in found),
                    "found": found,
                },
            )
        return self


class Catalogue(Part):
    """Settings and queries, checked. `query` finds one by name."""

    settings: Settings = Field(default_factory=Settings)
    environments: dict[str, Environment] = Field(default_factory=dict)
    hosts: Hosts = Field(default_factory=Hosts)
    notifications: Notifications | None = None
    services: dict[str, Service] = Field(default_factory=dict)
    events: dict[Name, Event] = Field(default_factory=dict)
    service_level_objectives: dict[str, ServiceLevelObjective] = Field(default_factory=dict)
    worker: WorkerAlerts = Field(default_factory=WorkerAlerts)
    queries: dict[str, Query] = Field(min_length=1)
    _origin: str | None = PrivateAttr(default=None)

    @property
    def origin(self) -> str | None:
        """The file (or built-in name) this was loaded from."""
        return self._origin

    @field_validator("queries", mode="before")
    @classmethod
    def _name_queries(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: {"name": key, **one} if isinstance(one, dict) else one for key, one in value.items()}

    @field_validator("queries")
    @classmethod
    def _key_is_name(cls, value: dict[str, Query]) -> dict[str, Query]:
        for key, one in value.items():
            if one.name != key:
                raise expectation(f"query {key!r} without a name of its own (got {one.name!r})")
        return value

    @model_validator(mode="after")
    def _no_loose_end(self) -> Self:
        for path, want, got in loose_ends(self):
            summary = f"{path}: expected {want}, got {got}"
            raise PydanticCustomError("contradictions", "{summary}", {"summary": summary, "found": [(path, want, got)]})
        return self

    def query(self, name: str) -> Query:
        """The query of that name. Raises KeyError that lists the names there are."""
        if name not in self.queries:
            raise KeyError(f"no query {name!r}; the catalogue has {', '.join(self.queries)}")
        return self.queries[name]
