"""Alerts on the platform itself: a service that does not work, an event that is worth a line."""

from __future__ import annotations

from typing import Any

from detector.catalogue.schema import Event, Service
from detector.prometheus_syntax import matcher
from detector.render.labels import AVAILABILITY, EVENT, alert_labels
from detector.render.phrases import literal, sentence, span_template, subject

EVENT_SLACK_SECONDS = 60
"""So much longer than it lasts is an event shown: its first scrape and evaluation come late."""


def down_rule(name: str, service: Service) -> dict[str, Any]:
    """The alert on a service that does not answer; `service` must have one."""
    if service.down_alert is None:
        raise ValueError(f"service {name!r} has no alert on its being down")
    of_job = f"up{{{matcher('job', name)}}}"
    up = service.down_alert.up
    # A sign of life of its own is missing, not 0, where it cannot be scraped.
    own = f"(\n  {up}\n) == 0\nor on (job, instance)\n" if up else ""
    return {
        "alert": service.down_alert.name,
        "expr": f"{own}{of_job} == 0\nor\nabsent({of_job})",
        "for": service.down_alert.for_,
        "labels": alert_labels(service, service.down_alert.severity, AVAILABILITY, name),
        "annotations": {
            "summary": f"{subject(literal(name))} is down",
            "description": f"{sentence(service.description)}"
            "{{ if $labels.instance }}It does not answer: its state is {{ $value }}, 1 is well."
            "{{ else }}{{ $value }} finding: it is not scraped at all.{{ end }}",
        },
    }


def event_rule(name: str, event: Event) -> dict[str, Any]:
    """The alert that tells of an event for as long as it lasts."""
    return {
        "alert": name,
        "expr": f"(\n  time() - ({event.time})\n) < {event.lasts + EVENT_SLACK_SECONDS}",
        "labels": alert_labels(event, "info", EVENT, event.service),
        "annotations": {
            "summary": subject(name),
            "description": f"{sentence(event.description)}It was {span_template('$value')} ago.",
        },
    }
