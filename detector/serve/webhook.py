"""What Alertmanager posts to a webhook (version 4), and what a person is told of it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

MAX_BYTES = 4 << 20
CONTENT_TYPE = "application/json"
_CUT = "…"


class PostedAlert(BaseModel):
    """One alert of a notification."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @property
    def name(self) -> str:
        """Its `alertname`."""
        return self.labels.get("alertname", "")

    @property
    def summary(self) -> str:
        """What is the matter, in one line."""
        said = self.annotations.get("summary", "").split() or [self.name, self.labels.get("instance", "")]
        return " ".join(said).strip()


class Notification(BaseModel):
    """One post of Alertmanager: alerts of one group."""

    version: Literal["4"]
    status: Literal["firing", "resolved"]
    receiver: str = ""
    groupLabels: dict[str, str] = {}  # noqa: N815 - the name in the message
    commonLabels: dict[str, str] = {}  # noqa: N815
    alerts: list[PostedAlert] = []
    truncatedAlerts: int = 0  # noqa: N815


def parse(body: bytes) -> Notification:
    """Read a webhook's body. Raises HTTPException 400 where it is none."""
    try:
        return Notification.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise HTTPException(400, f"expected Alertmanager's webhook (version 4): {place}: {first['msg']}") from error


def title_of(post: Notification, environment: str = "") -> str:
    """The heading of a message.

    >>> alert = {"status": "firing", "labels": {"alertname": "MLServiceDown"}}
    >>> labels = {"alertname": "MLServiceDown", "severity": "critical", "service": "ml-service"}
    >>> title_of(Notification(version="4", status="firing", commonLabels=labels, alerts=[alert]), "production")
    'FIRING MLServiceDown (critical, ml-service, production)'
    """
    firing = sum(alert.status == "firing" for alert in post.alerts)
    count = firing or len(post.alerts)
    names = sorted({alert.name for alert in post.alerts if alert.name})
    what = names[0] if len(names) == 1 else f"{len(names)} alerts"
    more = f" ×{count + post.truncatedAlerts}" if count + post.truncatedAlerts > 1 else ""
    about = [post.commonLabels.get("severity", ""), post.commonLabels.get("service", ""), environment]
    where = ", ".join(one for one in about if one)
    return f"{'FIRING' if firing else 'RESOLVED'} {what}{more}" + (f" ({where})" if where else "")


def message_of(post: Notification, environment: str, most: int) -> tuple[str, str]:
    """Title and text, together at most ``most`` characters, half of them the title.

    What does not fit is counted, not dropped silently.
    """
    title = cut(title_of(post, environment), most // 2)
    ordered = sorted(post.alerts, key=lambda alert: alert.status)
    lines = list(dict.fromkeys(f"{alert.status}: {alert.summary}" for alert in ordered))
    hidden = post.truncatedAlerts
    room = most - len(title) - 1
    while len("\n".join([*lines, *_rest(hidden)])) > room and len(lines) > 1:
        lines.pop()
        hidden += 1
    rest = _rest(hidden)
    for_lines = room - sum(len(line) + 1 for line in rest)
    return title, "\n".join([*(cut(line, for_lines) for line in lines[:1]), *lines[1:], *rest])


def _rest(hidden: int) -> list[str]:
    return [f"and {hidden} more"] if hidden else []


def cut(text: str, most: int) -> str:
    """The text, shortened to at most ``most`` characters.

    >>> cut("disk full", 6), cut("disk", 6)
    ('disk …', 'disk')
    """
    return text if len(text) <= most else text[: max(0, most - 1)] + _CUT[: max(0, most)]
