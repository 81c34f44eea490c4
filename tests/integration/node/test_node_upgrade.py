"""Another client version comes to a node: the module is idle, or in use, or another loader's."""

from __future__ import annotations

import pytest

from tests.integration.support.node.client_node import FOREIGN, NEW, OLD, PLAIN, ClientNode, idle
from tests.integration.support.node.virtual_node import PLUGIN, Shown
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT

_UPGRADE = f"""
pod_start old
section old-ready await_ready old
section old-plugin listed {PLUGIN}
# A pod that had no time to stop leaves its module.
pod_kill old
pod_forget old
section left module_values

pod_start new
section new-ready await_ready new
section new-log pod_log new
section new-module module_values
section new-plugin listed {PLUGIN}
section new-version cat {PLUGIN}/client/version

# Back to the old version, under a mount.
mount_client /mnt
pod_stop new
pod_start old
section kept-said within 60 pod_logged old 'kept the loaded module'
section kept-ready pod_ready old
section kept-state pod_state old
section kept-log pod_log old
section kept-module module_values
section kept-version cat {PLUGIN}/client/version
section kept-daemon helper_daemon
umount /mnt
section after-ready await_ready old
section after-module module_values
section after-version cat {PLUGIN}/client/version
section after-state pod_state old
section after-daemon helper_daemon
section after-plugin listed {PLUGIN}
pod_stop old last
section last-module module_values

# An image without a module for this kernel, where another has loaded the same version.
pod_start new
await_ready new
mount_client /mnt
pod_stop new held
pod_start foreign
section foreign-ready await_ready foreign
section foreign-module module_values
umount /mnt
pod_stop foreign

# Kernel Module Management loads the module; here a pod that does nothing else stands for it.
rmmod beegfs
pod_start waiting
section waiting-said within 30 pod_logged waiting 'Kernel Module Management'
section waiting-ready pod_ready waiting
pod_start loader
section loader pod_exec loader beegfs-node load
section loaded-ready await_ready waiting
pod_stop waiting
section waited-module module_values

# The same version of the same sources, compiled without RDMA.
users() {{ awk -v name="$1" '$1 == name {{ print $4 }}' /proc/modules; }}
section with-rdma users rdma_cm
section with-rdma-values module_values
pod_start plain
section plain-ready await_ready plain
section plain-log pod_log plain
section plain-rdma users rdma_cm
section plain-values module_values
pod_stop plain
"""


@pytest.fixture(scope="module")
def upgrade(client_node: ClientNode) -> Shown:
    """The output of upgrades to the other major and back."""
    return upgraded(client_node)


def upgraded(node: ClientNode) -> Shown:
    """Run two versions in a row, and back."""
    pods = {"old": node.wish(OLD), "new": node.wish(NEW), "foreign": node.wish(FOREIGN)}
    pods |= {"waiting": node.wish(NEW, way="kmm"), "loader": node.wish(NEW, idle), "plain": node.wish(PLAIN)}
    return node.run(pods, _UPGRADE)


def test_an_idle_module_of_another_version_is_replaced(upgrade: Shown) -> None:
    assert upgrade.status("old-ready") == 0, upgrade.text("old-ready")
    assert f"version={OLDER_CLIENT}" in upgrade.lines("left")
    assert upgrade.status("new-ready") == 0, upgrade.text("new-ready")
    assert "replacing the idle module" in upgrade.text("new-log")
    assert f"version={NEWER_CLIENT}" in upgrade.lines("new-module")


def test_the_files_of_the_other_major_are_replaced_too(upgrade: Shown) -> None:
    old, new = (programs(upgrade, f"{name}-plugin") for name in ("old", "new"))
    assert "beegfs-ctl" in old
    assert "mount.beegfs" not in old
    assert new == {"beegfs", "mount.beegfs"}
    assert upgrade.text("new-version") == NEWER_CLIENT
    assert programs(upgrade, "after-plugin") == old


def test_a_module_in_use_is_kept_and_the_pod_says_so_and_is_not_ready(upgrade: Shown) -> None:
    assert upgrade.status("kept-said") == 0, upgrade.text("kept-log")
    assert upgrade.status("kept-ready") == 1
    assert upgrade.text("kept-state") == "running"
    (said,) = [line for line in upgrade.lines("kept-log") if "kept the loaded module" in line]
    for word in (NEWER_CLIENT, OLDER_CLIENT, "/mnt", "node-1", "Not ready"):
        assert word in said
    assert f"version={NEWER_CLIENT}" in upgrade.lines("kept-module")
    # The files on the host are of the loaded module's version.
    assert upgrade.text("kept-version") == NEWER_CLIENT


def test_when_the_last_mount_is_gone_the_pod_replaces_the_module_and_becomes_ready(upgrade: Shown) -> None:
    assert upgrade.status("after-ready") == 0, upgrade.text("after-ready")
    assert upgrade.text("after-state") == "running"
    assert f"version={OLDER_CLIENT}" in upgrade.lines("after-module")
    assert upgrade.text("after-version") == OLDER_CLIENT
    assert OLDER_CLIENT in upgrade.text("after-daemon")
    assert f"version={OLDER_CLIENT}" in upgrade.lines("last-module")


def test_the_same_version_loaded_by_another_image_is_as_good(upgrade: Shown) -> None:
    assert upgrade.status("foreign-ready") == 0, upgrade.text("foreign-ready")
    assert f"version={NEWER_CLIENT}" in upgrade.lines("foreign-module")


def test_a_pod_of_kernel_module_management_waits_for_the_module_and_leaves_it(upgrade: Shown) -> None:
    assert upgrade.status("waiting-said") == 0
    assert upgrade.status("waiting-ready") == 1
    assert upgrade.status("loader") == 0, upgrade.text("loader")
    assert upgrade.status("loaded-ready") == 0, upgrade.text("loaded-ready")
    assert f"version={NEWER_CLIENT}" in upgrade.lines("waited-module")


def test_another_build_of_the_same_sources_is_another_module(upgrade: Shown) -> None:
    srcversion = [line for line in upgrade.lines("with-rdma-values") if line.startswith("srcversion=")]
    assert [line for line in upgrade.lines("plain-values") if line.startswith("srcversion=")] == srcversion != []
    assert "beegfs" in upgrade.text("with-rdma").split(",")
    assert upgrade.status("plain-ready") == 0, upgrade.text("plain-ready")
    assert "replacing the idle module" in upgrade.text("plain-log")
    assert "beegfs" not in upgrade.text("plain-rdma").split(",")


def programs(shown: Shown, section: str) -> set[str]:
    """Return the programs that a listing names."""
    paths = [line.split()[3] for line in shown.lines(section)]
    return {path.rpartition("/")[2] for path in paths if path.startswith(f"{PLUGIN}/client/sbin/")}
