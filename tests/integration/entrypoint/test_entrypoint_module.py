"""The client image's program and modules: when it loads, replaces, keeps and unloads one, how it reports a refusal.

As in test_entrypoint.py, the tests write the files in which a kernel shows its modules.
"""

from __future__ import annotations

import pytest

from tests.integration.support.node.cell_node import (
    PROGRAM,
    CellNode,
    having_ours,
)
from tests.integration.support.project.site import NEWER_CLIENT


def test_the_build_id_tells_what_is_loaded(rebuilt_node: tuple[CellNode, str]) -> None:
    node = having_ours(rebuilt_node)
    srcversion = rebuilt_node[1]
    note = node.say(
        "dd if=/opt/lib/modules/$(uname -r)/extra/beegfs.ko bs=1M 2>/dev/null | od -An -v -tx1 | tr -d ' \\n'"
    )
    build_id = note.partition("040000001400000003000000474e5500")[2][:40]
    assert len(build_id) == 40, "the compiler writes one"
    # Another name for the same build; then the same names for another build.
    node.loaded("8.0", srcversion="F00", build_id=build_id)
    assert node.client("load").status == 0
    assert node.calls == []
    assert f"build ID {build_id[:12]}" in node.client("info").stdout
    node.loaded(NEWER_CLIENT, srcversion=srcversion, build_id="00" * 20)
    said = node.client("ready").stderr
    assert f"expected: version {NEWER_CLIENT}, srcversion {srcversion}, build ID {build_id[:12]}," in said
    assert f"loaded: version {NEWER_CLIENT}, srcversion {srcversion}, build ID 000000000000" in said
    assert node.client("load").status == 0
    assert [call.split()[0] for call in node.calls] == ["rmmod", "modprobe"]


def test_without_a_build_id_version_and_srcversion_tell(rebuilt_node: tuple[CellNode, str]) -> None:
    node = having_ours(rebuilt_node)
    node.loaded(NEWER_CLIENT, srcversion=rebuilt_node[1])
    assert node.client("load").status == 0
    assert node.calls == []


def test_an_idle_module_stays_where_the_images_own_cannot_be_read(rebuilt_node: tuple[CellNode, str]) -> None:
    node = having_ours(rebuilt_node)
    node.loaded("8.1.0")
    node.say("echo damaged >/opt/lib/modules/$(uname -r)/extra/beegfs.ko")
    assert node.client("load").status == 1
    assert "the image is damaged" in node.termination_message
    assert node.calls == []


def test_an_idle_module_stays_where_the_kernel_would_refuse_the_images_own(
    rebuilt_node: tuple[CellNode, str],
) -> None:
    node = having_ours(rebuilt_node)
    node.loaded("8.1.0")
    node.write("/host/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    assert node.client("load").status == 1
    assert "kept the idle module (version 8.1.0" in node.termination_message
    assert "accepts only signed modules, and this one is not signed" in node.termination_message
    assert node.calls == []
    node.write("/host/sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
    assert node.client("load").status == 0
    assert [call.split()[0] for call in node.calls] == ["rmmod", "modprobe"]


def test_values_that_sysfs_shows_a_moment_later_are_waited_for(rebuilt_node: tuple[CellNode, str]) -> None:
    node = having_ours(rebuilt_node)
    node.say("mv /test/modprobe /test/loads")
    node.program("modprobe", '/test/loads "$@"; mv /sys/module/beegfs/srcversion /test/srcversion')
    node.program("sleep", "mv /test/srcversion /sys/module/beegfs/srcversion")
    assert node.client("load").status == 0


def test_an_idle_other_module_is_replaced(rebuilt_node: tuple[CellNode, str]) -> None:
    node = having_ours(rebuilt_node)
    # The same version built from other sources is another module.
    node.loaded(NEWER_CLIENT, srcversion="F00")
    assert node.client("load").status == 0
    assert [call.split()[0] for call in node.calls] == ["rmmod", "modprobe"]


@pytest.mark.parametrize("use", ["mount", "reference", "unknown", "race", "mount, and ours is damaged"])
def test_another_module_in_use_is_kept(rebuilt_node: tuple[CellNode, str], use: str) -> None:
    node = having_ours(rebuilt_node)
    node.loaded("8.1.0", users=int(use == "reference"))
    if use.startswith("mount"):
        node.mounted("/var/lib/kubelet/a")
    if use.endswith("damaged"):
        node.say("echo damaged >/opt/lib/modules/$(uname -r)/extra/beegfs.ko")
    if use == "unknown":
        node.say("rm /host/proc/1/mounts")
    if use == "race":
        node.program("rmmod", "echo in use >&2; exit 1")
    said = node.client("load")
    assert said.status == 3
    assert node.calls == []
    told = {
        "mount": "/var/lib/kubelet/a",
        "reference": "1 users",
        "unknown": "/host/proc",
        "race": "it is in use: in use",
    }
    assert told[use.partition(",")[0]] in said.stderr
    assert "version 8.1.0" in said.stderr
    assert node.client("ready").status == 1


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("Operation not permitted", "The container lacks the capability SYS_MODULE"),
        ("Permission denied", "The container's SELinux label is "),
        ("Required key not available", "This node accepts only signed modules, and this one is not signed"),
        ("Unknown symbol in module", "The host's /lib/modules must be mounted at /lib/modules"),
        ("Cannot allocate memory", "See the kernel log of the node"),
    ],
)
def test_the_message_of_modprobe_is_reported_with_its_cause(
    rebuilt_node: tuple[CellNode, str], said: str, found: str
) -> None:
    node = having_ours(rebuilt_node)
    node.program("modprobe", f"echo \"could not insert 'beegfs': {said}\" >&2; exit 1")
    assert node.client("load").status == 1
    for words in (said, found):
        assert words in node.termination_message


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("system_u:system_r:container_t:s0:c1,c2", "label is system_u:system_r:container_t:s0:c1,c2; its type must be"),
        ("system_u:system_r:spc_t:s0", "SELinux allows spc_t to load modules unless secure_mode_insmod is on"),
    ],
)
def test_the_selinux_label_is_looked_at(rebuilt_node: tuple[CellNode, str], label: str, found: str) -> None:
    node = having_ours(rebuilt_node)
    node.write("/test/label", label)
    node.say(f"sed 's|/proc/self/attr/current|/test/label|' {PROGRAM} >/test/program; chmod +x /test/program")
    node.program("modprobe", "echo \"could not insert 'beegfs': Permission denied\" >&2; exit 1")
    assert node.run("/test/program load").status == 1
    assert found in node.termination_message


