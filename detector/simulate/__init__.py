"""A simulated day-trading platform: realistic metrics, things that go wrong, and the truth about them."""

from __future__ import annotations

from detector.simulate.platform import Clock, Platform
from detector.simulate.scenarios import KINDS, Scenario, parse_scenario
from detector.simulate.truth import Truth

__all__ = ["KINDS", "Clock", "Platform", "Scenario", "Truth", "parse_scenario"]
