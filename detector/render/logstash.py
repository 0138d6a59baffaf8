"""The way of a log line: Filebeat reads it, Logstash sends it to its daily index or to the dead letters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from detector.log_format import DEAD_LETTERS, EXTRA, FIELDS, LEVELS, LOGS, PREFIX, STREAMS, Field, offsets_of

if TYPE_CHECKING:
    from detector.catalogue import Catalogue

NUMBER = r"\A-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?\z"
WHOLE = r"\A-?[0-9]{1,18}\z"
TEXT = r"[\s\S]"
"""Any text of at least one character; an object or a list matches nothing."""

INPUT = """input {
  beats {
    port => 5044
    ssl_enabled => true
    ssl_certificate => "/run/secrets/logstash_certificate"
    ssl_key => "/run/secrets/logstash_key"
    ssl_certificate_authorities => ["/run/secrets/log_authority"]
    ssl_client_authentication => "required"
  }
}
"""

OUTPUT = """output {
  elasticsearch {
    hosts => ["${ELASTICSEARCH_URL:https://elasticsearch:9200}"]
    user => "${ELASTICSEARCH_USER:logstash}"
    password => "${ELASTICSEARCH_PASSWORD}"
    ssl_enabled => true
    ssl_certificate_authorities => ["/run/secrets/log_authority"]
    manage_template => false
    ilm_enabled => false
    action => "create"
    index => "%{[@metadata][index]}"
  }
}
"""

LOGSTASH = {
    "api.http.host": "0.0.0.0",  # noqa: S104 - in a container; the network policy says who may ask
    "config.reload.automatic": False,
    "queue.type": "persisted",
    "queue.max_bytes": "1gb",
    "dead_letter_queue.enable": True,
    "pipeline.ecs_compatibility": "disabled",
}


def logstash_files(catalogue: Catalogue, environment: str) -> dict[str, str]:
    """What Logstash, Filebeat and the exporter of Logstash's counters read."""
    logged = tuple(name for name, service in catalogue.services.items() if service.logs)
    pipelines = [{"pipeline.id": "day-trade", "path.config": "/usr/share/logstash/pipeline/day-trade.conf"}]
    return {
        "logstash/pipeline/day-trade.conf": pipeline(logged, catalogue.settings.timezone),
        "logstash/pipelines.yml": yaml.safe_dump(pipelines, sort_keys=False),
        "logstash/logstash.yml": yaml.safe_dump(LOGSTASH, sort_keys=False),
        "filebeat/filebeat.yml": yaml.safe_dump(filebeat(logged), sort_keys=False, width=120),
        "json-exporter/logstash.yml": yaml.safe_dump(exporter(), sort_keys=False, width=120),
    }


def pipeline(services: tuple[str, ...], timezone: str) -> str:
    """The pipeline, in the few constructions that the tests can run."""
    known = [field for field in FIELDS if field.name != "@timestamp"]
    renames = "\n".join(f'        "[parsed][{field.name}]" => "{field.name}"' for field in known)
    return f"""{INPUT}
filter {{
  mutate {{ rename => {{ "message" => "line" }} }}
  mutate {{ rename => {{ "[fields][service]" => "source_service" }} }}
  mutate {{ remove_field => ["tags", "agent", "ecs", "host", "input", "log", "fields", "event", "@version"] }}
  json {{ source => "line" target => "parsed" tag_on_failure => ["not_json"] }}
  if "not_json" not in [tags] {{
{_indent(checks(services, timezone), 4)}
  }}
  if ![tags] {{
    date {{ match => ["[parsed][@timestamp]", "ISO8601"] tag_on_failure => ["bad_@timestamp"] }}
  }}
  if [tags] {{
    mutate {{ rename => {{ "tags" => "reasons" }} }}
    mutate {{ remove_field => ["parsed"] }}
    mutate {{ add_field => {{ "[@metadata][index]" => "{DEAD_LETTERS}-%{{+YYYY.MM.dd}}" }} }}
  }} else {{
{_indent(numbers(), 4)}
    # %{{+YYYY.MM.dd}} would be the day in UTC; the line has its own day, in an offset of {timezone}.
    grok {{ match => {{ "[parsed][@timestamp]" => "^(?<year>[0-9]+)-(?<month>[0-9]+)-(?<day>[0-9]+)T" }} }}
    mutate {{ add_field => {{ "[@metadata][day]" => "%{{year}}.%{{month}}.%{{day}}" }} }}
    mutate {{ remove_field => ["year", "month", "day", "[parsed][@timestamp]", "line", "source_service"] }}
    mutate {{
      rename => {{
{renames}
      }}
    }}
    if [parsed] {{
      mutate {{ rename => {{ "parsed" => "{EXTRA}" }} }}
    }}
{_indent(routes(), 4)}
  }}
}}

{OUTPUT}"""


