"""The shape of a catalogue: pydantic models that refuse every key and value they do not know.

Durations are written `90s`, `5m`, `24h`, `35d` (or joined: `1h30m`) and held as whole seconds.
Checks that look at several keys of one query stand in `contradictions`; each names the key to blame.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from detector.catalogue.durations import format_duration, parse_duration

MIN_STEP_SECONDS = 15
"""Below the usual scrape interval a step only repeats samples."""

MAX_SECONDS = 3653 * 86400

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
CLOCKS = ("wall",)


def expectation(expected: str) -> PydanticCustomError:
    """An error that the loader prints as `expected …, got …`."""
    return PydanticCustomError("expectation", "expected {expected}", {"expected": expected})


def _seconds(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    seconds = value if whole else parse_duration(value) if isinstance(value, str) else None
    if seconds is None:
        raise expectation("a duration such as 30s, 5m, 24h or 35d")
    if seconds > MAX_SECONDS:
        raise expectation("a duration of ten years or less")
    return int(seconds)


def _whom(value: str) -> str:
    if re.search(r'[{}"\\\n]', value):
        raise expectation('text without {, }, ", backslash and line break (it becomes a label of alerts)')
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise expectation("a number")
    return value


def _endpoint(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


def _one_or_several(value: Any) -> str:
    return "several" if isinstance(value, list) else "one"


Seconds = Annotated[int, BeforeValidator(_seconds)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_number)]
Severity = Literal["critical", "warning", "info"]
Unit = Literal["ratio", "percent", "seconds", "bytes", "count", "per_second"]
Whom = Annotated[str, AfterValidator(_whom)]
Text = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """What every part of the catalogue has in common: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BasicAuth(Part):
    """User and password; the password stands here or in a file."""

    username: Text
    password: str | None = Field(default=None, repr=False)
    password_file: str | None = None

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if (self.password is None) == (self.password_file is None):
            raise expectation("exactly one of password and password_file")
        return self


class Tls(Part):
    """How to verify the server and, with a certificate of our own, how to be verified by it."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    insecure_skip_verify: bool = False

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise expectation("cert_file and key_file together")
        return self


class Endpoint(Part):
    """One HTTP server the worker talks to. `http://…` alone is short for `{url: http://…}`."""

    url: Text
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    basic_auth: BasicAuth | None = None
    bearer_token: str | None = Field(default=None, repr=False)
    bearer_token_file: str | None = None
    tls: Tls | None = None
    timeout: Seconds = Field(default=30, ge=1)

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable:
            raise expectation("a URL such as http://localhost:9090")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_identity(self) -> Self:
        given = [self.basic_auth, self.bearer_token, self.bearer_token_file]
        if sum(way is not None for way in given) > 1:
            raise expectation("at most one of basic_auth, bearer_token and bearer_token_file")
        return self


EndpointOrUrl = Annotated[Endpoint, BeforeValidator(_endpoint)]


class Settings(Part):
    """Where the worker reads, publishes and keeps its state."""

    environment: Text = "production"
    timezone: str = "UTC"
    prometheus: EndpointOrUrl = Field(default_factory=lambda: Endpoint(url="http://localhost:9090"))
    pushgateway: Annotated[
        Annotated[EndpointOrUrl, Tag("one")] | Annotated[list[EndpointOrUrl], Field(min_length=1), Tag("several")],
        Discriminator(_one_or_several),
    ] = Field(default_factory=lambda: Endpoint(url="http://localhost:9091"))
    state_dir: Text | None = None
    redis: str | None = Field(default=None, repr=False)
    refit: Seconds = Field(default=3600, ge=60)
    max_series: Whole = Field(default=1000, ge=1)

    @property
    def pushgateways(self) -> list[Endpoint]:
        """Every Pushgateway, also when only one is configured."""
        return self.pushgateway if isinstance(self.pushgateway, list) else [self.pushgateway]

    @field_validator("timezone")
    @classmethod
    def _is_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise expectation("an IANA time zone such as UTC or Asia/Tokyo") from None
        return value

    @field_validator("redis")
    @classmethod
    def _is_redis(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("redis://", "rediss://", "unix://")):
            raise expectation("a URL such as redis://localhost:6379/0")
        return value


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

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    severity: Severity = "warning"
    for_: Seconds = Field(default=0, alias="for")

    @model_validator(mode="after")
    def _at_most_one_side(self) -> Self:
        if self.above is not None and self.below is not None:
            raise expectation("at most one of above and below")
        return self


class Alert(Part):
    """The alert on the forecast: probability to fire, probability to clear, cycles to hold."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
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
    channel: Annotated[Whom, Field(min_length=1)] = "alerts"
    shard_by: str | None = None
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

    @field_validator("shard_by")
    @classmethod
    def _is_label(cls, value: str | None) -> str | None:
        if value is not None and not _LABEL.fullmatch(value):
            raise expectation("a label name such as instance")
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

    def query(self, name: str) -> Query:
        """The query of that name. Raises KeyError that lists the names there are."""
        if name not in self.queries:
            raise KeyError(f"no query {name!r}; the catalogue has {', '.join(self.queries)}")
        return self.queries[name]


