"""deploy/drain-mounted-nodes, against a fake `oc`: it drains nodes that wait for mounts, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.support.drain_cluster import DRAIN, KEPT, NAMES, NO_MODULE, SERVED, STAYS, cluster_of, pod, topology
from tests.unit.support.fake_cluster import node


def test_nodes_that_wait_for_mounts_are_drained_one_by_one_and_no_other(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path, {"n2": pod("n2", DRAIN, ready=False), "n3": pod("n3", STAYS, ending=True)})
    done = cluster.run("drain-mounted-nodes")
    assert done.returncode == 0, done.stderr
    assert cluster["drained"] == ["n2", "n3"]
    assert cluster["uncordoned"] == ["n2", "n3"]


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"refuses": ["get daemonsets"]}, "cannot list the cluster's DaemonSets"),
        ({"daemonsets": []}, "no DaemonSet"),
        ({"refuses": ["get infrastructures.config.openshift.io"]}, "cannot get the cluster's topology"),
        ({"refuses": ["get pods"]}, "cannot list the client's pods"),
        ({"refuses": ["get nodes"]}, "cannot list the cluster's nodes"),
        ({"refuses": ["get nodes -l node-role.kubernetes.io/control-plane"]}, "the nodes of the control plane"),
        ({"refuses": ["get nodes -l node-role.kubernetes.io/master"]}, "the nodes of the control plane"),
    ],
)
def test_without_a_cluster_that_answers_or_a_daemonset_nothing_is_drained(
    tmp_path: Path, state: dict[str, Any], says: str
) -> None:
    cluster = cluster_of(tmp_path, {"n1": pod("n1", DRAIN, ready=False)}, **state)
    done = cluster.run("drain-mounted-nodes")
    assert done.returncode == 1
    assert says in done.stderr
    assert cluster["drained"] == []


@pytest.mark.parametrize("log", [f"{SERVED}\n{DRAIN}\nhelper daemon started", f"{DRAIN}\nhelper daemon started"])
def test_what_a_pod_waits_for_is_what_it_said_last(tmp_path: Path, log: str) -> None:
    cluster = cluster_of(tmp_path, {"n1": pod("n1", log, ready=False)})
    assert cluster.run("drain-mounted-nodes").returncode == 0
    assert cluster["drained"] == ["n1"]


@pytest.mark.parametrize(
    ("log", "ending"),
    [
        ("another reason", False),
        ("", False),
        # It waited once.
        *((f"{DRAIN}\n{line}\nanother reason", False) for line in (SERVED, *SERVED.split("\n"))),
        (f"{DRAIN}\nbeegfs-node: this image has no module for it; building one", False),
        # It has one since.
        (f"{NO_MODULE}\n{SERVED}\nanother reason", False),
        ("ended", True),
        (f"{STAYS}\nbeegfs-node: node n1: ended", True),
    ],
)
def test_where_a_roll_out_waits_for_something_else_nothing_is_drained(tmp_path: Path, log: str, ending: bool) -> None:
    cluster = cluster_of(tmp_path, {"n1": pod("n1", log, ready=ending, ending=ending)})
    done = cluster.run("drain-mounted-nodes")
    assert done.returncode == 1
    assert "nothing waits for mounts, but the roll-out" in done.stderr
    assert cluster["drained"] == cluster["uncordoned"] == []


# After a drain nothing could be loaded.
@pytest.mark.parametrize("log", [NO_MODULE, KEPT + NO_MODULE, f"{SERVED}\n{NO_MODULE}"])
def test_a_node_without_a_module_for_its_kernel_is_named_with_what_to_do(tmp_path: Path, log: str) -> None:
    """Not with `oc delete node`: a kubelet that runs does not register again until it is restarted.

    kubernetes/kubernetes pkg/kubelet/kubelet_node_status.go, registerWithAPIServer.
    """
    cluster = cluster_of(tmp_path, {"n2": pod("n2", log, ready=False)})
    done = cluster.run("drain-mounted-nodes")
    assert done.returncode == 1
    assert "node n2 runs a kernel for which the image has no module: build for this kernel" in done.stderr
    assert "boot a kernel that the image has" in done.stderr
    assert "keep the client off the node (deploy/README.md, Keeping the client off some nodes)" in done.stderr
    assert "raise max_unavailable" in done.stderr
    assert "delete node" not in done.stderr
    assert "n1" not in done.stderr
    assert cluster["drained"] == []


@pytest.mark.parametrize("ready", ["Unknown", "False"])
@pytest.mark.parametrize(
    "dead", [pod("n2", DRAIN, ready=False), pod("n2", STAYS, ending=True), pod("n2", "", ready=False)]
)
def test_a_dead_node_is_never_drained_but_named_with_what_to_do(
    tmp_path: Path, dead: dict[str, Any], ready: str
) -> None:
    """Whatever its pod's last message was: a drain would evict pods that no other node can run."""
    nodes = [node("n1"), node("n2", ready=ready), node("n3")]
    cluster = cluster_of(tmp_path, {"n2": dead}, nodes=nodes)
    done = cluster.run("drain-mounted-nodes")
    assert done.returncode == 1
    assert "node n2 is not Ready" in done.stderr
    assert (
        "repair it, remove it from the cluster, if it is dead (oc delete node n2), or let the roll-out" in done.stderr
    )
    assert "raise max_unavailable (deploy/README.md, Roll-out speed)" in done.stderr
    assert cluster["drained"] == []


