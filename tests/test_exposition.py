from __future__ import annotations

import re
import time
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from detector.conventions import FORECAST_VALUE, TIME_TO_BREACH
from detector.errors import SinkError
from detector.exposition import Family, render
from detector.prometheus_syntax import escape_label_value


def example() -> list[Family]:
    """Families, samples and labels in no particular order, with everything that needs an escape."""
    return [
        Family.of(FORECAST_VALUE)
        .add({"quantile": "0.5", "for": "cpu", "horizon": "1h", "instance": "b"}, 61.25)
        .add({"for": "cpu", "horizon": "1h", "quantile": "0.5", "instance": "a", "zone": ""}, 60),
        Family.of(TIME_TO_BREACH)
        .add({"for": "cpu", "quantile": "0.9"}, float("inf"))
        .add({"for": "cpu", "quantile": "0.1"}, float("nan"))
        .add({"for": "cpu", "quantile": "0.05"}, float("-inf")),
        Family("a_help", "first \\ line\nsecond", "counter").add({"path": 'C:\\"x"\nü'}, 0.1 + 0.2),
        Family("no_labels", "h").add({}, 1e300),
        Family("no_samples", "h"),
    ]


EXACT = """\
# HELP a_help first \\\\ line\\nsecond
# TYPE a_help counter
a_help{path="C:\\\\\\"x\\"\\nü"} 0.30000000000000004
# HELP forecast_time_to_breach_seconds Seconds until the objective is missed, by quantile; \
+Inf is not within the longest horizon.
# TYPE forecast_time_to_breach_seconds gauge
forecast_time_to_breach_seconds{for="cpu",quantile="0.05"} -Inf
forecast_time_to_breach_seconds{for="cpu",quantile="0.1"} NaN
forecast_time_to_breach_seconds{for="cpu",quantile="0.9"} +Inf
# HELP forecast_value Forecast of the series at the horizon, by quantile, in its own unit.
# TYPE forecast_value gauge
forecast_value{for="cpu",horizon="1h",instance="a",quantile="0.5"} 60.0
forecast_value{for="cpu",horizon="1h",instance="b",quantile="0.5"} 61.25
# HELP no_labels h
# TYPE no_labels gauge
no_labels 1e+300
""".encode()


def test_the_exposition_is_exact_to_the_byte() -> None:
    assert render(example()) == EXACT


def test_the_order_of_the_input_does_not_matter() -> None:
    shuffled = example()[::-1]
    for family in shuffled:
        family.samples.reverse()
    assert render(shuffled) == EXACT


def test_nothing_to_say_is_no_bytes() -> None:
    assert render([]) == b""
    assert render([Family("empty", "h")]) == b""


@pytest.mark.parametrize(
    ("families", "message"),
    [
        ([Family("a", "h").add({"x": "1"}, 1).add({"x": "1", "y": ""}, 2)], 'a{x="1"} is given twice'),
        ([Family("a", "h").add({}, 1), Family("a", "h")], "'a' is given twice"),
        ([Family("9a", "h").add({}, 1)], "'9a' is no metric name"),
        ([Family("a", "h").add({"x-y": "1"}, 1)], "'x-y' is no label name"),
        ([Family("a", "h").add({"__name__": "b"}, 1)], "'__name__' is no label name"),
    ],
)
def test_what_a_gateway_would_refuse_is_refused_before_it_is_sent(families: list[Family], message: str) -> None:
    with pytest.raises(SinkError, match=message):
        render(families)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_escaping_a_label_value_round_trips(value: str) -> None:
    escaped = escape_label_value(value)
    back = re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], escaped, flags=re.DOTALL)
    assert back == value
    assert "\n" not in escaped


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")))
def test_another_parser_reads_back_the_same_label_value(value: str) -> None:
    body = render([Family("a", "h").add({"x": value, "y": "1"}, 2.5)])
    (family,) = text_string_to_metric_families(body.decode())
    (sample,) = family.samples
    assert sample.labels == ({"x": value, "y": "1"} if value else {"y": "1"})
    assert sample.value == 2.5


def test_a_real_pushgateway_takes_it_and_shows_the_same(pushgateway: Any) -> None:
    target = f"{pushgateway.url}/metrics/job/detector/for/cpu/shard/0"
    answer = requests.put(target, data=EXACT, timeout=5)
    assert answer.status_code == 200, answer.text
    families = text_string_to_metric_families(requests.get(f"{pushgateway.url}/metrics", timeout=5).content.decode())
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
    group = (("for", "cpu"), ("instance", ""), ("job", "detector"), ("shard", "0"))
    assert samples["no_labels", group] == 1e300
    assert samples["forecast_time_to_breach_seconds", tuple(sorted([*group, ("quantile", "0.9")]))] == float("inf")
    labels = tuple(sorted([*group, ("path", 'C:\\"x"\nü')]))
    assert [value for (name, have), value in samples.items() if name.startswith("a_help") and have == labels] == [
        0.1 + 0.2
    ]


def test_five_thousand_samples_are_rendered_in_a_blink() -> None:
    family = Family.of(FORECAST_VALUE)
    for i in range(5000):
        family.add(
            {"for": "cpu", "horizon": "1h", "quantile": "0.5", "instance": f"host-{i}:9100", "mode": "x"},
            i / 7,
        )
    best = min(_seconds_to_render(family) for _ in range(5))
    assert best < 0.05, f"{best:.3f} s"


def _seconds_to_render(family: Family) -> float:
    start = time.perf_counter()
    render([family])
    return time.perf_counter() - start
