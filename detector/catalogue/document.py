"""YAML text to plain values that remember their lines.

Only plain YAML is taken: scalars, lists, mappings, anchors. Duplicate keys, tags, keys that are no text and
aliases that contain themselves are problems, never surprises.
"""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from detector.errors import ConfigError, Problem

Path = tuple[str | int, ...]

SECRET_KEYS = frozenset({"password", "bearer_token", "headers", "redis", "url", "prometheus", "pushgateway"})
"""Values under these keys are never repeated in a message (a URL may carry a password)."""

_HOST_PORT = re.compile(r"[A-Za-z0-9.-]{1,40}:[0-9]{1,5}")
"""What is most often written in place of a URL."""
_MAX_DEPTH = 40
_MAX_NODES = 200_000
_REFERENCE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "timestamp", "merge", "value")
}
_REPR = reprlib.Repr()
_REPR.maxstring, _REPR.maxother, _REPR.maxdict, _REPR.maxlist = 80, 80, 6, 8


@dataclass
class Document:
    """Plain values of one YAML file, the line of every key, and what was wrong so far."""

    file: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unresolved: set[Path] = field(default_factory=set)
    """Where a reference to the environment found nothing: reported once, not validated again."""

    def line(self, path: Path) -> int:
        """Line of the key at `path`, or of the nearest part above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def report(self, path: Path, expected: str, got: str, *, line: int | None = None) -> None:
        """Add one problem; the query and the key are read off the path."""
        query = str(path[1]) if len(path) > 1 and path[0] == "queries" else None
        key = ".".join(map(str, path[2:] if query else path)) or None
        self.problems.append(
            Problem(
                message="",
                path=self.file,
                line=line if line is not None else self.line(path),
                query=query,
                key=key,
                expected=expected,
                got=got,
            )
        )

    def raise_if_wrong(self) -> None:
        """Raise ConfigError with every problem, in the order of the file."""
        if self.problems:
            raise ConfigError(sorted(self.problems, key=lambda problem: problem.line or 0))


def shown(value: Any, path: Path = ()) -> str:
    """A value as a message shows it: short, on one line, secrets left out."""
    if any(part in SECRET_KEYS for part in path) and not _lacks_a_scheme(value, path):
        return (
            "a hidden value" if isinstance(value, str) and value else "nothing" if value in (None, "") else _kind(value)
        )
    if value is None or value == "":
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (Mapping, list)):
        return _kind(value)
    if isinstance(value, int) and abs(value) >= 10**80:
        return "a huge number"
    return _on_a_line(value) if isinstance(value, str) and not value.isprintable() else str(value)[:80]


def _lacks_a_scheme(value: Any, path: Path) -> bool:
    """Whether it is HOST:PORT where the URL of a server belongs: no secret is in it."""
    place = [part for part in path if isinstance(part, str) and part != "url"]
    return place[-1] in ("prometheus", "pushgateway") and isinstance(value, str) and bool(_HOST_PORT.fullmatch(value))


def _on_a_line(text: str) -> str:
    return text if text.isprintable() else _REPR.repr(text)


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        keys = ", ".join(_on_a_line(str(key)[:30]) for key in list(value)[:6])
        return f"a mapping of {keys}" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "a hidden value"


def read_document(text: str, file: str) -> Document:
    """Parse `text`. Raises ConfigError where it is no YAML; other problems wait in the document."""
    document = Document(file)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.report((), "YAML", _syntax_error(error), line=mark.line + 1 if mark else 1)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        document.report((), "YAML", str(error).splitlines()[0][:120] or type(error).__name__, line=1)
    else:
        if node is None:
            document.report((), "a mapping with queries", "an empty file", line=1)
        else:
            _Reader(document).read(node)
    if document.value is None:
        document.raise_if_wrong()
    return document


def _syntax_error(error: yaml.MarkedYAMLError) -> str:
    """What the parser says, and where the part began that it was reading."""
    began = error.context_mark
    inside = f" {error.context} from line {began.line + 1}" if error.context and began else ""
    return f"a syntax error{inside}: {error.problem or 'unknown'}"


class _Reader:
    """Walks the nodes of one document once."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.scalars = yaml.SafeLoader("")
        self.nodes = 0

    def read(self, node: yaml.Node) -> None:
        self.document.value = self._value(node, ())

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        self.nodes += 1
        if len(path) > _MAX_DEPTH or self.nodes > _MAX_NODES:
            if self.nodes <= _MAX_NODES + 1 or len(path) > _MAX_DEPTH:
                self.document.report(path[:4], "a catalogue of ordinary size and depth", "one that never ends")
            self.nodes = _MAX_NODES + 2
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            values: list[Any] = []
            for index, child in enumerate(node.value):
                if self.nodes > _MAX_NODES:
                    break
                values.append(self._value(child, (*path, index)))
            return values
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, child in node.value:
            if self.nodes > _MAX_NODES:
                break
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                self.document.report(path, "a plain key", "a list or mapping as key", line=line)
            elif key in values:
                first = self.document.lines[*path, key]
                self.document.report((*path, key), "each key once", f"it again (first in line {first})", line=line)
            else:
                self.document.lines[*path, key] = line
                values[key] = self._value(child, (*path, key))
        return values

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        if node.tag not in _PLAIN_TAGS:
            self.document.report(path, "plain YAML", f"the tag {node.tag[:60]}", line=node.start_mark.line + 1)
            return None
        if node.tag.rsplit(":", 1)[1] in ("timestamp", "merge", "value", "str"):
            return node.value
        try:
            return self.scalars.construct_object(node)
        except (ValueError, KeyError, IndexError, OverflowError, yaml.YAMLError):
            return node.value


def fill_in_environment(
    document: Document, path: Path = ("settings",), environ: Mapping[str, str] | None = None
) -> None:
    """Replace `${NAME}` and `${NAME:-default}` in every text of the settings; `$$` is a plain `$`."""
    if isinstance(document.value, dict) and isinstance(document.value.get("settings"), (dict, list, str)):
        names = os.environ if environ is None else environ
        document.value["settings"] = _filled(document, document.value["settings"], path, names)


def _filled(document: Document, value: Any, path: Path, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(document, one, (*path, key), names) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(document, one, (*path, index), names) for index, one in enumerate(value)]
    if not isinstance(value, str):
        return value

    def resolve(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        found = names.get(match[1]) or match[2]
        if found is None:
            document.unresolved.add(path)
            document.report(path, f"the environment variable {match[1]} to be set", "no such variable")
            return ""
        return found

    return _REFERENCE.sub(resolve, value)
