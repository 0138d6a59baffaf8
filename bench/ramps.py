"""How well is the time of a breach foreseen? Disks that fill and memory that leaks, each reset once in the past.

    python -m bench.ramps [--seeds 200] [--first-seed 0]

Seeds alternate between the two scenarios. Each ramp is reset once (a clean-up, a restart) and has the noise and daily
season of its series. The origin is 2 to 24 hours before the true breach, after the reset, once there is something to
see as `bench.foresight` has it, counted from the reset. The engine sees nothing after the origin. The same series
without the scenario is forecast from the same origin: it must have no median time to breach.

Exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from bench.foresight import MIN_AGE_OF_LEAD, MIN_AGE_SECONDS, MONDAY, SCENARIOS, VISIBLE_FOR_SECONDS, VISIBLE_SIGMAS
from detector.catalogue.load import load_catalogue
from detector.catalogue.schema import Query
from detector.simulate import Platform, Scenario
from detector.simulate.metrics import METRICS
from detector.simulate.truth import Truth
from models import Forecaster

KINDS = ("disk-fill", "memory-leak")
SEVERITY, LEAD_HOURS, RESET_AFTER = (0.1, 0.6), (2.0, 24.0), (0.3, 0.9)
WITHIN = 14 * 86400.0
MOST_ERROR, COVERAGE, FEWEST_SILENT = 0.15, (0.75, 0.85), 0.99


@dataclass(frozen=True)
class Outcome:
    """One seed: hours from the origin to the breach, its forecast quantiles, and whether the healthy twin has none."""

    kind: str
    seed: int
    since_reset: float
    truth: float
    p10: float
    p50: float
    p90: float
    silent: bool

    @property
    def error(self) -> float:
        """Of the median, as a share of the truth; inf where there is no median."""
        return abs(self.p50 - self.truth) / self.truth

    @property
    def covered(self) -> bool:
        """Whether the truth is within the 80 % interval."""
        return self.p10 <= self.truth <= self.p90


@dataclass(frozen=True)
class Summary:
    """What the bars are about."""

    error: float
    coverage: float
    silent: float

    @classmethod
    def of(cls, outcomes: list[Outcome]) -> Summary:
        """Of at least one outcome."""
        error = float(np.median([o.error for o in outcomes]))
        return cls(error, float(np.mean([o.covered for o in outcomes])), float(np.mean([o.silent for o in outcomes])))

    def missed(self) -> list[str]:
        """A line for each bar that is missed."""
        low, high = COVERAGE
        bars = {
            f"median error {self.error:.1%}, expected at most {MOST_ERROR:.0%}": self.error <= MOST_ERROR,
            f"coverage {self.coverage:.1%}, expected {low:.0%} to {high:.0%}": low <= self.coverage <= high,
            f"silent {self.silent:.1%}, expected at least {FEWEST_SILENT:.0%}": self.silent >= FEWEST_SILENT,
        }
        return [line for line, held in bars.items() if not held]


def draw(kind: str, seed: int, query: Query) -> tuple[Platform, Truth, int, float]:
    """A platform with one visible, once reset ramp: (platform, truth, origin, unix seconds of the reset)."""
    rng = np.random.default_rng([seed, KINDS.index(kind), 7])
    while True:
        start = MONDAY + int(rng.integers(0, 7 * 1440)) * 60
        plain = Scenario(kind, start, float(rng.uniform(*SEVERITY)))
        lead, share = rng.uniform(*LEAD_HOURS) * 3600, rng.uniform(*RESET_AFTER)
        full = _truth(Platform(seed, [plain]), query).breach_at
        if full is None or full - start < 3600:
            continue
        reset = share * (full - start)
        platform = Platform(seed, [replace(plain, reset=reset)])
        truth = _truth(platform, query)
        if truth.breach_at is None:
            continue
        origin, back = int((truth.breach_at - lead) // query.step * query.step), start + reset
        if origin - back >= max(MIN_AGE_SECONDS, MIN_AGE_OF_LEAD * lead) and _visible(platform, truth, origin, back):
            return platform, truth, origin, back


def _truth(platform: Platform, query: Query) -> Truth:
    return next(t for t in platform.truth(within=WITHIN) if t.query == query.name)


def _visible(platform: Platform, truth: Truth, origin: int, back: float) -> bool:
    series = next(one for one in platform.series(truth.query) if platform.scenarios[0].hits(one))
    minutes = np.arange(-(-int(back) // 60), (origin - VISIBLE_FOR_SECONDS) // 60 + 1)
    moved = np.abs(platform.displaced(series, minutes)).max(initial=0)
    return bool(moved >= VISIBLE_SIGMAS * METRICS[truth.query].sigma)


def judge(seed: int) -> Outcome:
    """Forecast the ramp of one seed and its healthy twin."""
    kind = KINDS[seed % len(KINDS)]
    query = load_catalogue("day_trade").queries[SCENARIOS[kind]]
    platform, truth, origin, back = draw(kind, seed, query)
    times = []
    for one in (platform, Platform(seed)):
        frame = one.query(query.name, origin - query.history + query.step, origin, query.step)
        row = [dict(labels) for labels in frame.labels].index(dict(truth.labels))
        engine = Forecaster(step=query.step, horizon=max(query.horizons), bounds=query.data_range)
        forecast = engine.fit(frame.values[row : row + 1], frame.start).forecast()
        breach = forecast.breach(query.threshold or 0.0, query.breach_above, query.breach.run)
        times.append([float(t) / 3600 for t in breach.time_to([0.1, 0.5, 0.9])[0]])
    (p10, p50, p90), healthy = times
    lead = ((truth.breach_at or 0.0) - origin) / 3600
    return Outcome(kind, seed, (origin - back) / 3600, lead, p10, p50, p90, bool(np.isinf(healthy[1])))


def main() -> int:
    """Print the table, the misses, and return the exit status."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=0)
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error(f"--seeds: expected at least 1, got {args.seeds}")
    with ProcessPoolExecutor(2) as pool:
        outcomes = list(pool.map(judge, range(args.first_seed, args.first_seed + args.seeds)))
    table = Table(title="Ramps reset once, 2 to 24 hours before the breach")
    for column in ("scenario", "seeds", "median error", "truth in p10..p90", "healthy twin silent"):
        table.add_column(column, justify="right" if column != "scenario" else "left")
    for name in (*KINDS, "all"):
        mine = [o for o in outcomes if name in (o.kind, "all")]
        if mine:
            s = Summary.of(mine)
            table.add_row(name, str(len(mine)), f"{s.error:.1%}", f"{s.coverage:.1%}", f"{s.silent:.1%}")
    console = Console()
    console.print(table)
    for o in outcomes:
        if not o.covered or o.error > MOST_ERROR or not o.silent:
            console.print(
                f"{o.kind} seed {o.seed}: {o.since_reset:.1f} h since the reset, truth in {o.truth:.1f} h, p10/p50/p90 "
                f"{o.p10:.1f}/{o.p50:.1f}/{o.p90:.1f} h, healthy twin {'silent' if o.silent else 'NOT silent'}"
            )
    missed = Summary.of(outcomes).missed()
    for line in missed:
        console.print(f"missed: {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
