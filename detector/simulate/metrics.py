"""Every parameter of the simulated platform: one row per query of the built-in catalogue.

A series is `season + AR(1) noise + scenarios`. `sigma` is the stationary standard deviation of the noise
(of what the query returns, so for a rate or a ratio over a window already averaged over it) and the unit in
which everything else is said: the daily swing is `swing` sigmas from trough to peak, and a query with an
objective has its worst minute of the week `HEALTHY_MARGIN` sigmas on the good side of it. The objective
itself stands in the catalogue alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

HEALTHY_MARGIN = 2.9
"""Distance in sigmas from the deterministic worst minute of a healthy week to the objective."""
WINDOW_MINUTES = 10
"""The range of the catalogue's `rate(...[10m])`."""
SESSION_RAMP_MINUTES = 12
"""How long a trading session takes to be fully under way, and to calm down."""
DURATION_SPREAD = 0.35
"""Standard deviation of the log of one prediction's duration within a minute."""
DURATION_BUCKETS = (
    0.1, 0.2, 0.3, 0.35, 0.375, 0.4, 0.425, 0.45, 0.475, 0.5, 0.525, 0.55, 0.6, 0.8, 1.5, math.inf,
)  # fmt: skip
"""Upper bounds in seconds; fine where the 95th percentile lives: its interpolation errs by < 0.1 sigma."""
CONNECTIONS_MAX = 400
RESET_DAYS = (2.0, 6.0)
"""An instance restarts, and its counters with it, every so many days (drawn per instance)."""

Kind = Literal["gauge", "rate", "quantile", "success", "share"]


@dataclass(frozen=True)
class Metric:
    """How one query behaves."""

    name: str
    fleet: str
    """Key of `fleet.LABELS`."""
    kind: Kind
    sigma: float
    swing: float
    phi: float
    """Autocorrelation of the noise from one minute to the next."""
    load: int
    """+1: the value rises with the load of the day, -1: it falls."""
    quiet: float
    """Value at the quietest minute of the week; used only without an objective."""
    bounds: tuple[float, float]
    help: str
    peak_hour: float = 13.0
    """Local hour (Asia/Tokyo) of the daily peak, without the trading session."""
    sessions: bool = False
    """Whether the trading session drives it (the ml_ and data_ groups)."""
    whole: bool = False
    """Whether the exposed value is a whole number."""

    @property
    def windowed(self) -> bool:
        """Whether the catalogue reads it as a rate over a window."""
        return self.kind in ("rate", "quantile", "success")


_RATIO = (0.0, 1.0)
_PERCENT = (0.0, 100.0)
_POSITIVE = (0.0, math.inf)


def _metric(
    name: str, fleet: str, sigma: float, swing: float, phi: float, load: int, quiet: float,
    bounds: tuple[float, float], help: str, *, kind: Kind = "gauge", peak: float = 13.0,
    sessions: bool = False, whole: bool = False,
) -> Metric:  # fmt: skip
    return Metric(name, fleet, kind, sigma, swing, phi, load, quiet, bounds, help, peak, sessions, whole)


