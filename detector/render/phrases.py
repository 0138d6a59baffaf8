"""Words of alerts: text of the catalogue and of an alert's own labels, as Prometheus templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.render.labels import PARTS

if TYPE_CHECKING:
    from detector.catalogue.schema import Query


_DROP_SECONDS = ("m [0-9]+s$", "m")
"""Of `12m 34s` and `4h 3m 12s`, as humanizeDuration writes them."""
_KEEP_SECONDS = ("(h [0-9]+m) [0-9]+s$", "$1")
"""The same, but a measured minute or two keeps them."""
_AS_PEOPLE_WRITE = (
    ("(d [0-9]+h) .*", "$1"),
    ("( 0[hms])+$", ""),
    ("m( |$)", "min$1"),
    ("([0-9])([a-z])", "$1 $2"),
)
"""Two units at most and no zero at the end; `min` is a minute, and a blank stands before each unit."""


def subject(name: str, parts: tuple[str, ...] = PARTS) -> str:
    """What it is about and what tells its series apart, "node_disk_usage of node-2 /data"."""
    return f"{name}{{{{ with $labels.instance }}}} of {{{{ . }}}}{{{{ end }}}}" + "".join(
        f"{{{{ with $labels.{part} }}}} {{{{ . }}}}{{{{ end }}}}" for part in parts
    )


def sentence(description: str) -> str:
    """A description of the catalogue as a sentence with a blank after it; nothing where there is none."""
    return literal(description.rstrip(". ")) + ". " if description else ""


def literal(text: str) -> str:
    """Text of the catalogue in a template: its braces are no directives."""
    return text.replace("{{", '{{ "{{" }}')


def with_unit(level: float, query: Query) -> str:
    """A level of a query as people write it, "93%"."""
    if query.unit == "ratio":
        return f"{100 * level:.10g}%"
    unit = {"percent": "%", "seconds": " s", "bytes": " bytes", "per_second": " per second"}
    return f"{level:.10g}{unit.get(query.unit, '')}"


def value_template(query: Query) -> str:
    """The alert's value in the unit of the query."""
    shown = {
        "ratio": "$value | humanizePercentage",
        "percent": 'printf "%.1f%%" $value',
        "seconds": _span("$value", _KEEP_SECONDS),
        "bytes": "$value | humanize1024",
    }
    return f"{{{{ {shown.get(query.unit, '$value | humanize')} }}}}"


def span_template(seconds: str) -> str:
    """A span of time as people say it, "12 min", "4 h 3 min", "2 d 8 h"; `seconds` is the template's variable.

    What is left out is cut off, not rounded: a time to a breach errs on the early side.
    """
    return f"{{{{ {_span(seconds, _DROP_SECONDS)} }}}}"


def _span(seconds: str, first: tuple[str, str]) -> str:
    steps = "".join(f' | reReplaceAll "{found}" "{instead}"' for found, instead in (first, *_AS_PEOPLE_WRITE))
    return f"{seconds} | humanizeDuration{steps}"
