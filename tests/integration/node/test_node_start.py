"""A pod starts on a node, is restarted and ends: 8.x, which only waits, and 7.x, whose helper daemon has to stay."""

from __future__ import annotations

import pytest

from tests.integration.support.lab import Lab
from tests.integration.support.node.client_node import (
    AGED,
    NEW,
    OLD,
    ClientNode,
    grace,
    idle,
    unloading_on_stop,
    without_authentication,
)
from tests.integration.support.node.virtual_node import PLUGIN, Shown
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT, SiteMaker

_NEW = f"""
section untouched listed /etc /opt
pod_start steps
section nothing-ready pod_ready steps
section load pod_exec steps beegfs-node load
section loaded-ready pod_ready steps
section install pod_exec steps beegfs-node install
section installed-ready pod_ready steps
pod_exec steps beegfs-node unload
section unloaded-ready pod_ready steps
pod_kill steps
pod_forget steps
rm -rf {PLUGIN}

pod_start client
section start await_ready client
section module module_values
section filesystem grep -w beegfs /proc/filesystems
section mounts grep -w beegfs /proc/mounts
section plugin listed {PLUGIN}
section elsewhere listed /etc /opt
section tool {PLUGIN}/client/sbin/beegfs --version
pod_kill client
section killed pod_state client
section module-killed module_values
container_start client
section restart await_ready client

mount_client /mnt
echo kept >/mnt/file
pod_stop client mounted
section module-mounted module_values
section file cat /mnt/file
umount /mnt

pod_start client
section start-again await_ready client
section log-again pod_log client
section unload pod_exec client beegfs-node unload
section module-unloaded module_gone
section unloaded-by-hand pod_ready client
section load-again pod_exec client beegfs-node load
section loaded-by-hand await_ready client
pod_stop client idle
section module-idle module_values

pod_start leaving
section leaving-ready await_ready leaving
pod_stop leaving
section module-left module_gone
section plugin-left listed {PLUGIN}
"""


@pytest.fixture(scope="module")
def new(client_node: ClientNode) -> Shown:
    """The output of an 8.x pod's life."""
    return new_client(client_node)


def new_client(node: ClientNode) -> Shown:
    """Run the life of an 8.x pod."""
    pods = {"steps": node.wish(NEW, idle), "client": node.wish(NEW, secrets={})}
    return node.run({**pods, "leaving": node.wish(NEW, unloading_on_stop)}, _NEW)


def test_a_pod_is_ready_when_its_module_is_loaded_and_its_files_are_installed_and_not_before(new: Shown) -> None:
    assert new.status("load") == 0, new.text("load")
    assert new.status("install") == 0, new.text("install")
    ready = [new.status(f"{state}-ready") for state in ("nothing", "loaded", "installed", "unloaded")]
    assert ready == [1, 1, 0, 1]
    assert "module" in new.text("nothing-ready")
    assert "installed: none" in new.text("loaded-ready")


def test_a_fresh_node_gets_the_module_and_the_files_where_the_driver_looks_for_them(new: Shown) -> None:
    assert new.status("start") == 0, new.text("start")
    assert f"version={NEWER_CLIENT}" in new.lines("module")
    assert new.text("filesystem").split() == ["nodev", "beegfs"]
    assert (new.status("mounts"), new.text("mounts")) == (1, ""), "mounts are the driver's"
    files = {line.split()[3]: line.split()[:2] for line in new.lines("plugin")}
    assert files == {
        PLUGIN: ["755", "0:0"],
        f"{PLUGIN}/client": ["755", "0:0"],
        f"{PLUGIN}/client/sbin": ["755", "0:0"],
        f"{PLUGIN}/client/sbin/beegfs": ["755", "0:0"],
        f"{PLUGIN}/client/sbin/mount.beegfs": ["755", "0:0"],
        f"{PLUGIN}/client/beegfs-client.conf": ["644", "0:0"],
        f"{PLUGIN}/client/version": ["644", "0:0"],
    }
    assert NEWER_CLIENT in new.text("tool")


def test_nothing_of_the_host_is_touched_but_the_plugin_directory(new: Shown) -> None:
    assert new.lines("untouched")
    assert new.lines("elsewhere") == new.lines("untouched")


