"""Faults on a node end in a clear message, leave no half-written files, and are repaired by the next start."""

from __future__ import annotations

import re

import pytest

from tests.integration.support.node.client_node import (
    FOREIGN,
    NEW,
    OLD,
    SIGNED,
    SIGNER,
    ClientNode,
    without_capabilities,
    without_securityfs,
    without_the_nodes_modules,
)
from tests.integration.support.node.virtual_node import CLIENT, NODE, Shown
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT
from tests.integration.support.session import Session

_UNKNOWN_KEY = "whose key the kernel does not know: enrol the certificate"
_FAULTS = f"""
# ended POD: reports its end, in sections.
ended() {{
  within 60 pod_ended "$1"
  section "$1-state" pod_state "$1"
  section "$1-message" pod_message "$1"
  section "$1-log" pod_log "$1"
  section "$1-module" module_values
}}

pod_start foreign
ended foreign
section foreign-plugin ls -A {CLIENT}
pod_forget foreign

pod_start powerless
ended powerless
pod_forget powerless

mkdir -p {CLIENT}
mount -t tmpfs -o ro tmpfs {CLIENT}
pod_start locked
ended locked
mount -o remount,rw {CLIENT}
container_start locked
section locked-restart await_ready locked
section locked-info pod_exec locked beegfs-node info
pod_stop locked
umount {CLIENT}

# Room for some of the files.
mount -t tmpfs -o size=600k tmpfs {CLIENT}
pod_start full
ended full
section full-plugin listed {CLIENT}
mount -o remount,size=16m {CLIENT}
container_start full
section full-restart await_ready full
section full-version cat {CLIENT}/version
# And as little for the files of the version after it.
pod_stop full
mount -o remount,size=1m {CLIENT}
dd if=/dev/zero of={CLIENT}/others bs=1k 2>/dev/null
sums() {{ (cd {CLIENT} && find . -type f -exec sha256sum {{}} +); }}
section before-sums sums
pod_start next
ended next
section next-sums sums
section next-version cat {CLIENT}/version
pod_forget next
umount {CLIENT}

# Why a module does not load. From the second on, none of it can be taken back.
for name in beegfs rdma_cm iw_cm ib_cm ib_core; do rmmod $name; done
for name in treeless blind unsigned signed enforced disabled; do
  case $name in
    blind) echo integrity >/sys/kernel/security/lockdown ;;
    enforced) echo 1 >/sys/module/module/parameters/sig_enforce ;;
    disabled) echo 1 >/proc/sys/kernel/modules_disabled ;;
  esac
  pod_start $name
  ended $name
  pod_forget $name
done
"""

_KILLED = f"""
# A program that takes long to copy, so that half of it can be seen.
dd if=/dev/zero of=/images/new/opt/beegfs/sbin/zz-large bs=1M count=32 2>/dev/null
temporary() {{ for file in {CLIENT}/sbin/.*large*; do [ -e "$file" ] && return 0; done; return 1; }}

pod_start old
section old-ready await_ready old
section old-module module_values
pod_kill old
pod_forget old

pod_start new
until temporary || pod_ended new; do :; done
kill -KILL "$(cat /pods/new/pid)"
within 30 pod_ended new
section killed-plugin listed {CLIENT}
section killed-version cat {CLIENT}/version
container_start new
section again-ready await_ready new
section again-plugin listed {CLIENT}
section again-version cat {CLIENT}/version
section again-same cmp {CLIENT}/sbin/zz-large /images/new/opt/beegfs/sbin/zz-large
"""


@pytest.fixture(scope="module")
def faults(client_node: ClientNode, session: Session) -> Shown:
    """The output of one fault after another."""
    with client_node.signed(session):
        return faulty(client_node)


def faulty(node: ClientNode) -> Shown:
    """Run one fault after another."""
    pods = {
        "foreign": node.wish(FOREIGN),
        "powerless": node.wish(NEW, without_capabilities),
        "locked": node.wish(NEW),
        "full": node.wish(NEW),
        "next": node.wish(OLD),
        "treeless": node.wish(NEW, without_the_nodes_modules),
        "blind": node.wish(NEW, without_securityfs),
        "unsigned": node.wish(NEW),
        "signed": node.wish(SIGNED),
        "enforced": node.wish(SIGNED),
        "disabled": node.wish(NEW),
    }
    return node.run(pods, _FAULTS)


def test_a_kernel_the_image_has_no_module_for_is_named_with_what_to_do(faults: Shown, client_node: ClientNode) -> None:
    assert faults.text("foreign-state") == "exited 1"
    message = faults.text("foreign-message")
    for word in (NODE, client_node.kernel, client_node.foreign_kernel, NEWER_CLIENT, "deploy/README.md"):
        assert word in message
    assert message.partition(": ")[2] in faults.text("foreign-log")
    assert faults.lines("foreign-module") == ()
    assert faults.lines("foreign-plugin") == ()


