from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from detector.catalogue import parse_catalogue
from detector.cli import COMMANDS, app
from detector.errors import StateError
from detector.programs import find_program
from detector.servers import Redis
from detector.simulate import KINDS
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()

HEAVY = {
    *("pandas", "scipy", "sklearn", "statsmodels", "numba", "matplotlib"),
    *("celery", "prometheus_api_client", "requests", "rich.live"),
}

#: Everything models/ may import: arithmetic, types, and nothing that reads, waits or tells.
ARITHMETIC = {
    *(
        "__future__",
        "abc",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "io",
        "itertools",
        "json",
        "math",
        "operator",
    ),
    *("types", "typing", "warnings", "numpy", "scipy", "numba", "models"),
}
#: Member files that wrap a foreign model, and the package each may import besides.
FOREIGN_MEMBERS = {"pooled.py": "sklearn", "statistical.py": "statsmodels"}


# -- the wheel -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the ``bin`` folder of an environment with our wheel, and this environment's dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = folder.glob("detector-*.whl")
    venv.create(folder / "venv")
    python = folder / "venv/bin/python"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            wheel,
        ],
        check=True,
        timeout=120,
    )
    # After the installation, so that pip does not see this environment's own, editable detector. Path files
    # of a folder named in a path file are not read: the checkout stays out.
    (site_packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with nothing on the path that leads back to the checkout."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)


def test_the_wheel_holds_the_packages_and_nothing_of_the_checkout(installed: Path, elsewhere: Path) -> None:
    where = run(installed / "python", "-c", "import detector, models; print(detector.__file__, models.__file__)")
    for path in where.stdout.split():
        assert Path(path).is_relative_to(installed.parent)
    record = next(installed.parent.glob("lib/python*/site-packages/detector-*.dist-info/RECORD")).read_text()
    tops = {line.split("/")[0].split(",")[0] for line in record.splitlines()}
    assert {top for top in tops if not top.startswith(("detector-", ".."))} <= {
        *("detector", "models", "celeryconfig.py", "__pycache__"),
    }
    assert "detector/catalogue/day_trade.yaml," in record
    assert "detector/py.typed," in record


@pytest.mark.parametrize("program", ["detector", "python -m detector"])
def test_the_installed_help_comes_in_under_half_a_second(installed: Path, elsewhere: Path, program: str) -> None:
    name, *arguments = program.split()

    def once() -> float:
        began = time.perf_counter()
        assert run(installed / name, *arguments, "--help").returncode == 0
        return time.perf_counter() - began

    once()  # writes the bytecode, as an installer would
    assert min(once() for _ in range(3)) < 0.5


def test_the_installed_worker_checks_its_own_catalogue(installed: Path, elsewhere: Path) -> None:
    answer = run(installed / "detector", "check-config")
    assert answer.returncode == 0, answer.stderr
    assert "ml_ensemble_accuracy" in answer.stdout


def test_a_celery_worker_starts_from_the_installed_package(
    installed: Path, elsewhere: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = elsewhere / "catalogue.yaml"
    catalogue.write_text(
        f"settings: {{redis: '{redis.url}', state_dir: state}}\nqueries: {{up: {{expr: up, unit: count}}}}\n"
    )
    monkeypatch.setenv("DETECTOR_CATALOGUE", str(catalogue))
    # Were the configuration looked up in the working directory, this one would be found.
    (elsewhere / "celeryconfig.py").write_text("raise RuntimeError('read from the working directory')")
    log = elsewhere / "worker.log"
    with log.open("w") as output:
        worker = subprocess.Popen(
            [
                installed / "python",
                "-m",
                "celery",
                "-A",
                "detector.app",
                "worker",
                "--pool",
                "solo",
                "-l",
                "INFO",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(
            lambda: re.search(r"\bready\b", log.read_text()) or worker.poll() is not None,
            within=60,
            what="the worker's start",
        )
        assert worker.poll() is None, log.read_text()
        assert str(redis.port) in log.read_text()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, log.read_text()
    finally:
        worker.kill()


# -- the command line ------------------------------------------------------------------------------


def test_the_help_names_every_command_and_the_exit_codes() -> None:
    text = CliRunner().invoke(app, ["--help"]).output
    for name in COMMANDS:
        [line] = re.findall(rf"^  {name} .*", text, re.MULTILINE)
        assert line.endswith("."), line  # cut short, it would end in three of them
        assert not line.endswith("..."), line
    assert "5 state unusable" in " ".join(text.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    answer = CliRunner().invoke(app, [name, "--help"])
    assert answer.exit_code == 0
    assert f"detector {name}" in answer.output
    assert not re.search(r"--[a-z-]+ <", answer.output), "an option says what it takes: FILE, URL"


def test_the_help_of_the_simulator_names_every_kind_of_scenario() -> None:
    said = CliRunner().invoke(app, ["simulate", "--help"], terminal_width=200).output
    assert " ".join(KINDS) in " ".join(said.split())


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = "import sys, detector.cli; print(' '.join(sys.modules))"
    loaded = set(run(sys.executable, "-c", code).stdout.split())
    assert "typer" in loaded
    assert not loaded & HEAVY


def test_an_error_of_ours_is_one_message_its_next_step_and_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str | None) -> None:
        raise StateError("the state directory is read-only")

    monkeypatch.setattr("detector.catalogue.load.load_catalogue", fail)
    monkeypatch.setattr("detector.catalogue.load_catalogue", fail)
    answer = CliRunner().invoke(app, ["check-config"])
    assert answer.exit_code == StateError.exit_code
    told, advice = answer.stderr.strip().splitlines()
    assert told == "the state directory is read-only"
    assert advice.startswith("next: settings.state_dir must be a directory that can be written")


def test_a_missing_catalogue_is_a_usage_error_without_a_traceback(tmp_path: Path) -> None:
    answer = run(sys.executable, "-m", "detector", "check-config", tmp_path / "nowhere.yaml")
    assert answer.returncode == 2
    assert "nowhere.yaml" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["fly"]).exit_code == 2


# -- dependencies ----------------------------------------------------------------------------------


DECLARED = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]


@pytest.mark.parametrize("text", DECLARED)
def test_a_declared_dependency_is_locked_within_its_bounds_and_documented(text: str) -> None:
    requirement = Requirement(text)
    locked = re.search(rf"^{requirement.name}(?:\[\w+\])?==(\S+)", LOCK, re.MULTILINE)
    assert locked, f"{requirement.name} is not in requirements.lock: make lock"
    assert requirement.specifier.contains(locked[1])
    assert re.search(rf"\b{requirement.name}\b", (ROOT / "docs/dependencies.md").read_text())


def test_the_lock_is_exact_hashed_and_names_no_host() -> None:
    blocks = re.split(r"\n(?=\S)", LOCK.strip())
    packages = [block for block in blocks if not block.startswith("#")]
    for block in packages:
        assert re.match(r"[a-z0-9._-]+(\[\w+\])?==[^\s=]+ ", block), block
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block)) >= 1, block
    assert "://" not in LOCK
    assert not re.search(r"^\s*--(?!hash)", LOCK, re.MULTILINE)


