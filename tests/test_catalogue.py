from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.catalogue import (
    Catalogue,
    load_catalogue,
    notifications,
    parse_catalogue,
    platform,
    recovery,
    schema,
    serving,
)
from detector.catalogue.durations import format_duration, parse_duration
from detector.catalogue.load import built_in_text
from detector.errors import ConfigError, Problem
from detector.render.inhibitions import inhibit_rules

SOUND = """\
settings:
  prometheus: http://localhost:9090
queries:
  accuracy:
    expr: ml_ensemble_accuracy
    unit: ratio
    data_range: [0, 1]
    objective: {above: 0.93}
    step: 1m
    history: 14d
    horizons: [1h, 24h]
    threshold_alert: {name: Degraded}
    alert: {name: Forecast, horizon: 24h}
"""


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        parse_catalogue(text, "mine.yaml", environ={})
    return caught.value.problems


def changed(old: str, new: str) -> str:
    assert old in SOUND
    return SOUND.replace(old, new, 1)


REQUIRED = [
    "ml_ensemble_accuracy",
    "ml_accuracy_trend",
    "ml_model_performance",
    "ml_prediction_confidence",
    "ml_prediction_duration",
    "ml_prediction_throughput",
    "ml_memory_usage",
    "ml_cpu_usage",
    "data_quality_score",
    "data_freshness",
    "data_completeness",
    "data_symbols_active",
    "data_fetch_success_rate",
    "data_fetch_duration",
    "symbol_selection_efficiency",
    "market_data_lag",
    "scheduler_active_workflows",
    "scheduler_task_success_rate",
    "scheduler_task_duration",
    "scheduler_queue_length",
    "automation_coverage",
    "workflow_efficiency",
    "schedule_adherence",
    "node_cpu_usage",
    "node_memory_usage",
    "node_disk_usage",
    "node_network_io",
    "postgresql_connections",
    "postgresql_query_duration",
    "redis_memory_usage",
    "redis_operations_rate",
]


def test_the_default_catalogue_watches_every_metric_of_the_platform() -> None:
    assert sorted(load_catalogue().queries) == sorted(REQUIRED)


def test_the_platforms_own_objectives_stand_in_the_default_catalogue() -> None:
    queries = load_catalogue("day_trade").queries
    given_by_owner = {
        name: (query.objective.above, query.objective.below)
        for name, query in queries.items()
        if query.objective and not query.default_objective
    }
    assert given_by_owner == {
        "ml_ensemble_accuracy": (0.93, None),
        "ml_prediction_duration": (None, 0.5),
        "ml_memory_usage": (None, 90),
        "ml_cpu_usage": (None, 80),
        "data_quality_score": (0.8, None),
        "data_fetch_success_rate": (0.95, None),
        "scheduler_task_success_rate": (0.98, None),
    }
    assert queries["ml_cpu_usage"].threshold_alert_level == (">", 85)
    assert queries["ml_ensemble_accuracy"].samples == "ml_predictions_labelled"


def test_a_quantile_a_ratio_and_a_rate_are_among_the_expressions() -> None:
    expressions = [query.expr for query in load_catalogue("day_trade").queries.values()]
    assert any(expr.startswith("histogram_quantile(") for expr in expressions)
    assert any(") / rate(" in expr for expr in expressions)
    assert any(expr.startswith("rate(") and expr.endswith(")") and " / " not in expr for expr in expressions)


@pytest.mark.parametrize("name", ["day_trade", "node_exporter"])
def test_every_built_in_query_says_whom_it_concerns_and_every_objective_has_both_alerts(name: str) -> None:
    catalogue = load_catalogue(name)
    for query in catalogue.queries.values():
        assert query.description and query.service and query.team and query.channel, query.name
        assert query.data_range != (None, None), query.name
        assert (query.objective is None) == (query.alert is None) == (query.threshold_alert is None), query.name
        assert query.samples is None or query.unit == "ratio", query.name
    alerts = [query.alert.name for query in catalogue.queries.values() if query.alert]
    assert len(alerts) == len(set(alerts))
    assert catalogue.origin == f"{name}.yaml"


def test_every_objective_of_the_host_catalogue_is_marked_as_our_default() -> None:
    for query in load_catalogue("node_exporter").queries.values():
        assert query.default_objective == (query.objective is not None), query.name


