"""Publishes expositions: to one or several Pushgateways, or (dry run) to the terminal.

A group is named by its labels, `for` and `shard`, under one `job`; a push replaces the whole group.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import orjson

from detector.conventions import JOB
from detector.errors import SinkError, SinkRejected, SinkUnavailable
from detector.http import Answer, Failures, HttpClient
from detector.prometheus_syntax import LABEL_NAME

if TYPE_CHECKING:
    from detector.catalogue.schema import Endpoint

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RETRIES = 1
MAX_BODY_BYTES = 64 << 20

Group = Mapping[str, str]
_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes the exposition of one group at a time. Every method raises SinkError, and nothing else."""

    def push(self, group: Group, body: bytes) -> list[str]:
        """Replace the group; returns what did not go well although it was published."""

    def delete(self, group: Group) -> list[str]:
        """Remove the group; it need not exist."""

    def groups(self, job: str = JOB) -> list[dict[str, str]]:
        """The groups there are under the job, without the label `job`."""


class PushgatewaySink:
    """One or several Pushgateways. Everything goes to all of them.

    Where some but not all fail, the others' success counts: the failures are logged and returned as
    messages. Where all fail, the first failure is raised (SinkUnavailable or SinkRejected).
    """

    def __init__(self, endpoints: Endpoint | Sequence[Endpoint]) -> None:
        several = list(endpoints) if isinstance(endpoints, Sequence) else [endpoints]
        if not several:
            raise SinkError("expected at least one Pushgateway, got none")
        self._gateways = [_Gateway(endpoint) for endpoint in several]

    @property
    def urls(self) -> list[str]:
        """Where the gateways are."""
        return [gateway.url for gateway in self._gateways]

    def push(self, group: Group, body: bytes) -> list[str]:
        """Replace the group with the exposition; an empty one removes the group.

        Raises SinkRejected with the gateway's own words for a 400, SinkUnavailable where none answers.
        """
        if not body:
            return self.delete(group)
        path = group_path(group)
        return self._everywhere(lambda gateway: gateway.put(path, body))

    def delete(self, group: Group) -> list[str]:
        """Remove the group."""
        path = group_path(group)
        return self._everywhere(lambda gateway: gateway.delete(path))

    def groups(self, job: str = JOB) -> list[dict[str, str]]:
        """The groups of the job on any gateway, without the label `job`, in order."""
        found: set[tuple[tuple[str, str], ...]] = set()

        def collect(gateway: _Gateway) -> None:
            found.update(tuple(sorted(labels.items())) for labels in gateway.groups(job))

        self._everywhere(collect)
        return [dict(labels) for labels in sorted(found)]

    def close(self) -> None:
        """Close every connection."""
        for gateway in self._gateways:
            gateway.close()

    def _everywhere(self, act: Callable[[_Gateway], None]) -> list[str]:
        def attempt(gateway: _Gateway) -> SinkError | None:
            try:
                act(gateway)
            except SinkError as error:
                return error
            return None

        if len(self._gateways) == 1:
            outcomes = [attempt(self._gateways[0])]
        else:  # at once, so that one that hangs does not delay the others
            with ThreadPoolExecutor(len(self._gateways)) as pool:
                outcomes = list(pool.map(attempt, self._gateways))
        failures = [error for error in outcomes if error is not None]
        if failures and len(failures) == len(self._gateways):
            raise failures[0]
        for failure in failures:
            _log.warning("one of %d gateways failed: %s", len(self._gateways), failure)
        return [str(failure) for failure in failures]


class DryRunSink:
    """Keeps what would be pushed, in `pushed`, and hands it to `show` (such as `print`) if given."""

    def __init__(self, show: Callable[[str], object] | None = None) -> None:
        self.pushed: dict[str, bytes] = {}
        self._groups: dict[str, dict[str, str]] = {}
        self._show = show

    def push(self, group: Group, body: bytes) -> list[str]:
        """Keep the exposition."""
        path = group_path(group)
        self.pushed[path] = body
        self._groups[path] = dict(group)
        if self._show is not None:
            self._show(f"# PUT {path}\n{body.decode()}")
        return []

    def delete(self, group: Group) -> list[str]:
        """Forget the group."""
        path = group_path(group)
        self.pushed.pop(path, None)
        self._groups.pop(path, None)
        if self._show is not None:
            self._show(f"# DELETE {path}\n")
        return []

    def groups(self, job: str = JOB) -> list[dict[str, str]]:
        """The groups kept."""
        kept = [group for group in self._groups.values() if group.get("job", JOB) == job]
        return [{name: value for name, value in group.items() if name != "job"} for group in kept]


class _Gateway:
    """The requests to one Pushgateway."""

    def __init__(self, endpoint: Endpoint) -> None:
        failures = Failures(SinkUnavailable, SinkUnavailable, SinkError)
        self._http = HttpClient(endpoint, "Pushgateway", failures, retries=RETRIES, max_body_bytes=MAX_BODY_BYTES)
        self.url = self._http.url

    def put(self, path: str, body: bytes) -> None:
        self._check(self._http.exchange("PUT", path, data=body, headers={"Content-Type": CONTENT_TYPE}))

    def delete(self, path: str) -> None:
        self._check(self._http.exchange("DELETE", path))

    def groups(self, job: str) -> list[dict[str, str]]:
        answer = self._http.exchange("GET", "/api/v1/metrics")
        self._check(answer)
        try:
            found = [dict(group["labels"]) for group in orjson.loads(answer.body)["data"]]
            return [
                {str(name): str(value) for name, value in labels.items() if name != "instance" or value}
                for labels in found
                if labels.pop("job", None) == job
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SinkError(f"Pushgateway at {self.url}: expected its groups, got {answer.text[:120]!r}") from error

    def close(self) -> None:
        self._http.close()

    def _check(self, answer: Answer) -> None:
        if answer.status in (200, 202, 204):
            return
        said = self._http.redact(answer.text) or "no reason given"
        message = f"Pushgateway at {self.url} answered HTTP {answer.status}: {said}"
        if answer.status == 429 or answer.status >= 500:
            raise SinkUnavailable(message)
        raise SinkRejected(message)


def group_path(group: Group) -> str:
    """The URL path of a group; its labels in order, `job` first, `detector` where not given.

    A value that a path cannot hold (empty, with a `/`, or only dots) stands in base64.

    >>> group_path({"shard": "", "for": "ml_cpu_usage"})
    '/metrics/job/detector/for/ml_cpu_usage/shard@base64/='
    """
    rest = {name: value for name, value in group.items() if name != "job"}
    pairs = [("job", group.get("job", JOB)), *sorted(rest.items())]
    for name, value in pairs:
        if not LABEL_NAME.fullmatch(name):
            raise SinkError(f"expected a label name in the group, got {name!r}")
        if name == "job" and not value:
            raise SinkError("expected a job in the group, got an empty one")
    return "/metrics" + "".join(_path_part(name, value) for name, value in pairs)


def _path_part(name: str, value: str) -> str:
    if "/" in value or not value.strip("."):
        encoded = base64.urlsafe_b64encode(value.encode()).decode()
        return f"/{name}@base64/{encoded or '='}"
    return f"/{name}/{quote(value, safe='')}"
