"""A cluster for deploy/build-in-cluster: the rendered folder, nodes, toolkits, and the applied objects."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kmatrix.decide import manifests
from tests.unit.support.fake_cluster import Cluster, kustomized, node
from tests.unit.support.manifest_maker import ROOT, build, folders, objects, sources

DOCKERFILE = (ROOT / "tests" / "golden" / "incluster" / "Dockerfile").read_text()
BUILD = replace(build(), dockerfile=DOCKERFILE)
IMAGE = f"image-registry.openshift-image-registry.svc:5000/beegfs-client/beegfs-client@sha256:{'d' * 64}"
# As nodes report it: RHCOS up to 4.18 (with a code name: the test of KMM's kernel_dtk_reconciler_test.go), RHCOS from
# 4.19 on, OKD's SCOS. The version is a tag of the toolkit's ImageStream.
RHCOS = "Red Hat Enterprise Linux CoreOS "
OLD, NEW, TEN = "418.94.202501062026-0", "9.6.20250715-0", "10.1.20260305-0"
RHEL = "Red Hat Enterprise Linux 9.4 (Plow)"
CAPABILITIES = ["Build", "ImageRegistry", "NodeTuning"]


def capabilities(known: list[str], enabled: list[str]) -> dict[str, Any]:
    """Return a ClusterVersionCapabilitiesStatus of openshift/api config/v1/types_cluster_version.go."""
    return {"status": {"capabilities": {"knownCapabilities": known, "enabledCapabilities": enabled}}}


def toolkits(**tags: str) -> dict[str, Any]:
    """Return the ImageStream openshift/driver-toolkit: by tag a letter for each image, the present one first.

    Its shape is ImageStreamStatus of openshift/api image/v1/types.go; `items` is null where the import failed. Its tags
    are those of openshift/driver-toolkit manifests/01-openshift-imagestream.yaml and -rhel10.yaml, and stay when the
    cluster is updated (openshift/cluster-version-operator lib/resourcemerge, EnsureImagestreamv1).
    """
    status = []
    for tag, letters in tags.items():
        items = [{"created": "2026-11-23T12:00:00Z", "image": f"sha256:{letter * 64}"} for letter in letters]
        status.append({"tag": tag, "items": items or None})
    return {"metadata": {"name": "driver-toolkit", "namespace": "openshift"}, "status": {"tags": status}}


def documents(way: str = "in-cluster-build-rhel-workers") -> list[dict[str, Any]]:
    if not way.startswith("in-cluster"):
        return list(objects(folders()[way]).values())
    return list(objects(manifests.in_cluster_build(sources(), BUILD, rhel_workers=way.endswith("workers"))).values())


@cache
def folder_text(way: str) -> str:
    return kustomized(documents(way))


def cluster_of(tmp_path: Path, way: str = "in-cluster-build-rhel-workers", **state: Any) -> Cluster:
    """Return a cluster whose nodes all run the OS version of its newest toolkit, unless `state` differs."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "all.yaml").write_text(folder_text(way))
    known = {
        "version": {
            "status": {"capabilities": {"knownCapabilities": CAPABILITIES, "enabledCapabilities": CAPABILITIES}}
        },
        "registry": {"spec": {"managementState": "Managed"}},
        "nodes": [node("n1", f"{RHCOS}{NEW} (Plow)"), node("n2", f"{RHCOS}{NEW} (Plow)")],
        "toolkits": toolkits(**{"latest": "ba", NEW: "b", OLD: "a"}),
    }
    return Cluster(tmp_path, **{**known, "applied": [], "phases": {}, "image": IMAGE, "buildconfigs": [], **state})


def run(cluster: Cluster) -> subprocess.CompletedProcess[str]:
    return cluster.run("build-in-cluster", str(cluster.file.parent / "folder"))


def configs(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """Return the applied BuildConfigs by the end of their names; `image` is the last one."""
    found = [yaml.safe_load(text) for selector, text in cluster["applied"] if not selector]
    assert all(config["kind"] == "BuildConfig" for config in found)
    by_end = {config["metadata"]["name"].removeprefix(f"{BUILD.name}-"): config for config in found}
    assert all(config["metadata"]["name"].startswith(f"{BUILD.name}-") for config in found)
    names = list(by_end)
    return {**{name: by_end[name] for name in names[:-1]}, "image": by_end[names[-1]]}


def taken(image: dict[str, Any]) -> list[str]:
    """Return the images whose modules a BuildConfig copies."""
    return [each["from"]["name"] for each in image["spec"]["source"]["images"]]


def tag(end: str) -> str:
    return f"{BUILD.tag}-{end}"


MIXED = [
    node("paused", f"{RHCOS}{OLD}"),
    node("n1", f"{RHCOS}{NEW} (Plow)"),
    node("ten", f"{RHCOS}{TEN} (Coughlan)"),
    node("n2", f"{RHCOS}{NEW} (Plow)"),
]
# The toolkits of such a cluster, and those that compile: the others are the same by another name.
ALL = [NEW, TEN, OLD, "latest", "latest-rhel-10"]
COMPILING = [OLD, "latest", "latest-rhel-10"]
STREAM = toolkits(**{"latest": "b", NEW: "b", OLD: "a", "latest-rhel-10": "x", TEN: "x", "9.4.20240101-0": "z"})
