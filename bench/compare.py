"""The product beside others: the same arrays, the same origins, the same run, a process of its own for each method.

    python -m bench.compare [--methods ours,seasonal_naive,predict_linear] [--quick]

Prints the tables. `make bench` runs this and bench.scaling, and writes docs/benchmarks.md. The foreign methods run in
.venv-bench, which scripts/bench_env.sh makes from bench/requirements.lock; without it they are reported as missing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Timer

from bench.methods.registry import METHODS, Method
from bench.questions import Answers, Block, read_answers, write_blocks
from bench.referee import Score, judge
from bench.series import panels

ROOT = Path(__file__).resolve().parents[1]
FOREIGN_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
LIMIT_SECONDS = 900.0  # for one method
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def ask(
    method: Method,
    blocks: list[Block],
    *,
    foreign_python: Path = FOREIGN_PYTHON,
    limit: float = LIMIT_SECONDS,
    progress: Callable[[int], None] = lambda done: None,
) -> Answers:
    """Answers of one method from a process of its own; ``missing`` says why there are none."""
    python = foreign_python if method.foreign else Path(sys.executable)
    if not python.exists():
        home = _short(python.parents[1])
        return Answers(method.name, missing=f"{method.title} needs the environment {home}: run scripts/bench_env.sh")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        questions, answers = Path(folder, "questions.npz"), Path(folder, "answers.npz")
        write_blocks(questions, blocks)
        command = [str(python), "-m", "bench.methods.child", method.name, str(questions), str(answers)]
        code, said = _run(command, limit, progress)
        if code == 0 and answers.exists():
            return read_answers(answers)
        why = f"took longer than {limit:g} s" if code is None else said[-1] if said else f"exit code {code}"
        return Answers(method.name, missing=f"{method.title}: {why}")


def _run(command: list[str], limit: float, progress: Callable[[int], None]) -> tuple[int | None, list[str]]:
    """Exit code (None: killed at the limit) and what the child said, progress aside."""
    child = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | ONE_THREAD, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    late = []
    timer = Timer(limit, lambda: (late.append(1), child.kill()))
    timer.start()
    said = []
    with child:
        for text in child.stdout or ():
            if text.startswith("done "):
                progress(int(text.split()[1]))
            elif text.strip():
                said.append(text.strip())
    timer.cancel()
    return (None if late else child.returncode), said


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def compare(
    names: list[str], blocks: list[Block], *, foreign_python: Path = FOREIGN_PYTHON, limit: float = LIMIT_SECONDS
) -> tuple[list[Answers], list[Score]]:
    """Ask every method in turn and judge it, with a bar for each; the answers are for time and memory."""
    from rich.console import Console
    from rich.progress import Progress

    found, scores = [], []
    with Progress(console=Console(stderr=True)) as bars:
        for name in names:
            bar = bars.add_task(name, total=len(blocks))
            begin = time.monotonic()
            one = ask(
                METHODS[name], blocks, foreign_python=foreign_python, limit=limit,
                progress=lambda done, bar=bar: bars.update(bar, completed=done),
            )  # fmt: skip
            said = one.missing or f"{name}: {time.monotonic() - begin:.0f} s in all"
            bars.console.print(said)
            found.append(one)
            scores += judge(blocks, one)
    return found, scores


def chosen(text: str) -> list[str]:
    """Names of methods, separated by commas.

    Raises:
        SystemExit: one that there is not.
    """
    names = text.split(",")
    for name in names:
        if name not in METHODS:
            raise SystemExit(f"--methods: expected some of {', '.join(METHODS)}, got {name!r}")
    return names


def main() -> None:
    """Compare and print."""
    from rich.console import Console
    from rich.markdown import Markdown

    from bench.tables import comparison_tables

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--methods", default=",".join(METHODS), help="names, separated by commas; default: all")
    parser.add_argument("--quick", action="store_true", help="few series and origins, for a look")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds for one method")
    args = parser.parse_args()
    blocks = [b for p in panels(args.quick) for b in p.blocks()]
    found, scores = compare(chosen(args.methods), blocks, limit=args.limit)
    Console().print(Markdown(comparison_tables(found, scores)))


if __name__ == "__main__":
    main()
