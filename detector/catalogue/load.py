"""A catalogue file to a checked `Catalogue`, or every problem in it at once."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from detector.catalogue import document as yaml_document
from detector.catalogue import notifications, platform, schema
from detector.catalogue.document import Document, fill_in_environment, read_document, shown
from detector.catalogue.durations import format_duration
from detector.catalogue.schema import Catalogue, Query
from detector.errors import ConfigError, Problem

BUILT_IN = ("day_trade", "node_exporter")
ENVIRONMENT_VARIABLE = "DETECTOR_CATALOGUE"

_PARTS: dict[str, type[schema.Part]] = {
    "settings": schema.Settings,
    "prometheus": schema.Endpoint,
    "pushgateway": schema.Endpoint,
    "basic_auth": schema.BasicAuth,
    "tls": schema.Tls,
    "objective": schema.Objective,
    "breach": schema.Breach,
    "threshold_alert": schema.ThresholdAlert,
    "alert": schema.Alert,
    "down_alert": platform.DownAlert,
    "hosts": platform.Hosts,
    "notifications": notifications.Notifications,
    "email": notifications.Email,
    "repeat": notifications.Repeats,
    "dead_mans_switch": notifications.DeadMansSwitch,
    "worker": platform.WorkerAlerts,
}
_NAMED: dict[str, type[schema.Part]] = {
    "queries": schema.Query,
    "environments": schema.Environment,
    "services": schema.Service,
    "events": platform.Event,
    "service_level_objectives": platform.ServiceLevelObjective,
}
"""What stands under a name of the author's choice."""
_OF_ENVIRONMENT: dict[str, type[schema.Part]] = {
    "prometheus": platform.PrometheusSettings,
    "elasticsearch": platform.ElasticsearchSettings,
    "alertmanager": platform.AlertmanagerSettings,
    "grafana": platform.GrafanaSettings,
}
_UNION_TAGS = ("one", "several")
_DURATION_KEYS = frozenset(
    {"every", "step", "history", "horizons", "horizon", "for", "refit", "timeout"}
    | {"retention", "scrape_interval", "group_wait", "group_interval", "repeat_interval", "refresh", "data_kept"}
    | {"lasts", "after", "gather", "late", "silent", "no_data", "delivery", "email", "sms"}
)
_EXPECTED = {
    "missing": "a value",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of ordinary size",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text (in quotes where YAML would read it as something else)",
    "string_too_short": "text that is not empty",
    "string_pattern_mismatch": "a name of letters, digits and _, not starting with a digit",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "{} or more"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "{} or less"),
    "less_than": ("lt", "less than {}"),
}
_STAND_INS: dict[str, Any] = {"expr": "vector(0)", "unit": "ratio"}


def load_catalogue(path: str | Path | None = None) -> Catalogue:
    """The catalogue in a file, or the built-in one of that name (`day_trade`, `node_exporter`).

    Without `path` the environment variable DETECTOR_CATALOGUE decides, and without that `day_trade`.

    Raises:
    ------
    ConfigError
        The file cannot be read or has problems; it carries all of them, each with its line.

    Examples:
    --------
    >>> load_catalogue("day_trade").query("ml_ensemble_accuracy").threshold
    0.93
    """
    chosen = path if path is not None else os.environ.get(ENVIRONMENT_VARIABLE) or "day_trade"
    name, text = _read(chosen)
    return parse_catalogue(text, name)


def built_in_text(name: str) -> str:
    """The YAML of a built-in catalogue, comments and all."""
    return (resources.files("detector.catalogue") / f"{name}.yaml").read_text(encoding="utf-8")


def _read(path: str | Path) -> tuple[str, str]:
    if isinstance(path, str) and path in BUILT_IN:
        return f"{path}.yaml", built_in_text(path)
    try:
        return str(path), Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        got = "no such file (built in are " + " and ".join(BUILT_IN) + ")"
    except UnicodeDecodeError:
        got = "a file that is no UTF-8 text"
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
    raise ConfigError(Problem("", path=str(path), expected="a catalogue file", got=got))


def parse_catalogue(text: str, file: str, environ: Mapping[str, str] | None = None) -> Catalogue:
    """Validate the text of a catalogue; `file` is the name its problems carry.

    Raises:
    ------
    ConfigError
        With every problem of the text.
    """
    document = read_document(text, file)
    fill_in_environment(document, environ=environ)
    _refuse_names(document)
    try:
        catalogue = Catalogue.model_validate(document.value)
    except ValidationError as error:
        _collect(document, error)
        document.raise_if_wrong()
        raise  # unreachable: a ValidationError always leaves a problem
    document.raise_if_wrong()
    catalogue._origin = file
    return catalogue


