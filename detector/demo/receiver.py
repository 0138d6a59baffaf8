"""Whoever an alert may reach, on loopback: Slack, a mail server, Teams, a phone and the dead man's switch."""

from __future__ import annotations

import email
import json
import re
import socketserver
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

MAX_BODY_BYTES = 4 << 20
SLACK, EMAIL, TEAMS, SMS, WATCHDOG = "slack", "email", "teams", "sms", "watchdog"
_OVER = re.compile(r"(?:Over|resolved): ")
_BEGINS = re.compile(r"(?:firing|resolved): ")


@dataclass(frozen=True)
class Message:
    """One message as it arrived: when (unix seconds), by which medium, to whom (channel or address), its words."""

    at: float
    medium: str
    to: str
    title: str
    text: str

    @property
    def told(self) -> list[Told]:
        """What it says of each alert."""
        if self.medium in (SLACK, EMAIL):
            blocks = [block.splitlines() for block in self.text.replace("\r\n", "\n").strip().split("\n\n")]
            return [_told(lines[0], "".join(lines[1:2])) for lines in blocks if lines]
        return [_told(line, "") for line in self.text.splitlines() if _BEGINS.match(line)]


@dataclass(frozen=True)
class Told:
    """One alert in a message: its summary, its description (empty in short messages), and whether it began."""

    summary: str
    description: str
    firing: bool


def _told(line: str, description: str) -> Told:
    over = _OVER.match(line) is not None
    return Told(_OVER.sub("", line, count=1) if over else line.removeprefix("firing: "), description, not over)


class Receiver:
    """A web server and a mail server on free loopback ports that keep what they get.

    >>> with Receiver() as receiver:
    ...     receiver.messages
    []
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: list[Message] = []
        self._web = _Web(("127.0.0.1", 0), _Posts)
        self._mail = _Mail(("127.0.0.1", 0), _Session)
        self._web.receiver = self._mail.receiver = self
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
            for server in (self._web, self._mail)
        ]

    @property
    def url(self) -> str:
        """Where Slack, Teams, the phone and the dead man's switch are: /slack, /teams, /sms, /watchdog."""
        return f"http://127.0.0.1:{self._web.server_port}"

    @property
    def smarthost(self) -> str:
        """Address of the mail server."""
        return f"127.0.0.1:{self._mail.server_address[1]}"

    @property
    def messages(self) -> list[Message]:
        """Everything so far, in order of arrival."""
        with self._lock:
            return list(self._messages)

    def take(self, medium: str, to: str, title: str, text: str) -> None:
        """Keep a message."""
        with self._lock:
            self._messages.append(Message(time.time(), medium, to, title, text))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for server in (self._web, self._mail):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()


class _Web(ThreadingHTTPServer):
    daemon_threads = True
    receiver: Receiver


class _Mail(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True
    receiver: Receiver


class _Posts(BaseHTTPRequestHandler):
    """What Alertmanager posts to Slack and to the dead man's switch, and `detector serve` to Teams and phones."""

    server: _Web

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self._take(self.path.strip("/"), json.loads(self.rfile.read(min(length, MAX_BODY_BYTES))))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def _take(self, medium: str, body: Mapping[str, Any]) -> None:
        if medium == SLACK:
            for part in body["attachments"]:
                self.server.receiver.take(SLACK, body["channel"], part["title"], part["text"])
        elif medium == WATCHDOG:
            self.server.receiver.take(WATCHDOG, "", body["status"], "")
        else:
            self.server.receiver.take(medium, "", body["title"], body["message"])

    def log_message(self, format: str, *args: object) -> None:
        """Deliveries are shown, not logged."""


class _Session(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs that delivers: no extension, no credentials, no encryption."""

    server: _Mail

    def handle(self) -> None:
        to: list[str] = []
        self._say("220 demo")
        for line in self._lines():
            verb = line[:4].upper()
            if verb == b"RCPT":
                to.append(line.decode(errors="replace").partition("<")[2].rstrip("> "))
            elif verb == b"DATA":
                self._say("354 go on")
                self._deliver(to, b"\r\n".join(self._body()))
                to = []
            self._say("221 bye" if verb == b"QUIT" else "250 ok")
            if verb == b"QUIT":
                return

    def _lines(self) -> Iterator[bytes]:
        for line in self.rfile:
            yield line.rstrip(b"\r\n")

    def _body(self) -> Iterator[bytes]:
        for line in self._lines():
            if line == b".":
                return
            yield line[1:] if line.startswith(b".") else line

    def _deliver(self, to: list[str], content: bytes) -> None:
        message = email.message_from_bytes(content, policy=default)
        body = message.get_body(("plain",))
        text = body.get_content() if body else ""
        self.server.receiver.take(EMAIL, ", ".join(to), re.sub(r"\s+", " ", str(message["Subject"])), text)

    def _say(self, words: str) -> None:
        self.wfile.write(words.encode() + b"\r\n")
