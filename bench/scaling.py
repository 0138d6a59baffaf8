"""How time and memory grow with the number of series and with their length.

    python -m bench.scaling [--quick] [--limit 120]

Each point is a process of its own: it compiles and warms up on two series of that length, then forecasts n series of T
points a day ahead on the worker's grid, with anomaly scores and the odds of one threshold, everything learned anew. A
point that would take more than --limit seconds (by the point before it) is left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.compare import ONE_THREAD, ROOT
from bench.methods.child import peak_bytes

STEP, AHEAD = 300, 86400
SIZES, OF_LENGTH = (10, 30, 100, 300, 1000, 3000, 10000, 20000), 500
LENGTHS, OF_SERIES = (500, 1000, 2000, 5000, 10000), 100
QUICK_SIZES, QUICK_LENGTHS = (10, 100), (500, 1000)
LIMIT_SECONDS = 120.0
FITTED_FROM = 100  # series: under it, the fixed cost of a call shows


@dataclass(frozen=True)
class Point:
    """n series of T points: processor seconds for all of them, peak and idle resident bytes of the process."""

    n: int
    T: int
    seconds: float
    peak_bytes: int
    idle_bytes: int

    @property
    def rate(self) -> float:
        """Series a second."""
        return self.n / self.seconds


@dataclass(frozen=True)
class Scaling:
    """Points in the order they were taken, and the (n, T) that were left out with the seconds they would take."""

    points: tuple[Point, ...]
    left_out: tuple[tuple[int, int, float], ...]

    def along_n(self) -> list[Point]:
        """Those of the shortest length, by n."""
        return sorted((p for p in self.points if p.T == OF_LENGTH), key=lambda p: p.n)

    def along_T(self) -> list[Point]:  # noqa: N802 - T is the axis
        """Those of one number of series, by T."""
        return sorted((p for p in self.points if p.n == OF_SERIES), key=lambda p: p.T)


def series(n: int, T: int) -> np.ndarray:
    """A daily swing, each series at its own hour, and AR(1) noise, ``[n, T]``; the same for the same n and T."""
    rng = np.random.default_rng([n, T])
    noise = rng.normal(size=(n, T))
    for t in range(1, T):
        noise[:, t] += 0.8 * noise[:, t - 1]
    hour = rng.uniform(0, 2 * np.pi, (n, 1))
    return 50 + 10 * np.sin(2 * np.pi * np.arange(T) * STEP / AHEAD + hour) + noise


def once(values: np.ndarray) -> None:
    """Everything a cycle asks of the engine."""
    from models import Forecaster

    made = Forecaster(step=STEP, horizon=AHEAD).fit(values, 0)
    forecast = made.forecast()
    forecast.quantile([0.1, 0.5, 0.9])
    forecast.breach(np.nanquantile(values, 0.98, axis=1), True, 3)
    made.scores()


def take(n: int, T: int) -> Point:
    """Measure one point in this process."""
    values = series(n, T)
    once(series(2, T))
    idle = peak_bytes()
    begin = time.process_time()
    once(values)
    return Point(n, T, time.process_time() - begin, peak_bytes(), idle)


def in_a_process(n: int, T: int) -> Point:
    """Measure one point in a process of its own.

    Raises:
        RuntimeError: the process failed.
    """
    command = [sys.executable, "-m", "bench.scaling", "--point", str(n), str(T)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"n = {n}, T = {T}: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    return Point(**json.loads(done.stdout.splitlines()[-1]))


def measure(
    sizes: tuple[int, ...], lengths: tuple[int, ...], limit: float, told: Callable[[str], None] = lambda text: None
) -> Scaling:
    """A single long one, as a notebook asks for it; along n at OF_LENGTH, along T at OF_SERIES; from the smallest on,
    as far as the limit goes.
    """
    points: dict[tuple[int, int], Point] = {}
    left_out: list[tuple[int, int, float]] = []
    for line in ([(1, lengths[-1])], [(n, OF_LENGTH) for n in sizes], [(OF_SERIES, T) for T in lengths]):
        last: Point | None = None
        for n, T in line:
            expected = last.seconds * n * T / (last.n * last.T) if last else 0.0
            if expected > limit:
                left_out.append((n, T, expected))
                continue
            if (n, T) not in points:
                points[n, T] = in_a_process(n, T)
            last = points[n, T]
            told(f"n = {n:,}, T = {T:,}: {last.rate:,.0f} series/s, {last.peak_bytes / 2**20:,.0f} MiB")
    return Scaling(tuple(points.values()), tuple(left_out))


def exponent(x: list[float], y: list[float]) -> float:
    """Slope of log y over log x by least squares; NaN with fewer than two points."""
    if len(x) < 2:
        return float("nan")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def exponents(found: Scaling) -> tuple[float, float]:
    """Of the seconds, along n (from FITTED_FROM series on, where there are two such points) and along T."""
    many = [p for p in found.along_n() if p.n >= FITTED_FROM]
    many = many if len(many) > 1 else found.along_n()
    long = found.along_T()
    return (
        exponent([float(p.n) for p in many], [p.seconds for p in many]),
        exponent([float(p.T) for p in long], [p.seconds for p in long]),
    )


def draw(found: Scaling, path: Path) -> None:
    """Series/s and peak memory along n and along T, four panels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, sharex="col")
    lines = (
        (found.along_n(), "n", f"series of {OF_LENGTH} points"),
        (found.along_T(), "T", f"points of {OF_SERIES} series"),
    )
    for column, (points, key, label) in enumerate(lines):
        x = [getattr(p, key) for p in points]
        for ax, y in zip(
            axes[:, column], ([p.rate for p in points], [p.peak_bytes / 2**20 for p in points]), strict=True
        ):
            ax.loglog(x, y, "o-", color="#1f6fb2", ms=5)
            ax.grid(color="#e6eaee")
            ax.spines[["top", "right"]].set_visible(False)
        axes[1, column].set_xlabel(label)
    axes[0, 0].set_ylabel("series/s")
    axes[1, 0].set_ylabel("peak memory, MiB")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def run(quick: bool, limit: float) -> Scaling:
    """Measure with a line of progress for each point."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("scaling"):
        sizes, lengths = (QUICK_SIZES, QUICK_LENGTHS) if quick else (SIZES, LENGTHS)
        return measure(sizes, lengths, limit, console.print)


def main() -> None:
    """Measure and print; with --point, one point as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="five small points, for a look")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds one point may take")
    parser.add_argument("--point", nargs=2, type=int, metavar=("N", "T"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        print(json.dumps(vars(take(*args.point))))
        return
    found = run(args.quick, args.limit)
    of_n, of_length = exponents(found)
    print(f"seconds grow as n^{of_n:.2f} and T^{of_length:.2f}")
    for n, T, seconds in found.left_out:
        print(f"left out: n = {n:,}, T = {T:,}, about {seconds:,.0f} s")


if __name__ == "__main__":
    main()
