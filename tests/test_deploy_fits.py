"""The parts of the compose set-up fit together: every address, file and secret that one names, another offers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from detector.catalogue import load_catalogue, parse_catalogue
from detector.catalogue.load import built_in_text

DEPLOY = Path(__file__).parent.parent / "deploy"
ENVIRONMENTS = ("production", "staging")
OF_THE_PLATFORM = {
    "ml-service:8000",
    "data-service:8000",
    "scheduler-service:8000",
    # their metrics have the platform's own names, which no packaged exporter has
    "node-exporter:9100",
    "postgres-exporter:9187",
    "redis-exporter:9121",
    # outside of what it watches
    "dead-mans-switch:8080",
    "smtp.day-trade.example:587",
}
"""What the user runs, joined to the network `day-trade`, or reachable from it."""
PORTS = {
    "prometheus": {9090},
    "alertmanager": {9093},
    "pushgateway": {9091},
    "redis": {6379},
    "detector-serve": {9208},
    "logstash-exporter": {7979},
    "logstash": {5044, 9600},
    "elasticsearch": {9200},
}
"""Where the services listen: their images' own ports, or what their configuration says (tested below)."""


def compose(environment: str) -> dict[str, dict[str, Any]]:
    """Services of base and override, merged as compose does: mappings by key, lists one after the other."""
    base = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    over = yaml.safe_load((DEPLOY / f"compose.{environment}.yaml").read_text())["services"]
    return {name: merged(service, over.get(name, {})) for name, service in base.items()}


def merged(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: merged(one[key], other[key]) if key in one and key in other else one.get(key, other.get(key))
                for key in {**one, **other}}  # fmt: skip
    return one + other if isinstance(one, list) and isinstance(other, list) else other


def rendered(environment: str, path: str) -> Any:
    return yaml.safe_load((DEPLOY / environment / path).read_text())


def values(document: Any, key: str) -> Iterator[str]:
    """Every text under a key that matches, however deep."""
    if isinstance(document, dict):
        for name, value in document.items():
            if re.fullmatch(key, name) and isinstance(value, str):
                yield value
            yield from values(value, key)
    elif isinstance(document, list):
        for one in document:
            yield from values(one, key)


def files_of(service: dict[str, Any]) -> dict[str, str]:
    """Where each mounted file or directory lies in the container, and what it is: a path under deploy, or a secret."""
    found = {}
    for volume in service.get("volumes", ()):
        source, target, *_ = volume.split(":")
        found[target] = source
    for secret in service.get("secrets", ()):
        source, target = (secret, secret) if isinstance(secret, str) else (secret["source"], secret["target"])
        found[str(PurePosixPath("/run/secrets") / target)] = f"secret {source}"
    return found


def address(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"//{url}")
    return f"{parts.hostname}:{parts.port}"


