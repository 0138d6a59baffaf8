"""``python -m detector`` is the same as ``detector``."""

from __future__ import annotations

from detector.cli import main

if __name__ == "__main__":
    main()
