"""The worker's log lines: fields, time zone, no secrets; readable on a terminal."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from detector.logs import configure_logging


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def line(message: str, *arguments: Any, console: bool = False, error: bool = False, **extra: Any) -> str:
    stream = io.StringIO()
    configure_logging(environment="staging", timezone="Asia/Tokyo", stream=stream, console=console)
    log = logging.getLogger("detector.pipeline")
    if error:
        try:
            raise ValueError("boom at http://me:hunter2@prom/")
        except ValueError:
            log.exception(message, *arguments, extra=extra)
    else:
        log.warning(message, *arguments, extra=extra)
    return stream.getvalue()


def test_a_line_is_one_json_object_with_the_fields_of_the_log_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_NAMESPACE", "trading")
    text = line("query %s failed", "load", metric_type="load", slot=60)
    assert text.count("\n") == 1
    found = json.loads(text)
    stamp = found.pop("@timestamp")
    assert stamp.endswith("+09:00")
    assert found == {
        "service": "infrastructure",
        "level": "WARNING",
        "logger": "detector.pipeline",
        "message": "query load failed",
        "environment": "staging",
        "k8s_namespace": "trading",
        "metric_type": "load",
        "slot": 60,
    }


def test_an_exception_is_in_the_line_and_credentials_are_not() -> None:
    text = line("cannot reach %s", "http://me:hunter2@prom/", error=True)
    assert "ValueError" in json.loads(text)["exception"]
    assert "hunter2" not in text


def test_a_terminal_gets_a_readable_line() -> None:
    assert line("query failed", console=True, slot=60)[8:] == " warning  query failed  slot=60\n"
