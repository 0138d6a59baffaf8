"""Whoever an alert may reach, on loopback: Slack, mail, Teams and SMS (through the relay), the dead man's switch."""

from __future__ import annotations

import email
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

from detector.catalogue import Catalogue, parse_catalogue
from detector.catalogue.load import built_in_text
from detector.loopback import free_port


@dataclass(frozen=True)
class Message:
    """One message as it arrived: the medium, to whom, its words, and how long after the clock was set."""

    medium: str
    to: str
    title: str
    text: str
    after: float
    alerts: int = 1

    @property
    def firing(self) -> bool:
        return self.title.lstrip("[").startswith("FIRING")


@dataclass
class Inbox:
    """Everything that arrived, in order."""

    http: str
    smtp: str
    messages: list[Message] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def add(self, medium: str, to: str, title: str, text: str, alerts: int = 1) -> None:
        self.messages.append(Message(medium, to, title, text, time.monotonic() - self.started, alerts))

    def start_clock(self) -> None:
        self.started = time.monotonic()

    def of(self, medium: str, to: str = "", *, firing: bool | None = None) -> list[Message]:
        return [
            one
            for one in list(self.messages)
            if one.medium == medium and (not to or one.to == to) and (firing is None or one.firing == firing)
        ]


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    """Listen for posts and mail on free loopback ports."""
    inbox = Inbox("", f"127.0.0.1:{free_port()}")

    class Posts(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            _take_post(inbox, self.path, body, self.headers.get("Authorization", ""))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *args: Any) -> None:
            """Keep the test's output quiet."""

    class Mail:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
            message = email.message_from_bytes(envelope.content, policy=default)
            body = message.get_body(("plain",))
            text = body.get_content() if body else ""
            inbox.add("email", ", ".join(envelope.rcpt_tos), re.sub(r"\s+", " ", str(message["Subject"])), text)
            return "250 OK"

    host, _, port = inbox.smtp.partition(":")
    mail = Controller(Mail(), hostname=host, port=int(port))
    with ThreadingHTTPServer(("127.0.0.1", 0), Posts) as server:
        server.daemon_threads = True
        inbox.http = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        mail.start()
        try:
            yield inbox
        finally:
            mail.stop()
            server.shutdown()
            thread.join()


def _take_post(inbox: Inbox, path: str, body: Any, authorization: str) -> None:
    if path == "/slack":
        [attachment] = body["attachments"]
        inbox.add("slack", body["channel"], attachment["title"], attachment["text"])
        return
    if path in ("/sms", "/teams"):  # what the relay makes of it
        inbox.add(path.strip("/"), path.strip("/"), body["title"], body["message"])
        return
    medium = {"/notify/sms": "sms", "/notify/teams": "teams"}.get(path, "watchdog" if "watchdog" in path else path)
    assert medium == "watchdog" or authorization == "Bearer relay-secret", authorization
    status = "FIRING" if body["status"] == "firing" else "RESOLVED"
    text = "\n".join(alert["annotations"].get("summary", "") for alert in body["alerts"])
    inbox.add(medium, body["receiver"], f"[{status}]", text, len(body["alerts"]))


def catalogue_for(inbox: Inbox, secrets: Path) -> Catalogue:
    """The platform's catalogue, with every receiver moved to the inbox."""
    return parse_catalogue(catalogue_text_for(inbox, secrets, inbox.http), "loopback.yaml")


def catalogue_text_for(inbox: Inbox, secrets: Path, relay: str) -> str:
    """The same as text, with a relay of its own."""
    for name, value in (("slack-url", f"{inbox.http}/slack"), ("relay-token", "relay-secret")):
        (secrets / name).write_text(value)
    text = built_in_text("day_trade")
    for old, new in (
        ("/etc/alertmanager/secrets", str(secrets)),
        ("http://detector-serve:9208 ", f"{relay} "),
        ("http://dead-mans-switch:8080", inbox.http),
        ('"smtp.day-trade.example:587"', f'"{inbox.smtp}", require_tls: false'),
        (", username: alerts}", "}"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text