@pytest.mark.parametrize("role", ["control-plane", "master"])
def test_a_dead_node_of_the_control_plane_is_not_to_be_deleted(tmp_path: Path, role: str) -> None:
    """Its kubelet registers with both labels.

    openshift/machine-config-operator templates/master/01-master-kubelet/_base/units/kubelet.service.yaml.
    """
    dead = node("n2", ready="Unknown", **{f"node-role.kubernetes.io/{role}": ""})
    cluster = cluster_of(tmp_path, {"n2": pod("n2", "", ready=False)}, nodes=[node("n1"), dead, node("n3")])
    done = cluster.run("drain-mounted-nodes")
    assert done.returncode == 1
    assert "node n2 is not Ready, and a drain would not change that: repair it, or let the roll-out" in done.stderr
    assert "delete node" not in done.stderr


def test_nodes_that_wait_for_mounts_are_drained_beside_a_dead_one(tmp_path: Path) -> None:
    nodes = [node("n1", ready="Unknown"), node("n2"), node("n3")]
    pods = [pod("n1", DRAIN, ready=False), pod("n2", DRAIN, ready=False), pod("n3")]
    cluster = cluster_of(tmp_path, {}, nodes=nodes, pods=pods)
    done = cluster.run("drain-mounted-nodes")
    assert done.returncode == 1
    assert "node n1 is not Ready" in done.stderr
    assert cluster["drained"] == cluster["uncordoned"] == ["n2"]


@pytest.mark.parametrize(
    ("infrastructure", "names"),
    [
        (topology("SingleReplica", "SingleReplica"), ("n1",)),
        # With workers beside it: the machine config operator drains none of these either.
        (topology("SingleReplica"), NAMES),
        # A hosted cluster with one node.
        (topology("External", "SingleReplica"), ("n1",)),
    ],
)
def test_no_node_of_a_single_node_cluster_is_drained(
    tmp_path: Path, infrastructure: dict[str, Any], names: tuple[str, ...]
) -> None:
    """The rule is `drainRequired` of openshift/machine-config-operator pkg/daemon/drain.go: by the control plane."""
    cluster = cluster_of(tmp_path, {"n1": pod("n1", DRAIN, ready=False)}, names, infrastructure=infrastructure)
    done = cluster.run("drain-mounted-nodes")
    assert done.returncode == 1
    assert "single-node cluster" in done.stderr
    assert "oc debug node/n1 -- chroot /host systemctl reboot" in done.stderr
    assert cluster["drained"] == []


def test_a_hosted_cluster_of_several_nodes_is_no_single_node_cluster(tmp_path: Path) -> None:
    """There `infrastructureTopology` is SingleReplica by default, however many nodes it has.

    openshift/hypershift, the reconciliation of Infrastructure: it follows `infrastructureAvailabilityPolicy` alone.
    """
    infrastructure = topology("External", "SingleReplica")
    cluster = cluster_of(tmp_path, {"n1": pod("n1", DRAIN, ready=False)}, infrastructure=infrastructure)
    assert cluster.run("drain-mounted-nodes").returncode == 0
    assert cluster["drained"] == ["n1"]


def test_a_node_that_was_cordoned_stays_so(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path, {"n1": pod("n1", DRAIN, ready=False)}, cordoned=["n1"])
    assert cluster.run("drain-mounted-nodes").returncode == 0
    assert cluster["drained"] == ["n1"]
    assert cluster["uncordoned"] == []


def test_a_node_whose_pod_does_not_become_ready_stays_drained_and_is_named(tmp_path: Path) -> None:
    blocked = {name: pod(name, DRAIN, ready=False) for name in ("n1", "n2")}
    cluster = cluster_of(tmp_path, blocked, stuck=True)
    done = cluster.run("drain-mounted-nodes")
    assert done.returncode == 1
    assert "n1 is drained" in done.stderr
    assert cluster["drained"] == ["n1"]
    assert cluster["uncordoned"] == []


def test_other_words_are_a_usage_error(tmp_path: Path) -> None:
    assert cluster_of(tmp_path, {}).run("drain-mounted-nodes", "n1").returncode == 2
