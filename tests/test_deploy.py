"""The compose files and the Kubernetes objects: valid by their schemas, pinned, bounded, and true to the catalogue."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from detector.catalogue import load_catalogue
from detector.catalogue.durations import format_duration
from detector.celery_settings import task_default_queue
from detector.conventions import QUEUE_LENGTH

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
ENVIRONMENTS = load_catalogue("day_trade").environments
KUBERNETES = "1.31"
PINNED = re.compile(r":(v?\d+\.\d+[\w.-]*|\$\{DETECTOR_VERSION:-local\})$")


def compose(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / name).read_text()))


def built(environment: str) -> list[dict[str, Any]]:
    """The objects of base and overlay, as kustomize makes them, but for the hashes in the names of config maps."""
    overlay = DEPLOY / "kubernetes/overlays" / environment
    said = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    [base] = [overlay / one for one in said["resources"]]
    objects = [
        one
        for name in yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
        for one in yaml.safe_load_all((base / name).read_text())
    ]
    for patch in said["patches"]:
        [target] = [o for o in objects if (o["kind"], o["metadata"]["name"]) == tuple(patch["target"].values())]
        for step in yaml.safe_load(patch["patch"]):
            assert step["op"] == "replace"
            *way, last = [int(part) if part.isdigit() else part for part in step["path"].split("/")[1:]]
            at: Any = target
            for part in way:
                at = at[part]
            assert at[last] is not None  # kustomize refuses to replace what is not there
            at[last] = step["value"]
    for one in said["configMapGenerator"]:
        data = {Path(path).name: (overlay / path).read_text() for path in one.get("files", ())}
        data |= dict(literal.split("=", 1) for literal in one.get("literals", ()))
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": one["name"]}, "data": data})
    return objects


def pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one["spec"]["template"]["spec"] for one in objects if one["kind"] in ("Deployment", "StatefulSet")]


@pytest.mark.parametrize("name", ["compose.yaml", "compose.production.yaml", "compose.staging.yaml"])
def test_a_compose_file_is_valid(name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_service_is_pinned_bounded_watched_and_not_root() -> None:
    known = compose("compose.yaml")
    for name, service in known["services"].items():
        assert PINNED.search(service["image"]), name
        assert service["healthcheck"]["test"], name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        assert service["user"].split(":")[0] not in ("0", "root"), name
        assert service["cap_drop"] == ["ALL"], name
        for secret in service.get("secrets", ()):
            assert (secret if isinstance(secret, str) else secret["source"]) in known["secrets"], name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_compose_mounts_what_is_rendered_and_keeps_data_as_long_as_the_catalogue_says(environment: str) -> None:
    services, base = compose(f"compose.{environment}.yaml")["services"], compose("compose.yaml")["services"]
    assert set(services) <= set(base)
    kept = format_duration(ENVIRONMENTS[environment].prometheus.retention)
    assert f"--storage.tsdb.retention.time={kept}" in services["prometheus"]["command"]
    for name in ("logstash", "logstash-exporter", "filebeat"):
        for volume in services[name]["volumes"]:
            assert (DEPLOY / volume.split(":")[0]).exists(), volume


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_kubernetes_objects_are_valid_bounded_and_not_root(environment: str) -> None:
    objects = built(environment)
    for one in objects:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
    kinds = {one["kind"] for one in objects}
    assert {"Namespace", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler"} <= kinds
    for pod in pods(objects):
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert PINNED.search(container["image"])
            assert container["livenessProbe"]
            assert container["readinessProbe"]
            assert container["resources"]["limits"]["memory"]
            assert container["securityContext"]["readOnlyRootFilesystem"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_kubernetes_objects_refer_to_what_is_there_and_to_the_catalogue_s_retention(environment: str) -> None:
    objects = built(environment)
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for pod in pods(objects):
        for volume in pod["volumes"]:
            assert "configMap" not in volume or ("ConfigMap", volume["configMap"]["name"]) in there
        for container in pod["containers"]:
            mounted = {volume["name"] for volume in pod["volumes"]} | {"data"}
            assert {mount["name"] for mount in container["volumeMounts"]} <= mounted
            for one in container.get("envFrom", ()):
                assert ("ConfigMap", one["configMapRef"]["name"]) in there
    labels = {one["metadata"]["labels"]["app"] for one in objects if one["kind"] in ("Deployment", "StatefulSet")}
    for one in objects:
        if one["kind"] == "Service":
            assert one["spec"]["selector"]["app"] in labels
        if one["kind"] == "HorizontalPodAutoscaler":
            assert ("Deployment", one["spec"]["scaleTargetRef"]["name"]) in there
    arguments = [argument for pod in pods(objects) for one in pod["containers"] for argument in one.get("args", ())]
    kept = format_duration(ENVIRONMENTS[environment].prometheus.retention)
    assert f"--storage.tsdb.retention.time={kept}" in arguments


def mounts(objects: list[dict[str, Any]], app: str) -> dict[str, str]:
    """The content of every file that is mounted into an application's pod, by path; of a secret its key."""
    maps = {one["metadata"]["name"]: one["data"] for one in objects if one["kind"] == "ConfigMap"}
    [pod] = [one for one in pods(objects) if one["containers"][0]["name"] == app]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    found: dict[str, str] = {}
    for mount in pod["containers"][0]["volumeMounts"]:
        volume = volumes.get(mount["name"], {})
        if "configMap" in volume:
            data, at = maps[volume["configMap"]["name"]], mount["mountPath"]
            whole = {f"{at}/{name}": text for name, text in data.items()}
            found |= {at: data[mount["subPath"]]} if "subPath" in mount else whole
        for item in volume.get("secret", {}).get("items", ()):
            found[f"{mount['mountPath']}/{item['path']}"] = f"secret {item['key']}"
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_pods_find_their_configuration_their_secrets_and_each_other(environment: str) -> None:
    objects = built(environment)
    ports = {one["metadata"]["name"]: one["spec"]["ports"][0]["port"] for one in objects if one["kind"] == "Service"}
    files = {app: mounts(objects, app) for app in ("prometheus", "alertmanager", "grafana", "detector-serve")}
    named = {
        "prometheus": files["prometheus"]["/etc/prometheus/prometheus.yml"],
        "alertmanager": files["alertmanager"]["/etc/alertmanager/alertmanager.yml"],
        "grafana": files["grafana"]["/etc/grafana/grafana.ini"],
        "detector-serve": str([one for one in pods(objects) if one["containers"][0]["name"] == "detector-serve"]),
    }
    for app, text in named.items():
        wanted = set(re.findall(r"(?:/etc/\w+|/run)/secrets/[\w-]+", text))
        assert wanted == {path for path, content in files[app].items() if content.startswith("secret ")}
    documented = (ROOT / "docs/deploy.md").read_text()
    for path, content in {k: v for one in files.values() for k, v in one.items()}.items():
        assert not content.startswith("secret ") or f"`{content[7:]}`" in documented, path
    for name, port in {"prometheus": 9090, "alertmanager": 9093, "pushgateway": 9091, "detector-serve": 9208}.items():
        assert ports[name] == port
    said = yaml.safe_load(files["grafana"]["/etc/grafana/provisioning/dashboards/detector.yaml"])
    for provider in said["providers"]:
        assert [path for path in files["grafana"] if path.startswith(provider["options"]["path"] + "/")]
    shown = [path for path in files["grafana"] if path.endswith(".json")]
    assert len(shown) == len(list((DEPLOY / environment / "grafana/dashboards").rglob("*.json")))
    for one in objects:  # what the API server takes
        assert len(str(one.get("data", "")).encode()) < 1_048_576


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_workers_are_scaled_by_a_metric_that_is_served_and_that_the_adapter_offers(environment: str) -> None:
    [scaler] = [one for one in built(environment) if one["kind"] == "HorizontalPodAutoscaler"]
    [metric] = [one["external"]["metric"] for one in scaler["spec"]["metrics"]]
    adapter = yaml.safe_load((DEPLOY / "kubernetes/prometheus-adapter.yaml").read_text())
    [rule] = adapter["rules"]["external"]
    assert metric["name"] == rule["seriesQuery"].partition("{")[0] == QUEUE_LENGTH.name
    assert metric["selector"]["matchLabels"] == {"queue": task_default_queue}
    assert set(metric["selector"]["matchLabels"]) == set(QUEUE_LENGTH.labels)
    assert rule["resources"] == {"namespaced": False}  # the series has no label of a namespace
    where = adapter["prometheus"]
    assert (where["url"], where["port"]) == ("http://prometheus.day-trade.svc", 9090)


def test_no_instruction_of_the_dockerfile_got_into_the_line_before() -> None:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    instruction = re.compile(r"(FROM|WORKDIR|COPY|RUN|ENV|USER|CMD|#) ")
    lines = [line for line in text.splitlines() if line]
    assert [line for line in lines if not instruction.match(line)] == []
    assert [line for line in lines if re.search(r"\s(RUN|COPY|WORKDIR|USER|CMD)\b|[a-z]RUN", line)] == []


def test_the_directory_of_the_secrets_is_never_committed() -> None:
    where = re.search(r"Files in `SECRETS_DIR` \(`(.*?)`\)", (ROOT / "docs/deploy.md").read_text())
    assert where is not None
    assert f"/{where[1]}/" in (ROOT / ".gitignore").read_text().splitlines()
