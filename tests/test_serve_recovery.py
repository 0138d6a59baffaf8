"""Automatic recovery: what runs, what does not, and a killed service that Prometheus and Alertmanager bring back."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from detector.catalogue import load_catalogue
from detector.catalogue.recovery import Recovery
from detector.errors import ConfigError, StateError
from detector.loopback import free_port
from detector.serve.counts import Counts
from detector.serve.recovery import Recoverer, fill
from detector.serve.webhook import Notification
from detector.servers import Alertmanager, Prometheus, prometheus_config
from detector.store import FileStore, MemoryStore, Store
from tests.conftest import Webhook
from tests.serving import catalogue, served
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]


class Clock:
    """Unix seconds that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


def recovery(*actions: dict[str, Any], **settings: Any) -> Recovery:
    return Recovery.model_validate({"enabled": True, "actions": list(actions), **settings})


def touch(path: Path, name: str = "{service}") -> dict[str, Any]:
    """An action that leaves a line in a file."""
    code = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + '\\n')"
    return {"alert": "MLServiceDown", "command": [sys.executable, "-c", code, str(path), name], "cooldown": "10m"}


def handle(of: Recoverer, *alerts: dict[str, str], status: str = "firing") -> list[str]:
    """The outcomes for a notification, once everything that was started is over."""
    told = [{"status": status, "labels": labels} for labels in alerts]
    post = Notification.model_validate({"version": "4", "status": status, "alerts": told})

    async def all_of_it() -> list[dict[str, str]]:
        found = await of.handle(post)
        await of.finish()
        return found

    return [one["outcome"] for one in asyncio.run(all_of_it())]


def down(service: str = "ml-service", **labels: str) -> dict[str, str]:
    return {"alertname": "MLServiceDown", "service": service, **labels}


def test_an_action_runs_once_within_its_cool_down_for_each_target(tmp_path: Path) -> None:
    clock = Clock()
    done = tmp_path / "done"
    recoverer = Recoverer(recovery(touch(done)), MemoryStore(), Counts(), clock)
    assert handle(recoverer, down(), down("data-service"), down(instance="b")) == ["started", "started", "same"]
    assert sorted(done.read_text().split()) == ["data-service", "ml-service"]
    clock.seconds += 599
    assert handle(recoverer, down()) == ["cooling_down"]
    clock.seconds += 1
    assert handle(recoverer, down()) == ["started"]
    assert len(done.read_text().split()) == 3


def test_nothing_runs_for_other_alerts_other_services_or_what_is_over(tmp_path: Path) -> None:
    done = tmp_path / "done"
    recoverer = Recoverer(recovery({**touch(done), "service": "ml-service"}), MemoryStore(), Counts())
    assert handle(recoverer, {"alertname": "HighCPUUsage", "service": "ml-service"}) == []
    assert handle(recoverer, down("data-service")) == []
    assert handle(recoverer, down(), status="resolved") == []
    assert not done.exists()


def test_no_more_runs_in_an_hour_than_the_budget_also_after_a_restart_and_in_another_process(tmp_path: Path) -> None:
    clock = Clock()
    settings = recovery(touch(tmp_path / "done"), budget_per_hour=2)

    def fresh() -> Recoverer:
        return Recoverer(settings, FileStore(tmp_path / "state"), Counts(), clock)

    assert handle(fresh(), down("a"), down("b"), down("c")) == ["started", "started", "over_budget"]
    clock.seconds += 1800
    assert handle(fresh(), down("c"), down("a")) == ["over_budget", "over_budget"]
    clock.seconds += 1800
    assert handle(fresh(), down("c")) == ["started"]
    assert sorted((tmp_path / "done").read_text().split()) == ["a", "b", "c"]


def test_where_the_store_fails_cool_down_and_budget_still_hold(tmp_path: Path) -> None:
    class Failing(MemoryStore):
        def load(self, key: str) -> bytes | None:
            raise StateError("Redis is away")

    store: Store = Failing()
    recoverer = Recoverer(recovery(touch(tmp_path / "done"), budget_per_hour=2), store, Counts())
    assert handle(recoverer, down("a"), down("b"), down("c"), down("a")) == [
        "started",
        "started",
        "over_budget",
        "same",
    ]
    assert handle(recoverer, down("a")) == ["cooling_down"]


