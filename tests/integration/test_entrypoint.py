"""The client image's program where no kernel takes part: installing, deciding, saying what to do, and signals.

What the kernel shows is files of the tests, and modprobe is a script where one is asked for; a real kernel is in the
tests of nodes. Every container is as bare as in the cluster: read-only root, no capability.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pytest

from integration.cellnode import INSTALLED, NODE_NAME, PROGRAM, CellNode, Said, cell_node
from integration.images import output_in
from integration.labs import Lab
from integration.session import Session
from integration.sites import NEWER_CLIENT, OLDER_CLIENT, SiteMaker
from kmatrix.values.names import image_tag

FILES = {
    OLDER_CLIENT: {"sbin/beegfs-ctl": "755 root:root"},
    NEWER_CLIENT: {"sbin/beegfs": "755 root:root", "sbin/mount.beegfs": "755 root:root"},
}
BOTH = pytest.mark.parametrize("version", [OLDER_CLIENT, NEWER_CLIENT])
OLDER_WITHOUT_SECRET = {"BEEGFS_HELPERD_AUTH": "disabled"}
REBUILDING = {"BEEGFS_REBUILD": "yes"}
FULL = {"/host/client": "size=1m"}


def files_of(version: str) -> dict[str, str]:
    """What an install leaves."""
    return {**FILES[version], "beegfs-client.conf": "644 root:root", "version": "644 root:root"}


@pytest.fixture(scope="module")
def images(module_sites: SiteMaker, lab: Lab) -> dict[str, str]:
    """A cell's image of each client, by client version."""
    site = module_sites(clients=(OLDER_CLIENT, NEWER_CLIENT), kernels=(lab.kernels.newer,))
    built = site.run("build", "--no-push")
    assert built.code == 0, built.stderr
    names = {version: image_tag(f"{version}-{lab.kernels.newer}") for version in FILES}
    return {version: f"{site.target}/beegfs-client:{name}" for version, name in names.items()}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def node(request: pytest.FixtureRequest, stack: ExitStack, images: dict[str, str], session: Session) -> CellNode:
    """A node with the client of the test's parameter `version`, by default the newer."""
    return stack.enter_context(cell_node(images[version_of(request)], session))


def version_of(request: pytest.FixtureRequest) -> str:
    version = request.node.callspec.params.get("version") if hasattr(request.node, "callspec") else None
    return str(version or NEWER_CLIENT)


@pytest.fixture
def older_node(stack: ExitStack, images: dict[str, str], session: Session) -> CellNode:
    return stack.enter_context(cell_node(images[OLDER_CLIENT], session))


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
    assert lines["module loaded"] == "version 7.1, srcversion 0123"
    assert lines["mounts on the host"] == "/mnt/a, /mnt/b"
    assert lines["installed on the host"] == "none"


def test_no_mount_is_missed_while_others_go(node: CellNode) -> None:
    node.changing_mounts("/mnt/a")
    assert "mounts on the host: /mnt/a\n" in node.client("info", BASH_ENV="/test/changing").stdout
    assert node.say("wc -l </host/proc/1/mounts") != "42", "the others went"


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
    assert node.say(f"stat -c %a {INSTALLED} {INSTALLED}/sbin").split() == ["755", "755"]


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
    assert node.installed == {**files_of(version), "sbin/site-script": "644 root:root"}


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
    assert ("version" in left) == (program == "cp"), "the old files are whole, or the host says no version"
    assert node.client("ready").stderr.count("files: ") == 1
    node.say(f"rm /test/{program}")
    # As another version's install would leave it.
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


# No module for this kernel: this machine's is in no image


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


