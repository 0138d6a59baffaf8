"""docs/benchmarks.md: what was measured, on what, and how to read it."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from bench.compare import ROOT
from bench.methods.registry import METHODS
from bench.questions import Answers
from bench.referee import Score
from bench.scaling import OF_LENGTH, OF_SERIES, Scaling, exponents
from bench.series import Panel
from bench.tables import comparison_tables, number, rate, table

OURS = ("numpy", "scipy", "numba", "scikit-learn", "statsmodels")
FOREIGN = ("statsforecast", "prophet", "numpy", "scipy")


QUICK = """**This is a quick run, of few series and origins: a look, not a measurement. `make bench` replaces it.**
"""


def processor() -> str:
    """The processor's name as Linux has it, and how many cores this process may use."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return f"{found[1] if found else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def locked(name: str) -> str:
    """The version of a package in bench/requirements.lock."""
    found = re.search(rf"^{name}==(\S+)", (ROOT / "bench" / "requirements.lock").read_text(), re.MULTILINE)
    return found[1] if found else "not there"


def report(asked: list[Panel], found: list[Answers], scores: list[Score], scaling: Scaling, quick: bool = False) -> str:
    """The whole document."""
    tables = comparison_tables(found, scores)
    return "\n".join(
        [_head(found, scores), *([QUICK] if quick else []), _data(asked), tables, _reading(), _scaling(scaling)]
    )


def ratios(scores: list[Score], found: list[Answers]) -> str:
    """A sentence: how many times as many series a second, and where others have the smaller CRPS."""
    others = [one.method for one in found if METHODS[one.method].foreign and not one.missing]
    base = rate(scores, "ours")
    times = [f"{number(base / rate(scores, m), '.0f')} × {METHODS[m].title}" for m in others]
    crps = {(s.method, s.dataset): s.crps for s in scores}
    datasets = list(dict.fromkeys(s.dataset for s in scores))
    said = f"As many forecasts a second as {', '.join(times)}. " if times else ""
    if "ours" in {s.method for s in scores}:
        known = [s for s in scores if s.crps == s.crps]  # not NaN
        ahead = [min((s for s in known if s.dataset == d), key=lambda s: s.crps) for d in datasets]
        ours = [s.dataset for s in ahead if s.method == "ours"]
        lost = [f"{s.dataset} ({METHODS[s.method].title}, {s.crps:.2f} against {crps['ours', s.dataset]:.2f})"
                for s in ahead if s.method != "ours"]  # fmt: skip
        said += f"The smallest CRPS is detector's on {', '.join(ours) or 'none'}"
        said += f", and another's on {', '.join(lost)}." if lost else "."
    return said


def _head(found: list[Answers], scores: list[Score]) -> str:
    ours = ", ".join(f"{name} {version(name)}" for name in OURS)
    foreign = ", ".join(f"{name} {locked(name)}" for name in FOREIGN)
    return f"""# Benchmarks

Written by `make bench` (`scripts/bench_env.sh`, then `python -m bench`); do not edit by hand. The comparison alone,
without the foreign packages: `python -m bench.compare --methods ours,seasonal_naive,predict_linear`. Scaling alone:
`python -m bench.scaling`. A look in a few minutes: `make bench QUICK=1`.

Measured on: {processor()}, {platform.system()}, Python {platform.python_version()}. Product: {ours}. Others:
{foreign}. Every method has one thread and a process of its own; all get the same arrays, from the same origins, in
one run. **Times depend on the machine and on what else it does: ratios count, not absolute figures.**

In short: {ratios(scores, found)}

Nothing here was tuned: every method runs as it comes. The season is told to those that have to be told; detector
finds it. Beside this, `python -m bench.foresight` scores breaches with a known truth, and `python -m bench.quiet`
counts false alerts on a healthy platform.
"""


