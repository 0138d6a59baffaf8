"""What goes wrong in the demo: two scenarios under way, each some hours before it breaks its objective.

The choice looks at the simulator's truth; the worker sees only what Prometheus scraped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from detector.errors import DetectorError
from detector.simulate.platform import Platform
from detector.simulate.processes import WEEK, Floats, Ints, seeded
from detector.simulate.scenarios import Scenario, displacement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from detector.catalogue.schema import Catalogue, Query
    from detector.simulate.series import Series

SUBJECTS = {
    "accuracy-slide": ("ml_ensemble_accuracy", "ensemble accuracy"),
    "disk-fill": ("node_disk_usage", "disk /data of node-2"),
}
"""Per scenario the query it breaks, and what a person calls the series."""
SEVERITY = (0.45, 1.0)
AGE_HOURS = (5.0, 9.0)
"""For how long a scenario has been under way."""
LEAD_HOURS = (3.1, 9.9)
"""How far off the true breach is."""
AGE_OF_LEAD = 0.75
"""A scenario has been under way for at least this part of the time that is left."""
SEEN_SIGMAS = 12.0
"""By so many standard deviations of the noise it has moved its series."""
CRISP_SIGMAS, CRISP_OF_LEAD = 1.5, 0.2
"""Noise of so many standard deviations brings the breach forward, or delays it, by no more than this part in all: a
course that grazes its objective has no breach that anybody could foretell."""
QUIET_SECONDS = 3600
"""Until so long after now no single point lies beyond the objective."""
_PHASES, _DRAWS = 200, 40
_HOUR = 3600


class ShiftedPlatform(Platform):
    """A platform whose week began earlier, by minutes: it can be any hour of its week now.

    >>> platform = ShiftedPlatform(shift=90, seed=1)
    >>> here, there = platform.series("node_cpu_usage")[0], Platform(seed=1).series("node_cpu_usage")[0]
    >>> bool(here.load(np.array([1000]))[0] == there.load(np.array([1090]))[0])
    True
    """

    def __init__(
        self, shift: int, seed: int, scenarios: Iterable[Scenario] = (), catalogue: Catalogue | None = None
    ) -> None:
        self.shift = shift
        self._shifted: dict[str, tuple[Series, ...]] = {}
        super().__init__(seed, scenarios, "around_the_clock", catalogue)

    def series(self, query_name: str) -> tuple[Series, ...]:
        """The series of a query; their load is the one of `shift` minutes later."""
        if query_name not in self._shifted:
            self._shifted[query_name] = tuple(_rolled(one, self.shift) for one in super().series(query_name))
        return self._shifted[query_name]


@dataclass(frozen=True)
class Victim:
    """A series that will break its objective: what was done to it, and when (`breach_at`, unix seconds) it breaks.

    `alert` is the name of the alert that should foretell it.
    """

    subject: str
    query: Query
    alert: str
    scenario: Scenario
    labels: Mapping[str, str]
    threshold: float
    breach_at: float


@dataclass(frozen=True)
class Scene:
    """A platform at a moment (`now`, a full minute in unix seconds) with its victims."""

    seed: int
    now: int
    platform: Platform
    victims: tuple[Victim, ...]


def choose_scene(seed: int, now: int, catalogue: Catalogue) -> Scene:
    """Draw an hour of the week and two scenarios until both true breaches lie within LEAD_HOURS of `now`.

    Raises:
        DetectorError: no draw fits, which no seed is known to do.
    """
    rng = seeded(seed, "demo")
    healthy = Platform(seed, clock="around_the_clock", catalogue=catalogue)
    for _ in range(_PHASES):
        shift = int(rng.integers(WEEK)) - now // 60 % WEEK
        drawn = [_draw(rng, kind, name, healthy, shift, now) for kind, (name, _) in SUBJECTS.items()]
        scenarios = [scenario for scenario in drawn if scenario is not None]
        if len(scenarios) < len(SUBJECTS):
            continue
        platform = ShiftedPlatform(shift, seed, scenarios, catalogue)
        victims = tuple(victims_of(platform, catalogue))
        if len(victims) == len(SUBJECTS) and all(fits(platform, victim, now) for victim in victims):
            return Scene(seed, now, platform, victims)
    raise DetectorError(f"no demo was found for seed {seed}: give another with --seed")


def victims_of(platform: Platform, catalogue: Catalogue) -> list[Victim]:
    """The series that break an objective within two days of the start, in the order of SUBJECTS."""
    found = []
    truths = platform.truth(catalogue, within=2 * 86400)
    for scenario in platform.scenarios:
        name, subject = SUBJECTS[scenario.kind]
        query = catalogue.query(name)
        truth = next(one for one in truths if (one.kind, one.query) == (scenario.kind, name))
        if truth.breach_at is not None and truth.threshold is not None and query.alert is not None:
            named = (subject, query, query.alert.name, scenario)
            found.append(Victim(*named, truth.labels, truth.threshold, truth.breach_at))
    return found


def fits(platform: Platform, victim: Victim, now: int) -> bool:
    """Whether the breach comes in time, has been announced by then, and does not announce itself by a stray point."""
    query, lead = victim.query, victim.breach_at - now
    if not LEAD_HOURS[0] * _HOUR <= lead <= LEAD_HOURS[1] * _HOUR:
        return False
    if now - victim.scenario.start < max(AGE_HOURS[0] * _HOUR, AGE_OF_LEAD * lead):
        return False
    if moved_sigmas(platform, victim, now) < SEEN_SIGMAS:
        return False
    start = int(victim.scenario.start) // query.step * query.step
    values = platform.query(query.name, start, now + QUIET_SECONDS, query.step)
    row = [dict(labels) for labels in values.labels].index(dict(victim.labels))
    return not bool(_beyond(query, victim.threshold, values.values[row]).any())


def moved_sigmas(platform: Platform, victim: Victim, now: int) -> float:
    """By how many standard deviations of its noise the scenario has moved the series."""
    series = next(one for one in platform.series(victim.query.name) if victim.scenario.hits(one))
    moved = displacement(victim.scenario, series, np.array([now // 60], dtype=np.int64))
    return float(abs(moved[0]) / series.sigma)


def _draw(rng: np.random.Generator, kind: str, name: str, platform: Platform, shift: int, now: int) -> Scenario | None:
    """A scenario whose course without noise breaks the objective in time; None when none of the draws does."""
    query = platform.catalogue.query(name)
    minutes = np.arange(now // 60 - round(AGE_HOURS[1] * 60), now // 60 + round(LEAD_HOURS[1] * 60), dtype=np.int64)
    for _ in range(_DRAWS):
        age = round(rng.uniform(*AGE_HOURS) * 60)
        scenario = Scenario(kind, now - age * 60, round(float(rng.uniform(*SEVERITY)), 2))
        series = _rolled(next(one for one in platform.series(name) if scenario.hits(one)), shift)
        course = series.healthy(minutes) + displacement(scenario, series, minutes)
        margin = series.worse * CRISP_SIGMAS * series.sigma
        early, middle, late = (_first(query, course + noise, minutes) * 60 - now for noise in (margin, 0.0, -margin))
        if early >= LEAD_HOURS[0] * _HOUR and np.isfinite(late) and late - early <= CRISP_OF_LEAD * middle:
            return scenario
    return None


def _first(query: Query, course: Floats, minutes: Ints) -> float:
    """The first minute beyond the objective; inf where there is none."""
    beyond = _beyond(query, query.threshold or 0.0, course)
    return float(minutes[int(beyond.argmax())]) if beyond.any() else np.inf


def _beyond(query: Query, threshold: float, values: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return values > threshold if query.breach_above else values < threshold


def _rolled(series: Series, shift: int) -> Series:
    return replace(series, profile=np.roll(series.profile, -shift))