@pytest.fixture
def rebuilt_node(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    stack: ExitStack,
    images: dict[str, str],
    session: Session,
    lab: Lab,
) -> tuple[CellNode, str]:
    """A RHEL node on which a module can be made for its kernel, and the srcversion of that module."""
    ko = f"/opt/lib/modules/{lab.kernels.newer}/extra/beegfs.ko"
    program = tmp_path / "rebuild-module"
    program.write_text(
        f'#!/bin/bash\necho "rebuild-module $*" >>/test/calls\n'
        "folder=/opt/lib/modules/$1/extra; mkdir -p $folder\n"
        f"echo 'making it' >&2; cp {ko} $folder; echo /opt\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    files = {program: "/usr/local/sbin/rebuild-module"}
    # The container of a RHEL worker may write in the image.
    writable = {f"/opt/lib/modules/{platform.release()}": ""}
    node = stack.enter_context(cell_node(images[version_of(request)], session, files=files, tmpfs=writable))
    node.write("/host/etc/os-release", 'NAME="Red Hat"\nID="rhel"\nVERSION_ID="9.4"\n')
    node.loader()
    return node, node.say(f"modinfo -F srcversion {ko}")


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


def having_ours(rebuilt: tuple[CellNode, str]) -> CellNode:
    """The node with a module for its kernel, not loaded."""
    node, _ = rebuilt
    assert node.client("load", **REBUILDING).status == 0
    node.say("rm -r /sys/module/beegfs /test/calls")
    return node


def test_an_idle_other_module_is_replaced(rebuilt_node: tuple[CellNode, str]) -> None:
    node = having_ours(rebuilt_node)
    # The same version made from other sources is another module.
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
        "race": "rmmod says: in use",
    }
    assert told[use.partition(",")[0]] in said.stderr
    assert "version 8.1.0" in said.stderr
    assert node.client("ready").status == 1


def test_what_modprobe_says_is_told_with_what_to_do(rebuilt_node: tuple[CellNode, str]) -> None:
    node = having_ours(rebuilt_node)
    node.program("modprobe", "echo \"could not insert 'beegfs': Operation not permitted\" >&2; exit 1")
    assert node.client("load").status == 1
    for words in ("Operation not permitted", "SYS_MODULE"):
        assert words in node.termination_message


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


def test_a_module_that_initialises_is_waited_for_and_unloaded(rebuilt_node: tuple[CellNode, str]) -> None:
    node, _ = rebuilt_node
    node.loaded(NEWER_CLIENT, users=1)
    node.write("/sys/module/beegfs/initstate", "coming\n")
    node.program("sleep", "cd /sys/module/beegfs; echo live >initstate; echo 0 >refcnt")
    assert node.client("unload").status == 0
    assert node.calls == ["rmmod beegfs"]


# Serve, with the helper daemon of 7.x


SERVE = f"rm -f /test/said; mkfifo /test/said; {PROGRAM} serve 2>/test/said & pid=$!; exec 3</test/said\n"
UNTIL = 'until_said() { while read -r line <&3; do echo "$line"; [[ $line != *"$1"* ]] || return 0; done; return 1; }\n'
NAPS = "naps() { local all=$(wc -l </test/naps); until (($(wc -l </test/naps) > all + $1)); do :; done; }\n"
READY = f"until_ready() {{ until {PROGRAM} ready 2>/dev/null; do :; done; }}\n"


def serving(node: CellNode, script: str, **environment: str) -> Said:
    """Start `serve` ($pid) and run a script; in it `until_said WORDS` reads on in what it says, `until_ready` waits."""
    return node.run(UNTIL + READY + SERVE + script, **{**OLDER_WITHOUT_SECRET, **environment})


def test_serve_runs_the_helper_daemon_until_it_is_told_to_end(older_node: CellNode) -> None:
    older_node.loaded(OLDER_CLIENT)
    said = serving(
        older_node,
        f"until_ready; cat /run/beegfs-node/*.conf\n"
        f"kill -TERM $pid; wait $pid || exit 92; {PROGRAM} ready 2>&1 && exit 93; exit 0",
    )
    assert said.status == 0, said
    assert "connDisableAuthentication = true" in said.stdout
    assert "helper daemon: it does not run" in said.stdout
    assert older_node.installed == files_of(OLDER_CLIENT)


def test_the_helper_daemon_is_given_the_secret(older_node: CellNode) -> None:
    older_node.loaded(OLDER_CLIENT)
    older_node.write("/etc/beegfs-node/auth/conn.auth", "secret")
    script = "until_said listening || exit 90; cat /run/beegfs-node/*.conf; kill $pid; wait $pid"
    said = serving(older_node, script, BEEGFS_HELPERD_AUTH="secret")
    assert said.status == 0, said
    assert "connAuthFile = /etc/beegfs-node/auth/conn.auth" in said.stdout
    assert "connDisableAuthentication = false" in said.stdout


