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
from detector.render.tree import differences, render_tree, strays
from detector.servers import Prometheus
from tests.waiting import wait_until

DEPLOY = Path(__file__).parent.parent / "deploy"
ENVIRONMENTS = ("production", "staging")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_committed_tree_is_what_the_catalogue_renders(environment: str) -> None:
    files = render_tree(load_catalogue("day_trade"), environment)
    assert differences(files, DEPLOY / environment) == []
    assert strays(files, DEPLOY / environment) == []


def test_check_names_the_files_that_differ_and_how_to_mend_them(tmp_path: Path) -> None:
    run = CliRunner().invoke
    command = ["render", "--env", "staging", "--out", str(tmp_path)]
    assert run(app, command).exit_code == 0
    assert run(app, [*command, "--check"]).exit_code == 0
    (tmp_path / "prometheus/rules/detector.yml").write_text("groups: []\n")
    checked = run(app, [*command, "--check"])
    assert checked.exit_code == 1
    for said in ("prometheus/rules/detector.yml is not what", f"--out {tmp_path}"):
        assert said in checked.output.replace("\n", "")
    assert run(app, command).exit_code == 0
    assert run(app, [*command, "--check"]).exit_code == 0


def test_a_file_that_is_not_rendered_is_named_and_never_removed(tmp_path: Path) -> None:
    run = CliRunner().invoke
    command = ["render", "--env", "staging", "--out", str(tmp_path)]
    mine = tmp_path / "prometheus/mine.yml"
    mine.parent.mkdir()
    mine.write_text("precious: true\n")
    rendered = run(app, command)
    assert rendered.exit_code == 0
    assert f"{mine} is not rendered" in rendered.output
    assert mine.read_text() == "precious: true\n"
    checked = run(app, [*command, "--check"])
    assert checked.exit_code == 1
    assert f"{mine} is not rendered" in checked.output


def test_the_next_step_of_a_check_names_the_catalogue_that_was_checked(tmp_path: Path) -> None:
    catalogue = tmp_path / "my.yaml"
    catalogue.write_text("queries: {a: {expr: up, unit: count}}\nenvironments: {home: {}}\n")
    checked = CliRunner().invoke(
        app, ["render", "-c", str(catalogue), "-e", "home", "-o", str(tmp_path / "o"), "--check"]
    )
    assert checked.exit_code == 1
    assert f"next: detector render {catalogue} --env home" in checked.output


@pytest.mark.parametrize("option", [["--check"], ["--env", "staging"]])
def test_what_is_for_the_tree_is_refused_for_the_rules(option: list[str]) -> None:
    refused = CliRunner().invoke(app, ["render", "rules", *option])
    assert refused.exit_code == 2
    assert option[0] in refused.output


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
