"""The catalogue as Grafana's dashboards, with what provisions them."""

from __future__ import annotations

from collections.abc import Mapping

from detector.catalogue.schema import Catalogue
from detector.render.grafana.board import Board, dashboard_json
from detector.render.grafana.business import business
from detector.render.grafana.data_quality import data_quality
from detector.render.grafana.forecasts import forecasts
from detector.render.grafana.ml_service import ml_service
from detector.render.grafana.overview import overview
from detector.render.grafana.provisioning import provisioning_files
from detector.render.grafana.views import FORECASTS_UID


def grafana_files(catalogue: Catalogue, environment: str) -> Mapping[str, str]:
    """Dashboards and provisioning of an environment, by path under its directory."""
    settings = catalogue.environments[environment]
    paths = {path_of(board): board for board in boards(catalogue)}
    files = {
        f"grafana/dashboards/{path}": dashboard_json(board, settings.grafana, catalogue.settings.timezone)
        for path, board in paths.items()
    }
    return files | dict(provisioning_files(catalogue, environment, next(iter(paths))))


def boards(catalogue: Catalogue) -> list[Board]:
    """Every dashboard, the overall one first. One whose subject the catalogue lacks is left out."""
    special = [board for board in (ml_service(catalogue), data_quality(catalogue), business(catalogue)) if board]
    elsewhere = {name for board in special for name in board.queries}
    return [overview(catalogue, elsewhere), *special, forecasts(catalogue)]


def path_of(board: Board) -> str:
    """The dashboard's file under the directory of dashboards; its directory decides the folder."""
    folder = "forecasts" if board.uid == FORECASTS_UID else "platform"
    return f"{folder}/{board.uid.removeprefix('detector-')}.json"