def test_a_container_that_is_killed_comes_back_to_the_module_it_had_loaded(new: Shown) -> None:
    assert new.text("killed") == "exited 137"
    assert new.lines("module-killed") == new.lines("module")
    assert new.status("restart") == 0, new.text("restart")


def test_a_module_in_use_outlives_its_pod_and_the_next_pod_takes_it_over(new: Shown) -> None:
    assert new.text("stop-mounted") == "ended"
    assert f"version={NEWER_CLIENT}" in new.lines("module-mounted")
    assert new.text("file") == "kept"
    assert new.status("start-again") == 0
    assert "module is loaded" in new.text("log-again")


def test_a_pod_that_stops_leaves_an_idle_module_for_the_next_whose_image_may_not_come(new: Shown) -> None:
    assert new.text("stop-idle") == "ended"
    assert f"version={NEWER_CLIENT}" in new.lines("module-idle")


def test_a_pod_that_is_to_unload_on_stop_takes_an_idle_module_with_it(new: Shown) -> None:
    assert new.status("leaving-ready") == 0, new.text("leaving-ready")
    assert new.status("pre-stop-leaving") == 0, new.text("pre-stop-leaving")
    assert new.text("stop-leaving") == "ended"
    assert new.status("module-left") == 0
    assert f"{PLUGIN}/client/version" in new.text("plugin-left")


def test_an_unload_by_hand_says_so_and_is_taken_back_by_a_load(new: Shown) -> None:
    assert new.status("unload") == 0, new.text("unload")
    assert new.status("module-unloaded") == 0
    assert new.status("unloaded-by-hand") == 1
    assert "run 'beegfs-node load' in it, or delete the pod" in new.text("unloaded-by-hand")
    assert new.status("load-again") == 0, new.text("load-again")
    assert new.status("loaded-by-hand") == 0, new.text("loaded-by-hand")


_AGED = f"""
pod_start aged
section ready await_ready aged
section module module_values
section bash pod_exec aged bash --version
mount_client /mnt
pod_kill aged
container_start aged
section restart await_ready aged
section unload-mounted pod_exec aged beegfs-node unload
umount /mnt
rm -rf {PLUGIN}/client
# A signal ends the wait for the next look. CRI-O creates a volume's folder again when it starts a container.
pod_exec aged bash -c 'kill -HUP 1'
within 30 pod_ended aged
host_path DirectoryOrCreate {PLUGIN}/client
section message pod_message aged
container_start aged
section mended await_ready aged
section tool {PLUGIN}/client/sbin/beegfs --version
section unload pod_exec aged beegfs-node unload
section gone module_gone
pod_stop aged
"""


@pytest.fixture(scope="module")
def aged(client_node: ClientNode, older_base: str, lab: Lab, module_sites: SiteMaker) -> Shown:
    """The output of an 8.x pod on a base as old as production's."""
    client_node.add(AGED, module_sites(kernels=[lab.kernels.newer], base=older_base))
    return client_node.run({"aged": client_node.wish(AGED)}, _AGED)


def test_a_pod_with_a_user_space_of_productions_age_does_the_same(aged: Shown) -> None:
    assert "version 5.1." in aged.text("bash")
    assert aged.status("ready") == 0, aged.text("ready")
    assert f"version={NEWER_CLIENT}" in aged.lines("module")
    assert aged.status("restart") == 0, aged.text("restart")
    assert aged.status("unload-mounted") == 3
    assert "mounts on the host: /mnt" in aged.text("unload-mounted")
    assert aged.status("unload") == 0, aged.text("unload")
    assert aged.status("gone") == 0


def test_a_folder_that_is_removed_on_the_host_ends_the_container_and_the_next_one_fills_it_again(aged: Shown) -> None:
    assert "was it removed there?" in aged.text("message")
    assert aged.status("mended") == 0, aged.text("mended")
    assert NEWER_CLIENT in aged.text("tool")


