"""Label matchers with Prometheus' own meaning, and its own regular expressions (RE2: no pattern can hang us)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import re2

from detector.serve.protobuf import Matcher

Test = Callable[[str], bool]

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


class BadMatcherError(ValueError):
    """A matcher that means nothing: its regular expression does not parse."""


class Selection:
    """Decides which label sets all of the matchers take; a label that is missing is an empty one.

    >>> wanted = Selection([Matcher(2, "instance", "a|b.*"), Matcher(1, "job", "")])
    >>> wanted.takes({"instance": "bee", "job": "node"}), wanted.takes({"instance": "bee"})
    (True, False)

    Raises BadMatcherError.
    """

    def __init__(self, matchers: Sequence[Matcher]) -> None:
        self._tests = [(matcher.name, _test(matcher)) for matcher in matchers]

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether every matcher holds."""
        return all(test(labels.get(name, "")) for name, test in self._tests)

    def on(self, names: frozenset[str]) -> Selection:
        """Only the conditions on these labels."""
        return self._with(lambda name: name in names)

    def beside(self, names: frozenset[str]) -> Selection:
        """Only the conditions on other labels."""
        return self._with(lambda name: name not in names)

    def _with(self, counts: Callable[[str], bool]) -> Selection:
        chosen = Selection(())
        chosen._tests = [(name, test) for name, test in self._tests if counts(name)]
        return chosen


def _test(matcher: Matcher) -> Test:
    if matcher.type == 0:
        return lambda value: value == matcher.value
    if matcher.type == 1:
        return lambda value: value != matcher.value
    found = lru_cache(maxsize=4096)(_pattern(matcher.value))
    return found if matcher.type == 2 else lambda value: not found(value)


def _pattern(text: str) -> Test:
    try:
        compiled = re2.compile(f"(?s:{text})", _OPTIONS)
        re2.compile(text, _OPTIONS)  # alone too: `a)(b` is none, whatever stands around it
    except re2.error as error:
        reason = error.args[0] if error.args else error
        said = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise BadMatcherError(f"expected a regular expression (RE2), got {text!r}: {said}") from error
    return lambda value: compiled.fullmatch(value) is not None
