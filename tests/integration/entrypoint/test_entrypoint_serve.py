"""`beegfs-node serve` where no kernel takes part: the helper daemon of 7.x, signals, and changes of the module."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.support.node.cell_node import (
    BOTH,
    FULL,
    INSTALLED,
    OLDER_WITHOUT_SECRET,
    PROGRAM,
    CellNode,
    Said,
    cell_node,
    files_of,
    having_ours,
)
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT
from tests.integration.support.session import Session

SERVE = f"rm -f /test/said; mkfifo /test/said; {PROGRAM} serve 2>/test/said & pid=$!; exec 3</test/said\n"
UNTIL = 'until_said() { while read -r line <&3; do echo "$line"; [[ $line != *"$1"* ]] || return 0; done; return 1; }\n'
NAPS = "naps() { local all=$(wc -l </test/naps); until (($(wc -l </test/naps) > all + $1)); do :; done; }\n"
READY = f"until_ready() {{ until {PROGRAM} ready 2>/dev/null; do :; done; }}\n"


def serving(node: CellNode, script: str, **environment: str) -> Said:
    """Start `serve` ($pid) and run a script; `until_said WORDS` reads on in its output, `until_ready` waits."""
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
        "until_said 'unload ended' || exit 92\nkill -0 $process && exit 93; kill -TERM $pid; wait $pid || exit 94",
    )
    assert said.status == 0, said
    assert older_node.calls == ["rmmod beegfs"]


def test_a_daemon_that_unload_ended_is_not_started_again_while_serve_still_waits(older_node: CellNode) -> None:
    older_node.loaded("7.1")
    older_node.hurried()
    said = serving(
        older_node,
        f"{NAPS}until_said listening || exit 90; {PROGRAM} unload || exit 91; until_said 'unload ended' || exit 92\n"
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


def test_installed_files_are_looked_at_again_and_mended(older_node: CellNode) -> None:
    older_node.loaded(OLDER_CLIENT)
    older_node.hurried()
    said = serving(
        older_node,
        f"{NAPS}state() {{ stat -c %i%z {INSTALLED}/* {INSTALLED}/sbin/*; }}; until_said serving || exit 90\n"
        'naps 2; before=$(state); naps 3; [ "$(state)" = "$before" ] || exit 91\n'
        f"echo short >{INSTALLED}/sbin/beegfs-ctl; {PROGRAM} ready && exit 92\n"
        f"until_said 'installed client' || exit 93\n"
        f"cmp /opt/beegfs/sbin/beegfs-ctl {INSTALLED}/sbin/beegfs-ctl || exit 94; until_ready\n"
        f"rm {INSTALLED}/version; until {PROGRAM} ready 2>/dev/null; do :; done; kill $pid; wait $pid || exit 95",
    )
    assert said.status == 0, said
    assert "files: some differ from those of" in said.stderr


def test_new_files_are_on_the_disk_before_they_take_the_place_of_the_old(node: CellNode) -> None:
    for program in ("sync", "mv", "rm"):
        node.program(program, f'echo "{program} $*" >>/test/calls; exec /usr/bin/{program} "$@"')
    assert node.client("install").status == 0
    order = [call.split()[0] for call in node.calls]
    assert order[0] == "sync"
    assert order.count("sync") == 1
    node.say("rm /test/calls")
    assert node.client("install").status == 0
    assert node.calls == [], "nothing is written"


# This image has no module for the kernel: another has loaded it again.
AGAIN = "mkdir -p /sys/module/beegfs; for key in version initstate refcnt; do cp /test/$key /sys/module/beegfs/; done\n"


def test_an_unload_by_hand_is_said_and_load_takes_it_back_at_once(older_node: CellNode) -> None:
    older_node.loaded(OLDER_CLIENT)
    older_node.loader()
    said = serving(
        older_node,
        f"until_said serving || exit 90; {PROGRAM} unload || exit 91; until_said 'unload ended' || exit 92\n"
        f"{PROGRAM} ready && exit 93; {AGAIN}{PROGRAM} load || exit 94\n"
        # Its next look by itself comes after the time that all this has.
        "until_said listening || exit 95; until_ready; kill $pid; wait $pid || exit 96",
    )
    assert said.status == 0, said
    assert "not ready: unload: it was run in this pod" in said.stderr
    assert "run 'beegfs-node load' in it, or delete the pod" in said.stderr


def test_a_load_right_after_an_unload_is_no_fault_of_a_helper_daemon_that_takes_its_time(
    tmp_path: Path, stack: ExitStack, images: dict[str, str], session: Session
) -> None:
    program = tmp_path / "beegfs-helperd"
    program.write_text(
        "#!/bin/bash\ntrap 'sleep 2; exit' TERM\necho listening >&2\nwhile :; do sleep 0.1; done\n", encoding="utf-8"
    )
    program.chmod(0o755)
    files = {program: "/opt/beegfs/sbin/beegfs-helperd"}
    node = stack.enter_context(cell_node(images[OLDER_CLIENT], session, files=files))
    node.loaded(OLDER_CLIENT)
    node.loader()
    said = serving(
        node,
        f"until_said serving || exit 90; {PROGRAM} unload || exit 91; {AGAIN}{PROGRAM} load || exit 92\n"
        "until_said listening || exit 93; kill $pid; wait $pid || exit 94",
    )
    assert said.status == 0, said


def test_a_helper_daemon_under_mounts_ends_when_that_is_asked_for(older_node: CellNode) -> None:
    older_node.loaded(OLDER_CLIENT, users=1)
    older_node.mounted("/mnt/a")
    said = serving(
        older_node,
        "until_said listening || exit 90; kill -TERM $pid; until_said 'stays for the mounts' || exit 91\n"
        f"{PROGRAM} end || exit 92; wait $pid || exit 93",
    )
    assert said.status == 0, said


# bash runs it before each command of `serve`.
AT_ONCE = """
cat >/test/at-once <<'END'
[[ ${1-} != serve ]] || { set -T; trap 'case $BASH_COMMAND in "helperd=$"*) kill -s TERM $$ ;; esac' DEBUG; }
END
"""


def test_a_helper_daemon_that_was_just_started_is_ended_too(older_node: CellNode) -> None:
    older_node.loaded(OLDER_CLIENT)
    older_node.run(AT_ONCE)
    # The output ends with the last process that holds it, which a forgotten daemon would be.
    said = serving(older_node, "wait $pid || exit 90; cat <&3\n", BASH_ENV="/test/at-once")
    assert said.status == 0, said
    assert "ended" in said.stdout
    assert "helper daemon started" not in said.stdout, "the signal came before"


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


# Serve, while others load and unload the module


@pytest.mark.parametrize(
    "end", ["kill -TERM $pid; echo >/test/go", "echo >/test/go; until_said removing; kill -TERM $pid"]
)
def test_a_module_that_is_loaded_while_unload_runs_is_unloaded_again(
    rebuilt_node: tuple[CellNode, str], end: str
) -> None:
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
