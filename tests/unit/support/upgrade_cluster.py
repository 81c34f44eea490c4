"""Clusters for deploy/can-upgrade: offered updates, pools, nodes with their kernels, and the client on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.support.fake_cluster import Cluster

FIRST, LAST = "5.14.0-427.50.1.el9_4.x86_64", "5.14.0-427.68.1.el9_4.x86_64"
RT, ARM, ARM64K = f"{LAST}+rt", "5.14.0-427.68.1.el9_4.aarch64", "5.14.0-427.68.1.el9_4.aarch64+64k"
TEN = "6.12.0-211.28.1.el10_2.x86_64"
IMAGE = f"registry.example/team/beegfs-client@sha256:{'b' * 64}"
RELEASES = f"""4.18.9 amd64 el9 {FIRST} {FIRST}+rt
4.18.14 amd64 el9 {LAST} {RT}
4.18.14 arm64 el9 {ARM} {ARM64K}
4.18.15 amd64 unknown registry.example/toolkit: refuses anonymous | access
5.0.1 amd64 el9 {LAST} {RT}
5.0.1 amd64 el10 {TEN}
"""
PAYLOAD = "registry.example/release@sha256:" + "c" * 64
RHCOS = "Red Hat Enterprise Linux CoreOS 418.94.202501062026-0"


def release(version: str) -> dict[str, Any]:
    """Return a Release of openshift/api config/v1/types_cluster_version.go."""
    return {"version": version, "image": f"{PAYLOAD[:-1]}{version[-1]}", "channels": ["stable-4.18"]}


def updates(*versions: str, conditional: tuple[str, ...] = (), retrieved: str = "True") -> dict[str, Any]:
    """Return a ClusterVersion that offers releases; the API states no update as null."""
    risks = [
        {"release": release(each), "conditions": [{"type": "Recommended", "status": "False"}]} for each in conditional
    ]
    condition = {"type": "RetrievedUpdates", "status": retrieved, "message": "the update service says no"}
    status: dict[str, Any] = {
        "availableUpdates": [release(each) for each in versions] or None,
        "conditions": [{"type": "Available", "status": "True"}, condition],
    }
    return {"status": {**status, **({"conditionalUpdates": risks} if risks else {})}}


def node(name: str, kernel: str = FIRST, pool: str = "worker", system: str = RHCOS, **labels: str) -> dict[str, Any]:
    """Return a Node of k8s.io/api core/v1; the machine config operator annotates it with its configuration."""
    annotations = {"machineconfiguration.openshift.io/desiredConfig": f"rendered-{pool}-0123456789abcdef"}
    arch = "arm64" if "aarch64" in kernel else "amd64"
    return {
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/os": "linux", **labels},
            **({"annotations": annotations} if pool else {}),
        },
        "status": {"nodeInfo": {"architecture": arch, "osImage": system, "kernelVersion": kernel}},
    }


def pool(name: str, stream: str = "", paused: bool = False) -> dict[str, Any]:
    """Return a MachineConfigPool of openshift/api machineconfiguration/v1/types.go."""
    return {
        "metadata": {"name": name},
        "spec": {"paused": paused, **({"osImageStream": {"name": stream}} if stream else {})},
    }


def daemonset(number: int, image: str = IMAGE, load: str = "self", **status: Any) -> dict[str, Any]:
    """Return a DaemonSet whose roll-out is complete, but for `status`; the API leaves a field out that is None here."""
    env = [{"name": "NODE_NAME", "valueFrom": {}}, {"name": "BEEGFS_LOAD", "value": load}]
    counts = {"desiredNumberScheduled": number, "updatedNumberScheduled": number, "observedGeneration": 3}
    return {
        "metadata": {"name": "beegfs-client", "generation": 3},
        "spec": {"template": {"spec": {"containers": [{"name": "client", "image": image, "env": env}]}}},
        "status": {key: value for key, value in {**counts, **status}.items() if value is not None},
    }


def pod(node_name: str, image: str = IMAGE) -> dict[str, Any]:
    """Return a Pod of the DaemonSet; its status has no image as long as that has not been pulled."""
    containers = [{"name": "client", "image": image, "imageID": image}]
    return {
        "metadata": {"name": f"pod-{node_name}"},
        "spec": {"nodeName": node_name},
        "status": {"containerStatuses": containers} if image else {},
    }


def statement(*kernels: str, image: str = IMAGE, releases: str = RELEASES) -> dict[str, Any]:
    """Return the ConfigMap of the rendered folders."""
    return {"data": {"image": image, "kernels": "".join(f"{each}\n" for each in kernels), "releases": releases}}


# By which KMM loads a Module with a version (rh-ecosystem-edge/kernel-module-management, docs, ordered upgrade).
VERSION = "kmm.node.kubernetes.io/version-module.beegfs-client.beegfs"


def module(*literals: str, regexp: str = "", version: str = "") -> dict[str, Any]:
    """Return a Module of Kernel Module Management with mappings by kernel, and by a pattern."""
    mappings = [{"literal": each, "containerImage": "x"} for each in literals]
    mappings += [{"regexp": regexp, "containerImage": "x"}] if regexp else []
    container = {"kernelMappings": mappings, **({"version": version} if version else {})}
    return {"spec": {"moduleLoader": {"container": container}}}


def definition(*fields: str) -> dict[str, Any]:
    """Return as much as is read of the CustomResourceDefinition of PreflightValidationOCP, of two versions."""
    properties = {each: {"type": "string"} for each in fields}
    schema = {"openAPIV3Schema": {"properties": {"spec": {"properties": properties}}}}
    old = {"openAPIV3Schema": {"properties": {"spec": {"properties": {"releaseImage": {"type": "string"}}}}}}
    return {"spec": {"versions": [{"name": "v1beta1", "schema": old}, {"name": "v1beta2", "schema": schema}]}}


POOLS = "machineconfigpools.machineconfiguration.openshift.io"
MODULES = "modules.kmm.sigs.x-k8s.io"
PREFLIGHTS = "preflightvalidationsocp.kmm.sigs.x-k8s.io"
NODES = (node("m1", pool="master"), node("w1"), node("w2"))


def cluster_of(tmp_path: Path, nodes: tuple[dict[str, Any], ...] = NODES, **state: Any) -> Cluster:
    """Return a cluster that is offered 4.18.14, and whose image has the kernels of 4.18.9 and 4.18.14."""
    names = [each["metadata"]["name"] for each in nodes]
    pods = [pod(name) for name in names]
    known: dict[str, Any] = {
        "version": updates("4.18.14"),
        "nodes": list(nodes),
        "pods": pods,
        "pools": [pool("master"), pool("worker")],
        "definitions": {POOLS: {}},
        "daemonsets": [daemonset(len(names))],
        "configmap": statement(FIRST, LAST),
        "module": None,
        "labels": {},
        "drained": [],
        "stuck": False,
    }
    return Cluster(tmp_path, **{**known, **state})
