"""The client image's program where no kernel takes part: installing files, reporting, choosing a module.

Tests write the files in which a kernel shows its modules, and modprobe is a script where a test names one; a real
kernel is in tests/integration/node. Every container is as bare as in the cluster: read-only root, no capability.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.integration.support.lab import Lab
from tests.integration.support.node.cell_node import (
    BOTH,
    FILES,
    FULL,
    INSTALLED,
    NODE_NAME,
    OLDER_WITHOUT_SECRET,
    PROGRAM,
    REBUILDING,
    CellNode,
    cell_node,
    files_of,
)
from tests.integration.support.project.images import output_in
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT
from tests.integration.support.session import Session

# The image


@BOTH
def test_the_image_serves_by_itself_and_knows_its_version(images: dict[str, str], version: str) -> None:
    client = docker.from_env()
    try:
        config: dict[str, Any] = client.images.get(images[version]).attrs["Config"]
    finally:
        client.close()
    assert config["Entrypoint"] == [PROGRAM]
    assert config["Cmd"] == ["serve"]
    assert f"BEEGFS_CLIENT_VERSION={version}" in config["Env"]


@BOTH
def test_info_says_what_image_and_node_have(node: CellNode, version: str, lab: Lab) -> None:
    node.loaded("7.1", users=2)
    node.mounted("/mnt/a", "/mnt/b")
    said = node.client("info")
    assert said.status == 0
    lines = dict(line.split(": ", 1) for line in said.stdout.splitlines())
    assert lines["client"] == version
    assert lines["kernels of this image"] == lab.kernels.newer
    assert lines["node"] == NODE_NAME
    assert lines["kernel of the node"] == node.say("uname -r")
    assert lines["module for it"] == "none"
    assert lines["module signed by"] == lines["its key in the kernel"] == "none"
    assert lines["trusted keyrings"] == "unknown: /host/proc/keys cannot be read"
    assert lines["module signatures"] == lines["lockdown"] == "unknown"
    assert lines["Secure Boot"] in {"unknown", "off", "on"}, "as this machine's kernel says"
    assert lines["module loaded"] == "version 7.1, srcversion 0123"
    assert lines["mounts on the host"] == "/mnt/a, /mnt/b"
    assert lines["installed on the host"] == "none"


def test_no_mount_is_missed_while_others_go(node: CellNode) -> None:
    node.changing_mounts("/mnt/a")
    assert "mounts on the host: /mnt/a\n" in node.client("info", BASH_ENV="/test/changing").stdout
    assert node.say("wc -l </host/proc/1/mounts") != "42", "the others went"


def test_mounts_of_a_kubelet_that_has_a_namespace_of_its_own_are_seen(node: CellNode) -> None:
    node.mounted("/mnt/a")
    node.write("/host/proc/77/comm", "crio\n")
    node.write("/host/proc/77/mounts", "beegfs_nodev /var/other beegfs rw 0 0\n")
    # Two others of that name: one that has ended, and one of a container.
    node.write("/host/proc/300/comm", "kubelet\n")
    node.write("/host/proc/301/comm", "kubelet\n")
    node.write("/host/proc/301/mounts", "proc /proc proc rw 0 0\n")
    node.write("/host/proc/4242/comm", "kubelet\n")
    table = "".join(f"beegfs_nodev {point} beegfs rw 0 0\n" for point in ("/mnt/a", "/var/lib/kubelet/pods/x"))
    node.write("/host/proc/4242/mounts", table)
    assert "mounts on the host: /mnt/a, /var/lib/kubelet/pods/x\n" in node.client("info").stdout


@pytest.mark.parametrize("words", [[], ["start"], ["load", "now"], [""]])
def test_other_words_are_a_usage_error(node: CellNode, words: list[str]) -> None:
    said = node.client(*words)
    assert said.status == 2
    assert "usage: beegfs-node load" in said.stderr
    assert said.stdout == ""
    assert node.installed == {}


SETTINGS = ("BEEGFS_HELPERD_AUTH", "BEEGFS_LOAD", "BEEGFS_REBUILD", "BEEGFS_CLIENT_VERSION")


@pytest.mark.parametrize("name", SETTINGS)
def test_other_settings_are_a_usage_error(node: CellNode, name: str) -> None:
    said = node.client("install", **{name: "perhaps"})
    assert said.status == 2
    assert name in said.stderr
    assert "perhaps" in said.stderr
    assert node.installed == {}


def test_the_user_space_is_as_old_as_productions(images: dict[str, str], request: pytest.FixtureRequest) -> None:
    """UBI 9 has bash 5.1 and kmod 28; the program must work with these, too."""
    told = output_in(images[NEWER_CLIENT], "bash", "-c", "echo $BASH_VERSION; modprobe --version")
    older = request.node.callspec.params["images"] == "older"
    assert told.startswith("5.1.") == older
    assert ("kmod version 28" in told) == older


# Install


@BOTH
def test_a_fresh_install_has_every_tool_and_the_unchanged_template(node: CellNode, version: str) -> None:
    said = node.client("install")
    assert said.status == 0, said
    assert node.installed == files_of(version)
    assert node.say(f"cat {INSTALLED}/version") == version
    for program in FILES[version]:
        own = "/sbin/mount.beegfs" if program.endswith("mount.beegfs") else f"/opt/beegfs/{program}"
        node.say(f"cmp {own} {INSTALLED}/{program}")
    node.say(f"cmp /etc/beegfs/beegfs-client.conf {INSTALLED}/beegfs-client.conf")
    assert node.say(f"stat -c %a {INSTALLED}/sbin") == "755"


@BOTH
def test_a_second_install_rewrites_nothing(node: CellNode, version: str) -> None:
    what = f"find {INSTALLED} -printf '%p %i %C@ %T@\\n'"
    node.client("install")
    before = node.say(what)
    again = node.client("install")
    assert again.status == 0
    assert "is installed" in again.stderr
    assert node.say(what) == before
    assert node.installed == files_of(version)


@pytest.mark.parametrize(
    "damage",
    [
        f"echo short >{INSTALLED}/sbin/beegfs",
        f"echo x >>{INSTALLED}/beegfs-client.conf",
        f"chmod 700 {INSTALLED}/sbin/beegfs",
        f"rm {INSTALLED}/version",
        f"ln -sf /opt/beegfs/sbin/beegfs {INSTALLED}/sbin/beegfs",
    ],
)
def test_an_install_mends_what_was_changed(node: CellNode, damage: str) -> None:
    node.client("install")
    node.say(damage)
    assert node.client("install").status == 0
    assert node.installed == files_of(NEWER_CLIENT)
    node.say(f"cmp /opt/beegfs/sbin/beegfs {INSTALLED}/sbin/beegfs")
    node.say(f"cmp /etc/beegfs/beegfs-client.conf {INSTALLED}/beegfs-client.conf")


@BOTH
def test_programs_of_another_version_go_and_other_files_stay(node: CellNode, version: str) -> None:
    others = ("beegfs-ctl", "beegfs", "mount.beegfs", "beegfs-fsck")
    for name in (*others, "site-script"):
        node.write(f"{INSTALLED}/sbin/{name}", "another")
    node.write(f"{INSTALLED}/version", "1.0")
    assert node.client("install").status == 0
    assert node.installed == {**files_of(version), "sbin/site-script": "644 0:0"}


@pytest.mark.parametrize("program", ["cp", "mv"])
@BOTH
def test_a_killed_install_says_no_version_and_the_next_one_cleans_up(
    node: CellNode, program: str, version: str
) -> None:
    node.write(f"{INSTALLED}/version", "1.0")
    node.say("mkfifo /test/here")
    # The second file is half written, or not yet renamed, when the program is killed.
    node.program(
        program,
        'echo "$*" >>/test/count; if [ "$(wc -l </test/count)" = 2 ]; then\n'
        f"if [ {program} = cp ]; then printf half >$2; fi; echo >/test/here; exec sleep infinity; fi\n"
        f'exec /usr/bin/{program} "$@"',
    )
    node.say(f"{PROGRAM} install & read -r _ </test/here; kill -9 $!; wait $! || true")
    left = node.installed
    assert [path for path in left if path.rpartition("/")[2].startswith(".")], left
    assert ("version" in left) == (program == "cp"), "the old files are complete, or the host has no version"
    assert node.client("ready").stderr.count("files: ") == 1
    node.say(f"rm /test/{program}")
    # As an install of another version would leave it.
    node.write(f"{INSTALLED}/sbin/.beegfs-fsck.beegfs-node", "half")
    again = node.client("install")
    assert again.status == 0, again
    assert node.installed == files_of(version)
    assert node.client("ready").stderr.count("files: ") == 0


def test_a_read_only_plugin_directory_is_said(stack: ExitStack, images: dict[str, str], session: Session) -> None:
    node = stack.enter_context(cell_node(images[NEWER_CLIENT], session, tmpfs={"/host/client": "ro"}))
    said = node.client("install")
    assert said.status == 1
    assert "Read-only file system" in said.stderr
    for words in (NODE_NAME, node.say("uname -r"), "/var/lib/kubelet/plugins/beegfs.csi.netapp.com", "writable"):
        assert words in said.stderr
        assert words in node.termination_message


def test_a_full_disk_leaves_what_was_there(stack: ExitStack, images: dict[str, str], session: Session) -> None:
    node = stack.enter_context(cell_node(images[NEWER_CLIENT], session, tmpfs=FULL))
    for name in ("sbin/beegfs", "beegfs-client.conf", "version"):
        node.write(f"{INSTALLED}/{name}", "old")
    node.say("head -c 700000 /dev/zero >/host/client/filler")
    said = node.client("install")
    assert said.status == 1
    assert "No space left on device" in said.stderr
    assert "room for" in node.termination_message
    assert sorted(node.installed) == ["beegfs-client.conf", "sbin/beegfs", "version"]
    assert node.say(f"cat {INSTALLED}/sbin/beegfs {INSTALLED}/beegfs-client.conf {INSTALLED}/version") == "oldoldold"
    node.say("rm /host/client/filler")
    assert node.client("install").status == 0
    assert node.installed == files_of(NEWER_CLIENT)


# No module for this kernel: no image has one for this machine's


@BOTH
def test_a_kernel_that_the_image_lacks_is_named(node: CellNode, version: str, lab: Lab) -> None:
    said = node.client("load")
    assert said.status == 1
    wanted = (NODE_NAME, node.say("uname -r"), lab.kernels.newer, version, "build in the cluster")
    for words in wanted:
        assert words in said.stderr
        assert words in node.termination_message
    assert node.client("serve", **OLDER_WITHOUT_SECRET).status == 1
    assert node.installed == {}, "nothing is installed for a module that is not there"


def test_the_container_as_it_is_ends_with_what_to_do(images: dict[str, str]) -> None:
    assert output_in(images[NEWER_CLIENT], PROGRAM, "serve", status=1) == ""


def test_a_container_without_its_folder_in_memory_is_told(images: dict[str, str]) -> None:
    said = output_in(images[NEWER_CLIENT], "bash", "-c", f"rm -rf /run; {PROGRAM} serve 2>&1", status=1)
    assert "/run/beegfs-node must be a writable folder" in said


def test_a_loaded_module_of_the_same_version_is_kept(node: CellNode) -> None:
    node.loaded(NEWER_CLIENT, users=1)
    assert node.client("load").status == 0
    node.loaded("8.1.0")
    assert node.client("load").status == 1


def test_not_ready_is_explained(older_node: CellNode) -> None:
    said = older_node.client("ready")
    assert said.status == 1
    assert [line.split("not ready: ")[1].split(":")[0] for line in said.stderr.splitlines()] == [
        "module",
        "files",
        "helper daemon",
        "helper daemon",
    ]


def test_without_the_secret_nothing_starts(older_node: CellNode) -> None:
    older_node.loaded(OLDER_CLIENT)
    said = older_node.client("serve")
    assert said.status == 1
    for words in ("/etc/beegfs-node/auth/conn.auth", "Secret beegfs-client-auth", "BEEGFS_HELPERD_AUTH=disabled"):
        assert words in older_node.termination_message


# A module for this kernel: one that was rebuilt


def test_a_rhel_node_rebuilds_once_and_loads(rebuilt_node: tuple[CellNode, str]) -> None:
    node, srcversion = rebuilt_node
    kernel = node.say("uname -r")
    said = node.client("load", **REBUILDING)
    assert said.status == 0, said
    assert node.calls == [f"rebuild-module {kernel}", f"modprobe -d /opt -S {kernel} beegfs"]
    assert "making it" in said.stderr
    assert node.client("load", **REBUILDING).status == 0
    assert len(node.calls) == 2, "neither built nor loaded again"
    assert srcversion in node.client("info").stdout


@pytest.mark.parametrize(
    "release", ["ID=rhcos\nVARIANT_ID=coreos\n", 'ID="rhel"\nVARIANT_ID=coreos', "ID=fedora\n", "", "ID=rhel-like\n"]
)
def test_other_nodes_do_not_rebuild(rebuilt_node: tuple[CellNode, str], release: str) -> None:
    node, _ = rebuilt_node
    node.write("/host/etc/os-release", release)
    assert node.client("load", **REBUILDING).status == 1
    assert node.calls == []
    assert "driver toolkit" in node.termination_message


def test_without_the_setting_nothing_is_rebuilt(rebuilt_node: tuple[CellNode, str]) -> None:
    node, _ = rebuilt_node
    assert node.client("load").status == 1
    assert node.calls == []


def test_why_a_rebuild_failed_is_the_termination_message(
    tmp_path: Path, stack: ExitStack, images: dict[str, str], session: Session
) -> None:
    program = tmp_path / "rebuild-module"
    program.write_text("#!/bin/bash\necho 'one' >&2\necho 'rebuild-module: error: not-entitled: words' >&2; exit 1\n")
    program.chmod(0o755)
    files = {program: "/usr/local/sbin/rebuild-module"}
    node = stack.enter_context(cell_node(images[NEWER_CLIENT], session, files=files))
    node.write("/host/etc/os-release", "ID=rhel\n")
    assert node.client("load", **REBUILDING).status == 1
    assert "not-entitled: words" in node.termination_message
    assert node.say("ls /run/beegfs-node") == ""