def test_without_the_capability_the_module_does_not_load_and_the_message_names_it(faults: Shown) -> None:
    assert faults.text("powerless-state") == "exited 1"
    assert "The container lacks the capability SYS_MODULE" in faults.text("powerless-message")
    assert faults.lines("powerless-module") == ()


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        ("treeless", "Unknown symbol|The host's /lib/modules must be mounted at /lib/modules"),
        ("blind", "Operation not permitted|whether the kernel is locked down (Secure Boot) is unknown"),
        ("unsigned", "Operation not permitted|locked down (integrity; Secure Boot is |this one is not signed"),
        ("signed", f"Operation not permitted|locked down (integrity; |signed by {SIGNER}, SHA-256 |{_UNKNOWN_KEY}"),
        ("enforced", f"Key was rejected|accepts only signed modules|signed by {SIGNER}, SHA-256 |{_UNKNOWN_KEY}"),
        ("disabled", "Operation not permitted|kernel.modules_disabled is 1"),
    ],
)
def test_why_a_module_does_not_load_is_looked_up(faults: Shown, pod: str, said: str) -> None:
    assert faults.text(f"{pod}-state") == "exited 1"
    for words in said.split("|"):
        assert words in faults.text(f"{pod}-message")
    assert faults.lines(f"{pod}-module") == ()


def test_info_lists_the_kernels_keyrings_and_what_it_demands(faults: Shown) -> None:
    lines = dict(line.split(": ", 1) for line in faults.lines("locked-info") if ": " in line)
    assert lines["module signed by"] == "not signed"
    assert lines["its key in the kernel"] == "none"
    # A distribution's kernel has the keys of its own modules.
    count = re.search(r"^\.builtin_trusted_keys: (\d+), ", lines["trusted keyrings"])
    assert count
    assert int(count[1]) > 0
    assert lines["module signatures"] == "not required"
    assert lines["lockdown"] == "none"
    assert lines["Secure Boot"] in {"unknown", "off"}, "it was started without firmware"


def test_a_plugin_directory_that_cannot_be_written_is_an_error_until_it_can(faults: Shown) -> None:
    assert faults.text("locked-state") == "exited 1"
    assert CLIENT in faults.text("locked-message")
    assert "Read-only file system" in faults.text("locked-message")
    assert faults.status("locked-restart") == 0, faults.text("locked-restart")


def test_a_full_disk_leaves_nothing_half_made_and_is_mended_by_the_next_start(faults: Shown) -> None:
    assert faults.text("full-state") == "exited 1"
    assert "No space left" in faults.text("full-message")
    assert [line for line in faults.lines("full-plugin") if not line.split()[3].endswith(("client", "sbin"))] == []
    assert faults.status("full-restart") == 0, faults.text("full-restart")
    assert faults.text("full-version") == NEWER_CLIENT


def test_a_disk_too_full_for_the_next_version_keeps_the_one_before(faults: Shown) -> None:
    assert faults.text("next-state") == "exited 1"
    assert "No space left" in faults.text("next-message")
    assert faults.lines("before-sums")
    assert faults.lines("next-sums") == faults.lines("before-sums")
    assert faults.text("next-version") == NEWER_CLIENT


@pytest.fixture(scope="module")
def killed(client_node: ClientNode) -> Shown:
    """The output of an install that was killed."""
    return half_way(client_node)


def half_way(node: ClientNode) -> Shown:
    """Run an upgrade that is killed while it installs."""
    return node.run({"old": node.wish(OLD), "new": node.wish(NEW)}, _KILLED)


def test_an_install_that_is_killed_leaves_the_files_that_were_there(killed: Shown) -> None:
    names = listed(killed, "killed-plugin")
    assert any("large" in name and name.startswith(".") for name in names), "the kill came too late"
    assert "beegfs-ctl" in names
    assert killed.text("killed-version") == OLDER_CLIENT


def test_the_next_start_finishes_the_install_and_leaves_no_temporary_file(killed: Shown) -> None:
    assert killed.status("again-ready") == 0, killed.text("again-ready")
    names = listed(killed, "again-plugin")
    assert not any(name.startswith(".") for name in names)
    assert "beegfs-ctl" not in names
    assert killed.text("again-version") == NEWER_CLIENT
    assert killed.status("again-same") == 0


def listed(shown: Shown, section: str) -> set[str]:
    """Return the names of a listing's files and folders."""
    return {line.split()[3].rpartition("/")[2] for line in shown.lines(section)}
