"""The dashboards in words: a document with a table of panels for each."""

from __future__ import annotations

from detector.catalogue.durations import format_duration
from detector.catalogue.schema import Catalogue
from detector.render.grafana import boards, path_of
from detector.render.grafana.board import Board
from detector.render.grafana.panels import View

_HEAD = """# Dashboards

Rendered from the catalogue by `detector render --env production --out deploy/production` into `grafana/` of the
environment; this page by `detector render dashboards --out docs/dashboards.md`. A metric added to the catalogue is
on the dashboards without another change: on that of forecasts, and in the last row of the overall one if no other
panel shows it. Units, thresholds and texts follow from the catalogue: orange is beyond the objective, red beyond the
level of the alert as well.
"""

_TAIL = """
## Bringing them up

`grafana/` holds what Grafana 11.6 or newer reads: mount `provisioning/` at `/etc/grafana/provisioning`,
`dashboards/` at `/var/lib/grafana/dashboards`, `grafana.ini` at `/etc/grafana/grafana.ini`, and the administrator's
password as `/run/secrets/grafana-admin-password`. The data source is `http://prometheus:9090`.

- **Future curves** come from `detector serve` through the `remote_read` of the rendered Prometheus. Without it the
  charts still show what was measured and, dotted, what was expected a day before.
- **The past** reaches as far back as Prometheus keeps it. %(kept)s
  The picker offers ranges up to what dashboards look back; what Prometheus has dropped by then needs a long-term
  store behind the data source. Grafana keeps its own annotations as long.
- **Charts of the future** use the dashboard's range; every other panel of that dashboard has a range of its own that
  ends now, because nothing was pushed for tomorrow.
- A series without a `model` stays whatever model is chosen.
- **Return** is not money: the platform has no metric of it. *Return on the processor* puts right predictions against
  the CPU they cost; a query with `channel: business` is shown beside it.
"""


def describe_dashboards(catalogue: Catalogue) -> str:
    """Markdown that says what each dashboard shows, panel by panel."""
    parts = [_HEAD, *(_board(catalogue, board) for board in boards(catalogue)), _TAIL % {"kept": _kept(catalogue)}]
    return "".join(parts)


def _board(catalogue: Catalogue, board: Board) -> str:
    choices = ", ".join(f"`{one.name}`" for one in board.variables)
    events = ", ".join(one.name.lower() for one in board.annotations)
    ahead = f" to {format_duration(board.ahead)} ahead" if board.ahead else ""
    lines = [
        f"\n## {board.title}",
        "",
        (
            f"{board.description} Uid `{board.uid}`, file `dashboards/{path_of(board)}`. It opens with "
            f"{format_duration(board.back)} back{ahead}. Choices: {choices}. Drawn over the charts: {events}."
        ),
        "",
        "| row | panel | shows | unit | queries |",
        "|---|---|---|---|---|",
    ]
    for row in board.rows:
        lines += [f"| {row.title} | {cells} |" for cells in (_cells(view) for view in row.views)]
    return "\n".join(lines) + "\n"


def _cells(view: View) -> str:
    unit = view.panel.field_config.defaults.unit if view.panel.field_config else ""
    cells = (view.title, view.description, f"`{unit}`", ", ".join(f"`{name}`" for name in view.queries))
    return " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells)


def _kept(catalogue: Catalogue) -> str:
    said = [
        f"In {name} dashboards look back up to {format_duration(one.grafana.data_kept)}, Prometheus keeps "
        f"{format_duration(one.prometheus.retention)}."
        for name, one in catalogue.environments.items()
    ]
    return " ".join(said)
