"""The command line as a newcomer types it: where each command takes its catalogue, and what it says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from detector.cli import app
from detector.loopback import free_port

TWO_QUERIES = """
settings:
  prometheus: {{url: "http://127.0.0.1:{port}"}}
  pushgateway: {{url: "http://127.0.0.1:{port}"}}
  state_dir: {state}
queries:
  mine_alone: {{expr: up, unit: count}}
  another: {{expr: up, unit: count}}
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    """A catalogue whose servers are out of reach."""
    path = tmp_path / "my.yaml"
    path.write_text(TWO_QUERIES.format(port=free_port(), state=tmp_path / "state"))
    return str(path)


def said(*arguments: str) -> tuple[int, str]:
    """Exit code and whole output of a command."""
    done = CliRunner().invoke(app, [*arguments])
    return done.exit_code, " ".join(done.output.split())


@pytest.mark.parametrize("option", [[], ["--catalogue"], ["-c"]])
def test_every_command_takes_the_catalogue_as_its_argument_or_as_an_option(mine: str, option: list[str]) -> None:
    code, output = said("check-config", *option, mine)
    assert code == 0
    assert "2 queries" in output
    code, output = said("render", "rules", *option, mine)
    assert code == 0
    assert "Watchdog" in output
    assert "EnsembleAccuracyForecast" not in output, "the rules of the built-in catalogue"
    assert said("run", *option, mine, "--once", "--dry-run")[0] == 3
    assert said("purge", *option, mine, "--dry-run")[0] == 4
    code, output = said("serve", *option, mine, "--listen", "nowhere")
    assert code == 2
    assert "nowhere" in output


@pytest.mark.parametrize("name", ["check-config", "run", "serve", "purge", "render"])
def test_two_different_catalogues_are_refused(name: str, mine: str) -> None:
    words = [name, "rules", mine] if name == "render" else [name, mine]
    assert said(*words, "-c", "node_exporter") == (
        2, f"expected one catalogue, got {mine} and --catalogue node_exporter"
    )  # fmt: skip


def test_a_catalogue_alone_is_rendered_as_a_tree_or_told_how_its_rules_are(mine: str, tmp_path: Path) -> None:
    code, output = said("render", mine)
    assert code == 2
    assert f"detector render rules {mine}" in output
    Path(mine).write_text(Path(mine).read_text() + "environments: {home: {}}\n")
    assert said("render", mine, "--env", "home", "--out", str(tmp_path / "home"))[0] == 0
    assert (tmp_path / "home/prometheus/rules/detector.yml").is_file()
    code, output = said("render", "ruels")
    assert code == 2
    assert "expected WHAT to be one of tree, rules, alertmanager, dashboards" in output


def test_a_forecast_of_a_catalogue_says_the_command_to_type(mine: str) -> None:
    code, output = said("forecast", mine)
    assert code == 2
    assert f"next: detector forecast mine_alone --catalogue {mine} (it has mine_alone, another)" in output
    assert said("forecast", "mine_alone", "-c", mine)[0] == 3, "its Prometheus is asked, and out of reach"


@pytest.mark.parametrize(
    ("words", "there"),
    [
        ("run --o", "--once"),
        ("render ", "dashboards"),
        ("render r", "rules"),
        ("serve -", "--catalogue"),
    ],
)
def test_the_shell_completes_words_and_leaves_files_to_itself(words: str, there: str) -> None:
    assert there in completed(words)
    assert completed("run my") == completed("render rules my") == []


def completed(words: str) -> list[str]:
    """What bash is offered for the last word; nothing makes it complete the names of files."""
    asked = {
        "_DETECTOR_COMPLETE": "complete_bash",
        "COMP_WORDS": f"detector {words}",
        "COMP_CWORD": str(words.count(" ") + 1),
    }
    code = "from detector.cli import app; app(prog_name='detector')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.split()
