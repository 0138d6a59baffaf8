"""Durations as Prometheus writes them: `90s`, `5m`, `1h30m`, `35d`."""

from __future__ import annotations

import re

_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d{1,12})w)?(?:(\d{1,12})d)?(?:(\d{1,12})h)?(?:(\d{1,12})m)?(?:(\d{1,12})s)?", re.ASCII)


def parse_duration(text: str) -> int | None:
    """Seconds of a duration, or None where the text is none.

    >>> parse_duration("1h30m"), parse_duration("soon")
    (5400, None)
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return None
    return sum(int(number or 0) * size for number, size in zip(match.groups(), _UNITS.values(), strict=True))


def format_duration(seconds: int) -> str:
    """The shortest single-unit form; days only from two days up, so that 24 hours stay `24h`.

    >>> [format_duration(s) for s in (0, 90, 300, 86400, 604800)]
    ['0s', '90s', '5m', '24h', '7d']
    """
    if seconds and seconds % 86400 == 0 and seconds >= 2 * 86400:
        return f"{seconds // 86400}d"
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
