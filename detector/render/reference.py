"""A table of every alert of the platform, for people: what it is about, how bad it is, where it is told."""

from __future__ import annotations

from typing import Any

from detector.catalogue.durations import format_duration
from detector.catalogue.schema import Catalogue
from detector.render.labels import KIND
from detector.render.phrases import with_unit
from detector.render.rules import rule_groups, runbook_page

HEADER = """\
# Alerts

Rendered by `detector render --env {environment}`: change the catalogue, not this file.

| alert | kind | severity | fires when | for | service | team | channel | runbook |
|---|---|---|---|---|---|---|---|---|
"""


def reference_files(catalogue: Catalogue, environment: str) -> dict[str, str]:
    """The table."""
    rules = [rule for group in rule_groups(catalogue).values() for rule in group if "alert" in rule]
    when = _levels(catalogue)
    return {
        "alerts.md": HEADER.format(environment=environment) + "".join(_row(rule, catalogue, when) for rule in rules)
    }


def _row(rule: dict[str, Any], catalogue: Catalogue, when: dict[tuple[str, str], str]) -> str:
    labels, told = rule["labels"], catalogue.notifications
    service = labels.get("service", "")
    service = service.split('"')[1] if "{{" in service else service
    channel = labels.get("channel", "")
    cells = (
        rule["alert"],
        labels[KIND],
        labels["severity"],
        when.get((rule["alert"], service), rule["annotations"]["summary"].partition("{{")[0].strip()),
        format_duration(rule["for"]) if rule.get("for") else "",
        service,
        labels.get("team", ""),
        told.channels.get(channel, channel) if told else channel,
        runbook_page(rule),
    )
    return f"| {' | '.join(cells)} |\n"


def _levels(catalogue: Catalogue) -> dict[tuple[str, str], str]:
    """By alert and service, what the alerts of the queries, and those whose summary begins with a label, wait for."""
    found = {}
    for query in catalogue.queries.values():
        if query.threshold_alert and query.threshold_alert_level:
            operator, level = query.threshold_alert_level
            found[query.threshold_alert.name, query.service] = f"{query.name} {operator} {with_unit(level, query)}"
        if query.alert and query.threshold is not None:
            side = ">" if query.breach_above else "<"
            told = f"P({query.name} {side} {with_unit(query.threshold, query)})"
            found[query.alert.name, query.service] = (
                f"{told} ≥ {query.alert.probability:g} within {format_duration(query.alert_horizon)}"
            )
    for name, service in catalogue.services.items():
        if service.down_alert:
            found[service.down_alert.name, name] = f"{name} is down"
    for alert, event in catalogue.events.items():
        found[alert, event.service] = f"it happened within {format_duration(event.lasts)}"
    return found
