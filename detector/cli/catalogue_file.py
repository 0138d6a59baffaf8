"""The catalogue that a command reads: its argument FILE, or the option `--catalogue`, which says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CatalogueFile = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE",
        help="Catalogue file or built-in name (day_trade, node_exporter). "
        "Without it the one of DETECTOR_CATALOGUE, or day_trade.",
        show_default=False,
    ),
]
CatalogueOption = Annotated[
    str | None, typer.Option("--catalogue", "-c", metavar="FILE", help="The same as FILE.", show_default=False)
]


def chosen_catalogue(file: str | None, option: str | None) -> str | None:
    """The one that is given; None where neither is. Raises ConfigError for two different ones."""
    if file is not None and option is not None and file != option:
        from detector.errors import ConfigError

        raise ConfigError(f"expected one catalogue, got {file} and --catalogue {option}")
    return option if file is None else file


def names_catalogue(word: str) -> bool:
    """Whether a word of the command line can only be meant as a catalogue."""
    from detector.catalogue.load import BUILT_IN

    return word in BUILT_IN or word.endswith((".yaml", ".yml")) or Path(word).is_file()