def _refuse_names(document: Document) -> None:
    """A query's name is its key; `name` inside it is the model's own and no key of the file."""
    queries = document.value.get("queries") if isinstance(document.value, dict) else None
    for name, query in queries.items() if isinstance(queries, dict) else ():
        if isinstance(query, dict) and "name" in query:
            document.report(
                ("queries", name, "name"),
                "no such key (the name is the query's key)",
                shown(query.pop("name")),
            )


def _collect(document: Document, error: ValidationError) -> None:
    broken: dict[str, set[str]] = {}
    for details in error.errors(include_url=False, include_input=True):
        path = _path(details, document)
        _report(document, path, details)
        if len(path) > 2 and path[0] == "queries":
            broken.setdefault(str(path[1]), set()).add(str(path[2]))
    for name, keys in broken.items():
        _report_contradictions_beside(document, name, keys)


def _path(details: ErrorDetails, document: Document) -> yaml_document.Path:
    """The path in the file: pydantic's location without the tags of its unions."""
    path: yaml_document.Path = ()
    for part in details["loc"]:
        if not (part in _UNION_TAGS and path[-1:] == ("pushgateway",) and (*path, part) not in document.lines):
            path = (*path, part)
    return path


def _report(document: Document, path: yaml_document.Path, details: ErrorDetails) -> None:
    kind = details["type"]
    if path in document.unresolved:
        return
    if path[:1] == ("queries",) and path[2:] == ("name",) and path not in document.lines:
        path = path[:2]
    if kind == "contradictions":
        for key, want, got in details["ctx"]["found"]:
            document.report((*path, *key.split(".")), want, got)
    elif kind == "extra_forbidden":
        document.report(path, f"a known key{_suggestion(path)}", "an unknown one")
    else:
        got = "nothing" if kind == "missing" else shown(details["input"], path)
        if kind in _BOUNDS and _is_duration(path):
            got = format_duration(details["input"])
        document.report(path, _expected(path, details), got)


def _is_duration(path: yaml_document.Path) -> bool:
    return bool(_DURATION_KEYS.intersection(str(part) for part in path[-2:]))


def _report_contradictions_beside(document: Document, name: str, keys: set[str]) -> None:
    """Check the sound keys of a query with broken ones too, so that nothing waits for a second attempt."""
    sound = {key: value for key, value in document.value["queries"][name].items() if key not in keys}
    try:
        Query.model_validate({**_STAND_INS, **sound, "name": "query"})
    except ValidationError as error:
        for details in error.errors(include_url=False):
            for key, want, got in details.get("ctx", {}).get("found", ()):
                parts = key.split(".")
                if not keys & ({parts[0]} | _leans_on(parts[0])):
                    document.report(("queries", name, *parts), want, got)


def _leans_on(key: str) -> set[str]:
    """The other keys a contradiction of `key` may be about."""
    times = {"step", "horizons"}
    return {"history": times, "horizons": {"step"}, "objective": {"data_range"}}.get(
        key, {"objective", "data_range", "horizons", "threshold_alert"}
    )


def _suggestion(path: yaml_document.Path) -> str:
    known = _known_keys(path[:-1])
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" ({', '.join(known)})" if known else ""


def _known_keys(container: yaml_document.Path) -> list[str]:
    names = [part for part in container if isinstance(part, str)]
    if not names:
        part: type[schema.Part] | None = Catalogue
    elif names[0] in _NAMED and len(container) == 2:
        part = _NAMED[names[0]]
    elif names[0] == "environments" and len(container) == 3:
        part = _OF_ENVIRONMENT.get(names[2])
    else:
        part = _PARTS.get(names[-1])
    fields = part.model_fields.items() if part else ()
    return [field.alias or name for name, field in fields if name != "name" or part is not Query]


def _expected(path: yaml_document.Path, details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _BOUNDS:
        key, phrase = _BOUNDS[kind]
        bound = context[key]
        return phrase.format(format_duration(int(bound)) if _is_duration(path) else f"{bound:g}")
    if "data_range" in path and kind in ("missing", "too_long", "too_short"):
        return "two entries, [low, high]"
    if kind == "expectation":
        return str(context["expected"])
    if kind in ("literal_error", "enum"):
        return "one of " + str(context["expected"]).replace("'", "").replace(" or ", ", ")
    if kind == "too_short":
        return f"at least {context['min_length']} of them" if context["min_length"] > 1 else "at least one"
    if path and path[-1] == "[key]":
        return "a name as key"
    return _EXPECTED.get(kind, str(details["msg"]))
