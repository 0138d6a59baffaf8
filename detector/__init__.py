"""Reads metrics from Prometheus, forecasts them, and warns before an objective is missed.

>>> import detector
>>> detector.__version__.count(".")
2
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detector.api import Detector

__version__ = "0.1.0"
__all__ = ["Detector", "__version__"]


def __getattr__(name: str) -> Any:
    """Import :class:`detector.api.Detector` when it is first asked for: it brings pandas."""
    if name == "Detector":
        from detector.api import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
