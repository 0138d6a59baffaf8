"""What Prometheus takes for a name, and how a value stands between quotes: in its text format and in PromQL."""

from __future__ import annotations

import re
from functools import lru_cache

METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
ESCAPED = "U__"
"""How a name begins that stands for one with other characters."""


@lru_cache(maxsize=4096)
def is_label_name(name: str) -> bool:
    """Whether every Prometheus and Pushgateway takes the name for a label; `__…` they keep to themselves."""
    return LABEL_NAME.fullmatch(name) is not None and not name.startswith("__")


def escaped_label(name: str) -> str:
    """A label name in the letters, digits and underscores that every Prometheus and Pushgateway takes.

    Others get `U__` in front, each `_` doubled and each other character as `_<hex>_`: Prometheus' own escaping of UTF-8
    names. A name that looks escaped, or is reserved (`__…`), is escaped as well, so that two names never meet.

    >>> [escaped_label(name) for name in ("instance", "my.label", "3d", "größe", "U__x")]
    ['instance', 'U__my_2e_label', 'U___33_d', 'U__gr_f6__df_e', 'U__U____x']
    """
    if is_label_name(name) and not name.startswith(ESCAPED):
        return name
    return ESCAPED + "".join(_escaped_letter(letter, place) for place, letter in enumerate(name))


def _escaped_letter(letter: str, place: int) -> str:
    if letter == "_":
        return "__"
    plain = letter.isascii() and (letter.isalpha() or (letter.isdigit() and place > 0))
    return letter if plain else f"_{ord(letter):x}_"


def escape_label_value(value: str) -> str:
    r"""A label value as it stands between the quotes of a sample or of a PromQL matcher.

    >>> print(escape_label_value('a "b" \\ c'))
    a \"b\" \\ c
    """
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return value


def matcher(name: str, value: str) -> str:
    r"""An equality matcher for a PromQL selector, with the value escaped.

    >>> print(matcher("path", 'C:\\"x"'))
    path="C:\\\"x\""
    """
    return f'{name}="{escape_label_value(value)}"'
