"""One action with everything filled in: a program without a shell, or an HTTP call."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from detector.errors import BadResponse, DetectorError, ResponseTooLarge, SourceUnavailable, redact

if TYPE_CHECKING:
    from detector.catalogue.recovery import Action, Call

SAID_BYTES = 1000
"""So much of what a program printed, or a server answered, goes into the log."""


class DeedError(Exception):
    """The action failed; the message says how."""


@dataclass(frozen=True)
class Deed:
    """What is done, and how long it may take; ``text`` names it in the log, ``key`` tells it from every other."""

    text: str
    timeout: int
    command: tuple[str, ...] = ()
    call: Call | None = None

    @property
    def key(self) -> str:
        """The same for the same deed alone: two calls may differ in nothing but their body, which is not logged."""
        if self.call is None:
            return self.text
        told = hashlib.sha256("\n".join((self.call.method, self.call.url, self.call.body)).encode())
        return f"{self.text} {told.hexdigest()[:16]}"

    @classmethod
    def of(cls, action: Action, fill: Callable[[str], str]) -> Self:
        """The action with its placeholders filled."""
        if action.http is not None:
            call = action.http.model_copy(update={"url": fill(action.http.url), "body": fill(action.http.body)})
            return cls(redact(f"{call.method} {call.url}"), action.timeout, call=call)
        command = tuple(fill(part) for part in action.command or ())
        return cls(shlex.join(command), action.timeout, command=command)

    def run(self) -> str:
        """Do it, and return what it said.

        Raises:
            DeedError: it could not be started, failed, or took too long.
        """
        return self._request(self.call) if self.call is not None else self._execute()

    def _execute(self) -> str:
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - an allow-listed program, and no shell
                    self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            except OSError as error:
                raise DeedError(f"{self.command[0]} cannot be started: {error.strerror}") from error
            try:
                code = process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise DeedError(f"not done within {self.timeout} s, ended") from None
            said = _ending(output)
        if code != 0:
            raise DeedError(f"exit code {code}: {said}")
        return said

    def _request(self, call: Call) -> str:
        from detector.http import Failures, HttpClient

        failures = Failures(SourceUnavailable, BadResponse, ResponseTooLarge)
        endpoint = call.model_copy(update={"timeout": min(call.timeout, self.timeout)})
        headers = {"Content-Type": "application/json"} if call.body else {}
        try:
            with HttpClient(endpoint, "the service", failures, retries=0, max_body_bytes=1 << 20) as client:
                answer = client.exchange(call.method, "", data=call.body.encode() or None, headers=headers)
        except DetectorError as error:
            raise DeedError(str(error)) from error
        if not 200 <= answer.status < 300:
            raise DeedError(f"status {answer.status}: {redact(answer.text[:SAID_BYTES])}")
        return f"status {answer.status}"


def _ending(output: Any) -> str:
    """The last of what was printed, in one line."""
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - SAID_BYTES))
    return redact(" ".join(output.read().decode(errors="replace").split()))
