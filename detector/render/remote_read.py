"""How Prometheus is told of `detector serve`: only selectors with `source="forecast"` ever reach it."""

from __future__ import annotations

from typing import Any

from detector import conventions as names

PATH = "/api/v1/read"
TIMEOUT = "5s"
"""A hanging endpoint holds up the queries for curves, and only these, for so long."""


def remote_read(url: str, *, bearer_token_file: str | None = None, ca_file: str | None = None) -> list[dict[str, Any]]:
    """The `remote_read` section of a prometheus.yml.

    ``url``: where Prometheus reaches `detector serve`; the files are those of Prometheus' own host. `read_recent` is
    needed because the future is recent to Prometheus; external labels are not matched, because curves have none.

    >>> remote_read("http://detector:9208")[0]["required_matchers"]
    {'source': 'forecast'}
    """
    block: dict[str, Any] = {
        "url": url.rstrip("/") + PATH,
        "name": "detector",
        "required_matchers": {names.SOURCE: names.FROM_FORECAST},
        "read_recent": True,
        "remote_timeout": TIMEOUT,
        "filter_external_labels": False,
    }
    if bearer_token_file is not None:
        block["authorization"] = {"credentials_file": bearer_token_file}
    if ca_file is not None:
        block["tls_config"] = {"ca_file": ca_file}
    return [block]