def test_the_build_backend_is_in_the_lock() -> None:
    for text in PROJECT["build-system"]["requires"]:
        assert re.search(rf"^{Requirement(text).name}==", LOCK, re.MULTILINE)


#: What is imported under another name than its package has.
IMPORTED_AS = {"re2": "google-re2", "sklearn": "scikit-learn", "yaml": "pyyaml"}


def test_whatever_the_worker_imports_is_declared() -> None:
    declared = {Requirement(text).name for text in PROJECT["project"]["dependencies"]}
    own = {"detector", "models", "celeryconfig"} | set(sys.stdlib_module_names)
    for path in sorted([*(ROOT / "detector").rglob("*.py"), *(ROOT / "models").rglob("*.py")]):
        for name in set(imports(ast.parse(path.read_text()))) - own:
            assert IMPORTED_AS.get(name, name.replace("_", "-")) in declared, (path, name)


# -- the README ------------------------------------------------------------------------------------


def blocks_of(language: str) -> list[str]:
    """The README's blocks of code in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_catalogue_in_the_readme_is_one() -> None:
    mine = parse_catalogue(blocks_of("yaml")[0], "my.yaml")
    query = mine.query("root_disk")
    assert (query.threshold, query.alert and query.alert.name) == (90, "DiskFillForecast")


def test_what_the_readme_puts_into_prometheus_is_accepted_by_it(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(blocks_of("yaml")[1])
    (tmp_path / "detector-rules.yml").write_text("groups: []\n")
    answer = run(find_program("promtool"), "check", "config", tmp_path / "prometheus.yml")
    assert answer.returncode == 0, answer.stderr


def test_the_python_in_the_readme_runs_on_a_real_server(
    failing_platform: str, capsys: pytest.CaptureFixture[str]
) -> None:
    [code] = blocks_of("python")
    assert "http://localhost:9090" in code
    assert "node_load1" in code
    code = code.replace("http://localhost:9090", failing_platform).replace("node_load1", "node_disk_usage")
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert "time_to_breach_p50" in capsys.readouterr().out
    table = names["forecast"].breach(threshold=8, above=True)
    assert len(table) == 16
    assert set(table["state"]) == {"ok"}
    assert (table["probability_24h"] == 1).all()  # every disk is fuller than 8 percent


# -- the house -------------------------------------------------------------------------------------


def imports(tree: ast.AST) -> Iterator[str]:
    """Give the name of every top-level package a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "models").split(".")[0] if node.level == 0 else "models"


