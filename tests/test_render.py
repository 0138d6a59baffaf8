"""The committed trees are what the catalogue renders, and the command says where they are not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from typer.testing import CliRunner

from detector.catalogue import load_catalogue
from detector.cli import app
from detector.render.tree import differences, render_tree
from detector.servers import Prometheus, wait_until

DEPLOY = Path(__file__).parent.parent / "deploy"
ENVIRONMENTS = ("production", "staging")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_committed_tree_is_what_the_catalogue_renders(environment: str) -> None:
    assert differences(render_tree(load_catalogue("day_trade"), environment), DEPLOY / environment) == []


def test_check_names_the_files_that_differ_and_how_to_mend_them(tmp_path: Path) -> None:
    run = CliRunner().invoke
    command = ["render", "--env", "staging", "--out", str(tmp_path)]
    assert run(app, command).exit_code == 0
    assert run(app, [*command, "--check"]).exit_code == 0
    (tmp_path / "prometheus/rules/detector.yml").write_text("groups: []\n")
    (tmp_path / "stray.yml").write_text("")
    checked = run(app, [*command, "--check"])
    assert checked.exit_code == 1
    for said in ("prometheus/rules/detector.yml is not what", "stray.yml is not what", f"--out {tmp_path}"):
        assert said in checked.output.replace("\n", "")
    assert run(app, command).exit_code == 0
    assert run(app, [*command, "--check"]).exit_code == 0
    assert not (tmp_path / "stray.yml").exists()


def test_an_unknown_environment_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["render", "--env", "test", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "production, staging" in done.output
    assert CliRunner().invoke(app, ["render", "--env", "staging"]).exit_code == 2
    of_hosts = CliRunner().invoke(app, ["render", "-c", "node_exporter", "-e", "staging", "-o", str(tmp_path)])
    assert of_hosts.exit_code == 2
    assert "add one under `environments`" in of_hosts.output.replace("\n", " ")


@pytest.mark.parametrize(("environment", "retention"), [("production", "15d"), ("staging", "7d")])
def test_prometheus_starts_on_the_committed_files_and_scrapes_every_service(
    environment: str, retention: str, prometheus: Callable[..., Prometheus], tmp_path: Path
) -> None:
    tree = DEPLOY / environment / "prometheus"
    shutil.copytree(tree / "rules", tmp_path / "rules")
    flags = [line for line in (tree / "flags").read_text().splitlines() if "retention" in line]
    assert flags == [f"--storage.tsdb.retention.time={retention}"]
    server = prometheus((tree / "prometheus.yml").read_text(), directory=tmp_path, retention=retention)

    def answer(path: str) -> dict[str, Any]:
        return requests.get(f"{server.url}/api/v1/{path}", timeout=10).json()["data"]

    jobs = wait_until(lambda: {one["scrapePool"] for one in answer("targets")["activeTargets"]}, within=20)
    own = {"pushgateway", "alertmanager", "prometheus", "detector-serve"}
    assert jobs == set(load_catalogue("day_trade").services) | own
    rules = [rule for group in answer("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 100
    [gateway] = [
        one for one in yaml.safe_load(server.config_file.read_text())["scrape_configs"] if "honor_labels" in one
    ]
    assert gateway["job_name"] == "pushgateway"
