"""Which alert silences which: one that explains another, for the same thing."""

from __future__ import annotations

from typing import Any

from detector.catalogue.schema import Catalogue
from detector.render.labels import AVAILABILITY, KIND, OBJECTIVE, PREDICTION, THRESHOLD, WORKER, series_labels
from detector.render.objectives import SLO


def inhibit_rules(catalogue: Catalogue) -> list[dict[str, list[str]]]:
    """A prediction is not worth a message once it came true, nor is the latency of what is down.

    Labels that both sides lack count as equal, so every rule names what tells two things apart. What is critical is
    never silenced.
    """
    return [
        _rule({KIND: THRESHOLD}, [f'{KIND}="{PREDICTION}"'], series_labels(catalogue)),
        _rule(
            {KIND: AVAILABILITY},
            [f'{KIND}=~"{PREDICTION}|{THRESHOLD}"', 'severity!="critical"'],
            ["service", "instance"],
        ),
        _rule({KIND: OBJECTIVE, "severity": "critical"}, [f'{KIND}="{OBJECTIVE}"', 'severity="warning"'], [SLO]),
        _rule({"alertname": "DetectorDown"}, [f'{KIND}="{WORKER}"', 'alertname=~"DetectorCycleLate"'], ["service"]),
    ]


def _rule(source: dict[str, str], target: list[str], equal: list[str]) -> dict[str, Any]:
    return {
        "source_matchers": [f'{name}="{value}"' for name, value in source.items()],
        "target_matchers": target,
        "equal": equal,
    }
