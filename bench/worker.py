"""What does a series cost the worker? The built-in catalogue on a simulated platform, without servers.

    python -m bench.worker [--cycles 60] [--queries A,B]

One process and thread runs the worker's own pipeline: a first cycle that learns every series, then so many cycles a
minute apart; in an hour of them each query is learned anew once. Prints processor time, the memory that it took (what
was read and learned, and the simulator) and what is kept in the store.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from detector.threads import limit_threads

limit_threads()  # before numpy is imported

from bench.foresight import MONDAY
from bench.quiet import SimulatedHistory
from detector.catalogue.load import load_catalogue
from detector.catalogue.schema import Catalogue
from detector.pipeline import Worker
from detector.simulate import Platform
from detector.store import MemoryStore


@dataclass(frozen=True)
class Cost:
    """Of ``series`` with ``points`` each in the mean: processor seconds of the first cycle and of a later one (the
    mean), bytes of resident memory that they took, and bytes of what was learned as the store has it.
    """

    series: int
    points: float
    first: float
    later: float
    memory: int
    stored: int


def resident_bytes() -> int:
    """Resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def measure(catalogue: Catalogue, cycles: int) -> Cost:
    """Run a first cycle and ``cycles`` >= 1 later ones."""
    before, end = resident_bytes(), MONDAY + cycles * 60
    history, store = SimulatedHistory(Platform(1), MONDAY, end), MemoryStore()
    worker = Worker(catalogue, history, store, history=history)
    seconds = []
    for slot in range(MONDAY, end + 60, 60):
        begin = time.process_time()
        results = worker.run_slot(slot)
        seconds.append(time.process_time() - begin)
        for result in results:
            if result.failure is not None:
                raise RuntimeError(f"{result.query.name}: {result.failure}")
    frames = [history.window(query, "0", end) for query in catalogue.queries.values()]
    stored = sum(len(store.load(key) or b"") for key in store.keys("fit/"))
    n, values = sum(frame.n for frame in frames), sum(frame.values.size for frame in frames)
    return Cost(n, values / n, seconds[0], sum(seconds[1:]) / cycles, resident_bytes() - before, stored)


def catalogue_of(names: list[str]) -> Catalogue:
    """The built-in catalogue with some of its queries.

    Raises:
        KeyError: there is no such query.
    """
    catalogue = load_catalogue("day_trade")
    return catalogue.model_copy(update={"queries": {name: catalogue.query(name) for name in names}})


def main() -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cycles", type=int, default=60, help="minutes after the first cycle, 1 or more")
    parser.add_argument("--queries", help="names, separated by commas; default: the whole catalogue")
    args = parser.parse_args()
    if args.cycles < 1:
        parser.error(f"--cycles: expected 1 or more, got {args.cycles}")
    try:
        catalogue = catalogue_of(args.queries.split(",")) if args.queries else load_catalogue("day_trade")
    except KeyError as error:
        parser.error(f"--queries: {error.args[0]}")
    measure(catalogue_of(["scheduler_queue_length", "node_disk_usage"]), 1)  # what is compiled is loaded
    cost = measure(catalogue, args.cycles)
    n = cost.series
    table = Table(title=f"{n} series, {cost.points:,.0f} points each in the mean", show_header=False)
    table.add_row("first cycle", f"{cost.first:.1f} s", f"{n / cost.first:.0f} series/s")
    table.add_row(
        "a later one, with what is learned anew in it", f"{cost.later:.2f} s", f"{n / cost.later:.0f} series/s"
    )
    table.add_row("memory", f"{cost.memory / 2**20:.0f} MiB", f"{cost.memory / n / 2**20:.2f} MiB a series")
    table.add_row("kept in the store", f"{cost.stored / 1e6:.0f} MB", f"{cost.stored / n / 1e6:.2f} MB a series")
    Console().print(table)


if __name__ == "__main__":
    main()
