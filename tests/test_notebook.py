"""The notebook is one text in two files, committed without outputs, and runs from top to bottom."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat

from detector.servers import Prometheus

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "first_look.ipynb"


def cells(path: Path) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


def test_the_notebook_and_its_text_are_the_same() -> None:
    hint = "run: jupytext --sync notebooks/first_look.py"
    assert cells(NOTEBOOK) == cells(NOTEBOOK.with_suffix(".py")), hint


def test_the_notebook_is_committed_without_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_notebook_finds_the_culprit_from_top_to_bottom(failing_past: Path, tmp_path: Path) -> None:
    with Prometheus(
        data=shutil.copytree(failing_past, tmp_path / "data", ignore=shutil.ignore_patterns("lock"))
    ) as own:
        run_notebook(own.url, tmp_path)


def run_notebook(url: str, tmp_path: Path) -> None:
    executed = tmp_path / NOTEBOOK.name
    shutil.copy(NOTEBOOK, executed)
    arguments = ["--nbmake", "--nbmake-timeout=120", "--overwrite", "-n0", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, f"--rootdir={tmp_path}", "-c", os.devnull, str(executed)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "DETECTOR_URL": url, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    notebook = nbformat.read(executed, as_version=4)
    outputs: list[Any] = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    assert any("transformer fell by" in output.get("text", "") for output in outputs)
    assert any("node-2" in output.get("data", {}).get("text/plain", "") for output in outputs)
