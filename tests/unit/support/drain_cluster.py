"""Clusters for deploy/drain-mounted-nodes: pods with the logs that it reads, some of which block a roll-out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.support.fake_cluster import Cluster, node

KEPT = (
    "beegfs-node: kept the loaded module (version 8.2.2), it is in use: mounts on the host: /mnt. "
    "Not ready: this image has 8.3.1. "
)
DRAIN = KEPT + "Drain the node, or end the pods that use it"
STAYS = "beegfs-node: stopping; the helper daemon stays for the mounts on the host: /mnt"
SERVED = """beegfs-node: node n1: loaded version 8.3.1, srcversion 0123
beegfs-node: node n1: module is loaded: version 8.3.1, srcversion 0123
beegfs-node: node n1: serving client 8.3.1"""
NO_MODULE = "error: this image has no module for it (client 8.3.1 has: 5.14.0)"
NAMES = ("n1", "n2", "n3")


def pod(name: str, log: str = DRAIN + STAYS, *, ready: bool = True, ending: bool = False) -> dict[str, Any]:
    """Return the Pod of a node; `containerStatuses` stay as they were where the node does not answer.

    Then the node lifecycle controller takes the condition Ready alone from its pods (kubernetes/kubernetes
    pkg/controller/util/node/controller_utils.go, MarkPodsNotReady).
    """
    metadata = {"name": f"pod-{name}", **({"deletionTimestamp": "2026-11-23T12:00:00Z"} if ending else {})}
    status = {
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [{"name": "client", "ready": True}],
    }
    return {"metadata": metadata, "spec": {"nodeName": name}, "status": status, "log": log}


def topology(control_plane: str, infrastructure: str = "HighlyAvailable") -> dict[str, Any]:
    return {"status": {"controlPlaneTopology": control_plane, "infrastructureTopology": infrastructure}}


def cluster_of(
    tmp_path: Path, blocked: dict[str, dict[str, Any]], names: tuple[str, ...] = NAMES, **state: Any
) -> Cluster:
    """Return a cluster of nodes with Ready pods, some of which the roll-out replaces by `blocked`."""
    known: dict[str, Any] = {
        "pods": [pod(name) for name in names],
        "nodes": [node(name) for name in names],
        "blocked": blocked,
    }
    known.update(next=list(blocked), stuck=False, daemonsets=["daemonset.apps/beegfs-client"], cordoned=[])
    known.update(infrastructure=topology("HighlyAvailable"), drained=[], uncordoned=[])
    return Cluster(tmp_path, **{**known, **state})
