"""What does a series cost the worker? The built-in catalogue, 35 days of a simulated platform, without servers.

    python -m bench.worker [--cycles 30] [--queries A,B]

One process and thread runs the worker's own pipeline: a first cycle that learns every series, then so many cycles a
minute apart, in which each query is learned anew once an hour. Prints processor time, peak memory, and what is kept in
the store.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

from detector.threads import limit_threads

limit_threads()  # before numpy is imported

from bench.foresight import MONDAY
from bench.methods.child import peak_bytes
from bench.quiet import SimulatedHistory
from detector.catalogue.load import load_catalogue
from detector.pipeline import Worker
from detector.simulate import Platform
from detector.store import MemoryStore


@dataclass(frozen=True)
class Cost:
    """Of ``series``: processor seconds of the first cycle and of a later one (the mean), bytes of peak memory before
    the first (the history is there) and after the last, and bytes of what was learned as the store has it.
    """

    series: int
    first: float
    later: float
    idle: int
    peak: int
    stored: int


def measure(names: list[str] | None, cycles: int) -> Cost:
    """Run a first cycle and so many later ones."""
    catalogue = load_catalogue("day_trade")
    if names:
        catalogue = catalogue.model_copy(update={"queries": {name: catalogue.queries[name] for name in names}})
    end = MONDAY + cycles * 60
    history = SimulatedHistory(Platform(1), MONDAY, end)
    frames = [history.window(query, "0", MONDAY) for query in catalogue.queries.values()]
    store = MemoryStore()
    worker = Worker(catalogue, history, store, history=history)
    idle, seconds = peak_bytes(), []
    for slot in range(MONDAY, end + 60, 60):
        begin = time.process_time()
        for result in worker.run_slot(slot):
            if result.failure is not None:
                raise RuntimeError(f"{result.query.name}: {result.failure}")
        seconds.append(time.process_time() - begin)
    stored = sum(len(store.load(key) or b"") for key in store.keys("fit/"))
    later = sum(seconds[1:]) / max(1, cycles)
    return Cost(sum(frame.n for frame in frames), seconds[0], later, idle, peak_bytes(), stored)


def main() -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cycles", type=int, default=30, help="minutes after the first cycle")
    parser.add_argument("--queries", help="names, separated by commas; default: the whole catalogue")
    args = parser.parse_args()
    cost = measure(args.queries.split(",") if args.queries else None, args.cycles)
    table = Table(title=f"{cost.series} series, 35 days", show_header=False)
    table.add_row("first cycle", f"{cost.first:.1f} s", f"{cost.series / cost.first:.0f} series/s")
    table.add_row("a later one", f"{cost.later:.2f} s", f"{cost.series / cost.later:.0f} series/s")
    n, grown = cost.series, cost.peak - cost.idle
    table.add_row("memory", f"{cost.peak / 2**20:.0f} MiB", f"{grown / n / 2**20:.2f} MiB a series")
    table.add_row("kept in the store", f"{cost.stored / 1e6:.0f} MB", f"{cost.stored / n / 1e6:.2f} MB a series")
    Console().print(table)


if __name__ == "__main__":
    main()
