"""The Prometheus text format, written so that equal content always gives equal bytes.

Families are ordered by name, samples by their labels, labels by name. What a Pushgateway would refuse
(a duplicate, a bad name) is a `SinkError` here already, before anything is sent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from detector.conventions import Metric, MetricType
from detector.errors import SinkError
from detector.prometheus_syntax import METRIC_NAME, escape_label_value, is_label_name


class Sample(NamedTuple):
    """One value and the labels it stands under; a label with an empty value is no label."""

    labels: Mapping[str, str]
    value: float


@dataclass
class Family:
    """All samples of one metric name.

    >>> up = Family("up", "1 while it answers.").add({"instance": "a"}, 1)
    >>> print(render([up]).decode(), end="")
    # HELP up 1 while it answers.
    # TYPE up gauge
    up{instance="a"} 1.0
    """

    name: str
    help: str
    type: MetricType = "gauge"
    samples: list[Sample] = field(default_factory=list)

    @classmethod
    def of(cls, metric: Metric) -> Family:
        """An empty family of a metric listed in `conventions`."""
        return cls(metric.name, metric.help, metric.type)

    def add(self, labels: Mapping[str, str], value: float) -> Family:
        """Add one sample; returns the family."""
        self.samples.append(Sample(labels, value))
        return self


def render(families: Iterable[Family]) -> bytes:
    """The exposition of all families; families without samples are left out.

    Raises SinkError for a bad metric or label name, a family given twice, or a sample given twice.
    """
    seen: set[str] = set()
    blocks: list[str] = []
    for family in sorted(families, key=lambda family: family.name):
        if family.name in seen:
            raise SinkError(f"metric {family.name!r} is given twice")
        seen.add(family.name)
        if family.samples:
            blocks.append(_render_family(family))
    return "".join(blocks).encode()


def format_value(value: float) -> str:
    """A sample's value: the shortest text that reads back as the same float64.

    >>> [format_value(v) for v in (1, 0.1, float("inf"), float("-inf"), float("nan"))]
    ['1.0', '0.1', '+Inf', '-Inf', 'NaN']
    """
    number = float(value)
    if math.isfinite(number):
        return repr(number)
    if math.isnan(number):
        return "NaN"
    return "+Inf" if number > 0 else "-Inf"


def _render_family(family: Family) -> str:
    if not METRIC_NAME.fullmatch(family.name):
        raise SinkError(f"{family.name!r} is no metric name")
    name = family.name
    lines = [(_render_labels(sample.labels, name), format_value(sample.value)) for sample in family.samples]
    lines.sort()
    for (labels, _), (following, _) in pairwise(lines):
        if labels == following:
            raise SinkError(f"sample {name}{labels} is given twice")
    text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    body = "".join([f"{name}{labels} {value}\n" for labels, value in lines])
    return f"# HELP {name} {text}\n# TYPE {name} {family.type}\n{body}"


def _render_labels(labels: Mapping[str, str], metric: str) -> str:
    pairs = []
    for name in sorted(labels):
        if not is_label_name(name):
            raise SinkError(f"{name!r} is no label name (metric {metric!r})")
        value = labels[name]
        if value:
            pairs.append(f'{name}="{escape_label_value(value)}"')
    return "{" + ",".join(pairs) + "}" if pairs else ""
