"""The simulated services' log lines as they are written: at once, in time, and not too many."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from datetime import datetime
from typing import Any

from detector.simulate.loglines import log_lines, write_lines


class Clocked(io.StringIO):
    """Remembers when each line was written."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[float] = []

    def write(self, text: str) -> int:
        self.at.append(time.time())
        return super().write(text)

    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()

    @property
    def due(self) -> list[float]:
        return [when(line) for line in self.lines]


def when(line: str) -> float:
    said: dict[str, Any] = json.loads(line)
    return datetime.fromisoformat(said["@timestamp"]).timestamp()


def test_the_command_shows_the_lines_of_the_last_minute_at_once() -> None:
    command = [sys.executable, "-m", "detector", "simulate", "--logs", "-", "--log-rate", "1000"]
    began = time.time()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stdout
        try:
            lines = [process.stdout.readline() for _ in range(8)]
        finally:
            process.terminate()
    # there are 16 a minute: waiting for eight would take half of one
    assert began - 62 < when(lines[0]) < when(lines[-1]) < time.time() - 5


def test_a_backlog_is_written_in_order_without_a_gap_and_no_faster_than_the_rate() -> None:
    out, start = Clocked(), time.time() - 3600
    write_lines(out, 7, start, 50, stop=lambda: len(out.at) == 26)
    every = [line for line in log_lines(7, int(start // 60) * 60, 10) if when(line) >= start]
    assert out.lines == every[:26]
    assert out.at[-1] - out.at[0] >= 25 / 50 * 0.99  # the two clocks differ a little


def test_no_line_is_written_before_its_time() -> None:
    out, start = Clocked(), time.time()
    write_lines(out, 7, start - 30, 1000, stop=lambda: bool(out.at) and out.due[-1] > start)
    assert out.due[-1] > start
    assert all(at >= due - 0.01 for at, due in zip(out.at, out.due, strict=True))