# name, fleet, sigma, swing, phi, load, quiet level, bounds, help
_ML = [
    _metric("ml_ensemble_accuracy", "ensemble", 0.0011, 28, 0.85, -1, 0.955, _RATIO,
            "Share of right predictions of the ensemble.", sessions=True),
    _metric("ml_accuracy_trend", "trend", 0.002, 12, 0.95, -1, 0.010, (-1.0, 1.0),
            "Change of the accuracy against a day before.", sessions=True),
    _metric("ml_model_performance", "model", 0.0020, 13, 0.92, -1, 0.930, _RATIO,
            "Share of right predictions of one model.", sessions=True),
    _metric("ml_prediction_confidence", "model", 0.0060, 14, 0.90, -1, 0.880, _RATIO,
            "Mean confidence of the predictions.", sessions=True),
    _metric("ml_prediction_duration", "ml", 0.008, 14, 0.95, 1, 0.330, (0.02, 10.0),
            "Duration of one prediction in seconds.", kind="quantile", sessions=True),
    _metric("ml_prediction_throughput", "model", 0.40, 16, 0.95, 1, 3.0, (0.2, math.inf),
            "Predictions made.", kind="rate", sessions=True),
    _metric("ml_memory_usage", "ml", 0.40, 28, 0.85, 1, 80.0, _PERCENT,
            "Memory in use, percent of the limit.", sessions=True),
    _metric("ml_cpu_usage", "ml", 1.80, 18, 0.85, 1, 42.0, _PERCENT,
            "Processor in use, percent of the limit.", sessions=True),
    _metric("ml_predictions_labelled", "ensemble", 40.0, 14, 0.90, 1, 700.0, (50.0, math.inf),
            "Predictions with a known outcome behind the accuracy.", sessions=True, whole=True),
]  # fmt: skip
_DATA = [
    _metric("data_quality_score", "dataset", 0.0040, 14, 0.92, -1, 0.870, _RATIO,
            "Quality of a data set, 1 is best.", sessions=True),
    _metric("data_freshness", "dataset", 2.0, 14, 0.88, 1, 20.0, _POSITIVE,
            "Seconds since the last update.", sessions=True),
    _metric("data_completeness", "dataset", 0.0008, 13, 0.92, 1, 0.006, _RATIO,
            "Share of the expected values that are missing.", sessions=True),
    _metric("data_symbols_active", "data", 9.0, 14, 0.95, 1, 1800.0, _POSITIVE,
            "Symbols with a price in the last minutes.", sessions=True, whole=True),
    _metric("data_fetch_success_rate", "source", 0.0015, 15, 0.95, -1, 0.978, _RATIO,
            "Fetches from a source.", kind="success", sessions=True),
    _metric("data_fetch_duration", "source", 0.030, 15, 0.90, 1, 0.450, _POSITIVE,
            "Mean duration of a fetch in seconds.", sessions=True),
    _metric("symbol_selection_efficiency", "data", 0.0060, 13, 0.93, -1, 0.860, _RATIO,
            "Share of selected symbols that were traded.", sessions=True),
    _metric("market_data_lag", "source", 0.050, 15, 0.88, 1, 0.500, _POSITIVE,
            "Seconds from the exchange's time stamp to ours.", sessions=True),
]  # fmt: skip
_SCHEDULER = [
    _metric("scheduler_active_workflows", "scheduler", 1.5, 14, 0.92, 1, 12.0, _POSITIVE,
            "Workflows under way.", peak=15.0, whole=True),
    _metric("scheduler_task_success_rate", "queue", 0.0008, 14, 0.93, -1, 0.994, _RATIO,
            "Share of tasks that succeed.", peak=16.0),
    _metric("scheduler_task_duration", "queue", 0.40, 14, 0.92, 1, 8.0, _POSITIVE,
            "Mean duration of a task in seconds.", peak=15.5),
    _metric("scheduler_queue_length", "queue", 2.0, 28, 0.85, 1, 58.0, _POSITIVE,
            "Tasks waiting.", peak=15.0, whole=True),
    _metric("automation_coverage", "scheduler", 0.0030, 12, 0.97, -1, 0.930, _RATIO,
            "Share of the steps that run without a person.", peak=14.0),
    _metric("workflow_efficiency", "workflow", 0.0060, 13, 0.94, -1, 0.900, _RATIO,
            "Useful share of a workflow's run time.", peak=14.5),
    _metric("schedule_adherence", "workflow", 0.0040, 13, 0.93, -1, 0.980, _RATIO,
            "Share of runs that start on time.", peak=15.0),
]  # fmt: skip
_INFRASTRUCTURE = [
    _metric("node_cpu_usage", "node", 1.50, 20, 0.85, 1, 45.0, _PERCENT,
            "Processor in use, percent.", peak=14.0),
    _metric("node_memory_usage", "node", 0.60, 14, 0.94, 1, 62.0, _PERCENT,
            "Memory in use, percent.", peak=15.0),
    _metric("node_disk_usage", "disk", 0.12, 28, 0.85, 1, 60.0, _PERCENT,
            "File system in use, percent.", peak=17.0),
    _metric("node_network_io", "network", 4.0e5, 16, 0.94, 1, 2.0e6, (1e4, math.inf),
            "Bytes received and sent.", kind="rate", peak=13.5),
    _metric("postgresql_connections", "postgres", 0.90, 16, 0.92, 1, 50.0, _PERCENT,
            "Open connections.", kind="share", peak=14.0),
    _metric("postgresql_query_duration", "statement", 0.0015, 14, 0.90, 1, 0.012, _POSITIVE,
            "Mean duration of a statement in seconds.", peak=14.0),
    _metric("redis_memory_usage", "redis", 0.50, 14, 0.94, 1, 75.0, _PERCENT,
            "Memory in use, percent of the limit.", peak=16.0),
    _metric("redis_operations_rate", "command", 60.0, 16, 0.95, 1, 400.0, (1.0, math.inf),
            "Commands processed.", kind="rate", peak=13.0),
]  # fmt: skip

METRICS: dict[str, Metric] = {m.name: m for m in (*_ML, *_DATA, *_SCHEDULER, *_INFRASTRUCTURE)}
