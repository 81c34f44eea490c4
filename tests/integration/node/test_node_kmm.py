"""Kernel Module Management's own workers load and unload the module on a node that has nothing of RDMA loaded."""

from __future__ import annotations

import pytest

from tests.integration.support.node.client_node import NEW, ClientNode
from tests.integration.support.node.kmm_worker import KUBERNETES_SIGS, OPENSHIFT, OPENSHIFT_WITH_USR, worker
from tests.integration.support.node.virtual_node import Shown
from tests.integration.support.project.site import NEWER_CLIENT

_EDITIONS = {"openshift": OPENSHIFT, "usr": OPENSHIFT_WITH_USR, "sigs": KUBERNETES_SIGS}
_WORKERS = """
# A node that has just booted has none of these; KMM's unloading leaves some of them loaded.
forget() { for name in rdma_cm iw_cm ib_cm ib_core; do rmmod $name; done 2>/dev/null; }
loaded() { lsmod | cut -d ' ' -f 1 | sort; }
for edition in openshift usr sigs; do
  forget
  section before-$edition loaded
  for action in load unload; do
    pod_start $action-$edition
    within 60 pod_ended $action-$edition
    section $action-$edition pod_log $action-$edition
    section state-$action-$edition pod_state $action-$edition
    section after-$action-$edition loaded
  done
done

# The client's own pod takes over the module that KMM has loaded, and leaves it.
pod_start load-openshift
within 60 pod_ended load-openshift
pod_start client
section client-ready await_ready client
pod_stop client
section client-left module_values
"""


@pytest.fixture(scope="module")
def workers(client_node: ClientNode) -> Shown:
    """The output of the workers of both editions of KMM."""
    pods = {
        f"{action}-{name}": worker(NEW, client_node.kernel, action, tree)
        for name, tree in _EDITIONS.items()
        for action in ("load", "unload")
    }
    return client_node.run({**pods, "client": client_node.wish(NEW, way="kmm")}, _WORKERS)


@pytest.mark.parametrize("edition", _EDITIONS)
def test_a_worker_finds_what_the_module_needs_on_the_node_and_loads_it_first(workers: Shown, edition: str) -> None:
    needed = {"ib_core", "rdma_cm"}
    assert not needed & set(workers.lines(f"before-{edition}")), "it is to be found, not to be there"
    assert workers.text(f"state-load-{edition}") == "exited 0", workers.text(f"load-{edition}")
    assert {"beegfs", *needed} <= set(workers.lines(f"after-load-{edition}"))
    inserted = [line for line in workers.lines(f"load-{edition}") if line.startswith("insmod ")]
    assert inserted[-1].split()[1].endswith("/extra/beegfs.ko")
    assert any("/host/" in line and line.split()[1].endswith("/rdma_cm.ko") for line in inserted[:-1])


@pytest.mark.parametrize("edition", _EDITIONS)
def test_a_worker_unloads_it_again(workers: Shown, edition: str) -> None:
    assert workers.text(f"state-unload-{edition}") == "exited 0", workers.text(f"unload-{edition}")
    assert "beegfs" not in workers.lines(f"after-unload-{edition}")


def test_the_clients_pod_is_ready_with_what_the_worker_loaded_and_leaves_it(workers: Shown) -> None:
    assert workers.status("client-ready") == 0, workers.text("client-ready")
    assert f"version={NEWER_CLIENT}" in workers.lines("client-left")
