from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from detector import conventions
from detector.conventions import (
    EXPORTED,
    METRICS,
    RESERVED_LABELS,
    Metric,
    exported_label,
    horizon_label,
    published_labels,
    quantile_label,
)
from detector.prometheus_syntax import ESCAPED, LABEL_NAME, METRIC_NAME, is_label_name

DOCUMENT = Path(__file__).parent.parent / "docs" / "published-metrics.md"

stems = st.sampled_from([*sorted(RESERVED_LABELS), "instance", "model", "exported", "jobs"])
odd = st.text("aeU_.2é ", min_size=1, max_size=7) | st.sampled_from(
    ["my.label", "U__my_2e_label", "3d", "__x", "größe"]
)
label_names = st.builds(lambda times, stem: EXPORTED * times + stem, st.integers(0, 3), stems | odd)


@given(st.dictionaries(label_names, st.text(min_size=1, max_size=3), max_size=8))
def test_renaming_never_lets_two_labels_meet_and_leaves_no_reserved_name(labels: dict[str, str]) -> None:
    published = published_labels(labels)
    assert len(published) == len(labels)
    assert not RESERVED_LABELS & set(published)
    assert all(is_label_name(name) for name in published)
    assert {source_label(name): value for name, value in published.items()} == labels


def source_label(name: str) -> str:
    """The source's name of a published label: undoes `exported_label`."""
    shorter = name.removeprefix(EXPORTED)
    if name.startswith(EXPORTED) and exported_label(shorter) == name:
        return shorter
    if not name.startswith(ESCAPED):
        return name
    letters = r"_([0-9a-f]*)_"
    return re.sub(letters, lambda found: chr(int(found[1], 16)) if found[1] else "_", name.removeprefix(ESCAPED))


@given(label_names, label_names)
def test_different_source_labels_have_different_published_names(one: str, other: str) -> None:
    assert (one == other) == (exported_label(one) == exported_label(other))


def test_other_labels_keep_their_names() -> None:
    assert published_labels({"instance": "a", "exported_instance": "b", "empty": "", "__name__": "up"}) == {
        "instance": "a",
        "exported_instance": "b",
    }


def test_horizons_and_quantiles_are_written_as_people_say_them() -> None:
    assert [horizon_label(seconds) for seconds in (300, 3600, 86_400, 172_800, 604_800)] == [
        "5m",
        "1h",
        "24h",
        "2d",
        "7d",
    ]
    assert [quantile_label(q) for q in (0.05, 0.1, 0.5, 0.9, 0.95, 0.025)] == [
        "0.05",
        "0.1",
        "0.5",
        "0.9",
        "0.95",
        "0.025",
    ]


def test_every_metric_is_listed_once_with_legal_names_and_a_help_text() -> None:
    defined = [metric for metric in vars(conventions).values() if isinstance(metric, Metric)]
    assert sorted(metric.name for metric in defined) == sorted(METRICS)
    assert len({metric.name for metric in defined}) == len(defined)
    for metric in defined:
        assert METRIC_NAME.fullmatch(metric.name)
        assert all(LABEL_NAME.fullmatch(label) for label in metric.labels)
        assert metric.help.endswith(".")
        assert (metric.type == "counter") == metric.name.endswith("_total")


def test_the_document_lists_exactly_these_metrics_with_their_labels_and_types() -> None:
    text = DOCUMENT.read_text()
    rows = {row[1]: row for row in re.finditer(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", text, re.MULTILINE)}
    assert sorted(rows) == sorted(METRICS)
    for name, metric in METRICS.items():
        row = rows[name]
        assert row[2] == metric.type
        labels = [f"`{label}`" for label in metric.labels] + (["the series' own"] if metric.of_series else [])
        assert row[3].strip() == ", ".join(labels)
        assert row[4].strip() == metric.help
    for name in RESERVED_LABELS:
        assert f"`{name}`" in text