# A mount in a pod's own namespace, or one that went lazily, shows in no table of the host.
@pytest.mark.parametrize("users", [1, 3])
def test_the_helper_daemon_stays_as_long_as_the_module_is_in_use(older_node: CellNode, users: int) -> None:
    older_node.loaded(OLDER_CLIENT, users=users)
    if users == 1:
        older_node.mounted("/mnt/a")
    said = serving(
        older_node,
        "until_said listening || exit 90; kill -TERM $pid; until_said 'stays for the mounts' || exit 91\n"
        f"{PROGRAM} ready || exit 92; {PROGRAM} unload; [ $? = 3 ] || exit 93; {PROGRAM} ready || exit 94\n"
        "echo 0 >/sys/module/beegfs/refcnt; : >/host/proc/1/mounts; wait $pid || exit 95",
    )
    assert said.status == 0, said
    assert ("mounts on the host: /mnt/a" if users == 1 else "in use: 3 users") in said.stdout


def test_a_helper_daemon_that_ends_ends_the_container(older_node: CellNode) -> None:
    older_node.loaded(OLDER_CLIENT)
    said = serving(
        older_node, "until_said listening || exit 90; kill -9 $(</run/beegfs-node/helperd.pid); wait $pid; exit $?"
    )
    assert said.status == 1
    assert "helper daemon ended with status 137" in older_node.termination_message


def test_unload_ends_the_helper_daemon_and_serve_waits_to_be_told(older_node: CellNode) -> None:
    older_node.loaded(OLDER_CLIENT)
    older_node.loader()
    said = serving(
        older_node,
        f"until_said listening || exit 90; process=$(</run/beegfs-node/helperd.pid); {PROGRAM} unload || exit 91\n"
        "until_said 'ended by unload' || exit 92\nkill -0 $process && exit 93; kill -TERM $pid; wait $pid || exit 94",
    )
    assert said.status == 0, said
    assert older_node.calls == ["rmmod beegfs"]


def test_what_unload_ended_is_not_started_again_while_serve_still_waits(older_node: CellNode) -> None:
    older_node.loaded("7.1")
    older_node.hurried()
    said = serving(
        older_node,
        f"{NAPS}until_said listening || exit 90; {PROGRAM} unload || exit 91; until_said 'ended by unload' || exit 92\n"
        "naps 3; (exec 4<>/dev/tcp/127.0.0.1/8006) 2>/dev/null && exit 93; kill $pid; wait $pid || exit 94",
        BEEGFS_LOAD="external",
    )
    assert said.status == 0, said


def test_a_signal_goes_to_the_helper_daemon(older_node: CellNode) -> None:
    older_node.loaded(OLDER_CLIENT)
    script = "until_said listening || exit 90; kill -USR2 $pid; wait $pid; exit $?"
    assert serving(older_node, script).status == 1
    assert "status 140" in older_node.termination_message, "it does not know this one"


def test_mounts_of_a_kept_module_have_a_helper_daemon_and_it_is_replaced_when_they_are_gone(
    rebuilt_node: tuple[CellNode, str],
) -> None:
    node = having_ours(rebuilt_node)
    node.loaded("8.1.0", users=1)
    node.mounted("/mnt/a")
    said = serving(
        node,
        f"until_said 'kept the loaded module' || exit 90; {PROGRAM} ready && exit 91\n"
        f"[ ! -e {INSTALLED}/version ] || exit 92\n"
        "echo 0 >/sys/module/beegfs/refcnt; : >/host/proc/1/mounts; until_said serving || exit 93\n"
        f"{PROGRAM} ready || exit 94; kill $pid; wait $pid || exit 95",
    )
    assert said.status == 0, said
    assert [call.split()[0] for call in node.calls] == ["rmmod", "modprobe"]


def test_mounts_have_a_helper_daemon_also_where_the_image_lacks_the_kernel(older_node: CellNode) -> None:
    older_node.loaded("7.1", users=1)
    older_node.mounted("/mnt/a")
    older_node.hurried()
    said = serving(
        older_node,
        f"until_said 'kept the loaded module' || exit 90; until_said listening || exit 91; {PROGRAM} ready && exit 92\n"
        "echo 0 >/sys/module/beegfs/refcnt; : >/host/proc/1/mounts; wait $pid; exit $?",
    )
    assert said.status == 1, said
    assert f"this image has no module for it (client {OLDER_CLIENT} has: " in said.stdout
    assert "not ready: module" in said.stderr
    assert "build in the cluster" in older_node.termination_message, "no mount needs the helper daemon any more"


