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
        data = {Path(path).name: (overlay / path).read_text() for path in one["files"] if (overlay / path).exists()}
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
    labels = {one["metadata"]["labels"]["app"] for one in objects if one["kind"] in ("Deployment", "StatefulSet")}
    for one in objects:
        if one["kind"] == "Service":
            assert one["spec"]["selector"]["app"] in labels
        if one["kind"] == "HorizontalPodAutoscaler":
            assert ("Deployment", one["spec"]["scaleTargetRef"]["name"]) in there
    arguments = [argument for pod in pods(objects) for one in pod["containers"] for argument in one.get("args", ())]
    kept = format_duration(ENVIRONMENTS[environment].prometheus.retention)
    assert f"--storage.tsdb.retention.time={kept}" in arguments
