"""The alerts behind the messages: what arrived about each, by which media, in order of arrival.

A message has words alone. Which alert it is about, with all its labels, Alertmanager says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import requests

from detector.conventions import FOR
from detector.demo.receiver import WATCHDOG, Message, Told
from detector.render.labels import KIND, LEVEL, PREDICTION

Labels = Mapping[str, str]
UNKNOWN_AFTER_SECONDS = 5.0
"""So long after its arrival a message is told as it is, should Alertmanager not know its alert."""
_CUT = "…"


@dataclass(frozen=True)
class Arrival:
    """One message about an alert: when (unix seconds), by which medium, to whom."""

    at: float
    medium: str
    to: str


@dataclass(frozen=True)
class Delivered:
    """One alert that began, or ended, as it was told: its labels, and the words of its first whole message."""

    firing: bool
    labels: Labels
    summary: str
    description: str
    arrivals: list[Arrival] = field(default_factory=list, compare=False)

    @property
    def at(self) -> float:
        """When its first message arrived, unix seconds."""
        return self.arrivals[0].at

    @property
    def name(self) -> str:
        """The alert's name."""
        return self.labels.get("alertname", "")

    @property
    def predictive(self) -> bool:
        """Whether it is about what will be, not what is."""
        return self.labels.get(KIND) == PREDICTION

    @property
    def is_news(self) -> bool:
        """Whether it tells that something happened, and nothing is wrong."""
        return self.labels.get("severity") == "info"

    @property
    def media(self) -> set[str]:
        """By which media it arrived so far."""
        return {one.medium for one in self.arrivals}

    def is_about(self, query: str, labels: Labels) -> bool:
        """Whether it is about this series. An alert may have more labels than the series."""
        own = {name: value for name, value in labels.items() if name != "__name__"}
        return self.labels.get(FOR) == query and all(self.labels.get(name) == value for name, value in own.items())


def alerts_at(alertmanager: str) -> list[tuple[Labels, str]]:
    """Labels and summary of the alerts that an Alertmanager has now; none while it does not answer."""
    try:
        found = requests.get(f"{alertmanager}/api/v2/alerts", timeout=5).json()
    except requests.RequestException:
        return []
    # What is escalated is the same again: the message is about the first one.
    return [(one["labels"], one["annotations"].get("summary", "")) for one in found if LEVEL not in one["labels"]]


class Deliveries:
    """Joins messages with the alerts they tell of; `ask` gives the labels and summary of Alertmanager's alerts."""

    def __init__(self, ask: Callable[[], Sequence[tuple[Labels, str]]]) -> None:
        self._ask = ask
        self._known: dict[str, Labels] = {}
        self._waiting: list[tuple[Message, Told]] = []
        self._seen = 0
        self.delivered: list[Delivered] = []
        self.watchdog_at: float | None = None
        """When the dead man's switch last heard from the watchdog, unix seconds."""

    def take(self, messages: Sequence[Message], now: float) -> None:
        """Sort what is new among the messages."""
        for message in messages[self._seen :]:
            if message.medium == WATCHDOG:
                self.watchdog_at = message.at
            self._waiting += [(message, told) for told in message.told]
        self._seen = len(messages)
        if any(self._summary(told) is None for _, told in self._waiting):
            self._known |= {summary: labels for labels, summary in self._ask()}
        self._waiting.sort(key=lambda one: not one[1].description)  # the whole ones first: short ones join them
        self._waiting = [one for one in self._waiting if not self._sort(*one, now)]

    def _sort(self, message: Message, told: Told, now: float) -> bool:
        """Whether the place of a message was found."""
        summary = self._summary(told)
        if summary is None:
            if now < message.at + UNKNOWN_AFTER_SECONDS:
                return False
            summary = told.summary
            self._known[summary] = {"alertname": message.title}
        arrival = Arrival(message.at, message.medium, message.to)
        same = [one for one in self.delivered if one.summary == summary]
        for one in reversed(same):
            if one.firing == told.firing and (message.medium, message.to) not in _places(one):
                one.arrivals.append(arrival)
                return True
        if same and same[-1].firing == told.firing:
            return True  # a repetition
        if not told.description and now < message.at + UNKNOWN_AFTER_SECONDS:
            return False  # a short message that was faster than the whole one
        self.delivered.append(Delivered(told.firing, self._known[summary], summary, told.description, [arrival]))
        return True

    def _summary(self, told: Told) -> str | None:
        """The whole summary of an alert that is known, also where a short message cut it."""
        if told.summary in self._known:
            return told.summary
        if not told.summary.endswith(_CUT):
            return None
        return next((one for one in self._known if one.startswith(told.summary.removesuffix(_CUT))), None)


def _places(one: Delivered) -> set[tuple[str, str]]:
    return {(arrival.medium, arrival.to) for arrival in one.arrivals}