@pytest.mark.parametrize("path", sorted((ROOT / "models").rglob("*.py")), ids=lambda path: path.name)
def test_models_are_arithmetic_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    allowed = ARITHMETIC | {FOREIGN_MEMBERS.get(path.name, "models")}
    assert set(imports(tree)) <= allowed
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & {"open", "print", "input", "exec", "eval", "__import__"}


def test_importing_models_brings_neither_pandas_nor_the_worker() -> None:
    loaded = set(run(sys.executable, "-c", "import sys, models; print(' '.join(sys.modules))").stdout.split())
    assert "models" in loaded
    assert not loaded & {"pandas", "statsmodels", "sklearn", "requests", "detector"}


def test_bare_make_lists_the_targets_one_line_each() -> None:
    lines = run("make", "--no-print-directory", "-C", ROOT).stdout.splitlines()
    named = {line.split()[1]: line.split(maxsplit=2)[2] for line in lines}
    assert {"setup", "demo", "test", "lint", "bench", "clean"} <= set(named)
    assert all(len(line) <= 110 for line in lines)


def test_a_second_setup_finds_everything_in_place_in_under_two_seconds() -> None:
    if not (ROOT / ".venv/.setup").exists():
        pytest.fail("this environment was not made by `make setup`")
    began = time.perf_counter()
    answer = run(ROOT / "scripts/setup.sh")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert time.perf_counter() - began < 2


def test_setup_says_in_a_sentence_what_to_install_when_it_cannot_bring_the_servers(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name in ("scripts/setup.sh", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    tools = tmp_path / "tools"  # a machine with a shell and little else, and no apt
    tools.mkdir()
    for name in ("sh", "cat", "sha256sum", "cut", "sort", "tr", "dirname"):
        (tools / name).symlink_to(next(p for p in (Path("/usr/bin") / name, Path("/bin") / name) if p.exists()))
    answer = subprocess.run(
        [tools / "sh", scripts / "setup.sh"],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert answer.returncode == 1
    assert "apt-get install --no-install-recommends" in answer.stderr
    assert "prometheus-pushgateway" in answer.stderr


def test_what_ci_runs_is_there() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)
