"""A child process that serves on a free loopback port, and never outlives us.

``stop`` ends it, leaving the interpreter ends it, and on Linux the kernel ends it when this process is
killed. Its data live in a directory of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Self

from detector.loopback import free_port
from detector.programs import ServerError, find_program

READY_SECONDS = 30.0
#: How long a server may take to leave after SIGTERM before it is killed.
GRACE_SECONDS = 10.0
_PORT_ATTEMPTS = 5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_running: set[Server] = set()
_running_lock = threading.Lock()


class Server:
    """One server process; the subclasses say which program, which arguments and when it is ready.

    Args:
        port: Loopback port; a free one when not given. A restart keeps it.
        directory: Where the server keeps its data and log; if not given a temporary one, gone after ``stop``.
        flags: Further command-line arguments, as they are.
    """

    program: str
    scheme = "http"

    def __init__(self, *, port: int | None = None, directory: Path | None = None, flags: Sequence[str] = ()) -> None:
        self._fixed_port = port
        self.port = port or free_port()
        self.flags = tuple(flags)
        self._own_directory = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix=f"detector-{self.program}-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    # -- what a subclass says

    def _arguments(self) -> list[str]:
        """Return the program's arguments for the current port and directory."""
        raise NotImplementedError

    def _answers(self) -> bool:
        """Whether the server answers."""
        raise NotImplementedError

    # -- address and process

    @property
    def address(self) -> str:
        """Host and port, as in a Prometheus target."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where the server answers, without a trailing slash."""
        return f"{self.scheme}://{self.address}"

    @property
    def pid(self) -> int | None:
        """Process id, or None when it is not running."""
        return self._process.pid if self.running and self._process else None

    def is_ready(self) -> bool:
        """Whether the server answers and does what it is there for."""
        return self._answers()

    @property
    def running(self) -> bool:
        """Whether the process lives (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start and wait until ready; a stopped or killed server starts again on its port, with its data.

        Raises:
            ServerError: When the program is missing, ends at once, or is not ready within 30 s; with the end
                of its log.
        """
        if self.running:
            return self
        attempts = _PORT_ATTEMPTS if self._fixed_port is None else 1
        for attempt in range(attempts):
            self._spawn()
            if self._wait_ready():
                self._fixed_port = self.port
                return self
            log = self.log_tail()
            self._end(signal.SIGKILL)
            if attempt + 1 == attempts or "address already in use" not in log.lower():
                raise ServerError(f"{self.program} is not ready on {self.address}; its log ends:\n{log}")
            self.port = free_port()
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """End the server, politely first, and remove its temporary directory."""
        self._end(signal.SIGTERM)
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL, as a crash would; the data stay, and ``start`` brings the server back."""
        self._end(signal.SIGKILL)

    def restart(self) -> Self:
        """End the server politely and start it again on its port, with its data."""
        self._end(signal.SIGTERM)
        self.directory.mkdir(parents=True, exist_ok=True)
        return self.start()

    def pause(self) -> None:
        """SIGSTOP: connections are accepted by the kernel, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after ``pause``."""
        self._signal(signal.SIGCONT)

    def reload(self) -> None:
        """SIGHUP: Prometheus and Alertmanager read their files again."""
        self._signal(signal.SIGHUP)

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines the server wrote."""
        path = self.directory / "server.log"
        if not path.exists():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    # -- how

    def _spawn(self) -> None:
        command = [str(find_program(self.program)), *self._arguments(), *self.flags]
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C reaches us, and we end our children in order
                preexec_fn=_die_with_parent(),
            )
        with _running_lock:
            _running.add(self)

    def _wait_ready(self) -> bool:
        deadline = time.monotonic() + READY_SECONDS
        while self.running and time.monotonic() < deadline:
            # The second look at the process: on a port somebody else took, theirs would answer.
            if self.is_ready() and self.running:
                return True
            time.sleep(0.02)
        return False

    def _signal(self, number: signal.Signals) -> None:
        if self.running and self._process:
            os.killpg(self._process.pid, number)

    def _end(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.running:
                self._signal(number)
                self._signal(signal.SIGCONT)  # a paused process would never see SIGTERM
        if self._process is not None:
            try:
                self._process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    self._signal(signal.SIGKILL)
                self._process.wait()
        with _running_lock:
            _running.discard(self)


@atexit.register
def stop_all() -> None:
    """Stop every server this process started and has not stopped."""
    with _running_lock:
        remaining = list(_running)
    for server in remaining:
        server.stop()


@contextlib.contextmanager
def leaving_on_signals() -> Iterator[None]:
    """Let the first SIGINT, SIGTERM or SIGHUP end this process by way of its `with` blocks, which stop their servers.

    Nothing disturbs it while it clears up. SIGINT is a `KeyboardInterrupt`, the others are `SystemExit`. For the main
    thread.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def leave(number: int, frame: FrameType | None) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _die_with_parent() -> Callable[[], None] | None:
    """Return what the child does before exec: ask the kernel to kill it when we die.

    The kernel watches the *thread* that forked, so a thread other than the main one cannot ask for this.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # we died between fork and the call
            os._exit(1)

    return ask
