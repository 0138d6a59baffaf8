"""A starting catalogue for a Prometheus nobody told us about: what it has decides what is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from detector.catalogue.document import read_document
from detector.catalogue.load import BUILT_IN, built_in_text, parse_catalogue
from detector.catalogue.schema import Query
from detector.errors import DetectorError, SourceError, SourceUnavailable

MAX_SUGGESTIONS = 20
"""Gauges suggested where nothing known is found: a file one still wants to read."""

_EVERYWHERE = frozenset({"process_file_descriptors_used"})
"""Queries that nearly every Prometheus answers, if only about itself: they say nothing of what runs there."""

_LOOKS_BOUNDED = re.compile(r"(?i)(ratio|percent|percentage|pct|usage|utili[sz]ation|used|accuracy|score|load)$")
_COUNTERS = re.compile(r"_(total|bucket|count|sum|created|info|bytes|seconds|timestamp)$")
_QUERY_NAME = re.compile(r"[^A-Za-z0-9_.-]")


class Source(Protocol):
    """As much of a Prometheus as this needs."""

    def instant(self, expr: str, at: int | None = None) -> list[tuple[dict[str, str], float]]:
        """Every series of an expression, and its value."""
        ...

    def metric_names(self) -> list[str]:
        """Every metric name there is."""
        ...


@dataclass(frozen=True)
class Draft:
    """The text of a new catalogue, and how many queries and series it has."""

    text: str
    queries: int
    series: int
    guessed: bool


def draft_catalogue(source: Source, url: str) -> Draft:
    """A commented catalogue of what the Prometheus behind `source` has.

    The built-in queries that return data are taken as they are; where none does, gauges that look like a
    ratio or a percentage are suggested, without objectives.

    Raises:
    ------
    DetectorError
        Nothing there looks like anything to watch.
    SourceUnavailable
        The Prometheus cannot be reached.
    """
    blocks = {name: (text, count) for name, text, count in _known(source)}
    guessed = blocks.keys() <= _EVERYWHERE
    if guessed:
        blocks |= {name: (text, count) for name, text, count in _guessed(source) if name not in blocks}
    if not blocks:
        raise DetectorError(
            f"nothing on {url} looks like CPU, memory, disk, a ratio or a percentage; "
            "write a catalogue by hand (docs/catalogue.md has the keys)"
        )
    text = _head(url, guessed) + "\n".join(text for text, _ in blocks.values())
    parse_catalogue(text, "the drafted catalogue", environ={})
    return Draft(text, len(blocks), sum(count for _, count in blocks.values()), guessed)


def _known(source: Source) -> Iterator[tuple[str, str, int]]:
    """Name, text and series of every built-in query that returns data."""
    names = set(source.metric_names())
    taken: set[str] = set()
    for catalogue in reversed(BUILT_IN):
        loaded = parse_catalogue(built_in_text(catalogue), catalogue)
        texts = built_in_blocks(catalogue)
        for query in loaded.queries.values():
            if query.name in taken or not names.intersection(re.findall(r"[A-Za-z_:][A-Za-z0-9_:]*", query.expr)):
                continue
            count = _count(source, query.expr)
            if count:
                taken.add(query.name)
                yield query.name, _fitted(texts[query.name], query, source), count


def _fitted(text: str, query: Query, source: Source) -> str:
    """The block without `samples` where this Prometheus has none."""
    if query.samples and not _count(source, query.samples):
        text = re.sub(r"(?m)^    (# samples:|samples:).*\n", "", text)
    return text


def _count(source: Source, expr: str) -> int:
    """How many series an expression has; 0 too where it cannot be evaluated."""
    try:
        found = source.instant(f"count(\n{expr}\n)")
    except SourceUnavailable:
        raise
    except SourceError:
        return 0
    return int(found[0][1]) if found else 0


def built_in_blocks(catalogue: str) -> dict[str, str]:
    """The text of each query of a built-in catalogue, comments included."""
    text = built_in_text(catalogue)
    document = read_document(text, catalogue)
    lines = text.splitlines()
    starts = {name: document.lines["queries", name] - 1 for name in document.value["queries"]}
    ends = [*sorted(starts.values())[1:], len(lines)]
    blocks = {}
    for (name, start), end in zip(starts.items(), ends, strict=True):
        block = lines[start:end]
        while not block[-1].strip() or re.match(r" {0,2}#", block[-1]):
            block.pop()
        blocks[name] = "\n".join(block) + "\n"
    return blocks


def _guessed(source: Source) -> Iterator[tuple[str, str, int]]:
    """Name, text and series of gauges that by name and values are ratios or percentages."""
    given = 0
    for metric in source.metric_names():
        if given == MAX_SUGGESTIONS:
            return
        if _COUNTERS.search(metric) or not _LOOKS_BOUNDED.search(metric):
            continue
        count = _count(source, metric)
        unit = _unit(source, metric) if count else None
        if unit is not None:
            given += 1
            name = _QUERY_NAME.sub("_", metric).lstrip("0123456789.-") or "query"
            yield name, _suggestion(name, metric, unit), count


def _unit(source: Source, metric: str) -> str | None:
    """`ratio` or `percent` by the values the gauge has now, None where neither fits."""
    found = source.instant(f"min({metric})") + source.instant(f"max({metric})")
    if len(found) != 2:
        return None
    low, high = found[0][1], found[1][1]
    if not 0 <= low <= high <= 100:  # NaN fails too
        return None
    named_percent = re.search(r"(?i)(percent|percentage|pct)$", metric)
    return "percent" if named_percent or high > 1 else "ratio"


def _suggestion(name: str, metric: str, unit: str) -> str:
    top, level = (100, 90) if unit == "percent" else (1, 0.9)
    alert = re.sub(r"[^A-Za-z0-9]", "", name.replace("_", " ").title()) or "Query"
    return f"""\
  {name}:
    # By its name and values this looks like a {unit}. Say what is good, and remove the # from both:
    # objective: {{below: {level}}}
    # alert: {{name: {alert}Forecast, severity: warning, horizon: 24h}}
    expr: {json.dumps(metric)}
    unit: {unit}
    data_range: [0, {top}]
    step: 5m
    history: 21d
"""


def _head(url: str, guessed: bool) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    plain = urlunsplit((parts.scheme, host, parts.path, "", "")).rstrip("/")
    secret = "@" in parts.netloc
    what = (
        "Little known was found there, so these are gauges that look like a ratio or a percentage."
        if guessed
        else "These are the known queries that return data there. Objectives marked `default_objective` are\n"
        "# defaults: change them to what is good for you, and remove the mark."
    )
    return f"""\
# What the worker watches on {plain.replace(chr(10), " ")}
# {what}
#
# Next: detector check-config THIS_FILE --against settings
#       detector run THIS_FILE
# Every key is described in docs/catalogue.md.

settings:
  environment: production
  prometheus:
    url: {json.dumps(plain.replace("$", "$$"))}
{_CREDENTIALS if secret else _AUTH}\
  pushgateway:
    url: "${{DETECTOR_PUSHGATEWAY_URL:-http://localhost:9091}}"

queries:

"""


_AUTH = """\
    # bearer_token_file: /run/secrets/prometheus     # or basic_auth: {username: …, password_file: …}
"""
_CREDENTIALS = """\
    # The credentials of the URL are not written here. Keep them in a file:
    # basic_auth: {username: …, password_file: /run/secrets/prometheus}
"""
