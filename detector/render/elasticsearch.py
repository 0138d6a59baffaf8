"""Templates and lifecycle of the daily log indices in Elasticsearch, and the script that installs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from detector.log_format import ACCURACY, ALERTS, DEAD_LETTERS, EXTRA, FIELDS, LOGS, PREFIX

if TYPE_CHECKING:
    from detector.catalogue import Catalogue

DAY = 86_400
FIELDS_TEMPLATE, SETTINGS_TEMPLATE, POLICY = f"{PREFIX}-fields", f"{PREFIX}-settings", f"{PREFIX}-retention"

LOAD = """#!/bin/sh
# Installs what is beside this file; run it again whenever it changed. New settings count from the next day's index on.
# ELASTICSEARCH_URL, and ELASTICSEARCH_NETRC: a netrc file with user and password, so that neither is on a command line.
set -eu
cd "$(dirname "$0")"
url=${ELASTICSEARCH_URL:-https://localhost:9200}
put() {
  curl --fail-with-body --silent --show-error --retry 5 --retry-connrefused \\
    ${ELASTICSEARCH_NETRC:+--netrc-file "$ELASTICSEARCH_NETRC"} \\
    ${ELASTICSEARCH_CA:+--cacert "$ELASTICSEARCH_CA"} \\
    -X PUT -H 'Content-Type: application/json' --data-binary "@$2" "$url/$1"
  echo "  $1"
}
for kind in _ilm/policy _component_template _index_template; do  # a template needs what it is composed of
  for file in "$kind"/*.json; do
    put "${file%.json}" "$file"
  done
done
"""


def elasticsearch_files(catalogue: Catalogue, environment: str) -> dict[str, str]:
    """Paths are those of Elasticsearch's API: ``_ilm/policy/NAME.json`` is PUT to ``_ilm/policy/NAME``."""
    kept = catalogue.environments[environment].elasticsearch
    bodies: dict[str, Any] = {
        f"_ilm/policy/{POLICY}": policy(kept.retention // DAY),
        f"_component_template/{FIELDS_TEMPLATE}": {"template": {"mappings": mappings()}},
        f"_component_template/{SETTINGS_TEMPLATE}": {
            "template": {
                "settings": {
                    "index.number_of_shards": kept.shards,
                    "index.number_of_replicas": kept.replicas,
                    "index.lifecycle.name": POLICY,
                }
            }
        },
        f"_index_template/{DEAD_LETTERS}": {
            "index_patterns": [f"{DEAD_LETTERS}-*"],
            "priority": 500,
            "composed_of": [SETTINGS_TEMPLATE],
            "template": {"mappings": dead_letter_mappings()},
        },
    }
    for stream in (LOGS, ACCURACY, ALERTS):
        bodies[f"_index_template/{PREFIX}-{stream}"] = {
            "index_patterns": [f"{PREFIX}-{stream}-*"],
            "priority": 500,
            "composed_of": [FIELDS_TEMPLATE, SETTINGS_TEMPLATE],
        }
    files = {f"elasticsearch/{path}.json": json.dumps(body, indent=2) + "\n" for path, body in bodies.items()}
    return {**files, "elasticsearch/load.sh": LOAD}


def policy(days: int) -> dict[str, Any]:
    """Delete an index so many days after it was made; it is made at the first line of its day."""
    return {
        "policy": {
            "phases": {
                "hot": {"min_age": "0ms", "actions": {"set_priority": {"priority": 100}}},
                "delete": {"min_age": f"{days}d", "actions": {"delete": {}}},
            }
        }
    }


def mappings() -> dict[str, Any]:
    """Strict: a field that is not in the table is refused, and the pipeline has put those under ``extra``."""
    properties: dict[str, Any] = {field.name: {"type": field.type} for field in FIELDS}
    for field in FIELDS:
        if field.type == "keyword":
            properties[field.name]["ignore_above"] = 8191
    return {"dynamic": "strict", "properties": {**properties, EXTRA: {"type": "flattened", "ignore_above": 8191}}}


def dead_letter_mappings() -> dict[str, Any]:
    """The line as it came, why it was refused, and where from."""
    return {
        "dynamic": "strict",
        "properties": {
            "@timestamp": {"type": "date"},
            "line": {"type": "text"},
            "reasons": {"type": "keyword"},
            "source_service": {"type": "keyword"},
        },
    }
