"""What to watch: the catalogue's schema, its loading and the catalogues that come with the package."""

from __future__ import annotations

from detector.catalogue.load import load_catalogue, parse_catalogue
from detector.catalogue.schema import Catalogue, Endpoint, Query, Settings

__all__ = ["Catalogue", "Endpoint", "Query", "Settings", "load_catalogue", "parse_catalogue"]