Contradiction = tuple[str, str, str]
"""(key, what was expected, what stands there)."""


def contradictions(query: Query) -> list[Contradiction]:
    """Every pair of keys of one query that cannot both hold, blamed on the key that is easier to change."""
    return [*_range_contradictions(query), *_time_contradictions(query), *_alert_contradictions(query)]


def _inside(query: Query, level: float) -> bool:
    low, high = query.data_range
    return (low is None or level >= low) and (high is None or level <= high)


def _range_text(query: Query) -> str:
    low, high = query.data_range
    return f"[{'-inf' if low is None else f'{low:g}'}, {'inf' if high is None else f'{high:g}'}]"


def _range_contradictions(query: Query) -> list[Contradiction]:
    low, high = query.data_range
    if low is not None and high is not None and low >= high:
        return [("data_range", "[low, high] with low < high", _range_text(query))]
    found: list[Contradiction] = []
    if query.threshold is not None and not _inside(query, query.threshold):
        found.append(("objective", f"a threshold inside data_range {_range_text(query)}", f"{query.threshold:g}"))
    level = query.threshold_alert_level
    own = query.threshold_alert and (query.threshold_alert.above, query.threshold_alert.below) != (None, None)
    if own and level is not None and not _inside(query, level[1]):
        found.append(("threshold_alert", f"a level inside data_range {_range_text(query)}", f"{level[1]:g}"))
    return found


def _time_contradictions(query: Query) -> list[Contradiction]:
    found: list[Contradiction] = []
    step = query.step
    for horizon in query.horizons:
        if horizon < step or horizon % step:
            want = f"multiples of step {format_duration(step)}"
            found.append(("horizons", want, format_duration(horizon)))
    if list(query.horizons) != sorted(set(query.horizons)):
        shown = "[" + ", ".join(map(format_duration, query.horizons)) + "]"
        found.append(("horizons", "horizons in rising order, each once", shown))
    if query.history % step:
        found.append(("history", f"a multiple of step {format_duration(step)}", format_duration(query.history)))
    if query.history < max(query.horizons):
        want = f"at least the longest horizon {format_duration(max(query.horizons))}"
        found.append(("history", want, format_duration(query.history)))
    return found


def _alert_contradictions(query: Query) -> list[Contradiction]:
    found: list[Contradiction] = []
    if query.default_objective and query.objective is None:
        found.append(("default_objective", "an objective beside it", "none"))
    if query.threshold_alert and query.threshold_alert_level is None:
        found.append(("threshold_alert", "an objective, or a level of its own (above or below)", "neither"))
    elif query.threshold_alert and query.objective and query.threshold_alert_level:
        side, _ = query.threshold_alert_level
        if (side == ">") != query.breach_above:
            want = "above" if query.breach_above else "below"
            found.append(("threshold_alert", f"{want} (the breach's side)", "below" if side == "<" else "above"))
    if query.alert is None:
        return found
    if query.objective is None:
        found.append(("alert", "an objective to predict the breach of", "none"))
    if query.alert.clear >= query.alert.probability:
        want = f"clear below probability {query.alert.probability:g}"
        found.append(("alert.clear", want, f"{query.alert.clear:g}"))
    if query.alert.horizon is not None and query.alert.horizon not in query.horizons:
        want = "one of horizons " + ", ".join(map(format_duration, query.horizons))
        found.append(("alert.horizon", want, format_duration(query.alert.horizon)))
    if query.threshold_alert and query.threshold_alert.name == query.alert.name:
        found.append(("alert.name", "a name that differs from the threshold alert's", query.alert.name))
    return found