def test_threshold_and_direction_of_the_breach_follow_from_the_objective() -> None:
    catalogue = load_catalogue("day_trade")
    accuracy, disk = catalogue.query("ml_ensemble_accuracy"), catalogue.query("node_disk_usage")
    assert (accuracy.threshold, accuracy.breach_above, accuracy.alert_horizon) == (0.93, False, 86400)
    assert (disk.threshold, disk.breach_above, disk.alert_horizon) == (90, True, 7 * 86400)
    assert catalogue.query("data_freshness").threshold is None


def test_the_environment_chooses_the_catalogue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DETECTOR_CATALOGUE", "node_exporter")
    assert "node_filesystem_used" in load_catalogue().queries
    mine = tmp_path / "mine.yaml"
    mine.write_text(SOUND)
    monkeypatch.setenv("DETECTOR_CATALOGUE", str(mine))
    assert list(load_catalogue().queries) == ["accuracy"]


def test_settings_take_references_to_the_environment() -> None:
    text = changed("http://localhost:9090", '{url: "http://${HOST:-other}:1", bearer_token: "${TOKEN}$$"}')
    endpoint = parse_catalogue(text, "mine.yaml", environ={"TOKEN": "s3cret"}).settings.prometheus
    assert (endpoint.url, endpoint.bearer_token) == ("http://other:1", "s3cret$")
    assert "s3cret" not in repr(endpoint)
    (problem,) = problems_of(text)
    assert "expected the environment variable TOKEN to be set" in str(problem)


def test_endpoints_take_headers_basic_and_bearer_auth_tls_and_several_gateways() -> None:
    text = changed(
        "  prometheus: http://localhost:9090\n",
        """\
  prometheus:
    url: https://prom.example/select/
    headers: {X-Scope-OrgID: trading}
    basic_auth: {username: worker, password_file: /run/secrets/prom}
    tls: {ca_file: /ca.pem, cert_file: /c.pem, key_file: /k.pem, server_name: prom}
    timeout: 5s
  pushgateway:
  - http://one:9091
  - {url: http://two:9091, bearer_token_file: /run/secrets/push}
""",
    )
    found = parse_catalogue(text, "mine.yaml").settings
    assert found.prometheus.url == "https://prom.example/select"
    assert found.prometheus.timeout == 5
    assert [gateway.url for gateway in found.pushgateways] == ["http://one:9091", "http://two:9091"]
    assert len(parse_catalogue(SOUND, "mine.yaml").settings.pushgateways) == 1


