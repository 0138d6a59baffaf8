"""Does a healthy platform stay quiet? A week replayed through the pipeline, without servers.

    python -m bench.quiet [--days 7] [--every 15] [--seed 1] [--clock sessions] [--queries A,B]

Every query with a predictive alert is computed at every slot, `every` minutes apart, by the worker's own pipeline
(history, engine, verdict with hold; slots further apart than three cycles are each decided like a fresh start). The
platform is healthy, so every alert is a false one. Exits 1 when there was any. Beside it, on the same points, what the
usual rule `predict_linear(metric[4h], 24h)` beyond the objective would have fired.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from bench.foresight import MONDAY
from bench.predict_linear import time_to
from detector.catalogue import Query
from detector.catalogue.load import load_catalogue
from detector.frame import SeriesFrame
from detector.pipeline import Worker
from detector.simulate import Platform
from detector.store import MemoryStore


@dataclass(frozen=True)
class SimulatedHistory:
    """The past as the platform has it, up to the asked end and not a point further; computed once."""

    platform: Platform
    first: int
    last: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "_frames", {})

    def window(self, query: Query, shard: str, end: int) -> SeriesFrame:
        """The query's history up to ``end``."""
        frames: dict[str, SeriesFrame] = self.__dict__["_frames"]
        if query.name not in frames:
            begin = (self.first - query.history) // query.step * query.step
            known = query.name in self.platform.catalogue.queries
            name = query.name if known else query.expr  # a query's samples are a metric of their own
            frames[query.name] = self.platform.query(name, begin, self.last, query.step)
        newest = end // query.step * query.step
        return frames[query.name].slice_time(newest - query.history + query.step, newest)

    def flush(self) -> None:
        """Nothing is kept."""

    def ready(self) -> bool:
        """Whether the source answers: always."""
        return True


@dataclass(frozen=True)
class Quiet:
    """What a query did over the replay: decisions made, those that fired, and the highest probability seen."""

    query: str
    series: int
    decisions: int
    fired: int
    highest: float
    linear: int


def replay(name: str, seed: int, clock: str, start: int, days: float, every: int) -> Quiet:
    """Replay one query."""
    catalogue = load_catalogue("day_trade")
    platform = Platform(seed, clock=clock)  # type: ignore[arg-type]
    end = start + int(days * 86400)
    history = SimulatedHistory(platform, start, end)
    worker = Worker(catalogue, history, MemoryStore(), history=history)
    query = catalogue.query(name)
    wanted = query.alert.horizon if query.alert is not None else None
    column = query.horizons.index(wanted or max(query.horizons))
    decisions = fired = series = linear = 0
    horizon = query.horizons[column]
    highest = 0.0
    for slot in range(start, end, every):
        result = worker.run_query(name, slot)
        if result.error is not None:
            raise result.error
        decisions += len(result.decisions)
        fired += sum(d.firing for d in result.decisions)
        series = len(result.decisions)
        if result.frame is not None and query.threshold is not None:
            seconds = time_to(result.frame.values, query.step, query.threshold, query.breach_above)
            linear += int((seconds <= horizon).sum())
        if result.probability is not None and result.probability.size:
            highest = max(highest, float(np.nanmax(result.probability[:, column])))
    return Quiet(name, series, decisions, fired, highest, linear)


def measure(names: list[str], seed: int, clock: str, start: int, days: float, every: int) -> list[Quiet]:
    """Replay queries on two processes; tells on standard error what each did as soon as it is done."""
    from rich.console import Console
    from rich.progress import track

    run = partial(replay, seed=seed, clock=clock, start=start, days=days, every=every)
    console, found = Console(stderr=True), []
    with ProcessPoolExecutor(2) as pool:
        for one in track(pool.map(run, names), "replaying", len(names), console=console):
            found.append(one)
            console.print(f"{one.query}: {one.fired} of {one.decisions:,} false, highest P {one.highest:.2f}")
    return found


def alerting_queries() -> list[str]:
    """The queries of the built-in catalogue that have a predictive alert."""
    return [q.name for q in load_catalogue("day_trade").queries.values() if q.alert is not None]


def main() -> int:
    """Print the table; 1 when any alert fired."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--every", type=int, default=15, help="minutes between two slots")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clock", default="sessions", choices=("sessions", "around_the_clock"))
    parser.add_argument("--queries", help="names, separated by commas; default: all with a predictive alert")
    args = parser.parse_args()
    names = args.queries.split(",") if args.queries else alerting_queries()
    found = measure(names, args.seed, args.clock, MONDAY, args.days, args.every * 60)
    table = Table(title=f"A healthy platform for {args.days:g} days, every {args.every} min, seed {args.seed}")
    for heading in ("query", "series", "decisions", "false alerts", "highest P", "predict_linear fires"):
        table.add_column(heading, justify="left" if heading == "query" else "right")
    for one in found:
        table.add_row(
            one.query, str(one.series), f"{one.decisions:,}", str(one.fired), f"{one.highest:.2f}", f"{one.linear:,}"
        )
    Console().print(table)
    total = sum(one.fired for one in found)
    linear = sum(one.linear for one in found)
    print(f"{total} false alerts, {linear:,} of predict_linear, in {sum(one.decisions for one in found):,} decisions")
    return 1 if total else 0


if __name__ == "__main__":
    raise SystemExit(main())
