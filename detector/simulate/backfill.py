"""The platform's past as blocks that Prometheus loads.

Each metric is written at the step at which the catalogue reads it. The text is cut where Prometheus cuts
its blocks, so that promtool parses every line only as often as it must, and the pieces are imported side by
side.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from detector.errors import DetectorError
from detector.simulate.exposed import FAMILIES, Family, Sampled, sample_family, series_text
from detector.simulate.marks import MARKS, sample_mark

if TYPE_CHECKING:
    from detector.simulate.platform import Platform

BLOCK_HOURS = 744
"""Longest block promtool may make. It rounds down to 2 h times a power of 3, ALIGNED_HOURS."""
ALIGNED_HOURS = 486
_DEFAULT_STEP = 60


@dataclass(frozen=True)
class Backfilled:
    """What a backfill wrote. Times in unix seconds, both ends included."""

    directory: Path
    start: int
    end: int
    series: int
    samples: int


def backfill(
    platform: Platform,
    directory: Path,
    *,
    start: int,
    end: int,
    queries: Collection[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Backfilled:
    """Write the samples of [start, end] as TSDB blocks into `directory`, a Prometheus' --storage.tsdb.path.

    `queries` limits them to what stands behind some queries.

    Raises:
    ------
    DetectorError
        Promtool is missing or fails; its own words are in the message.
    ValueError
        An empty range.
    """
    from detector.programs import find_program

    if end <= start:
        raise ValueError(f"backfill needs start < end, got {start} and {end}")
    promtool = find_program("promtool")
    directory.mkdir(parents=True, exist_ok=True)
    tell = progress or (lambda text: None)
    pieces = list(_pieces(start, end))
    series = samples = 0
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".backfill-", dir=directory)))
        running: list[_Import] = []
        stack.callback(_abandon_all, running)
        for number, (left, right) in enumerate(pieces):
            text = scratch / f"{number}.om"
            with text.open("w", encoding="ascii", buffering=1 << 20) as out:
                series, written = write_openmetrics(platform, out, left, right, queries)
            samples += written
            tell(f"{samples:,} samples of {series:,} series written, {right - start:,} of {end - start:,} s")
            if len(running) >= (os.cpu_count() or 1):
                running.pop(0).finish()
            running.append(_Import(promtool, text, directory))
        while running:
            running.pop(0).finish()
    tell(f"{len(pieces)} parts imported into {directory}")
    return Backfilled(directory, start, end, series, samples)


class _Import:
    """One promtool at work on one text."""

    def __init__(self, promtool: Path, text: Path, directory: Path) -> None:
        self._text = text
        command = [str(promtool), "tsdb", "create-blocks-from", "openmetrics"]
        command += [f"--max-block-duration={BLOCK_HOURS}h", "-q", str(text), str(directory)]
        self._process = subprocess.Popen(  # noqa: S603 - a program we looked up, no shell
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def finish(self) -> None:
        output, _ = self._process.communicate()
        self._text.unlink(missing_ok=True)
        if self._process.returncode != 0:
            raise DetectorError(f"promtool could not make blocks (exit {self._process.returncode}): {output.strip()}")

    def abandon(self) -> None:
        self._process.kill()
        self._process.communicate()


def _abandon_all(running: list[_Import]) -> None:
    for one in running:
        one.abandon()


def _pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    """[start, end] cut at block boundaries, both ends of a piece included."""
    length = ALIGNED_HOURS * 3600
    left = start
    while left <= end:
        right = min(end, (left // length + 1) * length - 1)
        yield left, right
        left = right + 1


def write_openmetrics(
    platform: Platform, out: IO[str], start: int, end: int, queries: Collection[str] | None = None
) -> tuple[int, int]:
    """Write the samples of [start, end] in OpenMetrics text; how many series and samples that were."""
    series = samples = 0
    for family in FAMILIES:
        if queries is not None and family.query not in queries:
            continue
        step = read_step(platform, family)
        seconds = np.arange(-(-start // step) * step, end + 1, step, dtype=np.int64)
        if not seconds.size:
            continue
        name = family.name.removesuffix("_total") if family.type == "counter" else family.name
        out.write(f"# HELP {name} {family.help}\n# TYPE {name} {family.type}\n")
        for one in sample_family(platform, family, seconds):
            samples += _write_series(out, one, seconds)
            series += 1
    for mark in MARKS if queries is None else ():
        seconds = np.arange(-(-start // _DEFAULT_STEP) * _DEFAULT_STEP, end + 1, _DEFAULT_STEP, dtype=np.int64)
        if not seconds.size:
            continue
        out.write(f"# HELP {mark.name.removesuffix('_total')} {mark.help}\n")
        out.write(f"# TYPE {mark.name.removesuffix('_total')} {mark.type}\n")
        for one in sample_mark(platform, mark, seconds):
            samples += _write_series(out, one, seconds)
            series += 1
    out.write("# EOF\n")
    return series, samples


def read_step(platform: Platform, family: Family) -> int:
    """The step at which the catalogue reads a family; one minute for what stands behind another query."""
    query = platform.catalogue.queries.get(family.query)
    return query.step if query is not None else _DEFAULT_STEP


def _write_series(out: IO[str], one: Sampled, seconds: np.ndarray[tuple[int], np.dtype[np.int64]]) -> int:
    """One printf over the whole series: a template of all lines, then all values at once."""
    kept = ~np.isnan(one.values)
    values = one.values[kept]
    if not values.size:
        return 0
    prefix = series_text(one.name, one.labels)
    line = f" {one.format} "
    template = prefix + prefix.join([f"{line}{t}\n" for t in seconds[kept].tolist()])
    out.write(template % tuple(values.tolist()))
    return int(values.size)