INVALID = [
    # (old text, new text, line, key, part of expected, got)
    ("step: 1m", "step: 5s", 9, "step", "15s or more", "5s"),
    ("step: 1m", "step: soon", 9, "step", "a duration such as", "soon"),
    ("step: 1m", "step: -60", 9, "step", "a duration such as", "-60"),
    ("step: 1m", "step: [1m]", 9, "step", "a duration such as", "a list of 1"),
    ("step: 1m", "step:", 9, "step", "a duration such as", "nothing"),
    ("step: 1m", "stepp: 1m", 9, "stepp", "did you mean 'step'?", "an unknown one"),
    ("step: 1m", "name: other", 9, "name", "the name is the query's key", "other"),
    ("step: 1m", "step: 99999999d", 9, "step", "ten years or less", "99999999d"),
    ("step: 1m", "every: 1s", 9, "every", "15s or more", "1s"),
    ("step: 1m", "step: 7m", 11, "horizons", "multiples of step 7m", "1h"),
    ("step: 1m", "clock: XTKS", 9, "clock", "not available yet", "XTKS"),
    ("step: 1m", "breach: {run: 0}", 9, "breach.run", "1 or more", "0"),
    ("step: 1m", "breach: {run: 2.5}", 9, "breach.run", "a whole number", "2.5"),
    ("step: 1m", "shard_by: instance", 9, "shard_by", "a known key", "an unknown one"),
    ("step: 1m", "detection_direction: up", 9, "detection_direction", "one of both", "up"),
    ("step: 1m", "default_objective: perhaps", 9, "default_objective", "true or false", "perhaps"),
    ("step: 1m", "description: [a]", 9, "description", "text", "a list of 1"),
    ("step: 1m", "channel: ''", 9, "channel", "not empty", "nothing"),
    ("step: 1m", "team: '{{ x }}'", 9, "team", "text without {, }", "{{ x }}"),
    ("step: 1m", "samples: ''", 9, "samples", "not empty", "nothing"),
    ("history: 14d", "history: 1h", 10, "history", "at least the longest horizon 24h", "1h"),
    ("history: 14d", "history: 86430s", 10, "history", "a multiple of step 1m", "86430s"),
    ("[1h, 24h]", "[]", 11, "horizons", "at least one", "a list of 0"),
    ("[1h, 24h]", "[24h, 1h]", 11, "horizons", "rising order", "[24h, 1h]"),
    ("[1h, 24h]", "24h", 11, "horizons", "a list", "24h"),
    ("[1h, 24h]", "[1h, often]", 11, "horizons.1", "a duration", "often"),
    ("unit: ratio", "unit: furlongs", 6, "unit", "one of ratio, percent", "furlongs"),
    ("expr: ml_ensemble_accuracy", "expr: ''", 5, "expr", "not empty", "nothing"),
    ("expr: ml_ensemble_accuracy", "expr: 3", 5, "expr", "text", "3"),
    ("[0, 1]", "[0, 0.5]", 8, "objective", "inside data_range [0, 0.5]", "0.93"),
    ("[0, 1]", "[1, 0]", 7, "data_range", "low < high", "[1, 0]"),
    ("[0, 1]", "[0]", 7, "data_range.1", "two entries", "nothing"),
    ("[0, 1]", "[0, 1, 2]", 7, "data_range", "two entries", "a list of 3"),
    ("[0, 1]", "[0, .inf]", 7, "data_range.1", "a finite number", "inf"),
    ("{above: 0.93}", "{above: 0.93, below: 1}", 8, "objective", "exactly one of above and below", ""),
    ("{above: 0.93}", "{}", 8, "objective", "exactly one of above and below", "an empty mapping"),
    ("{above: 0.93}", "{above: yes}", 8, "objective.above", "a number", "true"),
    ("{above: 0.93}", "{above: high}", 8, "objective.above", "a number", "high"),
    ("{above: 0.93}", "0.93", 8, "objective", "a mapping", "0.93"),
    (
        "{name: Degraded}",
        "{name: Degraded, above: 0.95}",
        12,
        "threshold_alert",
        "below (the breach's side)",
        "above",
    ),
    ("{name: Degraded}", "{name: Degraded, below: 2}", 12, "threshold_alert", "inside data_range", "2"),
    (
        "{name: Degraded}",
        "{name: Degraded, for_: 1m}",
        12,
        "threshold_alert.for_",
        "did you mean 'for'?",
        "unknown",
    ),
    ("{name: Degraded}", "{severity: page}", 12, "threshold_alert.severity", "one of critical", "page"),
    (
        "{name: Degraded}",
        "{name: Forecast}",
        13,
        "alert.name",
        "differs from the threshold alert's",
        "Forecast",
    ),
    ("{name: Forecast, horizon: 24h}", "{name: My alert}", 13, "alert.name", "letters, digits", "My alert"),
    ("{name: Forecast, horizon: 24h}", "{horizon: 24h}", 13, "alert.name", "a value", "nothing"),
    ("horizon: 24h}", "horizon: 7d}", 13, "alert.horizon", "one of horizons 1h, 24h", "7d"),
    ("horizon: 24h}", "hold: 0}", 13, "alert.hold", "1 or more", "0"),
    ("horizon: 24h}", "probability: 1.5}", 13, "alert.probability", "less than 1", "1.5"),
    ("horizon: 24h}", "clear: 0.9}", 13, "alert.clear", "clear below probability 0.8", "0.9"),
    ("    objective: {above: 0.93}\n", "", 12, "alert", "an objective to predict", "none"),
    ("    objective: {above: 0.93}\n", "", 11, "threshold_alert", "an objective, or a level", "neither"),
    ("    unit: ratio\n", "", 4, "unit", "a value", "nothing"),
    ("  accuracy:", "  1st:", 4, None, "a query name", "1st"),
]


