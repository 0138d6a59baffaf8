"""Which alert silences which: one that explains another, for the same thing."""

from __future__ import annotations

from typing import Any

from detector.catalogue.schema import Catalogue
from detector.render.labels import AVAILABILITY, KIND, OBJECTIVE, PREDICTION, THRESHOLD, WORKER, series_labels
from detector.render.objectives import SLO

CRITICAL = "critical"


def inhibit_rules(catalogue: Catalogue) -> list[dict[str, list[str]]]:
    """A prediction is not worth a message once it came true, nor is a forecast or the latency of what is down.

    Labels that both sides lack count as equal, so every rule names what tells two things apart. Nothing silences what
    is worse than itself; and what is critical is silenced by nothing but a critical alert that has overtaken it: the
    breach that it foretold, or its instance being down. A critical level that is passed now is news beside either.
    """
    series, place = series_labels(catalogue), ["service", "instance"]
    prediction, minor = f'{KIND}="{PREDICTION}"', f'severity!="{CRITICAL}"'
    return [
        _rule({KIND: THRESHOLD}, [prediction, minor], series),
        _rule({KIND: THRESHOLD, "severity": CRITICAL}, [prediction], series),
        _rule({KIND: AVAILABILITY}, [f'{KIND}=~"{PREDICTION}|{THRESHOLD}"', minor], place),
        _rule({KIND: AVAILABILITY, "severity": CRITICAL}, [prediction], place),
        _rule({KIND: OBJECTIVE, "severity": CRITICAL}, [f'{KIND}="{OBJECTIVE}"', 'severity="warning"'], [SLO]),
        _rule({"alertname": "DetectorDown"}, [f'{KIND}="{WORKER}"', 'alertname=~"DetectorCycleLate"'], ["service"]),
    ]


def _rule(source: dict[str, str], target: list[str], equal: list[str]) -> dict[str, Any]:
    return {
        "source_matchers": [f'{name}="{value}"' for name, value in source.items()],
        "target_matchers": target,
        "equal": equal,
    }
