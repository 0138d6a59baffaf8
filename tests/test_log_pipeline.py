"""Where log lines go: the rendered pipeline, run on lines of the worker, of the simulator and on spoiled ones."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from detector.catalogue import load_catalogue
from detector.log_format import FIELDS, STREAMS, index_of, offsets_of
from detector.logs import configure_logging
from detector.render.elasticsearch import elasticsearch_files
from detector.render.kibana import kibana_files
from detector.render.logstash import logstash_files, pipeline
from detector.render.prometheus import render_prometheus
from detector.simulate.loglines import log_lines
from tests.logstash import Parser, run

CATALOGUE = load_catalogue("day_trade")
LOGGED = [name for name, service in CATALOGUE.services.items() if service.logs]
FILES = {**elasticsearch_files(CATALOGUE, "production"), **logstash_files(CATALOGUE, "production")}
SECTIONS = Parser(FILES["logstash/pipeline/day-trade.conf"]).sections()
ARRIVED = datetime(2026, 3, 1, 16, 0, tzinfo=UTC)
GOOD = {
    "@timestamp": "2026-03-02T00:30:00.250+09:00",
    "service": "ml-service",
    "level": "INFO",
    "logger": "ml.serving",
    "message": "predicted",
    "environment": "production",
}


def through(line: str) -> dict[str, Any]:
    """The event as Filebeat sends it, after the filters."""
    event: dict[str, Any] = {
        "@timestamp": ARRIVED,
        "@version": "1",
        "message": line,
        "fields": {"service": "ml-service"},
        "tags": ["beats_input_codec_plain_applied"],
        **{name: {"name": "x"} for name in ("agent", "ecs", "host", "input", "log")},
    }
    run(SECTIONS["filter"], event)
    return event


def sent(line: str) -> tuple[str, dict[str, Any]]:
    event = through(line)
    return event.pop("@metadata")["index"], event


def mapping(template: str) -> dict[str, Any]:
    found = json.loads(FILES[f"elasticsearch/{template}.json"])["template"]["mappings"]
    assert found["dynamic"] == "strict"
    return dict(found["properties"])


MAPPED = {"day-trade": mapping("_component_template/day-trade-fields")}
REFUSED = mapping("_index_template/day-trade-dead-letters")
PYTHON = {"date": datetime, "keyword": str, "text": str, "double": float, "long": int, "flattened": dict}


def assert_fits(event: dict[str, Any], properties: dict[str, Any]) -> None:
    for name, value in event.items():
        assert name in properties, f"{name} has no mapping: a strict index refuses the line"
        for one in value if isinstance(value, list) else [value]:
            assert isinstance(one, PYTHON[properties[name]["type"]]), (name, value)


@pytest.mark.parametrize(
    ("stamp", "day"),
    [
        ("2026-03-01T23:59:59.999+09:00", "2026.03.01"),
        ("2026-03-02T00:00:00.000+09:00", "2026.03.02"),
        ("2026-03-02T08:59:59+09:00", "2026.03.02"),
        ("2026-03-02T09:00:00+09:00", "2026.03.02"),
    ],
)
@pytest.mark.parametrize("stream", STREAMS)
def test_a_line_goes_to_the_index_of_its_day_in_tokyo(stamp: str, day: str, stream: str) -> None:
    for service in LOGGED:
        index, event = sent(json.dumps({**GOOD, "@timestamp": stamp, "service": service, "stream": stream}))
        assert index == (f"day-trade-logs-{service}-{day}" if stream == "logs" else f"day-trade-{stream}-{day}")
        assert index == index_of(service, stream, datetime.fromisoformat(stamp), "Asia/Tokyo")
        assert event["@timestamp"] == datetime.fromisoformat(stamp)
        assert_fits(event, MAPPED["day-trade"])


@pytest.mark.parametrize(
    ("line", "reasons"),
    [
        ("Traceback (most recent call last):", ["not_json"]),
        ('{"service": "ml-serv', ["not_json"]),
        ("{}", [f"bad_{field.name}" for field in FIELDS if field.required]),
        ("[1, 2]", [f"bad_{field.name}" for field in FIELDS if field.required]),
        ({"service": "unknown"}, ["bad_service"]),
        ({"level": "info"}, ["bad_level"]),
        ({"level": "INFO\nand more"}, ["bad_level"]),
        ({"message": None}, ["bad_message"]),
        ({"message": {"text": "x"}}, ["bad_message"]),
        ({"accuracy_value": "high"}, ["bad_accuracy_value"]),
        ({"accuracy_value": [0.9]}, ["bad_accuracy_value"]),
        ({"slot": 1.5, "prediction_time": True}, ["bad_prediction_time", "bad_slot"]),
        ({"@timestamp": "2026-03-01T15:30:00Z"}, ["bad_@timestamp"]),
        ({"@timestamp": "2026-02-30T15:30:00+09:00"}, ["bad_@timestamp"]),
        ({"stream": "elsewhere"}, ["bad_stream"]),
    ],
)
def test_a_line_that_does_not_fit_becomes_a_dead_letter_with_the_reasons(line: Any, reasons: list[str]) -> None:
    text = line if isinstance(line, str) else json.dumps({**GOOD, **line})
    index, event = sent(text)
    assert index == "day-trade-dead-letters-2026.03.01"
    assert event["line"] == text
    assert event["reasons"] == reasons
    assert event["source_service"] == "ml-service"
    assert_fits(event, REFUSED)


def test_numbers_arrive_as_numbers_and_unknown_fields_under_extra() -> None:
    index, event = sent(json.dumps({**GOOD, "accuracy_value": "0.95", "slot": 60, "signal": "TERM", "a": {"b": 1}}))
    assert index.startswith("day-trade-logs-ml-service-")
    assert (event["accuracy_value"], event["slot"]) == (0.95, 60)
    assert event["extra"] == {"signal": "TERM", "a": {"b": 1}}
    assert_fits(event, MAPPED["day-trade"])


@pytest.fixture
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


@pytest.mark.usefixtures("_root_as_before")
def test_the_worker_s_own_lines_are_accepted() -> None:
    stream = io.StringIO()
    configure_logging(environment="staging", timezone="Asia/Tokyo", stream=stream, console=False)
    log = logging.getLogger("detector.pipeline")
    log.warning("anomaly", extra={"stream": "alerts", "event": "anomaly", "score": 1.5, "metric_type": "m", "slot": 60})
    try:
        raise ValueError("no\nsuch thing")
    except ValueError:
        log.exception("the engine failed", extra={"group": "{}"})
    lines = stream.getvalue().splitlines()
    arrived = [sent(line) for line in lines]
    assert [index[:-10] for index, _ in arrived] == ["day-trade-alerts-", "day-trade-logs-infrastructure-"]
    for _, event in arrived:
        assert_fits(event, MAPPED["day-trade"])


def test_the_simulator_s_lines_are_accepted_and_reach_every_index() -> None:
    lines = log_lines(seed=3, start=1_772_374_000, minutes=240)
    seen = set()
    for line in lines:
        index, event = sent(line)
        assert "reasons" not in event, event
        assert_fits(event, MAPPED["day-trade"])
        seen.add(index[:-11])
    assert seen == {"day-trade-accuracy", "day-trade-alerts", *(f"day-trade-logs-{one}" for one in LOGGED)}


def test_the_filters_are_in_the_language_that_is_tested_and_follow_the_time_zone() -> None:
    assert [name for name, _ in SECTIONS["output"]] == ["elasticsearch"]
    berlin = Parser(pipeline(("a",), "Europe/Berlin")).sections()
    for offset in offsets_of("Europe/Berlin"):
        event: dict[str, Any] = {"@timestamp": ARRIVED, "fields": {"service": "a"}}
        event["message"] = json.dumps({**GOOD, "service": "a", "@timestamp": f"2026-07-01T00:10:00{offset}"})
        run(berlin["filter"], event)
        assert event["@metadata"]["index"] == "day-trade-logs-a-2026.07.01"


@pytest.mark.parametrize("environment", ["production", "staging"])
def test_retention_shards_and_replicas_are_those_of_the_environment(environment: str) -> None:
    files = elasticsearch_files(CATALOGUE, environment)
    wanted = CATALOGUE.environments[environment].elasticsearch
    phases = json.loads(files["elasticsearch/_ilm/policy/day-trade-retention.json"])["policy"]["phases"]
    assert phases["delete"]["min_age"] == f"{wanted.retention // 86400}d"
    settings = json.loads(files["elasticsearch/_component_template/day-trade-settings.json"])["template"]["settings"]
    assert settings["index.number_of_shards"] == wanted.shards
    assert settings["index.number_of_replicas"] == wanted.replicas
    components = {path.split("/")[-1][:-5] for path in files if "_component_template" in path}
    for path, text in files.items():
        if "_index_template" in path:
            assert set(json.loads(text)["composed_of"]) <= components


def test_filebeat_reads_every_service() -> None:
    inputs = yaml.safe_load(FILES["filebeat/filebeat.yml"])["filebeat.inputs"]
    assert [one["fields"]["service"] for one in inputs] == LOGGED
    assert len({one["id"] for one in inputs}) == len(inputs)


@pytest.mark.parametrize("environment", ["production", "staging"])
def test_prometheus_asks_the_exporter_for_the_counters_that_tell_whether_lines_leave(environment: str) -> None:
    jobs = {one["job_name"]: one for one in yaml.safe_load(render_prometheus(CATALOGUE, environment))["scrape_configs"]}
    probe = jobs["log-pipeline"]
    module = yaml.safe_load(FILES["json-exporter/logstash.yml"])["modules"][probe["params"]["module"][0]]
    offered = {one["name"]: one["path"] for one in module["metrics"]}
    said = CATALOGUE.services["log-pipeline"].down_alert
    assert said is not None
    asked = re.findall(r"logstash_\w+", said.up or "")
    assert asked
    assert set(asked) <= set(offered)
    # what the target answers, from Logstash's documentation of its node stats API
    answer = {"events": {"in": 9, "filtered": 9, "out": 8, "duration_in_millis": 4, "queue_push_duration_in_millis": 1}}
    for path in offered.values():
        where, what = path.strip("{} .").split(".")
        assert what in answer[where]
    assert probe["metrics_path"] == "/probe"
    assert probe["params"]["target"] == ["http://logstash:9600/_node/stats/events"]


def test_kibana_s_objects_refer_to_each_other_and_to_fields_that_exist() -> None:
    objects = [
        json.loads(line) for line in kibana_files(CATALOGUE, "staging")["kibana/saved-objects.ndjson"].splitlines()
    ]
    there = {(one["type"], one["id"]) for one in objects}
    assert len(there) == len(objects)
    fields = set(MAPPED["day-trade"]) | set(REFUSED)
    for one in objects:
        assert {(reference["type"], reference["id"]) for reference in one["references"]} <= there
        assert set(one["attributes"].get("columns", ())) <= fields
