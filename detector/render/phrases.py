"""Words of alerts: text of the catalogue and of an alert's own labels, as Prometheus templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.render.labels import PARTS

if TYPE_CHECKING:
    from detector.catalogue.schema import Query


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
        "seconds": "$value | humanizeDuration",
        "bytes": "$value | humanize1024",
    }
    return f"{{{{ {shown.get(query.unit, '$value | humanize')} }}}}"