def checks(services: tuple[str, ...], timezone: str) -> str:
    """One reason for each field that is missing, null or of another type or value."""
    parts = [f'mutate {{ convert => {{ "[parsed][{field.name}]" => "string" }} }}' for field in FIELDS]
    for field in FIELDS:
        absent, fails = f"![parsed][{field.name}]", f"[parsed][{field.name}] !~ /{pattern(field, services, timezone)}/"
        condition = f"{absent} or {fails}" if field.required else f"[parsed][{field.name}] and {fails}"
        parts.append(f'if {condition} {{\n  mutate {{ add_tag => ["bad_{field.name}"] }}\n}}')
    return "\n".join(parts)


def numbers() -> str:
    """The checked texts as the numbers they were."""
    to = {"double": "float", "long": "integer"}
    return "\n".join(
        f'mutate {{ convert => {{ "[parsed][{field.name}]" => "{to[field.type]}" }} }}'
        for field in FIELDS
        if field.type in to
    )


def pattern(field: Field, services: tuple[str, ...], timezone: str) -> str:
    """What a field's text must match, as a regular expression without slashes."""
    one_of = {"service": services, "level": LEVELS, "stream": STREAMS}
    if field.name in one_of:
        return rf"\A({'|'.join(re.escape(value) for value in one_of[field.name])})\z"
    if field.type == "date":
        offsets = "|".join(re.escape(one) for one in offsets_of(timezone))
        day = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
        return rf"\A{day}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,9}})?({offsets})\z"
    return {"double": NUMBER, "long": WHOLE}.get(field.type, TEXT)


def routes() -> str:
    """The index, by stream."""
    logs = f"{PREFIX}-{LOGS}-%{{service}}-%{{[@metadata][day]}}"
    text = ""
    for stream in STREAMS:
        if stream != LOGS:
            index = f"{PREFIX}-{stream}-%{{[@metadata][day]}}"
            text += f'if [stream] == "{stream}" {{\n{_indent(_to(index), 2)}\n}} else '
    return f"{text}{{\n{_indent(_to(logs), 2)}\n}}"


def _to(index: str) -> str:
    return f'mutate {{ add_field => {{ "[@metadata][index]" => "{index}" }} }}'


def filebeat(services: tuple[str, ...]) -> dict[str, object]:
    """One input a service; files under a directory of its name."""
    tls = {
        "enabled": True,
        "certificate_authorities": ["/run/secrets/log_authority"],
        "certificate": "/run/secrets/filebeat_certificate",
        "key": "/run/secrets/filebeat_key",
    }
    return {
        "filebeat.inputs": [
            {
                "type": "filestream",
                "id": service,
                "paths": [f"/var/log/day-trade/{service}/*.log"],
                "fields": {"service": service},
                "message_max_bytes": 1_048_576,
                "close.on_state_change.inactive": "5m",
            }
            for service in services
        ],
        "queue.disk": {"max_size": "1GB"},
        "output.logstash": {
            "hosts": ["${LOGSTASH_HOST:logstash:5044}"],
            "ssl": tls,
            "backoff.init": "1s",
            "backoff.max": "60s",
        },
        "http": {"enabled": True, "host": "localhost", "port": 5066},
        "logging.level": "warning",
    }


def exporter() -> dict[str, object]:
    """Logstash's own counters for Prometheus: its monitoring API speaks JSON."""
    counted = {"in": "lines received", "filtered": "lines checked", "out": "lines sent to Elasticsearch"}
    return {
        "modules": {
            "logstash": {
                "metrics": [
                    {
                        "name": f"logstash_events_{what}_total",
                        "help": f"Logstash: {meaning}.",
                        "path": f"{{ .events.{what} }}",
                        "valuetype": "counter",
                    }
                    for what, meaning in counted.items()
                ]
            }
        }
    }


def _indent(text: str, by: int) -> str:
    return "\n".join(" " * by + line if line else line for line in text.split("\n"))