@pytest.mark.parametrize(("old", "new", "line", "key", "expected", "got"), INVALID)
def test_an_invalid_value_is_named_with_file_line_query_key_expected_and_got(
    old: str, new: str, line: int, key: str | None, expected: str, got: str
) -> None:
    found = [problem for problem in problems_of(changed(old, new)) if problem.key == key]
    assert found, problems_of(changed(old, new))
    problem = found[0]
    assert (problem.path, problem.line) == ("mine.yaml", line)
    assert problem.query == ("1st" if key is None else "accuracy")
    assert expected in (problem.expected or "") and got in (problem.got or "")
    text = str(problem)
    assert text.startswith(f"mine.yaml:{line}: query '{problem.query}'")
    assert f"expected {problem.expected}, got {problem.got}" in text
    assert key is None or f"key '{key}'" in text


INVALID_SETTINGS = [
    ("prometheus: localhost:9090", "settings.prometheus.url", "a URL such as", "localhost:9090"),
    ("prometheus: ftp://secret", "settings.prometheus.url", "a URL such as", "a hidden value"),
    ("prometheus: {url: http://h, timeout: 0s}", "settings.prometheus.timeout", "1s or more", ""),
    ("prometheus: {url: http://h, password: secret}", "settings.prometheus.password", "a known key", ""),
    (
        "prometheus: {url: http://h, basic_auth: {username: u}}",
        "settings.prometheus.basic_auth",
        "exactly one",
        "",
    ),
    (
        "prometheus: {url: http://h, bearer_token: secret, bearer_token_file: f}",
        "settings.prometheus",
        "at most one",
        "",
    ),
    (
        "prometheus: {url: http://h, headers: {A: [secret]}}",
        "settings.prometheus.headers.A",
        "text",
        "a list of 1",
    ),
    ("prometheus: {url: http://h, tls: {cert_file: f}}", "settings.prometheus.tls", "together", ""),
    ("prometheus: {url: 'http://h:99999'}", "settings.prometheus.url", "a URL such as", ""),
    ("pushgateway: []", "settings.pushgateway", "at least one", ""),
    ("pushgateway: [http://a, {uri: x}]", "settings.pushgateway.1.url", "a value", "nothing"),
    ("pushgateway: 5", "settings.pushgateway", "a mapping", ""),
    ("timezone: Mars/Phobos", "settings.timezone", "an IANA time zone", "Mars/Phobos"),
    ("redis: http://secret", "settings.redis", "redis://", "a hidden value"),
    ("refit: 1s", "settings.refit", "1m or more", "1s"),
    ("max_series: 0", "settings.max_series", "1 or more", "0"),
    ("max_series: true", "settings.max_series", "a number", "true"),
    ("environment: ''", "settings.environment", "not empty", "nothing"),
    ("colour: red", "settings.colour", "a known key", "an unknown one"),
]


@pytest.mark.parametrize(("setting", "key", "expected", "got"), INVALID_SETTINGS)
def test_an_invalid_setting_is_named_and_no_secret_is_repeated(setting: str, key: str, expected: str, got: str) -> None:
    problems = problems_of(changed("prometheus: http://localhost:9090", setting))
    (problem,) = [problem for problem in problems if problem.key == key]
    assert (problem.line, problem.query) == (2, None)
    assert expected in (problem.expected or "") and got in (problem.got or "")
    assert "secret" not in " ".join(map(str, problems))