def _data(asked: list[Panel]) -> str:
    rows = [
        [p.name, p.about, str(len(p.values)), str(p.origins), f"{p.past:,}", str(p.ahead), str(p.season), str(p.run)]
        for p in asked
    ]
    headings = ("data", "what it is", "series", "origins", "past", "ahead", "season", "run")
    return (
        "## The data\n\nThe first ones come with statsmodels; they are short, slow series of other fields, not "
        "metrics, and say how a method does far from home. The last ones are simulated. Nobody sees a value after an "
        "origin: the process of a method is never given one.\n\n" + table(headings, rows) + "\n## The comparison\n"
    )


def _reading() -> str:
    return """### How to read it

- **MASE, CRPS**: smaller is better. Both over the mean absolute change over a season in the past of the series, so
  1 is about the seasonal naive method's error. CRPS is twice the mean quantile loss of the same 13 evenly spread
  quantiles for everybody; a method without a band (`predict_linear`) is scored as a certain one.
- **Coverage**: how many percent of the truth fell between the 10 % and the 90 % quantile; 80 is right.
- **Brier skill**: 1 is perfect, 0 is what the *causal base rate* scores, the share of the series' own past windows
  in which the same question came true. Below 0 a method is worse than knowing nothing but that. A question is: will
  `run` points in a row lie above the 98 % quantile (below the 2 % quantile) of the last 7 days, or beyond the
  catalogue's objective where it is no further away than the last week was wide. Where a year has few points the
  quantiles are of the whole past. Series in breach at the origin are not asked.
- detector has odds of its own, calibrated on its own past. The others only have quantiles, so they all get odds in
  one way: paths through their quantiles (normal between and beyond the 13) with normal scores that follow an AR(1)
  process, whose coefficient is the correlation of one point of the past with the next, season taken off; the odds
  are the share of 400 such paths in breach. `predict_linear` is always certain. The line under the table gives
  detector's skill in that same way, to tell the forecast from the calibration.
- **series/s** is per second of processor time, on the simulated blocks after a warm-up; detector's time includes
  its odds, the others' does not.
  Peak memory is the process's resident peak, imports included; what Prophet's Stan program takes in its own process
  is not in it.
- Few origins of few series: a difference in the second digit means nothing. The packaged series are single
  histories, and nobody's breach skill on a dozen questions is known well.
- AutoETS has no season longer than 24 steps here (statsforecast's limit); beyond that it runs without. MSTL without a
  season is AutoETS. On the simulated blocks MSTL is told the day alone: with the week as well it takes some twenty
  times as long. Gaps are interpolated for statsforecast and the seasonal naive method.
"""


def _scaling(found: Scaling) -> str:
    of_n, of_length = exponents(found)
    rows = [
        [f"{p.n:,}", f"{p.T:,}", f"{p.seconds:.2f}", f"{p.rate:,.0f}", f"{p.peak_bytes / 2**20:,.0f}",
         f"{p.idle_bytes / 2**20:,.0f}"]
        for p in found.points
    ]  # fmt: skip
    left = "".join(
        f"- n = {n:,}, T = {T:,} was left out: it would have taken about {s:,.0f} s.\n" for n, T, s in found.left_out
    )
    largest = max((p.n * p.T for p in found.points), default=0)
    return f"""## Scaling

detector alone, one thread, each point in a process of its own after a warm-up: everything learned anew, a day ahead
of five-minute steps on the worker's grid, with anomaly scores and the odds of one threshold. One series alone, along n
with {OF_LENGTH} points each, along T with
{OF_SERIES} series; the corner of many long series is left out for time (the largest point has {largest:,} values).

![Series a second and peak memory by number of series and by length](images/scaling.png)

Seconds grow as **n^{number(of_n, ".2f")}** and **T^{number(of_length, ".2f")}** (least squares on logarithms; along
n from 100 series on).

{table(("n", "T", "seconds", "series/s", "peak MiB", "before the first series"), rows)}
{left}"""
