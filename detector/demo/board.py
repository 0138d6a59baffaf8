"""What is known so far in a demo: the worker's results, the alerts delivered, and whether they are right."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from detector import conventions as names
from detector.prometheus_syntax import matcher

if TYPE_CHECKING:
    from detector.cycle import CycleResult
    from detector.demo.deliveries import Arrival, Delivered
    from detector.demo.scene import Scene, Victim
    from detector.source import PrometheusSource

TOLERANCE = 0.25
"""A delivered time to breach is right within this part of the true one."""
MEDIA = {"slack": "Slack", "email": "mail to", "sms": "SMS", "teams": "Teams"}
_ETA = re.compile(r"in about (?P<duration>(?:[0-9.]+ (?:d|h|min|s|ms) )+)\(median\)")
_PART = re.compile(r"([0-9.]+) ([a-z]+)")
_SECONDS = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 0.001}


def parse_eta(text: str) -> float | None:
    """Seconds to the breach that the description of a predictive alert tells; None where it tells none.

    >>> parse_eta("It is expected below 93% in about 5 h 12 min (median); the probability within 24h is 97.2%.")
    18720.0
    """
    found = _ETA.search(text)
    if found is None:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(found["duration"]))


@dataclass(frozen=True)
class Published:
    """What Prometheus says about a victim: the forecast's slot, the median time to breach, the probability."""

    slot: float
    eta: float
    probability: float


@dataclass(frozen=True)
class Announcement:
    """A delivered alert, `seconds` after the start of the servers; about a victim, or (None) something else.

    `eta` are the seconds the alert itself tells, `published` what Prometheus had at that moment.
    """

    alert: Delivered
    seconds: float
    victim: Victim | None = None
    eta: float | None = None
    published: Published | None = None

    def after(self, arrival: Arrival) -> float:
        """Seconds from the start of the servers to one of its messages."""
        return self.seconds + arrival.at - self.alert.at

    @property
    def places(self) -> str:
        """Where it arrived, in order.

        >>> from detector.demo.deliveries import Arrival, Delivered
        >>> came = [Arrival(7.0, "slack", "#ops"), Arrival(7.1, "email", "ops@x.example"), Arrival(7.9, "teams", "")]
        >>> Announcement(Delivered(True, {}, "", "", came), 12.0).places
        'Slack #ops, mail to ops@x.example, Teams'
        """
        return ", ".join(f"{MEDIA[one.medium]} {one.to}".strip() for one in self.alert.arrivals)

    @property
    def error(self) -> float | None:
        """The delivered time to breach against the true one, as a part of it."""
        if self.victim is None or self.eta is None or self.published is None:
            return None
        left = self.victim.breach_at - self.published.slot
        return (self.eta - left) / left


