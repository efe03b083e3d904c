"""Kubernetes manifests as kustomize builds them: what would be applied, and questions of it."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
WORKLOADS: Final = frozenset({"StatefulSet", "Deployment"})
BUILD_S: Final = 60  # .2 s of work; a busy machine may take its time

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Built:
    """Every manifest of one overlay, built."""

    manifests: tuple[Manifest, ...]

    def of(self, *kinds: str) -> tuple[Manifest, ...]:
        """Those of these kinds."""
        return tuple(each for each in self.manifests if each["kind"] in kinds)

    def named(self, kind: str) -> dict[str, Manifest]:
        """Those of a kind, by name."""
        return {each["metadata"]["name"]: each for each in self.of(kind)}

    def workloads(self) -> dict[str, Manifest]:
        """What runs, by name."""
        return {each["metadata"]["name"]: each for each in self.of(*WORKLOADS)}


def build(folder: Path) -> Built:
    """What kustomize makes of a folder; skips the test where there is no kustomize."""
    if shutil.which("kustomize"):
        command = ["kustomize", "build"]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    else:
        pytest.skip("neither kustomize nor kubectl is here to build the manifests")
    done = subprocess.run(
        [*command, str(folder)], capture_output=True, text=True, timeout=BUILD_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return Built(tuple(yaml.safe_load_all(done.stdout)))


def container(workload: Manifest) -> Manifest:
    """A workload's one container."""
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    found: Manifest = only
    return found


def selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Whether a selector of labels alone takes something with those labels."""
    assert selector.keys() <= {"matchLabels"}, selector
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def labels_of(workload: Manifest) -> Mapping[str, str]:
    """The labels of a workload's pods."""
    found: Mapping[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def environment(built: Built, workload: Manifest) -> dict[str, str]:
    """What a workload's container finds in its environment; secrets and fields by their names."""
    found: dict[str, str] = {}
    for source in container(workload).get("envFrom", []):
        found |= built.named("ConfigMap")[source["configMapRef"]["name"]]["data"]
    for each in container(workload).get("env", []):
        origin = each.get("valueFrom", {})
        found[each["name"]] = each.get("value") or str(
            origin.get("secretKeyRef", origin.get("fieldRef"))
        )
    return found


def references(workload: Manifest, kind: str) -> Iterator[str]:
    """The names of config maps or secrets (`configMap`, `secret`) that a workload asks for."""
    for source in container(workload).get("envFrom", []):
        if (reference := source.get(f"{kind}Ref")) is not None:
            yield reference["name"]
    for each in container(workload).get("env", []):
        if (reference := each.get("valueFrom", {}).get(f"{kind}KeyRef")) is not None:
            yield reference["name"]


def secret_files(workload: Manifest) -> Iterator[tuple[str, str]]:
    """Each secret that is mounted where settings are looked for, and the file that it becomes."""
    volumes = {each["name"]: each for each in workload["spec"]["template"]["spec"]["volumes"]}
    for source in volumes["secrets"]["projected"]["sources"]:
        for item in source["secret"]["items"]:
            yield source["secret"]["name"], item["path"]
