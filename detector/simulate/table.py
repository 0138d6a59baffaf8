"""The parameter table of docs/simulator.md: `python -m detector.simulate.table docs/simulator.md` renews it."""

from __future__ import annotations

import sys
from pathlib import Path

from detector.simulate.fleet import LABELS
from detector.simulate.metrics import METRICS

MARK = "<!-- made by detector.simulate.table -->\n"


def parameter_table() -> str:
    """Every row of METRICS as a Markdown table."""
    lines = [
        "| query | series | read as | sigma | swing (sigma) | phi | under load | quiet level | peak | clock |",
        "|---|---:|---|---:|---:|---:|---|---:|---:|---|",
    ]
    for m in METRICS.values():
        clock = "sessions" if m.sessions else "wall"
        peak = f"{int(m.peak_hour):02d}:{round(m.peak_hour % 1 * 60):02d}"
        lines.append(
            f"| `{m.name}` | {len(LABELS[m.fleet])} | {m.kind} | {m.sigma:g} | {m.swing:g} | {m.phi:g} | "
            f"{'rises' if m.load > 0 else 'falls'} | {m.quiet:g} | {peak} | {clock} |"
        )
    return "\n".join(lines) + "\n"


def renewed(document: str) -> str:
    """The document with the current table after MARK."""
    text, mark, _ = document.partition(MARK)
    return text + mark + parameter_table()


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
