"""How a rendered YAML file is written: its first line, its expressions, its durations."""

from __future__ import annotations

from typing import Any

import yaml

HEADER = "# Rendered by `detector render {what}`: change the catalogue, not this file.\n"


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, so that expressions stay readable, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _block(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block)


def dump(document: Any, what: str) -> str:
    """The document under its first line."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return HEADER.format(what=what) + text


def scaled_duration(seconds: float, time_scale: float = 1.0) -> str:
    """A duration as Prometheus and Alertmanager write it, divided by the scale; to the millisecond.

    >>> scaled_duration(300), scaled_duration(300, 60), scaled_duration(30, 60), scaled_duration(0)
    ('5m', '5s', '500ms', '0s')
    """
    from detector.catalogue.durations import format_duration

    milliseconds = round(1000 * seconds / time_scale)
    whole, rest = divmod(milliseconds, 1000)
    return f"{milliseconds}ms" if rest else format_duration(whole)