def test_all_problems_of_a_file_come_at_once_in_its_order() -> None:
    text = """\
settings: {refit: never}
queries:
  first: {expr: up, unit: ratio, step: 1s, alert: {name: A}, colour: red}
  second: {expr: up, unit: ratio, data_range: [0, 1], objective: {above: 3}, hue: 1}
  third: 7
extra: 1
"""
    found = [(problem.line, problem.query, problem.key) for problem in problems_of(text)]
    assert found == [
        (1, None, "settings.refit"),
        (3, "first", "step"),
        (3, "first", "colour"),
        (3, "first", "alert"),
        (4, "second", "hue"),
        (4, "second", "objective"),
        (5, "third", None),
        (6, None, "extra"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("", 1, "an empty file"),
        ("# nothing\n", 1, "an empty file"),
        ("- a\n", 1, "a mapping"),
        ("queries: {}\n", 1, "at least one"),
        ("queries:\n", 1, "a mapping"),
        ("queries:\n  a: {expr: up\n", 3, "a syntax error while parsing a flow mapping from line 2: expected"),
        ("queries:\n\ta: 1\n", 2, "expected YAML"),
        ("queries: {a: {expr: up, unit: ratio}}\nqueries: {}\n", 2, "each key once"),
        ("queries: {a: !!python/name:os.system x}\n", 1, "plain YAML"),
        ("queries: {[a]: 1}\n", 1, "a plain key"),
        ("queries: &a [*a]\n", 1, "ordinary size and depth"),
        ("a: 1\n--- \nb: 2\n", 2, "expected YAML"),
        ("\x00", 1, "expected YAML"),
    ],
)
def test_a_file_that_is_no_catalogue_is_said_to_be_none(text: str, line: int, part: str) -> None:
    problem = problems_of(text)[0]
    assert problem.line == line
    assert part in str(problem)


def test_a_file_that_grows_through_its_aliases_is_refused_in_time() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "ordinary size and depth" in " ".join(map(str, problems_of("\n".join(lines))))


def test_a_missing_or_unreadable_file_is_one_clear_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml.*no such file"):
        load_catalogue(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="expected a catalogue file"):
        load_catalogue(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="no UTF-8 text"):
        load_catalogue(binary)


def test_asking_for_an_unknown_query_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match="no query 'precision'; the catalogue has accuracy"):
        parse_catalogue(SOUND, "mine.yaml").query("precision")


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["1m", "24h", "x: y"]),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
_QUERY_KEYS = list(yaml.safe_load(SOUND)["queries"]["accuracy"])
_ALL_KEYS = [*_QUERY_KEYS, "breach", "samples", "every", "clock", "name", "default_objective"]


@given(key=st.sampled_from(_ALL_KEYS) | st.text(max_size=8), value=_VALUES)
@settings(max_examples=150, deadline=None)
def test_any_key_and_value_in_a_query_gives_a_catalogue_or_our_error(key: str, value: object) -> None:
    document = yaml.safe_load(SOUND)
    document["queries"]["accuracy"][key] = value
    _loads_or_says_why(yaml.safe_dump(document, allow_unicode=True))


