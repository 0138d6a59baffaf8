"""Runs the filters of a Logstash pipeline: the constructions that the rendered one uses, by Logstash's documentation.

Anything else is an error, so that the pipeline cannot outgrow what is tested.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

Event = dict[str, Any]

TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<string>"[^"]*")|(?P<regex>/(?:[^/\\]|\\.)*/)|(?P<field>(?:\[[^\]\[,"]+\])+)"""
    r"""|(?P<op>=>|=~|!~|==|!=|[{}\[\],!])|(?P<word>[A-Za-z_]\w*|[0-9.]+)"""
)


def tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"no token at {text[at : at + 40]!r}")
        at = match.end()
        if match.lastgroup:
            found.append((match.lastgroup, match.group()))
    return found


class Parser:
    def __init__(self, text: str) -> None:
        self.left = tokens(text)[::-1]

    def peek(self) -> str:
        return self.left[-1][1] if self.left else ""

    def take(self, expected: str | None = None) -> tuple[str, str]:
        kind, text = self.left.pop()
        if expected is not None and text != expected:
            raise ValueError(f"expected {expected!r}, got {text!r}")
        return kind, text

    def sections(self) -> dict[str, list[Any]]:
        found = {}
        while self.left:
            _, name = self.take()
            found[name] = self.block()
        return found

    def block(self) -> list[Any]:
        self.take("{")
        found: list[Any] = []
        while self.peek() != "}":
            _, name = self.take()
            found.append(self.branches() if name == "if" else (name, self.hash(plugin=True)))
        self.take("}")
        return found

    def branches(self) -> list[Any]:
        found: list[Any] = [(self.disjunction(), self.block())]
        while self.peek() == "else":
            self.take()
            if self.peek() != "if":
                return [*found, (("always",), self.block())]
            self.take()
            found.append((self.disjunction(), self.block()))
        return found

    def disjunction(self) -> Any:
        left = self.conjunction()
        while self.peek() == "or":
            self.take()
            left = ("or", left, self.conjunction())
        return left

    def conjunction(self) -> Any:
        left = self.comparison()
        while self.peek() == "and":
            self.take()
            left = ("and", left, self.comparison())
        return left

    def comparison(self) -> Any:
        if self.peek() == "!":
            self.take()
            return ("not", self.comparison())
        left = self.take()
        if self.peek() in ("=~", "!~", "==", "not", "in"):
            operator = self.take()[1]
            if operator == "not":
                operator += " " + self.take("in")[1]
            return (operator, left, self.take())
        return ("there", left)

    def hash(self, *, plugin: bool = False) -> dict[str, Any]:
        self.take("{")
        found = {}
        while self.peek() != "}":
            key = self.take()[1].strip('"')
            self.take("=>")
            found[key] = self.value()
        self.take("}")
        return found

    def value(self) -> Any:
        if self.peek() == "{":
            return self.hash()
        if self.peek() == "[":
            self.take()
            found = []
            while self.peek() != "]":
                found.append(self.value())
                if self.peek() == ",":
                    self.take()
            self.take("]")
            return found
        return self.take()[1].strip('"')


def path(reference: str) -> list[str]:
    return re.findall(r"\[([^\]]+)\]", reference) or [reference]


def get(event: Event, reference: str) -> Any:
    found: Any = event
    for part in path(reference):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def put(event: Event, reference: str, value: Any) -> None:
    *parents, last = path(reference)
    for part in parents:
        event = event.setdefault(part, {})
    event[last] = value


def drop(event: Event, reference: str) -> Any:
    *parents, last = path(reference)
    found: Any = event
    for part in parents:
        found = found.get(part) if isinstance(found, dict) else None
    return found.pop(last, None) if isinstance(found, dict) else None


def has(event: Event, reference: str) -> bool:
    *parents, last = path(reference)
    found: Any = event
    for part in parents:
        found = found.get(part) if isinstance(found, dict) else None
    return isinstance(found, dict) and last in found


def sprintf(event: Event, text: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match[1] == "+YYYY.MM.dd":  # Logstash formats in UTC, whatever the machine's zone
            return event["@timestamp"].astimezone(UTC).strftime("%Y.%m.%d")
        value = get(event, match[1])
        return match[0] if value is None else str(value)

    return re.sub(r"%\{([^}]+)\}", one, text)


def holds(event: Event, condition: Any) -> bool:
    operator, *operands = condition
    if operator == "always":
        return True
    if operator in ("and", "or"):
        return (all if operator == "and" else any)(holds(event, one) for one in operands)
    if operator == "not":
        return not holds(event, operands[0])
    kind, text = operands[0]
    left = get(event, text) if kind == "field" else text.strip('"')
    if operator == "there":
        return left is not None and left is not False
    right_kind, right = operands[1]
    if operator in ("=~", "!~"):
        matched = isinstance(left, str) and re.search(_ruby(right[1:-1]), left) is not None
        return matched == (operator == "=~")
    value = get(event, right) if right_kind == "field" else right.strip('"')
    if operator == "==":
        return bool(left == value)
    return (left in (value or [])) == (operator == "in")


def _ruby(pattern: str) -> str:
    r"""In Ruby ^ and $ are the ends of a line, and \z the end of the text."""
    return "(?m)" + pattern.replace(r"\z", r"\Z")


def run(filters: list[Any], event: Event) -> None:
    for one in filters:
        if isinstance(one, list):
            chosen = next((block for condition, block in one if holds(event, condition)), [])
            run(chosen, event)
        else:
            name, options = one
            {"mutate": mutate, "json": parse_json, "date": date, "grok": grok}[name](event, dict(options))


def mutate(event: Event, options: dict[str, Any]) -> None:
    [(what, argument)] = options.items()  # one a block: their order within a block is Logstash's own
    if what == "rename":
        for old, new in argument.items():
            if has(event, old):
                put(event, new, drop(event, old))
    elif what == "remove_field":
        for field in argument:
            drop(event, field)
    elif what == "add_field":
        for field, text in argument.items():
            put(event, field, sprintf(event, text))
    elif what == "add_tag":
        event.setdefault("tags", []).extend(argument)
    elif what == "convert":
        for field, to in argument.items():
            value = get(event, field)
            if value is not None and not isinstance(value, dict):
                put(event, field, [_convert(x, to) for x in value] if isinstance(value, list) else _convert(value, to))
    else:
        raise ValueError(f"mutate {what} is not known here")


def _convert(value: Any, to: str) -> Any:
    if to == "string":
        return str(value).lower() if isinstance(value, bool) else str(value)
    return float(value) if to == "float" else int(value)


def parse_json(event: Event, options: dict[str, Any]) -> None:
    try:
        event[options["target"]] = json.loads(event[options["source"]])
    except ValueError:
        event.setdefault("tags", []).extend(options["tag_on_failure"])


def date(event: Event, options: dict[str, Any]) -> None:
    field, form = options["match"]
    assert form == "ISO8601"
    try:
        event["@timestamp"] = datetime.fromisoformat(get(event, field))
    except ValueError:
        event.setdefault("tags", []).extend(options["tag_on_failure"])


def grok(event: Event, options: dict[str, Any]) -> None:
    [(field, pattern)] = options["match"].items()
    match = re.search(pattern.replace("(?<", "(?P<"), get(event, field))
    if match is None:
        event.setdefault("tags", []).append("_grokparsefailure")
    else:
        event.update(match.groupdict())
