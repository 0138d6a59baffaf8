"""One method, in a process of its own.

    python -m bench.methods.child METHOD QUESTIONS.npz ANSWERS.npz

Prints `done K` after each block. The first series of each data set are answered once before the clock starts, so that
no time goes to compiling.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from pathlib import Path

from bench.methods.registry import METHODS
from bench.questions import Answers, read_blocks, write_answers

WARM_UP = 1  # series


def peak_bytes() -> int:
    """The most resident memory this process has had.

    Not `ru_maxrss`: Linux carries that over from the process that started this one. What Prophet's Stan program needs
    in its own process is not in it.
    """
    for text in Path("/proc/self/status").read_text().splitlines():
        if text.startswith("VmHWM:"):
            return int(text.split()[1]) * 1024
    raise RuntimeError("expected a line VmHWM in /proc/self/status (Linux), got none")


def processor_seconds() -> float:
    """Processor time of this process and of the children it waited for (Prophet's Stan): what else the machine does
    leaves it nearly alone, and with one thread on an idle machine it is the time that passes.
    """
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def main(name: str, questions: Path, answers: Path) -> None:
    """Answer every block."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    answer = METHODS[name].load()
    blocks = read_blocks(questions)
    idle = peak_bytes()
    for block in {b.dataset: b for b in blocks}.values():
        answer(name, block.rows(WARM_UP))
    found, seconds = [], []
    for k, block in enumerate(blocks):
        begin = processor_seconds()
        found.append(answer(name, block))
        seconds.append(processor_seconds() - begin)
        print(f"done {k + 1}", flush=True)
    write_answers(answers, Answers(name, tuple(found), tuple(seconds), peak_bytes(), idle))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
