"""The labels that tell series apart: common ones, and those that the catalogue's own expressions name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from detector import conventions as names
from detector.prometheus_syntax import is_label_name

if TYPE_CHECKING:
    from detector.catalogue.schema import Catalogue

PARTS = ("model", "device", "mountpoint", "queue", "source", "dataset", "workflow")
"""Labels that tell the parts of an instance apart."""
PLACES = (
    "cluster", "region", "zone", "host", "hostname", "node", "namespace", "pod", "container", "deployment", "service",
)  # fmt: skip
"""Where something runs."""
OTHER_PARTS = (
    "cpu", "disk", "interface", "filesystem", "fstype", "persistentvolumeclaim", "sensor", "chip",
    "database", "datname", "db", "table", "topic", "partition", "consumergroup", "tenant",
    "endpoint", "handler", "method", "path", "route", "url", "target", "code", "status", "name", "type", "version",
)  # fmt: skip
"""What exporters tell apart within an instance."""
OF_THE_ALERT = frozenset({"alertname", "severity", "team", "channel", "kind"})
"""Labels in which an alert on a metric and its prediction differ, or that say nothing about the series."""

KIND = "kind"
"""The label by which Alertmanager tells what an alert is about."""
LEVEL = "level"
"""The label of an alert that was escalated; the first one has none, so that a silence on it covers all of them."""
PREDICTION, THRESHOLD = "prediction", "threshold"
AVAILABILITY, EVENT, OBJECTIVE, WORKER, WATCHDOG = "availability", "event", "objective", "worker", "watchdog"

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)|(?P<word>[A-Za-z_][A-Za-z0-9_:]*)
    |(?P<mark>=~|!~|!=|[^\s])""",
    re.VERBOSE,
)
_GROUPING = ("by", "on", "group_left", "group_right")
_MATCHES = ("=", "!=", "=~", "!~")
_WRITERS = ("label_replace", "label_join")


class Concern(Protocol):
    """Whatever an alert is about: who looks after it, and where it is told."""

    @property
    def team(self) -> str: ...  # noqa: D102 - the class says it
    @property
    def channel(self) -> str: ...  # noqa: D102


def alert_labels(about: Concern, severity: str, kind: str, service: str) -> dict[str, str]:
    """The labels of an alert that say whom it concerns, those that are known."""
    labels = {"severity": severity, "service": service, "team": about.team, "channel": about.channel, KIND: kind}
    return {name: value for name, value in labels.items() if value}


def labels_of_expression(expr: str) -> set[str]:
    """Every label that a PromQL expression matches, groups by, or writes.

    >>> sorted(labels_of_expression('sum by (pod, ns) (rate(x{env="a{b=c}", zone!~"d"}[5m])) / on (pod) y'))
    ['env', 'ns', 'pod', 'zone']
    >>> sorted(labels_of_expression('label_replace(sum(up) by (job), "host", "$1", "instance", "(.*):.*")  # by (me)'))
    ['host', 'job']
    """
    tokens = [(match.lastgroup, match[0]) for match in _TOKEN.finditer(expr) if match.lastgroup != "comment"]
    return {name for name in _named(tokens) if is_label_name(name)}


def series_labels(catalogue: Catalogue) -> list[str]:
    """The labels that must be equal for two alerts to be about the same thing; absent on both sides is equal."""
    own = {name for query in catalogue.queries.values() for name in labels_of_expression(query.expr)}
    common = (names.FOR, "job", "instance", *PARTS, *PLACES, *OTHER_PARTS)
    renamed = names.RESERVED_LABELS - {names.FOR, "job"}
    return [*common, *sorted(own.difference(common, renamed, OF_THE_ALERT))]


def _named(tokens: list[tuple[str | None, str]]) -> Iterator[str]:
    for place, (kind, said) in enumerate(tokens):
        if said in _GROUPING and tokens[place + 1 : place + 2] == [("mark", "(")]:
            yield from _words_until(")", tokens, place + 2)
        elif said == "{":
            yield from _matched(tokens, place + 1)
        elif kind == "word" and said in _WRITERS:
            yield from _written(tokens, place + 1)


def _words_until(end: str, tokens: list[tuple[str | None, str]], place: int) -> Iterator[str]:
    for kind, said in tokens[place:]:
        if said == end:
            return
        if kind == "word":
            yield said


def _matched(tokens: list[tuple[str | None, str]], place: int) -> Iterator[str]:
    for (kind, said), (_, following) in zip(tokens[place:], tokens[place + 1 :], strict=False):
        if (kind, said) == ("mark", "}"):
            return
        if kind == "word" and following in _MATCHES:
            yield said


def _written(tokens: list[tuple[str | None, str]], place: int) -> Iterator[str]:
    """The second argument of a function whose parenthesis opens at ``place``."""
    depth = 0
    for at in range(place, len(tokens) - 1):
        kind, said = tokens[at]
        depth += (said in "([{" and kind == "mark") - (said in ")]}" and kind == "mark")
        if depth == 1 and said == "," and tokens[at + 1][0] == "quoted":
            yield tokens[at + 1][1][1:-1]
            return
        if depth == 0:
            return