def addresses(environment: str) -> dict[str, str]:
    """Every address that the rendered configuration names, and who asks there."""
    prometheus = rendered(environment, "prometheus/prometheus.yml")
    targets = [t for job in prometheus["scrape_configs"] for one in job["static_configs"] for t in one["targets"]]
    alertmanagers = [t for one in prometheus["alerting"]["alertmanagers"] for s in one["static_configs"]
                     for t in s["targets"]]  # fmt: skip
    probed = [url for job in prometheus["scrape_configs"] for url in job.get("params", {}).get("target", ())]
    asked = {
        "prometheus": [*targets, *alertmanagers, *probed, *values(prometheus["remote_read"], "url")],
        "alertmanager": [*values(rendered(environment, "alertmanager/alertmanager.yml"), "url|smtp_smarthost")],
        "grafana": [*values(rendered(environment, "grafana/provisioning/datasources/detector.yaml"), "url")],
        "filebeat": [
            host.removeprefix("${LOGSTASH_HOST:").removesuffix("}")
            for host in rendered(environment, "filebeat/filebeat.yml")["output.logstash"]["hosts"]
        ],
        "logstash": re.findall(
            r"ELASTICSEARCH_URL:([^}]+)}", (DEPLOY / environment / "logstash/pipeline/day-trade.conf").read_text()
        ),
    }
    for name, service in compose(environment).items():
        asked.setdefault(name, []).extend(url for url in service.get("environment", {}).values() if "://" in str(url))
    assert all(asked[name] for name in ("prometheus", "alertmanager", "grafana", "filebeat", "logstash"))
    return {address(url): name for name, urls in asked.items() for url in urls}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_address_in_the_configuration_is_a_service_here_or_the_platform_s(environment: str) -> None:
    services, found = compose(environment), addresses(environment)
    for one, asker in found.items():
        host, _, port = one.partition(":")
        if host == "localhost":
            assert int(port) in PORTS[asker], one
        elif one not in OF_THE_PLATFORM:
            assert host in services, f"{asker} asks {one}"
            assert int(port) in PORTS[host], f"{asker} asks {one}"
    assert set(found) >= OF_THE_PLATFORM - {"smtp.day-trade.example:587"}
    for service in services.values():  # all on one network, under their names
        assert not {"network_mode", "networks", "extra_hosts"} & set(service)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_services_listen_where_their_configuration_says(environment: str) -> None:
    services = compose(environment)
    assert services["detector-serve"]["environment"]["DETECTOR_LISTEN"] == "0.0.0.0:9208"
    pipeline = (DEPLOY / environment / "logstash/pipeline/day-trade.conf").read_text()
    assert re.search(r"beats \{\s+port => 5044", pipeline)
    assert rendered(environment, "logstash/logstash.yml")["api.http.host"] == "0.0.0.0"
    flags = [line for line in (DEPLOY / environment / "prometheus/flags").read_text().split("\n") if line[:2] == "--"]
    assert services["prometheus"]["command"] == flags


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_file_that_a_configuration_names_is_mounted_there(environment: str) -> None:
    services = compose(environment)
    known = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["secrets"]
    named = {
        "prometheus": rendered(environment, "prometheus/prometheus.yml"),
        "alertmanager": rendered(environment, "alertmanager/alertmanager.yml"),
        "filebeat": rendered(environment, "filebeat/filebeat.yml"),
    }
    wanted = {name: {*values(text, r".*_file|certificate|key")} for name, text in named.items()}
    assert len(wanted["alertmanager"]) == 3
    assert len(wanted["prometheus"]) == 1
    texts = {"logstash": "logstash/pipeline/day-trade.conf", "grafana": "grafana/grafana.ini"}
    for name, path in texts.items():
        wanted[name] = set(re.findall(r"/run/secrets/[\w-]+", (DEPLOY / environment / path).read_text()))
    for name, service in services.items():
        told = " ".join(map(str, [*service.get("environment", {}).values(), *service.get("command", ()),
                                  *service["healthcheck"]["test"]]))  # fmt: skip
        wanted.setdefault(name, set()).update(re.findall(r"/run/secrets/[\w-]+", told))
    for name, paths in wanted.items():
        there = files_of(services[name])
        assert {path: there.get(path, "")[:7] for path in paths} == dict.fromkeys(paths, "secret "), name
    for service in services.values():
        used = {what.removeprefix("secret ") for what in files_of(service).values() if what.startswith("secret ")}
        assert used <= set(known)
    documented = (DEPLOY.parent / "docs" / "deploy.md").read_text()
    assert [name for name in known if f"`{name}`" not in documented] == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_mounted_is_rendered_and_leaves_room_for_secrets(environment: str) -> None:
    for name, service in compose(environment).items():
        there = files_of(service)
        for target, source in there.items():
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), (name, source)
                # nothing can be mounted below a directory that is read-only
                assert not [other for other in there if other.startswith(f"{target}/")], (name, target)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_alertmanager_finds_its_templates_and_prometheus_its_rules(environment: str) -> None:
    services = compose(environment)
    for name, key, home in (("alertmanager", "templates", "alertmanager"), ("prometheus", "rule_files", "prometheus")):
        there = files_of(services[name])
        configuration = f"/etc/{home}/{home}.yml"
        assert f"--config.file={configuration}" in services[name]["command"]
        document = yaml.safe_load((DEPLOY / there[configuration]).read_text())
        for pattern in document[key]:
            folder = PurePosixPath(configuration).parent / PurePosixPath(pattern).parent
            assert list((DEPLOY / there[str(folder)]).glob(PurePosixPath(pattern).name))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_grafana_finds_its_settings_data_sources_and_every_dashboard(environment: str) -> None:
    grafana = compose(environment)["grafana"]
    there, told = files_of(grafana), grafana["environment"]

    def on_disk(path: str) -> Path:
        [(target, source)] = [(t, s) for t, s in there.items() if s[:2] == "./" and f"{path}/".startswith(f"{t}/")]
        return DEPLOY / source / PurePosixPath(path).relative_to(target)

    settings = on_disk(told["GF_PATHS_CONFIG"]).read_text()
    provisioning = told["GF_PATHS_PROVISIONING"]
    [sources] = on_disk(f"{provisioning}/datasources").glob("*.yaml")
    urls = {one["uid"]: one["url"] for one in yaml.safe_load(sources.read_text())["datasources"]}
    assert urls == {"prometheus": "http://prometheus:9090", "alertmanager": "http://alertmanager:9093"}
    [providers] = on_disk(f"{provisioning}/dashboards").glob("*.yaml")
    shown = set()
    for provider in yaml.safe_load(providers.read_text())["providers"]:
        found = sorted(on_disk(provider["options"]["path"]).glob("*.json"))
        assert found, provider
        shown |= {json.loads(path.read_text())["uid"] for path in found}
    assert len(shown) == len(list((DEPLOY / environment / "grafana/dashboards").rglob("*.json")))
    home = re.search(r"default_home_dashboard_path = (\S+)", settings)
    assert home
    assert on_disk(home[1]).exists()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_serves_and_who_asks_share_one_token_and_every_relayed_target_is_there(environment: str) -> None:
    services = compose(environment)
    token = {
        "prometheus": "/etc/prometheus/secrets/detector-token",
        "alertmanager": "/etc/alertmanager/secrets/relay-token",
        "detector-serve": services["detector-serve"]["environment"]["DETECTOR_TOKEN_FILE"],
    }
    assert {files_of(services[name])[path] for name, path in token.items()} == {"secret detector_token"}
    settings = parse_catalogue(
        built_in_text("day_trade"), "day_trade.yaml", services["detector-serve"]["environment"]
    ).settings
    assert settings.environment == environment
    assert settings.serve.is_guarded
    relayed = {
        url.rpartition("/")[2]
        for url in values(rendered(environment, "alertmanager/alertmanager.yml"), "url")
        if "/notify/" in url
    }
    assert relayed == set(settings.serve.targets)
    assert {one.url_file for one in settings.serve.targets.values()} <= set(files_of(services["detector-serve"]))


def test_without_its_environment_the_catalogue_relays_nowhere_and_serves_this_machine_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DETECTOR_LISTEN", "DETECTOR_TOKEN_FILE", "DETECTOR_TEAMS_URL_FILE", "DETECTOR_SMS_URL_FILE"):
        monkeypatch.delenv(name, raising=False)
    serve = load_catalogue("day_trade").settings.serve
    assert (serve.listen, serve.is_guarded, serve.targets) == ("127.0.0.1:9208", False, {})
