"""How a Prometheus scrapes the simulated platform: each service under its own job, as it would the real ones."""

from __future__ import annotations

from typing import Any

from detector.simulate.fleet import SERVICES


def scrape_configs(address: str) -> list[dict[str, Any]]:
    """One scrape configuration for each service of a simulator at `address`; `up` carries the service's name.

    >>> [one["job_name"] for one in scrape_configs("127.0.0.1:9200")][:2]
    ['ml-service', 'data-service']
    """
    return [
        {
            "job_name": name,
            "honor_labels": True,
            "metrics_path": f"/metrics/{name}",
            "static_configs": [{"targets": [address], "labels": {"instance": name, "service": name}}],
        }
        for name in SERVICES
    ]
