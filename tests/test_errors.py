from __future__ import annotations

import pytest

from detector import errors
from detector.errors import ConfigError, DetectorError, Problem, QueryRejected, TooManySeries, redact

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, DetectorError) and kind.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_is_drawn_in_the_tree_with_its_exit_code_and_its_base(kind: type[DetectorError]) -> None:
    drawn = (errors.__doc__ or "").splitlines()
    (row,) = [i for i, line in enumerate(drawn) if kind.__name__ in line.split()]
    assert f" exit {kind.exit_code} " in drawn[row]
    if kind is not DetectorError:
        column = drawn[row].index(kind.__name__)
        base = next(line for line in reversed(drawn[:row]) if line.lstrip("│ ├└─") and _column(line) == column - 4)
        assert base.split("exit")[0].strip("│ ├└─") == kind.__bases__[0].__name__


def _column(line: str) -> int:
    return len(line) - len(line.lstrip("│ ├└─"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:hunter2@prom/x", "http://***@prom/x"),
        ("http://me:p@ss@prom/x", "http://***@prom/x"),
        ("redis://:hunter2@r:6379/0 and http://b:c@d", "redis://***@r:6379/0 and http://***@d"),
        ("http://prom/x?access_token=hunter2&a=1", "http://prom/x?access_token=***&a=1"),
        ("http://prom/x?a=1&API-Key=hunter2", "http://prom/x?a=1&API-Key=***"),
        ("mail me@example.org about http://prom", "mail me@example.org about http://prom"),
    ],
)
def test_credentials_in_urls_never_reach_a_message(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert str(DetectorError(text)) == shown
    assert str(QueryRejected("bad", expr=text)) == f"bad (query: {shown})"


def test_a_configuration_error_tells_all_problems_at_once() -> None:
    error = ConfigError(
        [Problem("unknown key", "c.yaml", 3, key="stepp"), Problem("", query="x", expected="1", got="2")]
    )
    assert str(error) == "c.yaml:3: key 'stepp': unknown key\nquery 'x': expected 1, got 2"
    assert len(error.problems) == 2
    assert str(ConfigError("no such file")) == "no such file"


def test_too_many_series_names_both_numbers_and_the_query() -> None:
    assert str(TooManySeries(expected=10, got=12, expr="up")) == (
        "expected at most 10 series, got 12; narrow or aggregate it, or raise max_series (query: up)"
    )
