"""What an operator's restart command is in the tests: start the simulated platform on a port and leave it running.

Usage: restarting.py PORT PIDFILE SERVICE
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> None:
    port, pidfile, service = sys.argv[1:]
    if service != "ml-service":
        raise SystemExit(f"expected ml-service, got {service}")
    process = subprocess.Popen(
        [sys.executable, "-m", "detector", "simulate", "--port", port],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    Path(pidfile).write_text(str(process.pid))


if __name__ == "__main__":
    main()
