"""Made-up bundles and builds, and every folder of manifests rendered from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kmatrix.decide import manifests
from kmatrix.decide.manifests import Bundle, InClusterBuild
from kmatrix.effects.disk.folders import read_folder
from kmatrix.values.names import Arch, ClientVersion, ImageRef

ROOT = Path(__file__).resolve().parents[3]
# Each with the seed of its module image's digest: one kernel is there for two architectures, and has one image.
SEEDS = {
    "5.14.0-427.50.1.el9_4.x86_64": "1",
    "5.14.0-427.50.1.el9_4.x86_64+rt": "2",
    "5.14.0-427.50.1.el9_4.aarch64": "1",
}
RELEASES = """4.16.3 amd64 el9 5.14.0-427.50.1.el9_4.x86_64 5.14.0-427.50.1.el9_4.x86_64+rt
4.16.3 arm64 el9 5.14.0-427.50.1.el9_4.aarch64
4.16.4 amd64 unknown registry.example/toolkit: refuses anonymous access
"""
REPOSITORY = "registry.example/team/beegfs-client"


def sources() -> dict[str, str]:
    return read_folder(ROOT / "deploy", "manifest sources", (".yaml", ".yaml.j2"))


def bundle(client: str = "7.4.6", arches: tuple[Arch, ...] = ("x86_64", "aarch64")) -> Bundle:
    image = ImageRef.parse(f"{REPOSITORY}:{client}@sha256:{'b' * 64}")
    kernels = tuple(kernel for kernel in SEEDS if any(arch in kernel for arch in arches))
    modules = {kernel: ImageRef.parse(f"{REPOSITORY}@sha256:{SEEDS[kernel] * 64}") for kernel in kernels}
    return Bundle(ClientVersion.parse(client), image, kernels, arches, modules)


def build(client: str = "8.2.2", **files: str) -> InClusterBuild:
    dockerfile = 'FROM toolkit\nARG CLIENT_VERSION\n\nCOPY script /\nRUN ["bash", "/script", "a: b"]\n'
    known = {"script": "#!/bin/bash\n\necho 'done: {yes}' # a colon, a brace\n", **files}
    arguments = {"CLIENT_VERSION": client, "PACKAGES": "https://packages.example/release"}
    return InClusterBuild(ClientVersion.parse(client), dockerfile, known, arguments)


def folders(speed: int | str = 1) -> dict[str, dict[str, str]]:
    """Return every folder that can be applied, by its name; `speed` is the profile's max_unavailable."""
    known = sources()
    return {
        "prebuilt": manifests.prebuilt(known, bundle(), RELEASES, speed),
        "kmm": manifests.kmm(known, bundle(), RELEASES, speed),
        "in-cluster-build": manifests.in_cluster_build(known, build(), False, speed),
        "in-cluster-build-rhel-workers": manifests.in_cluster_build(known, build(), True, speed),
    }


def objects(folder: dict[str, str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the objects that applying a folder creates, by kind and name, as its kustomization lists them."""
    made = {}
    for path in yaml.safe_load(folder["kustomization.yaml"])["resources"]:
        for document in yaml.safe_load_all(folder[path]):
            made[document["kind"], document["metadata"]["name"]] = document
    return made


def container(daemonset: dict[str, Any]) -> dict[str, Any]:
    (only,) = daemonset["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def rules(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rules that a node must fulfil for a DaemonSet's pods: the expressions of its one term."""
    required = spec["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = required["nodeSelectorTerms"]
    assert list(term) == ["matchExpressions"]
    assert "nodeSelector" not in spec["template"]["spec"]
    found: list[dict[str, Any]] = term["matchExpressions"]
    return found


def daemonset(folder: str, name: str = manifests.NAME) -> dict[str, Any]:
    return objects(FOLDERS[folder])["DaemonSet", name]


FOLDERS = folders()
DAEMONSETS = [
    (name, key[1]) for name, folder in FOLDERS.items() for key in objects(folder) if key[0] == "DaemonSet"
]  # fmt: skip
each_folder = pytest.mark.parametrize("name", FOLDERS)
each_daemonset = pytest.mark.parametrize(("folder", "name"), DAEMONSETS)
