"""How numbers read to a person: values in their unit, spans of time, series by their labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
NOTHING = "–"
"""Stands where there is no number."""


def value_text(value: float, unit: str = "") -> str:
    """A value with its unit; a ratio reads as percent.

    >>> value_text(0.9312, "ratio"), value_text(84.25, "percent"), value_text(0.0421, "seconds")
    ('93.12 %', '84.2 %', '42.1 ms')
    >>> value_text(1536, "bytes"), value_text(12.5, "per_second"), value_text(float("nan")), value_text(58, "count")
    ('1.50 KiB', '12.5/s', '–', '58')
    """
    if not math.isfinite(value):
        return NOTHING
    if unit == "ratio":
        return f"{100 * value:.2f} %"
    if unit == "percent":
        return f"{value:.1f} %"
    if unit == "seconds":
        return _seconds_text(value)
    if unit == "bytes":
        return _bytes_text(value)
    return f"{_plain(value)}/s" if unit == "per_second" else _plain(value)


def level_text(level: float, unit: str = "") -> str:
    """A threshold with its unit, as it was written.

    >>> level_text(0.93, "ratio"), level_text(85.0, "percent"), level_text(0.5, "seconds"), level_text(100, "count")
    ('93 %', '85 %', '500 ms', '100')
    """
    if unit in ("ratio", "percent"):
        return f"{100 * level if unit == 'ratio' else level:.6g} %"
    return value_text(level, unit)


def count_text(number: int, one: str, several: str) -> str:
    """A number of things.

    >>> count_text(1, "query", "queries"), count_text(2, "query", "queries")
    ('1 query', '2 queries')
    """
    return f"{number} {one if number == 1 else several}"


def span_text(seconds: float) -> str:
    """A span of time in at most two units; `now` for none, a dash for one that never ends.

    >>> span_text(12_000), span_text(0), span_text(90), span_text(200_000), span_text(float("inf"))
    ('3 h 20 min', 'now', '2 min', '2 d 8 h', '–')
    """
    if not math.isfinite(seconds):
        return NOTHING
    if seconds < 1:
        return "now"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _MINUTE)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return _two(minutes // 60, "h", minutes % 60, "min")
    hours = round(seconds / _HOUR)
    return _two(hours // 24, "d", hours % 24, "h")


def probability_text(probability: float) -> str:
    """A probability in whole percent; never rounded to a certainty that is none.

    >>> probability_text(0.854), probability_text(0.9999), probability_text(0.001), probability_text(1.0)
    ('85 %', '>99 %', '<1 %', '100 %')
    """
    if not math.isfinite(probability):
        return NOTHING
    if 0.99 < probability < 1:
        return ">99 %"
    if 0 < probability < 0.01:
        return "<1 %"
    return f"{100 * probability:.0f} %"


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels in one line, or `all` where there is none.

    >>> labels_text({"instance": "node-2", "mountpoint": "/data"}), labels_text({})
    ('instance=node-2 mountpoint=/data', 'all')
    """
    return " ".join(f"{name}={value}" for name, value in sorted(labels.items())) or "all"


def split_common(labels: Sequence[Mapping[str, str]]) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The labels that all series share, and what is left of each; one series alone shares nothing.

    >>> split_common([{"job": "node", "cpu": "0"}, {"job": "node", "cpu": "1"}])
    ({'job': 'node'}, [{'cpu': '0'}, {'cpu': '1'}])
    """
    if len(labels) < 2:
        return {}, [dict(one) for one in labels]
    common = {name: value for name, value in labels[0].items() if all(one.get(name) == value for one in labels)}
    return common, [{name: value for name, value in one.items() if name not in common} for one in labels]


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit}" + (f" {small} {small_unit}" if small else "")


def _seconds_text(value: float) -> str:
    size = abs(value)
    if size < 1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} s" if size < 2 * _MINUTE else span_text(value)


def _bytes_text(value: float) -> str:
    power = min(len(_BYTES) - 1, int(math.log(max(1.0, abs(value)), 1024)))
    return f"{value / 1024**power:.{2 if power else 0}f} {_BYTES[power]}"


def _plain(value: float) -> str:
    """Four figures; from a million on with M, G or T."""
    size = abs(value)
    if not 1e6 <= size < 1e15:
        return f"{value:.0f}" if 1e4 <= size < 1e6 else f"{value:.4g}"
    power = min(4, int(math.log10(size)) // 3)
    return f"{value / 1000**power:.4g} {'kMGT'[power - 1]}"
