from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from detector.loopback import free_port

ROOT = Path(__file__).parents[1]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "detector", "forecast", *arguments]
    env = {**os.environ, "TZ": "UTC", "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", cwd=ROOT, env=env, timeout=60, check=False
    )


def run_in_terminal(columns: int, *arguments: str) -> str:
    """What a terminal of so many columns shows."""
    command = [sys.executable, "-m", "detector", "forecast", *arguments]
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    env.pop("NO_COLOR", None)
    master, slave = pty.openpty()
    with subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave, cwd=ROOT, env=env) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # the terminal closes with its last writer
                break
            if not chunk:
                break
            shown += chunk
    os.close(master)
    assert process.returncode == 0, shown
    return shown.decode()


def lines_of(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.lstrip().startswith(start)]


def test_a_pipe_gets_plain_text_with_one_line_a_series(failing_platform: str) -> None:
    done = run("node_disk_usage", "--url", failing_platform, "--limit", "3")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    rows = lines_of(done.stdout, "node-")
    assert len(rows) == 3
    assert re.search(
        r"node-2 /data +[▁▂▃▄▅▆▇█]{14}│[▁▂▃▄▅▆▇█]{12} +\d+\.\d % +\d+\.\d % \d+\.\d–\d+\.\d +[<>]?\d+ % .* ok", rows[0]
    ), rows[0]
    assert "A breach is above 90 %, 3 points in a row." in done.stdout
    assert "13 more series" in done.stdout


def test_it_says_what_the_worst_forecast_is_made_of(failing_platform: str) -> None:
    done = run("node_disk_usage", "--url", failing_platform, "--limit", "1", "--explain")
    assert done.returncode == 0, done.stderr
    assert "What the median forecast of instance=node-2 job=infrastructure" in done.stdout
    for part in ("level", "rhythm of 24h", "trend", "rest", "forecast"):
        [line] = [line for line in lines_of(done.stdout, part) if "%" in line]
        assert len(re.findall(r"-?\d+\.\d+ %", line)) >= 3


def test_it_tells_how_much_history_was_found_not_how_much_was_asked_for(failing_platform: str) -> None:
    done = run("ml_ensemble_accuracy", "--url", failing_platform, "--window", "35d")
    assert re.search(r"1 series  1[45] d( \d+ h)? of history \(asked for: 35 d\) at step 1m", done.stdout), done.stdout
    done = run("ml_ensemble_accuracy", "--url", failing_platform, "--window", "7d")
    assert "1 series  7 d of history at step 1m" in done.stdout


def test_the_accuracy_is_named_with_all_its_labels(failing_platform: str) -> None:
    done = run("ml_ensemble_accuracy", "--url", failing_platform, "--horizon", "7d")
    assert done.returncode == 0, done.stderr
    assert "instance=ml-service-0 job=ml-service model=ensemble" in done.stdout
    for heading in ("now", "in 1h", "in 24h", "in 7d", "time to breach", "state"):
        assert heading in done.stdout


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_a_terminal_gets_colours_and_nothing_is_cut_off(failing_platform: str, columns: int) -> None:
    shown = run_in_terminal(columns, "node_disk_usage", "--url", failing_platform, "--limit", "2")
    assert "\x1b[" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "node-2 /data" in plain
    assert "│" in plain
    assert max(len(line) for line in plain.splitlines()) <= columns
    table = plain[plain.index("instance") : plain.index("A breach is")]
    assert "…" not in table or columns == 200  # a wide table says (p10 … p90)


def test_promql_takes_a_threshold_and_a_side(failing_platform: str) -> None:
    done = run(
        *("--expr", "avg(ml_cpu_usage)", "--url", failing_platform),
        *("--threshold", "10", "--below", "--run", "2", "--horizon", "2h", "--window", "3d", "--step", "5m"),
    )
    assert done.returncode == 0, done.stderr
    assert "A breach is below 10, 2 points in a row." in done.stdout
    assert "not within 2h" in done.stdout
    assert "at step 5m" in done.stdout


def test_promql_without_a_threshold_has_no_probabilities(failing_platform: str) -> None:
    done = run("--expr", "ml_cpu_usage", "--url", failing_platform, "--window", "2d")
    assert done.returncode == 0, done.stderr
    assert "time to breach" not in done.stdout
    assert "breach" not in done.stdout


def test_an_old_encoding_gets_ascii(failing_platform: str) -> None:
    done = run("node_disk_usage", "--url", failing_platform, "--limit", "2", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "?" not in done.stdout


def test_the_fan_chart_is_written(failing_platform: str, tmp_path: Path) -> None:
    picture = tmp_path / "disk.png"
    done = run("node_disk_usage", "--url", failing_platform, "--limit", "1", "--png", str(picture))
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("ml_ensamble_accuracy",), 2, "did you mean 'ml_ensemble_accuracy'? (PromQL goes into --expr)"),
        (("up{job='x'}",), 2, "there is no query"),
        ((), 2, "expected QUERY or --expr PROMQL, got neither"),
        (("ml_cpu_usage", "--expr", "up"), 2, "got both"),
        (("--expr", "rate(ml_cpu_usage"), 1, "unclosed left parenthesis"),
        (("--expr", "ml_cpu_usge"), 1, "did you mean 'ml_cpu_usage'?"),
        (("redis_memory_usage",), 1, "has no series"),
        (("ml_cpu_usage", "--window", "20m"), 1, "too little history for ml_cpu_usage: expected at least 48 points"),
        (("ml_cpu_usage", "--window", "soon"), 2, "key 'window': expected a duration"),
        (("ml_cpu_usage", "--horizon", "90s"), 2, "expected a multiple of the step 1m (such as 1m or 2m), or a step"),
        (("ml_cpu_usage", "--step", "7m", "--horizon", "1h"), 2, "(such as 56m or 63m), or a step that divides it"),
        (("ml_cpu_usage", "--threshold", "nan"), 2, "within [0, 100] (the unit is percent), got nan"),
        (
            ("--expr", "ml_cpu_usage", "--threshold", "nan", "--above"),
            2,
            "key 'threshold': expected a finite number, got nan",
        ),
        (("ml_cpu_usage", "--member", "ets", "--member", "etz"), 2, "pooled, got 'etz'"),
        (("ml_cpu_usage", "--threshold", "800"), 2, "expected a value within [0, 100]"),
        (("ml_cpu_usage", "--png", "/no/such/directory/x.png"), 2, "a directory that exists"),
        (("ml_cpu_usage", "--png", "x.bmp"), 2, ".png, .svg, .pdf"),
        (("--expr", "up", "--below"), 2, "expected a number beside --above or --below"),
    ],
)
def test_what_goes_wrong_is_one_clear_message_and_an_exit_code(
    failing_platform: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = run(*arguments, "--url", failing_platform)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_prometheus_that_is_down_is_exit_code_3() -> None:
    done = run("ml_cpu_usage", "--url", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 3
    assert "cannot be reached" in done.stderr
    assert "next: see that Prometheus runs there; --url" in done.stderr


def test_the_help_has_an_example_and_the_exit_codes() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "detector forecast ml_ensemble_accuracy --url" in done.stdout
    assert "Prometheus unreachable" in " ".join(done.stdout.split())
