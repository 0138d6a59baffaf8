"""The kinds of value a catalogue is made of, and what an error about one says."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from detector.catalogue.durations import parse_duration

MAX_SECONDS = 3653 * 86400
"""Ten years: longer durations are slips."""


def expectation(expected: str) -> PydanticCustomError:
    """An error that the loader prints as `expected …, got …`."""
    return PydanticCustomError("expectation", "expected {expected}", {"expected": expected})


def parse_seconds(value: Any) -> int:
    """Seconds of a duration; whole numbers are seconds already."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    seconds = value if whole else parse_duration(value) if isinstance(value, str) else None
    if seconds is None:
        raise expectation("a duration such as 30s, 5m, 24h or 35d")
    if seconds > MAX_SECONDS:
        raise expectation("a duration of ten years or less")
    return int(seconds)


def plain_text(value: str) -> str:
    """The text, which must mean nothing to a template."""
    if re.search(r'[{}"\\\n]', value):
        raise expectation('text without {, }, ", backslash and line break (it becomes a label of alerts)')
    return value


def no_boolean(value: Any) -> Any:
    """The value, unless it is `true` or `false`, which Python takes for numbers."""
    if isinstance(value, bool):
        raise expectation("a number")
    return value


Seconds = Annotated[int, BeforeValidator(parse_seconds)]
Number = Annotated[float, BeforeValidator(no_boolean), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(no_boolean)]
Text = Annotated[str, Field(min_length=1)]
Whom = Annotated[str, AfterValidator(plain_text)]


class Part(BaseModel):
    """What every part of the catalogue has in common: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