@pytest.mark.parametrize(
    ("loaded", "found"),
    [
        ({}, "It needs ib_core, which is not loaded"),
        ({"ib_core": "SAME", "rdma_cm": "OFED"}, "rdma_cm is loaded with srcversion OFED, the kernel's own has SAME"),
        ({"ib_core": "SAME", "rdma_cm": "SAME"}, "All its dependencies are loaded (ib_core,rdma_cm)"),
    ],
)
def test_the_module_that_a_symbol_is_missing_of_is_named(
    rebuilt_node: tuple[CellNode, str], loaded: dict[str, str], found: str
) -> None:
    node = having_ours(rebuilt_node)
    node.say("mkdir -p /lib/modules/$(uname -r); : >/lib/modules/$(uname -r)/modules.dep")
    for name, srcversion in loaded.items():
        node.write(f"/sys/module/{name}/srcversion", srcversion)
    node.program("modinfo", '[ "$1" != -k ] || { echo SAME; exit; }; exec /usr/sbin/modinfo "$@"')
    node.program("modprobe", "echo \"could not insert 'beegfs': Invalid argument\" >&2; exit 1")
    assert node.client("load").status == 1
    assert found in node.termination_message


def test_kernel_module_management_loads_alone(rebuilt_node: tuple[CellNode, str]) -> None:
    node = having_ours(rebuilt_node)
    assert node.client("load", BEEGFS_LOAD="external").status == 3
    node.loaded(NEWER_CLIENT, srcversion=rebuilt_node[1])
    assert node.client("load", BEEGFS_LOAD="external").status == 0
    assert node.client("unload", BEEGFS_LOAD="external").status == 0
    assert node.calls == []


# Unload


@pytest.mark.parametrize("use", ["mount", "reference"])
def test_a_module_in_use_is_not_unloaded(rebuilt_node: tuple[CellNode, str], use: str) -> None:
    node, _ = rebuilt_node
    node.loaded(NEWER_CLIENT, users=int(use == "reference"))
    if use == "mount":
        node.mounted("/mnt/a")
    said = node.client("unload")
    assert said.status == 3
    assert node.calls == []
    assert ("/mnt/a" if use == "mount" else "1 users") in said.stderr


def test_an_idle_module_is_unloaded(rebuilt_node: tuple[CellNode, str]) -> None:
    node, _ = rebuilt_node
    node.loaded(NEWER_CLIENT)
    assert node.client("unload").status == 0
    assert node.calls == ["rmmod beegfs"]
    assert node.client("unload").status == 0, "none is loaded"


def test_a_module_that_initialises_for_ever_is_not_waited_for(rebuilt_node: tuple[CellNode, str]) -> None:
    node, _ = rebuilt_node
    node.loaded(NEWER_CLIENT, users=1)
    node.write("/sys/module/beegfs/initstate", "coming\n")
    node.program("sleep", "echo $1 >>/test/naps")
    said = node.client("unload")
    assert said.status == 3
    assert "has been initialising for 60 s" in said.stderr
    assert len(node.say("cat /test/naps").splitlines()) == 60
    assert node.say("ls /run/beegfs-node") == "", "serve continues"


def test_the_kernel_module_manager_unloads_what_it_loads(node: CellNode) -> None:
    node.loaded(NEWER_CLIENT)
    node.loader()
    said = node.client("unload", BEEGFS_LOAD="external")
    assert said.status == 0
    assert "delete its Module" in said.stderr
    assert node.calls == []


def test_a_module_that_initialises_is_waited_for_and_unloaded(rebuilt_node: tuple[CellNode, str]) -> None:
    node, _ = rebuilt_node
    node.loaded(NEWER_CLIENT, users=1)
    node.write("/sys/module/beegfs/initstate", "coming\n")
    node.program("sleep", "cd /sys/module/beegfs; echo live >initstate; echo 0 >refcnt")
    assert node.client("unload").status == 0
    assert node.calls == ["rmmod beegfs"]
