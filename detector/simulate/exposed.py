"""The metrics the platform exposes: the raw gauges, counters and histograms behind the catalogue's queries.

Counters are exact: whole increments a minute, summed since the last restart of their instance, so that
every window and the live endpoint agree to the last digit. Shapes: n series, K counters a series, T times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import ndtr

from detector.simulate.fleet import Labels
from detector.simulate.metrics import (
    CONNECTIONS_MAX,
    DURATION_BUCKETS,
    DURATION_SPREAD,
    METRICS,
    RESET_DAYS,
    WINDOW_MINUTES,
)
from detector.simulate.processes import DAY, Floats, Ints, seeded

if TYPE_CHECKING:
    from detector.simulate.platform import Platform

THROUGHPUT = "ml_prediction_throughput"
"""The counter that also says how many durations the histogram has seen."""
FETCHES_PER_MINUTE = (480, 720)
"""Attempts of one source in the quietest minute, and how many more in the busiest."""
_Z95 = 1.6448536269514722
"""The 95 % point of the standard normal distribution."""
_MICRO = 1e6


@dataclass(frozen=True)
class Family:
    """One exposed metric family: the catalogue's query it stands behind and its sample names."""

    name: str
    type: Literal["gauge", "counter", "histogram"]
    help: str
    query: str
    samples: tuple[str, ...]


@dataclass(frozen=True)
class Sampled:
    """Samples [T] of one exposed series, NaN where it has vanished, and the printf format of a value."""

    name: str
    labels: Labels
    values: Floats
    format: str


def _build_families() -> tuple[Family, ...]:
    families: list[Family] = []
    for metric in METRICS.values():
        name, text = metric.name, metric.help
        if metric.kind == "quantile":
            samples = (f"{name}_bucket", f"{name}_sum", f"{name}_count")
            families.append(Family(name, "histogram", text, name, samples))
        elif metric.kind == "rate":
            families.append(Family(f"{name}_total", "counter", text, name, (f"{name}_total",)))
        elif metric.kind == "success":
            stem = name.removesuffix("_success_rate")
            for part, what in (("attempts", "All"), ("success", "Successful")):
                full = f"{stem}_{part}_total"
                families.append(Family(full, "counter", f"{what} f{text[1:]}", name, (full,)))
        else:
            families.append(Family(name, "gauge", text, name, (name,)))
            if metric.kind == "share":
                full = f"{name}_max"
                families.append(Family(full, "gauge", "Connections the server allows.", name, (full,)))
    return tuple(families)


FAMILIES: tuple[Family, ...] = _build_families()


class Counts:
    """Counter totals and the increments of the current minutes, int64 [n, K, T] each."""

    def __init__(self, totals: Ints, increments: Ints) -> None:
        self.totals, self.increments = totals, increments

    def at(self, seconds: Ints) -> Ints:
        """Totals at unix seconds [T], the current minute's increment spread evenly over it."""
        return self.totals + self.increments * (seconds % 60) // 60


def count(platform: Platform, query_name: str, minutes: Ints) -> Counts:
    """Counters of a query at the start of sorted absolute minutes, each since its instance's last restart."""
    resets = np.stack([_last_reset(platform.seed, s.labels["instance"], minutes) for s in platform.series(query_name)])
    first = int(resets[:, 0].min())
    every = _increments(platform, query_name, np.arange(first, int(minutes[-1]) + 1, dtype=np.int64))
    before = np.zeros((*every.shape[:2], every.shape[2] + 1), dtype=np.int64)
    np.cumsum(every, axis=2, out=before[:, :, 1:])
    totals = before[:, :, minutes - first]
    totals -= np.take_along_axis(before, (resets - first)[:, None, :], axis=2)
    return Counts(totals, every[:, :, minutes - first])


def _last_reset(seed: int, instance: str, minutes: Ints) -> Ints:
    """The minute an instance last restarted, at or before each minute."""
    rng = seeded(seed, "restart", instance)
    shortest, longest = (int(days * DAY) for days in RESET_DAYS)
    period = int(rng.integers(shortest, longest))
    phase = int(rng.integers(period))
    return np.asarray(minutes - (minutes - phase) % period)


def _increments(platform: Platform, query_name: str, minutes: Ints) -> Ints:
    kind = METRICS[query_name].kind
    if kind == "rate":
        return _whole(60.0 * platform.process(query_name, minutes))[:, None, :]
    if kind == "success":
        base, extra = FETCHES_PER_MINUTE
        load = np.stack([s.load(minutes) for s in platform.series(query_name)])
        attempts = _whole(base + extra * load)
        good = _whole(attempts * platform.process(query_name, minutes))
        return np.stack([attempts, good], axis=1)
    return _durations(platform, query_name, minutes)


def _durations(platform: Platform, query_name: str, minutes: Ints) -> Ints:
    """Increments of every bucket, then of the sum in microseconds, of log-normal durations."""
    log_mean = np.log(platform.process(query_name, minutes)) - _Z95 * DURATION_SPREAD
    predictions = np.zeros(log_mean.shape, dtype=np.int64)
    made = _increments(platform, THROUGHPUT, minutes)[:, 0]
    instances = [s.labels["instance"] for s in platform.series(query_name)]
    for series, row in zip(platform.series(THROUGHPUT), made, strict=True):
        predictions[instances.index(series.labels["instance"])] += row
    out = np.empty((log_mean.shape[0], len(DURATION_BUCKETS) + 1, minutes.size), dtype=np.int64)
    for k, bound in enumerate(DURATION_BUCKETS):
        share = np.asarray(ndtr((np.log(bound) - log_mean) / DURATION_SPREAD), dtype=np.float64)
        out[:, k] = _whole(predictions * share)
    mean: Floats = np.exp(log_mean + DURATION_SPREAD**2 / 2.0)
    out[:, -1] = _whole(_MICRO * mean * predictions)
    return out


