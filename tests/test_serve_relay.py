"""Notifications through the relay: a real Alertmanager, a fake Teams on loopback, and targets that fail."""

from __future__ import annotations

import json
import logging
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from detector.catalogue import parse_catalogue
from detector.errors import ConfigError
from detector.serve.webhook import Notification, message_of
from detector.servers import Alertmanager
from tests.certificates import certificate
from tests.conftest import Webhook
from tests.serving import CATALOGUE, catalogue, served
from tests.waiting import wait_until

SECRET = "c0ffee5ecret5ignature"
WORKFLOW = "643e69f83c8944438d68119179a10a64"


def alert(name: str = "MLServiceDown", status: str = "firing", summary: str = "", **labels: str) -> dict[str, Any]:
    annotations = {"summary": summary} if summary else {}
    return {"status": status, "labels": {"alertname": name, **labels}, "annotations": annotations}


def post(*alerts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    firing = any(one["status"] == "firing" for one in alerts)
    return {"version": "4", "status": "firing" if firing else "resolved", "alerts": list(alerts), **fields}


def notify(url: str, name: str, body: dict[str, Any]) -> requests.Response:
    return requests.post(f"{url}/notify/{name}", json=body, timeout=20)


def relay_to(webhook: Webhook, more: str = "") -> Any:
    address = webhook.url.removeprefix("http://")
    return catalogue(serve=f"notify: {{teams: {{url: 'json://{address}'{more}}}}}")


def test_a_message_says_what_fires_and_what_is_over_a_line_each(webhook: Webhook) -> None:
    body = post(
        alert(status="resolved", summary="node-3 answers again"),
        alert(summary="ml-1 does not answer"),
        alert(summary="ml-2 does not\nanswer"),
        alert(instance="ml-4"),
        commonLabels={"severity": "critical", "service": "ml-service"},
    )
    with served(relay_to(webhook)) as url:
        assert notify(url, "teams", body).status_code == 200
    [(_, _, sent)] = webhook.posts
    told = json.loads(sent)
    assert told["title"] == "FIRING MLServiceDown ×3 (critical, ml-service, production)"
    assert told["message"].splitlines() == [
        "firing: ml-1 does not answer",
        "firing: ml-2 does not answer",
        "firing: MLServiceDown ml-4",
        "resolved: node-3 answers again",
    ]
    assert told["type"] == "failure"


@example([("firing", ""), ("firing", "\x85")], 80, 0)
@given(
    st.lists(st.tuples(st.sampled_from(["firing", "resolved"]), st.text(max_size=80)), max_size=12),
    st.integers(80, 400),
    st.integers(0, 1000),
)
def test_a_message_is_never_longer_than_allowed_and_counts_what_it_leaves_out(
    alerts: list[tuple[str, str]], most: int, truncated: int
) -> None:
    written = post(*(alert(status=status, summary=text) for status, text in alerts), truncatedAlerts=truncated)
    title, text = message_of(Notification.model_validate(written), "production", most)
    assert len(title) + 1 + len(text) <= most
    distinct = {(status, " ".join(text.split()) or "MLServiceDown") for status, text in alerts}
    shown = text.split("\n") if text else []
    counted = shown.pop() if shown and re.fullmatch(r"and \d+ more", shown[-1]) else ""
    left_out = len(distinct) - len(shown) + truncated
    assert counted == (f"and {left_out} more" if left_out else "")


def test_the_count_of_what_is_left_out_survives_a_line_that_is_too_long() -> None:
    written = post(alert(summary="x" * 500), alert(summary="another"), truncatedAlerts=7)
    title, text = message_of(Notification.model_validate(written), "production", 160)
    assert len(title) + 1 + len(text) <= 160
    line, count = text.splitlines()
    assert line.startswith("firing: xxx")
    assert line.endswith("…")
    assert count == "and 8 more"


def test_an_sms_is_one_short_message_with_the_worst_first(webhook: Webhook) -> None:
    body = post(*(alert(summary=f"ml-{i} does not answer") for i in range(30)), alert(status="resolved"))
    with served(relay_to(webhook, ", max_length: 160")) as url:
        assert notify(url, "teams", body).status_code == 200
    told = json.loads(webhook.posts[0][2])
    assert len(told["title"]) + len(told["message"]) < 160
    assert told["message"].splitlines()[0] == "firing: ml-0 does not answer"
    assert told["message"].splitlines()[-1].endswith(" more")


def test_a_target_that_fails_hangs_or_is_not_there_is_a_502_without_its_secret(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    webhook.status = 500
    address = webhook.url.removeprefix("http://")
    with silent() as hanging:
        targets = {
            "failing": f"url: 'json://user:{SECRET}@{address}'",
            "hanging": f"url: 'json://{hanging}/{SECRET}', timeout: 1s",
            "down": f"url: 'json://127.0.0.1:9/{SECRET}'",
            "unknown": f"url: 'nonsense://{SECRET}'",
            "malformed": f"url: 'workflows://127.0.0.1:9/{SECRET}/x'",
            "unreadable": f"url_file: '{tmp_path}/none'",
        }
        listed = ", ".join(f"{name}: {{{value}}}" for name, value in targets.items())
        with served(catalogue(serve=f"notify: {{{listed}}}")) as url:
            for name in targets:
                began = time.monotonic()
                answer = notify(url, name, post(alert()))
                assert answer.status_code == 502, name
                assert name in answer.text
                assert SECRET not in answer.text
                assert time.monotonic() - began < 6
            counted = requests.get(url + "/metrics", timeout=10).text
            assert 'detector_serve_notifications_total{outcome="error",target="down"} 1.0' in counted
            missing = notify(url, "pager", post(alert()))
            assert missing.status_code == 404
            assert "failing, hanging, down" in missing.text
    ours = [record.getMessage() for record in caplog.records]
    assert any("error=500" in line for line in ours)
    assert not any(SECRET in line for line in ours)


def silent() -> Any:
    """A loopback port that takes connections and never answers."""
    import contextlib
    import socket

    @contextlib.contextmanager
    def listening() -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            yield f"127.0.0.1:{listener.getsockname()[1]}"

    return listening()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("Teams: {url: a}", "names of lower-case letters"),
        ("teams: {}", "exactly one of url and url_file"),
        ("teams: {url: a, url_file: b}", "exactly one of url and url_file"),
        ("teams: {url: a, max_length: 10}", "max_length"),
    ],
)
def test_a_wrong_target_is_named(target: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_catalogue(CATALOGUE.format(serve=f", notify: {{{target}}}", recovery="{}"), "test.yaml")


# -- a real Alertmanager ---------------------------------------------------------------------------------


class Teams:
    """A Power Automate workflow on loopback: keeps the cards that are posted to it, over TLS as the real one."""

    def __init__(self, directory: Path) -> None:
        cards = self.cards = []  # type: list[dict[str, Any]]
        self.statuses: list[int] = []
        statuses = self.statuses

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = statuses.pop(0) if statuses else 202
                cards.append({"path": self.path, "status": status, **json.loads(body)})
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Keep the test's output quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate, key = certificate(directory)
        context.load_cert_chain(self.certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"workflows://127.0.0.1:{self._server.server_port}/{WORKFLOW}/{SECRET}"

    def __enter__(self) -> Teams:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def texts(self) -> list[str]:
        """Everything that the accepted cards say."""
        taken = [card for card in self.cards if card["status"] == 202]
        return [
            "\n".join(block["text"] for block in card["attachments"][0]["content"]["body"] if "text" in block)
            for card in taken
        ]


def test_a_real_alertmanager_reaches_teams_through_the_relay_and_tries_again_when_it_fails(
    alertmanager: Callable[..., Alertmanager], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Teams(tmp_path) as teams:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(teams.certificate))
        teams.statuses[:] = [500, 500]
        secret, token = tmp_path / "teams_url", tmp_path / "token"
        secret.write_text(teams.url + "\n")
        token.write_text("alertmanager-token")
        serve = f"bearer_token_file: '{token}', notify: {{teams: {{url_file: '{secret}'}}}}"
        with served(catalogue(serve=serve)) as url:
            server = alertmanager(
                f"""
route: {{receiver: teams, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: teams
    webhook_configs:
      - url: {url}/notify/teams
        http_config: {{authorization: {{credentials_file: {token}}}}}
"""
            )
            labels = {"alertname": "EnsembleAccuracyDegraded", "severity": "critical", "service": "ml-service"}
            one = {"labels": labels, "annotations": {"summary": "Ensemble accuracy is 92.1 %, under 93 %"}}
            push(server, one)
            wait_until(lambda: teams.texts(), within=60, what="the card")
            push(server, {**one, "endsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))})
            wait_until(lambda: len(teams.texts()) == 2, within=60, what="the card that says it is over")
    assert [card["status"] for card in teams.cards] == [500, 500, 202, 202]
    assert teams.cards[0]["path"].startswith(f"/workflows/{WORKFLOW}/triggers/manual/paths/invoke?")
    firing, resolved = teams.texts()
    assert "FIRING EnsembleAccuracyDegraded (critical, ml-service, production)" in firing
    assert "firing: Ensemble accuracy is 92.1 %, under 93 %" in firing
    assert "RESOLVED EnsembleAccuracyDegraded" in resolved


def push(server: Alertmanager, one: dict[str, Any]) -> None:
    answer = requests.post(server.url + "/api/v2/alerts", json=[one], timeout=10)
    assert answer.ok, answer.text
