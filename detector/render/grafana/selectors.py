"""PromQL of the catalogue, narrowed to what a dashboard's variables choose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)|(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
    |(?P<range>\[[^\]]*\])|(?P<number>\d[\w.]*)|(?P<word>[A-Za-z_:][\w:]*)|(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_OPERATORS = frozenset({"and", "or", "unless", "atan2", "bool", "offset", "inf", "nan"})


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class _Selector:
    """A metric's name ("" for a bare `{…}`), and where its matchers go: after `end`, or into the braces there."""

    metric: str
    end: int
    braced: bool
    empty: bool


def narrowed(expr: str, matchers: Mapping[str, str]) -> str:
    """The expression with matchers added to every selector. Values are regular expressions, or variables.

    >>> narrowed('rate(x_total{a="b"}[5m]) / on (pod) sum by (pod) (up offset 5m)', {"instance": "$instance"})
    'rate(x_total{a="b",instance=~"$instance"}[5m]) / on (pod) sum by (pod) (up{instance=~"$instance"} offset 5m)'
    """
    added = ",".join(f'{name}=~"{value}"' for name, value in matchers.items())
    if not added:
        return expr
    out, done = [], 0
    for selector in _selectors(expr):
        text = added if selector.empty else f",{added}"
        out += [expr[done : selector.end], text if selector.braced else f"{{{added}}}"]
        done = selector.end
    return "".join([*out, expr[done:]])


def metrics_of(expr: str) -> list[str]:
    """Every metric an expression selects by name, in order, once each.

    >>> metrics_of("100 * a / a_max > bool (b or vector(0))")
    ['a', 'a_max', 'b']
    """
    return list(dict.fromkeys(selector.metric for selector in _selectors(expr) if selector.metric))


def histogram_of(expr: str) -> str | None:
    """The classic histogram an expression reads its buckets of, without `_bucket`.

    >>> histogram_of("histogram_quantile(0.95, sum by (le) (rate(x_seconds_bucket[5m])))")
    'x_seconds'
    """
    buckets = [name for name in metrics_of(expr) if name.endswith("_bucket")]
    return buckets[0].removesuffix("_bucket") if len(buckets) == 1 else None


def _selectors(expr: str) -> Iterator[_Selector]:
    tokens = [_Token(str(m.lastgroup), m[0], m.start(), m.end()) for m in _TOKEN.finditer(expr)]
    tokens = [token for token in tokens if token.kind != "skip"]
    place = 0
    while place < len(tokens):
        token, following = tokens[place], tokens[place + 1].text if place + 1 < len(tokens) else ""
        if token.text.lower() in _GROUPING and following == "(":
            place = _closing(tokens, place + 1, ")")
        elif token.text == "{":
            place = _closing(tokens, place, "}")
            yield _braced("", tokens, place)
        elif token.kind == "word" and token.text.lower() not in _OPERATORS | _GROUPING and following != "(":
            if following == "{":
                place = _closing(tokens, place + 1, "}")
                yield _braced(token.text, tokens, place)
            elif following.lower() not in ("by", "without"):
                yield _Selector(token.text, token.end, braced=False, empty=True)
        place += 1


def _closing(tokens: list[_Token], place: int, mark: str) -> int:
    """Index of the next closing mark; the last token where there is none."""
    for at in range(place, len(tokens)):
        if tokens[at].text == mark:
            return at
    return len(tokens) - 1


def _braced(metric: str, tokens: list[_Token], place: int) -> _Selector:
    return _Selector(metric, tokens[place].start, braced=True, empty=tokens[place - 1].text in ("{", ","))
