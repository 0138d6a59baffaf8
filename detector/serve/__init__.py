"""HTTP beside the worker: curves for Prometheus, notifications, recovery, a status page, health and own metrics."""