@pytest.mark.parametrize(
    "value",
    ["", "-rf", "a b", "a;reboot", "$(reboot)", "../x", "a/b", "a\n", "é", ".hidden", "x" * 64, "{instance}", "a-"],
)
def test_a_label_that_is_no_plain_name_never_gets_into_a_command(
    value: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = tmp_path / "done"
    recoverer = Recoverer(recovery(touch(done)), MemoryStore(), Counts())
    assert handle(recoverer, down(value)) == ["refused"]
    assert not done.exists()
    [line] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "expected letters, digits" in line.reason  # type: ignore[attr-defined]


def test_no_shell_reads_a_command(tmp_path: Path) -> None:
    done = tmp_path / "done"
    action = touch(done, "$HOME; echo {service} | cat {}")
    assert handle(Recoverer(recovery(action), MemoryStore(), Counts()), down()) == ["started"]
    assert done.read_text() == "$HOME; echo ml-service | cat {}\n"


def test_a_dry_run_says_what_would_run_keeps_its_own_cool_down_and_runs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = MemoryStore()
    dry = Recoverer(recovery(touch(tmp_path / "done"), dry_run=True), store, Counts())
    assert handle(dry, down()) == ["dry_run"]
    assert handle(dry, down()) == ["cooling_down"]
    assert not (tmp_path / "done").exists()
    [first, _] = [record for record in caplog.records if getattr(record, "audit", "") == "recovery"]
    assert "ml-service" in first.action  # type: ignore[attr-defined]
    assert handle(Recoverer(recovery(touch(tmp_path / "done")), store, Counts()), down()) == ["started"]


def test_every_decision_and_every_outcome_is_a_line_with_its_fields(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    slow = {"alert": "Slow", "command": ["sleep", "60"], "timeout": 1}
    fails = {"alert": "Fails", "command": ["sh", "-c", "echo token=abc http://u:p@h/; exit 3"]}
    absent = {"alert": "Absent", "command": ["/no/such/program"]}
    counts = Counts()
    recoverer = Recoverer(recovery(slow, fails, absent), MemoryStore(), counts)
    began = time.monotonic()
    handle(recoverer, *({"alertname": name, "service": "s"} for name in ("Slow", "Fails", "Absent")))
    assert time.monotonic() - began < 10
    told = {(r.alert, r.outcome): getattr(r, "reason", "") for r in caplog.records if hasattr(r, "audit")}  # type: ignore[attr-defined]
    assert set(told) == {(name, what) for name in ("Slow", "Fails", "Absent") for what in ("started", "failed")}
    assert told["Slow", "failed"] == "not done within 1 s, ended"
    assert told["Fails", "failed"] == "exit code 3: token=abc http://***@h/"
    assert told["Absent", "failed"] == "/no/such/program cannot be started: No such file or directory"


def test_actions_that_take_long_keep_nothing_else_waiting(tmp_path: Path) -> None:
    slow = {"alert": "Slow", "command": ["sleep", "2", "{service}"], "timeout": 60}
    recoverer = Recoverer(recovery(slow, budget_per_hour=40), MemoryStore(), Counts())
    told = [{"status": "firing", "labels": {"alertname": "Slow", "service": f"0.{i:03}"}} for i in range(30)]
    post = Notification.model_validate({"version": "4", "status": "firing", "alerts": told})

    async def answered() -> float:
        await recoverer.handle(post)
        began = time.monotonic()
        await asyncio.to_thread(int)
        took = time.monotonic() - began
        await recoverer.finish()
        return took

    assert asyncio.run(answered()) < 1


def test_an_http_action_calls_the_filled_in_path_with_its_credentials(webhook: Webhook) -> None:
    call = {"url": webhook.url + "restart/{service}", "body": '{"name": "{service}"}', "bearer_token": "t0ken"}
    recoverer = Recoverer(recovery({"alert": "MLServiceDown", "http": call}), MemoryStore(), Counts())
    assert handle(recoverer, down()) == ["started"]
    [(path, headers, body)] = webhook.posts
    assert (path, headers["Authorization"]) == ("/restart/ml-service", "Bearer t0ken")
    assert json.loads(body) == {"name": "ml-service"}


def test_calls_that_differ_only_in_their_body_are_two_actions(webhook: Webhook) -> None:
    call = {"url": webhook.url + "restart", "body": '{"name": "{service}"}'}
    recoverer = Recoverer(recovery({"alert": "MLServiceDown", "http": call}), MemoryStore(), Counts())
    assert handle(recoverer, down("a"), down("b"), down("a", instance="x")) == ["started", "started", "same"]
    assert handle(recoverer, down("a")) == ["cooling_down"]
    assert sorted(json.loads(body)["name"] for _, _, body in webhook.posts) == ["a", "b"]


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("{alert: A}", "exactly one of command and http"),
        ("{alert: A, command: [x], http: {url: 'http://a'}}", "exactly one of command and http"),
        ("{alert: A, command: ['{service}', x]}", "a program without a placeholder"),
        ("{alert: A, command: []}", "command"),
        ("{alert: A, command: kubectl rollout restart}", "command"),
        ("{alert: A, http: {url: 'http://{instance}/restart'}}", "a URL whose host has no placeholder"),
        ("{alert: A, command: [x], shell: true}", "shell.*expected a known key"),
    ],
)
def test_a_wrong_action_is_named(action: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        catalogue(recovery=f"{{actions: [{action}]}}")


def test_it_is_off_unless_it_was_turned_on(tmp_path: Path) -> None:
    assert catalogue().settings.recovery.enabled is False
    with served() as url:
        post = {"version": "4", "status": "firing", "alerts": []}
        refused = requests.post(url + "/recover", json=post, timeout=10)
    assert refused.status_code == 403
    assert "automatic recovery is off" in refused.text


def test_the_default_catalogue_restarts_the_services_that_are_down_once_it_is_turned_on() -> None:
    shipped = load_catalogue("day_trade")
    assert shipped.settings.recovery.enabled is False
    down_alerts = {service.down_alert.name for service in shipped.services.values() if service.down_alert}
    for action in shipped.settings.recovery.actions:
        assert action.alert in down_alerts
        assert action.command is not None
        assert fill(action.command[-1], {"service": "ml-service"}) == "deployment/ml-service"


# -- the whole way ---------------------------------------------------------------------------------------

RULES = """
groups:
  - name: services
    rules:
      - alert: MLServiceDown
        expr: up{job="ml-service"} == 0
        for: 2s
        labels: {severity: critical, service: ml-service}
"""
ROUTES = """
route:
  receiver: recovery
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1m
receivers:
  - name: recovery
    webhook_configs:
      - {{url: '{url}/recover', send_resolved: false, http_config: {{authorization: {{credentials: {token}}}}}}}
"""


def test_a_killed_service_is_noticed_within_a_minute_and_back_within_five(
    prometheus: Callable[..., Prometheus], alertmanager: Callable[..., Alertmanager], tmp_path: Path
) -> None:
    port, pidfile, token = free_port(), tmp_path / "pid", "recovery-token"
    command = [sys.executable, str(ROOT / "tests/restarting.py"), str(port), str(pidfile), "{service}"]
    subprocess.run([*command[:-1], "ml-service"], check=True, timeout=60)
    action = {"alert": "MLServiceDown", "service": "ml-service", "command": command, "cooldown": "1m"}
    settings = f"{{enabled: true, actions: [{json.dumps(action)}]}}"
    try:
        with served(catalogue(serve=f"bearer_token: {token}", recovery=settings)) as url:
            manager = alertmanager(ROUTES.format(url=url, token=token))
            rules = tmp_path / "rules.yml"
            rules.write_text(RULES)
            server = prometheus(
                prometheus_config(
                    {"ml-service": f"127.0.0.1:{port}"}, rule_files=[rules], alertmanagers=[manager.address]
                )
            )
            wait_until(lambda: value(server, 'up{job="ml-service"}') == 1, within=60, what="the service is up")
            first = int(pidfile.read_text())
            os.kill(first, signal.SIGKILL)
            killed = time.monotonic()
            wait_until(lambda: value(server, "ALERTS{alertstate='firing'}") == 1, within=60, what="the alert fires")
            noticed = time.monotonic() - killed
            wait_until(lambda: value(server, 'up{job="ml-service"}') == 1, within=300, what="the service is back")
            back = time.monotonic() - killed
            assert int(pidfile.read_text()) != first
            counted = requests.get(url + "/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=10).text
    finally:
        os.kill(int(pidfile.read_text()), signal.SIGKILL)
    print(f"noticed after {noticed:.1f} s, back after {back:.1f} s (scrape and evaluation every second)")
    assert noticed < 60
    assert back < 300
    assert 'detector_serve_recoveries_total{alert="MLServiceDown",outcome="started"} 1.0' in counted
    assert 'detector_serve_recoveries_total{alert="MLServiceDown",outcome="ok"} 1.0' in counted


def value(server: Prometheus, expr: str) -> float | None:
    answer = requests.get(server.url + "/api/v1/query", params={"query": expr}, timeout=10).json()
    result = answer["data"]["result"]
    return float(result[0]["value"][1]) if result else None