FILL = "touch /test/naps; cat /dev/zero >/host/client/filler 2>/dev/null\n"


def test_mounts_keep_their_helper_daemon_while_an_install_fails(
    stack: ExitStack, images: dict[str, str], session: Session
) -> None:
    node = stack.enter_context(cell_node(images[OLDER_CLIENT], session, tmpfs=FULL))
    node.loaded(OLDER_CLIENT, users=1)
    node.mounted("/mnt/a")
    node.hurried()
    node.run(FILL)
    said = serving(
        node,
        f"{NAPS}until_said 'No space left' || exit 90; naps 3; {PROGRAM} ready && exit 91; rm /host/client/filler\n"
        f"until_said serving || exit 92; {PROGRAM} ready || exit 93; kill $pid; : >/host/proc/1/mounts\n"
        "echo 0 >/sys/module/beegfs/refcnt; wait $pid || exit 94",
    )
    assert said.status == 0, said
    assert said.stdout.count("No space left") == 1, "the same is said once"
    assert [line.split("not ready: ")[1].split(":")[0] for line in said.stderr.splitlines()] == ["files"]


def test_a_failed_install_ends_a_container_that_has_no_mounts(
    stack: ExitStack, images: dict[str, str], session: Session
) -> None:
    node = stack.enter_context(cell_node(images[OLDER_CLIENT], session, tmpfs=FULL))
    node.loaded(OLDER_CLIENT)
    node.run(FILL)
    assert node.client("serve", **OLDER_WITHOUT_SECRET).status == 1
    assert "No space left" in node.termination_message


# Serve, and what else happens to the module


@pytest.mark.parametrize(
    "end", ["kill -TERM $pid; echo >/test/go", "echo >/test/go; until_said removing; kill -TERM $pid"]
)
def test_what_was_loaded_while_unload_ran_goes_again(rebuilt_node: tuple[CellNode, str], end: str) -> None:
    node = having_ours(rebuilt_node)
    node.say("mv /test/modprobe /test/loads; mkfifo /test/at-work /test/go")
    node.program("modprobe", 'echo >/test/at-work; read -r _ </test/go; exec /test/loads "$@"')
    said = serving(node, f"read -r _ </test/at-work; {PROGRAM} unload || exit 90; {end}; wait $pid || exit 91")
    assert said.status == 0, said
    assert [call.split()[0] for call in node.calls] == ["modprobe", "rmmod"]
    assert node.say("ls /sys/module") == ""


@BOTH
def test_a_module_that_goes_is_loaded_again(rebuilt_node: tuple[CellNode, str], version: str) -> None:
    node = having_ours(rebuilt_node)
    node.hurried()
    said = serving(
        node,
        "until_said serving || exit 90; rm -r /sys/module/beegfs; until_said 'loading it again' || exit 91\n"
        f"until_said 'loaded version {version}' || exit 92\n"
        "until_ready; kill $pid; wait $pid || exit 93",
    )
    assert said.status == 0, said
    assert [call.split()[0] for call in node.calls] == ["modprobe", "modprobe"]
    assert "60" in node.say("cat /test/naps").splitlines()


@pytest.mark.parametrize("why", ["unloaded", "external"])
def test_a_module_that_is_to_be_gone_is_not_loaded_again(rebuilt_node: tuple[CellNode, str], why: str) -> None:
    node = having_ours(rebuilt_node)
    node.loaded(NEWER_CLIENT, srcversion=rebuilt_node[1])
    node.hurried()
    away = f"{PROGRAM} unload || exit 91" if why == "unloaded" else "rm -r /sys/module/beegfs"
    said = serving(
        node,
        f"{NAPS}until_said serving || exit 90; {away}; naps 4; kill $pid; wait $pid || exit 92",
        BEEGFS_LOAD="external" if why == "external" else "self",
    )
    assert said.status == 0, said
    assert node.calls == (["rmmod beegfs"] if why == "unloaded" else [])
