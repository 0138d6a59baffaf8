"""What every method is asked, and what it answers, as npz files between processes. Needs numpy alone.

Shapes: n series, T columns of the past, H steps ahead, Q quantiles, J thresholds for each series.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

QUANTILES = tuple(round(0.02 + 0.08 * j, 2) for j in range(13))
"""Evenly spread, the median and the edges of the 80 % band among them: 0.02, 0.10 … 0.50 … 0.90, 0.98."""


@dataclass(frozen=True)
class Block:
    """Series of one data set that end at the same origin.

    ``past [n, T]``: NaN missing; ``start`` unix seconds of its first column, ``step`` in seconds; ``season`` in steps
    (1: none), told to the methods that have to be told. ``threshold`` and ``above [n, J]``, ``run`` points in a row
    make a breach; NaN: no question. ``truth [n, H]`` is the referee's: no method sees it.
    """

    dataset: str
    past: Float
    start: int
    step: int
    season: int
    horizon: int
    threshold: Float
    above: NDArray[np.bool_]
    run: int
    truth: Float

    def rows(self, last: int) -> Block:
        """The first ``last`` series."""
        cut = slice(last)
        return replace(
            self, past=self.past[cut], threshold=self.threshold[cut], above=self.above[cut], truth=self.truth[cut]
        )


@dataclass(frozen=True)
class Answer:
    """``quantiles [n, Q, H]``; ``probability [n, J]`` of a breach within the horizon, None where a method has none."""

    quantiles: Float
    probability: Float | None = None


@dataclass(frozen=True)
class Answers:
    """Of one method: an answer and the seconds it took for each block, and what the process needed.

    ``missing``: why there are none; ``peak_bytes``: resident memory at its highest, ``idle_bytes``: with everything
    imported and before the first question.
    """

    method: str
    answers: tuple[Answer, ...] = ()
    seconds: tuple[float, ...] = ()
    peak_bytes: int = 0
    idle_bytes: int = 0
    missing: str = ""


def write_blocks(path: Path, blocks: list[Block]) -> None:
    """The questions without the truth."""
    arrays: dict[str, Any] = {"count": len(blocks)}
    for i, block in enumerate(blocks):
        arrays[f"{i}.past"], arrays[f"{i}.threshold"], arrays[f"{i}.above"] = block.past, block.threshold, block.above
        arrays[f"{i}.dataset"] = block.dataset
        arrays[f"{i}.numbers"] = np.array([block.start, block.step, block.season, block.horizon, block.run], np.int64)
    np.savez(path, **arrays)


def read_blocks(path: Path) -> list[Block]:
    """What `write_blocks` wrote; the truth is all NaN."""
    with np.load(path) as z:
        blocks = []
        for i in range(int(z["count"])):
            start, step, season, horizon, run = (int(x) for x in z[f"{i}.numbers"])
            past = z[f"{i}.past"]
            unknown = np.full((len(past), horizon), np.nan)
            threshold, above = z[f"{i}.threshold"], z[f"{i}.above"]
            blocks.append(
                Block(str(z[f"{i}.dataset"]), past, start, step, season, horizon, threshold, above, run, unknown)
            )
        return blocks


def write_answers(path: Path, found: Answers) -> None:
    """Answers of one method."""
    arrays: dict[str, Any] = {
        "method": found.method,
        "seconds": np.array(found.seconds),
        "bytes": np.array([found.peak_bytes, found.idle_bytes], np.int64),
    }
    for i, answer in enumerate(found.answers):
        arrays[f"{i}.quantiles"] = answer.quantiles
        if answer.probability is not None:
            arrays[f"{i}.probability"] = answer.probability
    np.savez(path, **arrays)


def read_answers(path: Path) -> Answers:
    """What `write_answers` wrote."""
    with np.load(path) as z:
        seconds = tuple(float(s) for s in z["seconds"])
        answers = tuple(Answer(z[f"{i}.quantiles"], z.get(f"{i}.probability")) for i in range(len(seconds)))
        peak, idle = (int(b) for b in z["bytes"])
        return Answers(str(z["method"]), answers, seconds, peak, idle)