@dataclass
class Board:
    """Shared by the worker's thread, which adds results, and the one that shows them."""

    scene: Scene
    queries: int
    results: dict[str, CycleResult] = field(default_factory=dict)
    announcements: list[Announcement] = field(default_factory=list)
    cycles: int = 0
    watchdog_at: float | None = None
    """When the dead man's switch last heard that the alert path works, unix seconds."""
    fault: BaseException | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, results: Iterable[CycleResult]) -> None:
        """Keep the newest result of each query."""
        with self.lock:
            for result in results:
                if not result.superseded:
                    self.results[result.query.name] = result

    def add_cycle(self, results: Iterable[CycleResult]) -> None:
        """Keep the results of a full round."""
        self.add(results)
        self.cycles += 1

    def current(self) -> list[CycleResult]:
        """The newest result of each query, in the order in which the queries were first done."""
        with self.lock:
            return list(self.results.values())

    def announcement(self, victim: Victim) -> Announcement | None:
        """The first alert that was delivered about a victim."""
        return next((one for one in self.announcements if one.victim is victim and one.alert.firing), None)

    @property
    def delivered(self) -> bool:
        """Whether an alert about each victim was delivered, by every medium of its severity."""
        found = [self.announcement(victim) for victim in self.scene.victims]
        return all(one is not None and not self.missing_media(one) for one in found)

    def missing_media(self, one: Announcement) -> list[str]:
        """By which media of its severity an alert has not arrived."""
        told = self.scene.platform.catalogue.notifications
        levels = told.levels if told else {}
        promised = next((level.media for name, level in levels.items() if name == one.alert.labels.get("severity")), ())
        return [medium for medium in promised if medium not in one.alert.media]

    def outcome(self) -> list[str]:
        """What a demo that went well came to, in a sentence for each alert."""
        told = []
        for victim in self.scene.victims:
            one = self.announcement(victim)
            if one is None or one.error is None or one.eta is None or one.published is None:
                continue
            left, had = victim.breach_at - one.published.slot, one.published
            told.append(
                f"{one.alert.name}: delivered {one.seconds:.1f} s after the start of the servers "
                f"({one.places}); it told "
                f"{one.eta / 3600:.1f} h, the truth was {left / 3600:.1f} h ({one.error:+.0%}); "
                f"Prometheus had {had.eta / 3600:.1f} h, P = {had.probability:.2f}"
            )
        return [*told, f"no alert for the healthy rest; {self.queries} queries forecast"]

    def problems(self, complete: bool) -> list[str]:
        """What is not as it must be, in a sentence each; `complete`: every query was forecast, every rule evaluated."""
        found = []
        for victim in self.scene.victims:
            announcement = self.announcement(victim)
            found += _problems_of(victim, announcement)
            if announcement is not None and (missing := self.missing_media(announcement)):
                came = announcement.places or "nowhere"
                found.append(f"{victim.subject}: expected {victim.alert} by {', '.join(missing)} as well, got {came}")
        for one in self.announcements:
            if one.victim is None and one.alert.firing and not one.alert.is_news:
                where = ", ".join(f"{name}={value}" for name, value in sorted(one.alert.labels.items()))
                kind = "predictive alert" if one.alert.predictive else "alert"
                found.append(f"healthy series: expected no {kind}, got {one.alert.name} ({where})")
        failed = [str(result.failure) for result in self.current() if result.failure is not None]
        if failed:
            found.append(f"queries: expected {self.queries} without error, got {len(failed)} that failed: {failed[0]}")
        if not complete:
            found.append(f"cycle: expected all {self.queries} queries in Prometheus, got {len(self.results)} computed")
        return found


def _problems_of(victim: Victim, announcement: Announcement | None) -> list[str]:
    name = victim.alert
    if announcement is None:
        return [f"{victim.subject}: expected {name} to be delivered, got none"]
    if announcement.error is None or announcement.eta is None:
        said = announcement.alert.description
        return [f"{victim.subject}: expected {name} to tell the time to the breach, got {said!r}"]
    if abs(announcement.error) > TOLERANCE:
        right = announcement.eta / (1.0 + announcement.error) / 3600
        expected = f"expected {name} to tell {right:.1f} h within {TOLERANCE:.0%}"
        return [f"{victim.subject}: {expected}, got {announcement.eta / 3600:.1f} h ({announcement.error:+.0%})"]
    return []


def published_about(victim: Victim, source: PrometheusSource) -> Published | None:
    """What Prometheus has about a victim now; None while it has nothing."""
    query = victim.query
    own = {names.FOR: query.name, **names.published_labels(victim.labels)}
    series = ", ".join(matcher(name, value) for name, value in own.items())
    this = matcher(names.FOR, query.name)
    asked = (
        f"{names.GENERATED}{{{this}}}",
        f'{names.TIME_TO_BREACH}{{{series}, {names.QUANTILE}="0.5"}}',
        f'{names.BREACH_PROBABILITY}{{{series}, {names.HORIZON}="{names.horizon_label(query.alert_horizon)}"}}',
    )
    answers = [source.instant(expr) for expr in asked]
    if not all(answers):
        return None
    return Published(*(answer[0][1] for answer in answers))
