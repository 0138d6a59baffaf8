"""The tables of the comparison, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from bench.methods.registry import METHODS
from bench.questions import Answers
from bench.referee import Score

SIMULATED = ("healthy", "trouble")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left."""
    rule = ["---"] + ["---:"] * (len(headings) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows)) + "\n"


def number(value: float, form: str) -> str:
    """``value`` as text, an n-dash for nothing; minus signs as in print."""
    return "–" if not math.isfinite(value) else format(value, form).replace("-", "−")


def matrix(scores: list[Score], figure: Callable[[Score], float], form: str, best: Callable[[float], float]) -> str:
    """Methods by data sets; the best of a column (the smallest ``best(value)``) in bold."""
    datasets = list(dict.fromkeys(s.dataset for s in scores))
    methods = list(dict.fromkeys(s.method for s in scores))
    values = {(s.method, s.dataset): figure(s) for s in scores}
    rows = []
    for method in methods:
        cells = []
        for dataset in datasets:
            column = [values[m, dataset] for m in methods]
            top = min((best(v) for v in column if math.isfinite(v)), default=math.nan)
            value = values[method, dataset]
            text = number(value, form)
            # all that print alike are the best
            leads = math.isfinite(value) and format(best(value), form) == format(top, form)
            cells.append(f"**{text}**" if leads else text)
        rows.append([METHODS[method].title, *cells])
    return table(["", *datasets], rows)


def comparison_tables(found: list[Answers], scores: list[Score]) -> str:
    """All tables of the comparison, each under its heading."""
    banded = [s for s in scores if METHODS[s.method].band]
    parts = []
    if scores:
        parts += [
            "### Error of the median (MASE)\n", matrix(scores, lambda s: s.error, ".2f", float),
            "### CRPS\n", matrix(scores, lambda s: s.crps, ".2f", float),
            "### Coverage of the 80 % band\n", matrix(banded, lambda s: 100 * s.coverage, ".0f", lambda v: abs(v - 80)),
            "### Brier skill of breach questions\n", matrix(scores, lambda s: s.skill, ".2f", lambda v: -v),
            _questions(scores),
            "### Time and memory\n", time_and_memory(found, scores),
        ]  # fmt: skip
    parts += [f"Missing: {one.missing}\n" for one in found if one.missing]
    parts += [
        f"{METHODS[s.method].title} answered {s.answered} of {s.asked} forecasts of {s.dataset}; its figures leave the "
        "others out.\n"
        for s in scores
        if s.answered < s.asked
    ]
    return "\n".join(parts)


def _questions(scores: list[Score]) -> str:
    first = {s.dataset: s for s in reversed(scores)}
    asked = ", ".join(f"{s.dataset} {s.breaches} of {s.questions}" for s in reversed(list(first.values())))
    said = f"Questions that came true: {asked}.\n"
    plain = [s for s in scores if s.method == "ours"]
    if plain:
        skills = ", ".join(f"{s.dataset} {number(s.plain_skill, '.2f')}" for s in plain)
        said += f"\nWith odds from its quantiles alone, in the way of the other methods, detector has: {skills}.\n"
    return said


def rate(scores: list[Score], method: str) -> float:
    """Series a second over the simulated data sets; NaN without any."""
    mine = [s for s in scores if s.method == method and s.dataset in SIMULATED]
    seconds = sum(s.asked / s.series_per_second for s in mine)
    return sum(s.asked for s in mine) / seconds if seconds else math.nan


def time_and_memory(found: list[Answers], scores: list[Score]) -> str:
    """Series a second on the simulator's blocks and the peak memory of each method's process."""
    base = rate(scores, "ours")
    rows = []
    for one in found:
        if one.missing:
            rows.append([METHODS[one.method].title, "missing", "–", "–", "–"])
            continue
        mine = rate(scores, one.method)
        rows.append([
            METHODS[one.method].title, number(mine, ",.3g" if mine < 100 else ",.0f"), number(base / mine, ".3g"),
            f"{one.peak_bytes / 2**20:,.0f} MiB", f"{one.idle_bytes / 2**20:,.0f} MiB",
        ])  # fmt: skip
    return table(["", "series/s", "detector is faster by", "peak memory", "before the first question"], rows)