_OLD = f"""
pod_start poor
within 30 pod_ended poor
section poor-state pod_state poor
section poor-message pod_message poor
section poor-module module_gone
pod_forget poor

pod_start open
section open-ready await_ready open
section open-daemon helper_daemon
pod_stop open
section open-module module_values
section open-left helper_daemon

pod_start client
section start await_ready client
section module module_values
section plugin listed {PLUGIN}
section daemon helper_daemon
pod_exec client sh -c 'kill -KILL "$(cat /run/beegfs-node/helperd.pid)"'
within 30 pod_ended client
section crash-state pod_state client
section crash-message pod_message client
section crash-module module_values
container_start client
section restart await_ready client

mount_client /mnt
pod_stop client &
within 30 pod_logged client 'stays for the mounts'
section daemon-stopping helper_daemon
umount /mnt
within 30 pod_stopped client
section daemon-stopped helper_daemon
section module-umounted module_values

pod_start short
section short-ready await_ready short
mount_client /mnt
pod_stop short
section module-short module_values
umount /mnt

# Nobody wants to wait for these mounts.
pod_start client
section last-ready await_ready client
mount_client /mnt
pod_stop client last &
within 30 pod_logged client 'stays for the mounts'
section end pod_exec client beegfs-node end
section last-stopped within 30 pod_stopped client
section last-daemon helper_daemon
umount /mnt
"""


@pytest.fixture(scope="module")
def old(client_node: ClientNode) -> Shown:
    """The output of a 7.x pod's life."""
    return old_client(client_node)


def old_client(node: ClientNode) -> Shown:
    """Run the life of a 7.x pod."""
    pods = {
        "poor": node.wish(OLD, secrets={}),
        "open": node.wish(OLD, without_authentication, secrets={}),
        "client": node.wish(OLD),
        "short": node.wish(OLD, grace(4)),
    }
    return node.run(pods, _OLD)


def test_a_7_x_pod_without_the_secret_says_what_to_create(old: Shown) -> None:
    assert old.text("poor-state") == "exited 1"
    assert "beegfs-client-auth" in old.text("poor-message")
    assert old.status("poor-module") == 0


def test_a_7_x_pod_can_be_told_to_go_without_authentication(old: Shown) -> None:
    assert old.status("open-ready") == 0, old.text("open-ready")
    assert OLDER_CLIENT in old.text("open-daemon")
    assert f"version={OLDER_CLIENT}" in old.lines("open-module")
    assert old.status("open-left") != 0


def test_a_7_x_pod_serves_the_helper_daemon_to_the_node(old: Shown) -> None:
    assert old.status("start") == 0, old.text("start")
    assert f"version={OLDER_CLIENT}" in old.lines("module")
    assert OLDER_CLIENT in old.text("daemon")
    installed = [line.split()[3].removeprefix(f"{PLUGIN}/client") for line in old.lines("plugin")]
    assert "/sbin/beegfs-ctl" in installed
    assert "/sbin/beegfs-helperd" not in installed


def test_a_helper_daemon_that_dies_ends_the_container_and_a_restart_brings_it_back(old: Shown) -> None:
    assert old.text("crash-state") == "exited 1"
    assert "helper daemon ended" in old.text("crash-message")
    assert f"version={OLDER_CLIENT}" in old.lines("crash-module")
    assert old.status("restart") == 0, old.text("restart")


def test_the_helper_daemon_stays_for_the_mounts_of_the_host_and_ends_with_the_last(old: Shown) -> None:
    assert OLDER_CLIENT in old.text("daemon-stopping")
    assert old.text("stop-client") == "ended"
    assert old.status("daemon-stopped") != 0


def test_a_grace_period_that_is_over_ends_the_helper_daemon_and_leaves_the_module(old: Shown) -> None:
    assert old.status("short-ready") == 0, old.text("short-ready")
    assert old.text("stop-short") == "killed"
    assert f"version={OLDER_CLIENT}" in old.lines("module-short")


def test_a_helper_daemon_that_shall_not_stay_for_its_mounts_can_be_ended(old: Shown) -> None:
    assert old.status("last-ready") == 0, old.text("last-ready")
    assert old.status("end") == 0, old.text("end")
    assert old.status("last-stopped") == 0
    assert old.text("stop-last") == "ended"
    assert old.status("last-daemon") != 0
