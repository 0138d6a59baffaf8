"""The whole tree of one environment: every file that `detector render --env` writes.

A part of the tree is a function from the catalogue and the name of an environment to texts by path. It stands in
PARTS, and so in what is written, compared and committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import ConfigError
from detector.render.alertmanager import alertmanager_files
from detector.render.elasticsearch import elasticsearch_files
from detector.render.grafana import grafana_files
from detector.render.kibana import kibana_files
from detector.render.logstash import logstash_files
from detector.render.prometheus import prometheus_files
from detector.render.reference import reference_files

if TYPE_CHECKING:
    from detector.catalogue import Catalogue

Files = Mapping[str, str]
"""Texts by their path under the environment's directory, `prometheus/rules/detector.yml`."""


PARTS: tuple[Callable[[Catalogue, str], Files], ...] = (
    prometheus_files,
    alertmanager_files,
    grafana_files,
    reference_files,
    elasticsearch_files,
    logstash_files,
    kibana_files,
)


def render_tree(catalogue: Catalogue, environment: str) -> dict[str, str]:
    """Every file of an environment, by path.

    Raises:
        ConfigError: the catalogue has no such environment.
    """
    if environment not in catalogue.environments:
        known = ", ".join(catalogue.environments) or "none; add one under `environments`"
        raise ConfigError(f"no environment {environment!r} in {catalogue.origin or 'the catalogue'}; it has {known}")
    files: dict[str, str] = {}
    for part in PARTS:
        files.update(part(catalogue, environment))
    return files


def write_tree(files: Files, out: Path) -> list[str]:
    """Write the files under ``out``, and nothing else there; returns the paths that changed.

    What lies there beside them is left alone (see `strays`): nobody can tell an earlier rendering from someone's file.

    Raises:
        ConfigError: a file cannot be written.
    """
    changed = differences(files, out)
    try:
        for path in changed:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_text(files[path], encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from error
    return changed


def differences(files: Files, out: Path) -> list[str]:
    """Paths of the files that are missing under ``out`` or have another text there.

    Raises:
        ConfigError: a file cannot be read.
    """
    try:
        return sorted(
            path
            for path, text in files.items()
            if not (out / path).is_file() or (out / path).read_bytes() != text.encode()
        )
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error


def strays(files: Files, out: Path) -> list[str]:
    """Paths that are under ``out`` and are not rendered: left from an earlier catalogue, or someone's own."""
    there = (str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    return sorted(path for path in there if path not in files)
