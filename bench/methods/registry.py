"""Which methods there are, where they live and which environment they need. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from bench.questions import Answer, Block


@dataclass(frozen=True)
class Method:
    """``module`` has a function ``answer(name, block)``; ``foreign``: it runs in .venv-bench; ``title`` for tables."""

    name: str
    title: str
    module: str
    foreign: bool = False
    package: str = ""
    band: bool = True

    def load(self) -> Callable[[str, Block], Answer]:
        """The function that answers a block.

        Raises:
            ImportError: its package is not installed here.
        """
        found: Callable[[str, Block], Answer] = import_module(f"bench.methods.{self.module}").answer
        return found


METHODS = {
    m.name: m
    for m in (
        Method("ours", "detector", "ours"),
        Method("seasonal_naive", "seasonal naive", "simple"),
        Method("predict_linear", "`predict_linear`", "simple", band=False),
        Method("autoets", "AutoETS", "with_statsforecast", True, "statsforecast"),
        Method("autotheta", "AutoTheta", "with_statsforecast", True, "statsforecast"),
        Method("mstl", "MSTL", "with_statsforecast", True, "statsforecast"),
        Method("prophet", "Prophet", "with_prophet", True, "prophet"),
    )
}
