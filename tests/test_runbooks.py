"""Every alert names a runbook that is there and says what to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from detector.catalogue import load_catalogue
from detector.programs import find_program
from detector.render.rules import render_rules

RUNBOOKS = Path(__file__).parent.parent / "docs" / "runbooks"
PARTS = ("## What it means", "## Confirm", "## What to do", "## It is over when")
ALSO_ASKED_FOR = ("EnsembleAccuracyDegraded", "LogCollectionStopped", "AlertDeliveryFailing")


def named() -> set[str]:
    catalogue = load_catalogue("day_trade")
    assert catalogue.notifications
    base = f"{catalogue.notifications.runbooks}/"
    rules = [rule for group in yaml.safe_load(render_rules(catalogue))["groups"] for rule in group["rules"]]
    urls = {rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule}
    assert all(url.startswith(base) for url in urls)
    return {url.removeprefix(base) for url in urls}


def test_every_runbook_url_leads_to_a_file_and_no_file_is_left_over() -> None:
    there = {path.name for path in RUNBOOKS.glob("*.md")} - {"README.md"}
    assert there == named()
    assert {f"{name}.md" for name in ALSO_ASKED_FOR} <= there


@pytest.mark.parametrize("name", sorted(path.name for path in RUNBOOKS.glob("[A-Z]*.md") if path.name != "README.md"))
def test_a_runbook_says_what_it_means_how_to_confirm_what_to_do_and_when_it_is_over(name: str) -> None:
    text = (RUNBOOKS / name).read_text()
    assert text.startswith(f"# {name.removesuffix('.md')}\n")
    places = [text.index(part) for part in PARTS]
    assert places == sorted(places)
    confirm = text[places[1] : places[2]]
    assert "```" in confirm, "something to run"


def test_every_metric_that_a_runbook_asks_for_is_one_that_the_set_up_has() -> None:
    from detector import conventions as names
    from detector.simulate.exposed import FAMILIES
    from detector.simulate.marks import MARKS

    known = {sample for family in FAMILIES for sample in family.samples} | {mark.name for mark in MARKS}
    known |= set(names.METRICS)
    foreign = ("prometheus_", "alertmanager_", "push_", "slo:", "ALERTS", "scrape_", "node_filesystem", "pushgateway_")
    for path in RUNBOOKS.glob("*.md"):
        for block in re.findall(r"```promql\n(.*?)```", path.read_text(), re.DOTALL):
            for word in re.findall(r"\b([a-z][a-z0-9]*(?:_[a-z0-9]+)+|slo:[a-z:0-9_]+)\b(?=[{\[\s)]|$)", block):
                is_function = word.endswith("_over_time") or word in (
                    "histogram_quantile",
                    "count_values",
                    "group_left",
                )
                assert is_function or word in known or word.startswith(foreign), (path.name, word)


def test_every_promql_of_a_runbook_is_sound(tmp_path: Path) -> None:
    rules = [
        {"record": "asked", "expr": line}
        for path in RUNBOOKS.glob("*.md")
        for block in re.findall(r"```promql\n(.*?)```", path.read_text(), re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(rules) > 60
    for place, rule in enumerate(rules):
        rule["labels"] = {"place": str(place)}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": rules}]}))
    command = [find_program("promtool"), "check", "rules", "rules.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_link_of_a_runbook_leads_somewhere() -> None:
    for path in RUNBOOKS.glob("*.md"):
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
            assert (RUNBOOKS / target).is_file(), (path.name, target)
    assert set(re.findall(r"\]\(([^)]+)\)", (RUNBOOKS / "README.md").read_text())) == named()