def read_window(platform: Platform, query_name: str, minutes: Ints) -> Floats:
    """What the catalogue's rate, ratio or quantile over the last WINDOW_MINUTES shows, restarts aside [n, T]."""
    first = int(minutes[0]) - WINDOW_MINUTES
    every = _increments(platform, query_name, np.arange(first, int(minutes[-1]), dtype=np.int64))
    wanted = minutes - WINDOW_MINUTES - first
    total = np.zeros((*every.shape[:2], minutes.size), dtype=np.int64)
    for offset in range(WINDOW_MINUTES):
        total += every[:, :, wanted + offset]
    kind = METRICS[query_name].kind
    if kind == "rate":
        return np.asarray(total[:, 0] / (60.0 * WINDOW_MINUTES))
    if kind == "success":
        return np.asarray(total[:, 1] / total[:, 0])
    return _percentile(total[:, :-1])


def _percentile(buckets: Ints) -> Floats:
    """The 95th percentile [n, T] of cumulative bucket counts [n, K, T], interpolated as Prometheus does."""
    bounds = np.array([0.0, *DURATION_BUCKETS[:-1]])
    counts = np.concatenate([np.zeros_like(buckets[:, :1]), buckets], axis=1)
    rank = 0.95 * counts[:, -1]
    upper = np.argmax(counts >= rank[:, None], axis=1).clip(1, len(DURATION_BUCKETS) - 1)
    above = np.take_along_axis(counts, upper[:, None], axis=1)[:, 0]
    below = np.take_along_axis(counts, upper[:, None] - 1, axis=1)[:, 0]
    inside = np.clip((rank - below) / np.maximum(above - below, 1), 0.0, 1.0)
    return np.asarray(bounds[upper - 1] + (bounds[upper] - bounds[upper - 1]) * inside)


def _whole(values: Floats) -> Ints:
    return np.rint(values).astype(np.int64)


def sample_family(platform: Platform, family: Family, seconds: Ints, counts: Counts | None = None) -> Iterator[Sampled]:
    """Every series of a family at sorted unix seconds [T]; `counts` saves computing a counter again."""
    minutes = seconds // 60
    series = platform.series(family.query)
    gone = platform.absent(family.query, minutes)
    for labels, row, name, values in _family_values(platform, family, seconds, counts):
        shown = np.where(gone[row], np.nan, values) if gone[row].any() else np.asarray(values, dtype=np.float64)
        yield Sampled(name, {**series[row].labels, **labels}, shown, _format_of(family, name))


def _format_of(family: Family, name: str) -> str:
    """Whole numbers in full, sums to the microsecond they are kept in, other gauges to 8 digits."""
    metric = METRICS[family.query]
    if name.endswith("_sum"):
        return "%.6f"
    return "%d" if family.type != "gauge" or metric.whole or metric.kind == "share" else "%.8g"


def _family_values(
    platform: Platform, family: Family, seconds: Ints, counts: Counts | None
) -> Iterator[tuple[Mapping[str, str], int, str, Floats | Ints]]:
    minutes = seconds // 60
    kind = METRICS[family.query].kind
    if family.type == "gauge":
        values = platform.observed(family.query, minutes)
        if kind == "share":
            whole = np.rint(values * (CONNECTIONS_MAX / 100.0))
            values = np.full(values.shape, float(CONNECTIONS_MAX)) if family.name.endswith("_max") else whole
        yield from (({}, row, family.name, values[row]) for row in range(values.shape[0]))
        return
    totals = (counts or count(platform, family.query, minutes)).at(seconds)
    for row in range(totals.shape[0]):
        if family.type == "histogram":
            bucket, total, number = family.samples
            for k, bound in enumerate(DURATION_BUCKETS):
                yield {"le": bucket_text(bound)}, row, bucket, totals[row, k]
            yield {}, row, total, totals[row, -1] / _MICRO
            yield {}, row, number, totals[row, -2]
        else:
            yield {}, row, family.name, totals[row, 1 if "_success_" in family.name else 0]


def bucket_text(bound: float) -> str:
    """The `le` label of a bucket.

    >>> bucket_text(0.5), bucket_text(float("inf"))
    ('0.5', '+Inf')
    """
    return "+Inf" if np.isinf(bound) else repr(float(bound))


def raw_samples(platform: Platform, metric: str, seconds: Ints) -> tuple[Floats, tuple[Labels, ...]]:
    """Values [n, T] and labels of one exposed metric (a sample name). Raises KeyError for an unknown one."""
    for family in FAMILIES:
        if metric in family.samples:
            found = [one for one in sample_family(platform, family, seconds) if one.name == metric]
            return np.stack([one.values for one in found]), tuple(one.labels for one in found)
    raise KeyError(f"the simulated platform exposes no metric {metric!r}")


def series_text(name: str, labels: Labels) -> str:
    """`name{label="value",...}` as it is exposed; the platform's label values need no escapes."""
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"
