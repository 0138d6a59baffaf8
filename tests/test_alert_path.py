"""The whole way of an alert: rules' labels, rendered routes, `detector serve` as its own process, and every receiver.

Only the receivers are not real. Every duration of the rendered Alertmanager configuration is divided by 60.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from detector.catalogue import parse_catalogue
from detector.loopback import free_port
from detector.render.alertmanager import alertmanager_files
from detector.servers import Alertmanager
from tests.receivers import Inbox, catalogue_text_for, open_inbox
from tests.serving import wait_for
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
SCALE = 60.0
TEAM = "team@day-trade.example"
EVERYWHERE = [("slack", "#day-trade-critical"), ("slack", "#day-trade-ml"), ("email", TEAM), ("sms", "sms"),
              ("teams", "teams")]  # fmt: skip
LABELS = {"alertname": "MLServiceDown", "severity": "critical", "kind": "availability", "service": "ml-service",
          "team": "ml", "channel": "ml", "instance": "ml-service-0", "job": "ml-service"}  # fmt: skip
NOTES = {
    "summary": "ml-service of ml-service-0 is down",
    "description": "It does not answer: its state is 0, 1 is well.",
    "runbook_url": "https://runbooks.day-trade.example/docs/runbooks/MLServiceDown.md",
}
RESTART = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + chr(10))"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with open_inbox() as opened:
        yield opened


@pytest.fixture
def restarts(tmp_path: Path) -> Path:
    """Where each restart of a service leaves a line."""
    return tmp_path / "restarts"


@pytest.fixture
def catalogue_file(inbox: Inbox, restarts: Path, tmp_path: Path) -> Path:
    """The platform's catalogue with recovery on, everybody in the inbox, and a relay on a free port."""
    text = catalogue_text_for(inbox, tmp_path, f"http://127.0.0.1:{free_port()}")
    command = json.dumps([sys.executable, "-c", RESTART, str(restarts), "{service}"])
    for old, new in (
        ("    enabled: false\n", "    enabled: true\n"),
        ('[kubectl, --namespace, day-trade, rollout, restart, "deployment/{service}"]', command),
        ("  recovery: false ", "  recovery: true "),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    for name in ("teams", "sms"):
        (tmp_path / f"{name}-url").write_text(f"{inbox.http.replace('http', 'json')}/{name}")
    file = tmp_path / "catalogue.yaml"
    file.write_text(text)
    return file


@pytest.fixture
def serve(catalogue_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The command, as a process of its own with the environment that a deployment gives it."""
    told = {
        "DETECTOR_TOKEN_FILE": str(tmp_path / "relay-token"),
        "DETECTOR_TEAMS_URL_FILE": str(tmp_path / "teams-url"),
        "DETECTOR_SMS_URL_FILE": str(tmp_path / "sms-url"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    relay = parse_catalogue(catalogue_file.read_text(), "loopback.yaml").notifications
    assert relay
    command = ["detector", "serve", "--catalogue", str(catalogue_file), "--listen", relay.relay.removeprefix("http://")]
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env=os.environ)
    try:
        wait_for(relay.relay)
        yield relay.relay
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def delivering(
    serve: str, catalogue_file: Path, tmp_path: Path, alertmanager: Callable[..., Alertmanager]
) -> Alertmanager:
    """Alertmanager with the tree that is rendered for production."""
    catalogue = parse_catalogue(catalogue_file.read_text(), "loopback.yaml")
    files = alertmanager_files(catalogue, "production", SCALE)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "messages.tmpl").write_text(files["alertmanager/templates/messages.tmpl"])
    return alertmanager(files["alertmanager/alertmanager.yml"], directory=tmp_path)


def send(server: Alertmanager, *, over: bool = False) -> None:
    now = datetime.now(UTC)
    one = {"labels": LABELS, "annotations": NOTES, "endsAt": (now if over else now + timedelta(hours=1)).isoformat()}
    requests.post(f"{server.url}/api/v2/alerts", json=[one], timeout=5).raise_for_status()


def everywhere(inbox: Inbox, *, firing: bool) -> bool:
    return all(inbox.of(medium, to, firing=firing) for medium, to in EVERYWHERE)


def test_a_critical_alert_reaches_everybody_restarts_its_service_once_and_its_end_arrives_too(
    delivering: Alertmanager, serve: str, inbox: Inbox, restarts: Path, tmp_path: Path
) -> None:
    inbox.start_clock()
    send(delivering)
    wait_until(lambda: everywhere(inbox, firing=True), within=30, what="the alert at every receiver")
    wait_until(restarts.exists, within=30, what="the restart")
    send(delivering)  # it is still there, as Prometheus says again and again
    for one in inbox.messages:
        assert NOTES["summary"] in one.text, one
        assert one.medium in ("sms", "teams") or NOTES["runbook_url"] in one.text
    [sms] = inbox.of("sms")
    assert len(sms.title) + len(sms.text) < 160
    assert sms.title == "FIRING MLServiceDown (critical, ml-service, production)"
    send(delivering, over=True)
    wait_until(lambda: everywhere(inbox, firing=False), within=30, what="its end at every receiver")
    time.sleep(2.0)  # two more of the intervals at which Alertmanager looks
    assert restarts.read_text() == "ml-service\n"
    assert len(inbox.of("sms")) == len(inbox.of("email")) == 2, inbox.messages
    token = {"Authorization": f"Bearer {(tmp_path / 'relay-token').read_text()}"}
    counted = requests.get(f"{serve}/metrics", headers=token, timeout=10).text
    assert 'detector_serve_recoveries_total{alert="MLServiceDown",outcome="started"} 1.0' in counted
    assert 'detector_serve_recoveries_total{alert="MLServiceDown",outcome="ok"} 1.0' in counted
    assert 'detector_serve_notifications_total{outcome="ok",target="sms"} 2.0' in counted
    assert 'detector_serve_notifications_total{outcome="ok",target="teams"}' in counted


def test_without_the_relays_token_nobody_is_told_and_nothing_is_restarted(
    serve: str, inbox: Inbox, restarts: Path
) -> None:
    alert = {"status": "firing", "labels": LABELS, "annotations": NOTES}
    post = {"version": "4", "status": "firing", "alerts": [alert]}
    for path in ("/notify/sms", "/notify/teams", "/recover"):
        assert requests.post(f"{serve}{path}", json=post, timeout=10).status_code == 401
    assert not inbox.messages
    assert not restarts.exists()
