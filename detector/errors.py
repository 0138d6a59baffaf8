"""Every error the worker raises on purpose, in one tree.

::

    DetectorError                 exit 1  anything below
    ├── ConfigError               exit 2  the catalogue or a setting is wrong; lists every problem at once
    ├── SourceError               exit 3  reading from Prometheus failed
    │   ├── SourceUnavailable     exit 3  no answer, a refusal, or "try later"
    │   ├── QueryRejected         exit 1  the expression is wrong; Prometheus' own words and the expression
    │   ├── PartialData           exit 3  an answer with warnings: some of the data is missing
    │   ├── BadResponse           exit 3  an answer that is not what the API promises
    │   ├── ResponseTooLarge      exit 3  more bytes than the cap
    │   └── TooManySeries         exit 1  more series than `max_series`
    ├── SinkError                 exit 4  publishing failed
    │   ├── SinkUnavailable       exit 4  no Pushgateway took it
    │   └── SinkRejected          exit 4  a Pushgateway refused it, in its own words
    └── StateError                exit 5  the worker's own files or Redis are unusable

Exceptions of other libraries are mapped to these once, where they enter (`source`, `sink`, `store`),
always `from` the original. Messages never carry a password: see `redact`.
"""
# ruff: noqa: N818 - a name says what happened; that it is an error, its base says

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
_CREDENTIAL = r"pass(?:word|wd)?|pwd|token|secret|api[_-]?key|auth|signature|sig|credential"
_CREDENTIAL_PARAMETER = re.compile(rf"(?i)([?&][^=&\s]*(?:{_CREDENTIAL})[^=&\s]*=)[^&#\s'\")]+")


def redact(text: str) -> str:
    """The text without credentials in URLs.

    >>> redact("cannot reach https://me:hunter2@prom:9090/x?token=abc&a=1")
    'cannot reach https://***@prom:9090/x?token=***&a=1'
    """
    return _CREDENTIAL_PARAMETER.sub(r"\1***", _USERINFO.sub("***@", text))


class DetectorError(Exception):
    """Base of everything the worker raises on purpose. `exit_code` is the process' exit code."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))

    @property
    def message(self) -> str:
        """What happened, in one sentence, without credentials."""
        return str(self)


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a configuration, with the place where it stands."""

    message: str
    path: str | None = None
    line: int | None = None
    query: str | None = None
    key: str | None = None
    expected: str | None = None
    got: str | None = None

    def __str__(self) -> str:
        """`FILE:LINE: query 'x', key 'step': expected …, got …`, or as much of it as is known.

        >>> str(Problem("", "day_trade.yaml", 12, "cpu", "step", "15s or more", "5s"))
        "day_trade.yaml:12: query 'cpu', key 'step': expected 15s or more, got 5s"
        """
        place = ":".join(str(part) for part in (self.path, self.line) if part is not None)
        subject = ", ".join(
            f"{word} {name!r}" for word, name in (("query", self.query), ("key", self.key)) if name is not None
        )
        wanted = f"expected {self.expected}" if self.expected is not None else ""
        got = f"got {self.got}" if self.got is not None else ""
        said = ", ".join(part for part in (self.message, wanted, got) if part)
        return ": ".join(part for part in (place, subject, said) if part)


class ConfigError(DetectorError):
    """The catalogue, a setting or an argument is wrong. `problems` has all of them, not only the first."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem] | Problem | str) -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        self.problems: list[Problem] = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SourceError(DetectorError):
    """Reading from Prometheus failed."""

    exit_code = 3


class SourceUnavailable(SourceError):
    """Prometheus cannot be reached, does not answer in time, or refuses to serve us."""


class QueryRejected(SourceError):
    """The expression cannot be evaluated, or its result cannot be forecast. `expr` is the expression."""

    exit_code = 1

    def __init__(self, message: str, *, expr: str | None = None) -> None:
        super().__init__(message if expr is None else f"{message} (query: {expr})")
        self.expr = expr


class PartialData(SourceError):
    """Prometheus answered with warnings: some of the data is missing, so none of it is used."""


class BadResponse(SourceError):
    """The answer is not what the Prometheus API promises: not JSON, cut short, of another shape."""


class ResponseTooLarge(SourceError):
    """The answer has more bytes than the cap; nothing of it is used."""


class TooManySeries(SourceError):
    """A query found more series than `max_series` allows."""

    exit_code = 1

    def __init__(self, *, expected: int, got: int, expr: str | None = None) -> None:
        what = f"expected at most {expected} series, got {got}; narrow or aggregate it, or raise max_series"
        super().__init__(what if expr is None else f"{what} (query: {expr})")
        self.expected = expected
        self.got = got
        self.expr = expr


def next_step(error: DetectorError) -> str | None:
    """What to do about a server or a store that is not there, for people at a terminal; None for what says so."""
    if isinstance(error, SourceUnavailable):
        return (
            "next: see that Prometheus runs there; --url, --against or settings.prometheus of a catalogue name another"
        )
    if isinstance(error, SinkUnavailable):
        return "next: see that the Pushgateway runs there; --pushgateway or settings.pushgateway name another"
    if isinstance(error, StateError):
        return "next: settings.state_dir must be a directory that can be written, settings.redis a Redis that answers"
    return None


class SinkError(DetectorError):
    """Publishing the results failed."""

    exit_code = 4


class SinkUnavailable(SinkError):
    """No Pushgateway could be reached."""


class SinkRejected(SinkError):
    """A Pushgateway refused what was pushed; the message is its own."""


class StateError(DetectorError):
    """The worker's own state (a file, or Redis) cannot be read or written."""

    exit_code = 5
