"""Who receives: Slack channels, mail, the relay for Teams and SMS, the levels of escalation, and their words."""

from __future__ import annotations

from typing import Any

from detector.catalogue.notifications import Notifications

RECOVERY, DEAD_MANS_SWITCH, ESCALATION = "recovery", "dead-mans-switch", "escalation"
TITLE, TEXT = "day_trade.title", "day_trade.text"

MESSAGES = """\
{{/* The words of every message. Rendered by `detector render`: change detector/render/receivers.py, not this file. */}}
{{ define "day_trade.title" -}}
[{{ .Status | toUpper }}
{{- with .CommonLabels.severity }} {{ . }}{{ end }}{{ with .CommonLabels.level }} {{ . }}{{ end }}]
{{- with .CommonLabels.alertname }} {{ . }}{{ end }} ({{ len .Alerts }})
{{- end }}
{{ define "day_trade.text" -}}
{{ range .Alerts -}}
{{ if eq .Status "resolved" }}Over: {{ end }}{{ .Annotations.summary }}
{{ .Annotations.description }}
{{ with .Annotations.runbook_url }}What to do: {{ . }}
{{ end }}
{{ end -}}
{{ end }}
"""

Receiver = dict[str, Any]


def receivers(told: Notifications) -> list[Receiver]:
    """Every receiver of an environment."""
    found = [{"name": f"slack-{name}", "slack_configs": [_slack(channel)]} for name, channel in told.channels.items()]
    found += [
        {"name": "email", "email_configs": [_email(told.email.to)]},
        {"name": "sms", "webhook_configs": [_webhook(told, f"{told.relay}/notify/sms")]},
        {"name": "teams", "webhook_configs": [_webhook(told, f"{told.relay}/notify/teams")]},
        {"name": DEAD_MANS_SWITCH, "webhook_configs": [{"url": told.dead_mans_switch.url, "send_resolved": False}]},
    ]
    if told.recovery:
        found.append({"name": RECOVERY, "webhook_configs": [_webhook(told, f"{told.relay}/recover")]})
    for level, step in told.escalation.items():
        everyone = step.to or ", ".join(told.experts.values()) or told.email.to
        found.append(_escalation(told, f"{ESCALATION}-{level}", everyone))
        if step.to is None:
            found += [_escalation(told, f"{ESCALATION}-{level}-{name}", to) for name, to in told.experts.items()]
    return found


def _escalation(told: Notifications, name: str, to: str) -> Receiver:
    return {
        "name": name,
        "email_configs": [_email(to)],
        "webhook_configs": [_webhook(told, f"{told.relay}/notify/sms")],
        "slack_configs": [_slack(told.channels[told.critical])],
    }


def _slack(channel: str) -> dict[str, Any]:
    return {
        "channel": channel,
        "send_resolved": True,
        "title": f'{{{{ template "{TITLE}" . }}}}',
        "text": f'{{{{ template "{TEXT}" . }}}}',
        "fallback": f'{{{{ template "{TITLE}" . }}}}',
        "color": '{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}',
    }


def _email(to: str) -> dict[str, Any]:
    return {
        "to": to,
        "send_resolved": True,
        "headers": {"Subject": f'{{{{ template "{TITLE}" . }}}}'},
        "text": f'{{{{ template "{TEXT}" . }}}}',
    }


def _webhook(told: Notifications, url: str) -> dict[str, Any]:
    token = {"type": "Bearer", "credentials_file": f"{told.secrets}/relay-token"}
    return {"url": url, "send_resolved": True, "max_alerts": 50, "http_config": {"authorization": token}}