@given(
    path=st.sampled_from(
        [(), ("settings",), ("queries",), ("settings", "prometheus"), ("queries", "accuracy", "alert"),
         ("queries", "accuracy", "threshold_alert"), ("queries", "accuracy", "objective")]
    ),
    key=st.text(max_size=8) | st.sampled_from(["settings", "pushgateway", "url", "tls", "name", "for"]),
    value=_VALUES,
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_key_and_value_anywhere_gives_a_catalogue_or_our_error(
    path: tuple[str, ...], key: str, value: object
) -> None:
    document = yaml.safe_load(changed("http://localhost:9090", "{url: http://localhost:9090}"))
    part = document
    for name in path:
        part = part[name]
    part[key] = value
    _loads_or_says_why(yaml.safe_dump(document, allow_unicode=True))


@given(text=st.text(alphabet=st.sampled_from("abq:{}[]-&*!|>'\"#%@,? \n\t1.0x"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_a_catalogue_or_our_error(text: str) -> None:
    _loads_or_says_why(text)


@given(cut=st.integers(0, 2000), inserted=st.text(max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_damaged_file_gives_a_catalogue_or_our_error(cut: int, inserted: str) -> None:
    text = built_in_text("day_trade")[:2000]
    _loads_or_says_why(text[:cut] + inserted + text[cut + 3 :])


def _loads_or_says_why(text: str) -> None:
    try:
        catalogue = parse_catalogue(text, "mine.yaml", environ={})
    except ConfigError as error:
        _every_problem_is_complete(error)
    else:
        assert isinstance(catalogue, Catalogue)


def _every_problem_is_complete(error: ConfigError) -> None:
    assert error.problems
    for problem in error.problems:
        assert problem.line and problem.expected and problem.got and "\n" not in str(problem)


@given(st.integers(0, 10**9))
def test_a_written_duration_reads_back_the_same(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_the_reference_names_every_key_and_its_examples_are_sound() -> None:
    reference = (Path(__file__).parent.parent / "docs" / "catalogue.md").read_text()
    parts = (
        schema.Settings,
        schema.Endpoint,
        schema.BasicAuth,
        schema.Tls,
        schema.Query,
        schema.Objective,
        schema.Breach,
        schema.Alert,
        schema.ThresholdAlert,
        schema.Environment,
        platform.PrometheusSettings,
        platform.ElasticsearchSettings,
        platform.AlertmanagerSettings,
        platform.GrafanaSettings,
        schema.Service,
        platform.DownAlert,
        serving.Serve,
        serving.ServerTls,
        serving.NotifyTarget,
        recovery.Recovery,
        recovery.Action,
        recovery.Call,
        platform.Hosts,
        platform.Event,
        platform.ServiceLevelObjective,
        platform.WorkerAlerts,
        notifications.Notifications,
        notifications.Email,
        notifications.Repeats,
        notifications.Level,
        notifications.Step,
        notifications.DeadMansSwitch,
    )
    for part in parts:
        for name, field in part.model_fields.items():
            key = field.alias or name
            documented = f"`{key}`" in reference or f"{key}: " in reference
            assert documented, f"{part.__name__}.{key}"
    examples = re.findall(r"```yaml\n(.*?)```", reference, re.DOTALL)
    assert len(examples) >= 4
    for text in examples:
        if "inhibit_rules" in text:
            assert yaml.safe_load(text)["inhibit_rules"] == inhibit_rules(load_catalogue("day_trade"))
        elif "queries:" in text:
            parse_catalogue(text, "docs/catalogue.md")
        else:
            parse_catalogue(text + "queries: {up: {expr: up, unit: count}}", "docs/catalogue.md")


PLATFORM = """
notifications:
  channels: {all: "#all"}
  fallback: all
  critical: all
  email: {smarthost: "mail:25", from: a@b, to: c@d}
  relay: http://relay
  dead_mans_switch: {url: http://switch}
  levels: {critical: {media: [slack]}, warning: {media: [slack]}, info: {media: [slack]}}
  escalation: {L2: {after: 5m, to: e@f}}
  experts: {ml: g@h}
worker: {channel: all}
services:
  web: {channel: all, experts: ml, down_alert: {name: WebDown}}
events:
  Deployed: {description: A release., time: deployed_timestamp_seconds, channel: all}
service_level_objectives:
  calm: {description: Calm., objective: 0.99, query: load, bad: avg(load >= bool $threshold), alert: Burn, channel: all}
queries:
  load: {expr: load, unit: count, objective: {below: 9}, channel: all}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("critical: all", "critical: some", 0, "expected one of the channels all as critical, got 'some'"),
        ("fallback: all", "fallback: some", 0, "expected one of the channels all as fallback, got 'some'"),
        ("experts: ml,", "experts: art,", 14, "services.web.experts': expected one of the experts ml, got art"),
        ("info: {media", "news: {media", 0, "critical"),
        ("media: [slack]}, warning", "media: [fax]}, warning", 9, "one of slack, email, sms, teams"),
        ("{after: 5m, to", "{after: 5m, too", 10, "a known key"),
        ("objective: 0.99", "objective: 99", 18, "less than 1"),
        ("query: load,", "query: none,", 18, "expected a query with an objective, got none"),
        ("$threshold", "9", 0, "expected query beside $threshold, and only there"),
        ("deployed_timestamp_seconds,", "deployed_timestamp_seconds, lasts: 10m,", 16, "20m or more"),
        ("{channel: all}", "{channel: nowhere}", 12, "worker.channel': expected one of the channels all, got nowhere"),
        ("http://switch", "switch", 8, "expected a URL such as https://host/path"),
        ("web: {", "web: {metrics_path: '/probe?module=a', ", 14, "expected a path such as /metrics"),
    ],
)
def test_a_slip_in_the_platforms_sections_is_named_with_its_line(old: str, new: str, line: int, said: str) -> None:
    parse_catalogue(PLATFORM, "mine.yaml")
    assert PLATFORM.count(old) == 1
    with pytest.raises(ConfigError) as caught:
        parse_catalogue(PLATFORM.replace(old, new), "mine.yaml")
    assert said in str(caught.value)
    if line:
        assert f"mine.yaml:{line}:" in str(caught.value)
