"""The functions of the guest's init, run by the shell that runs them in the guest, on files of the test's own."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import pytest

from kmatrix.decide.formats.transcript import read_transcript
from kmatrix.values.boot import Section

BUSYBOX = shutil.which("busybox") or ""
INIT = resources.files("kmatrix").joinpath("guest/init").read_text("utf-8")
NO_DUMMY = "ip: RTNETLINK answers: Not supported"
# Nothing of the part that sets up the guest may run here.
FUNCTIONS, SETUP, _ = INIT.partition("\nmkdir -p /proc /sys /dev")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".kmatrix").mkdir()
    return tmp_path


def sections(root: Path, calls: str, changed: Mapping[str, str] | None = None) -> Mapping[str, Section]:
    """Return the guest's report of some calls; its files are below `root`, and words of its functions are `changed`."""
    assert SETUP
    functions = FUNCTIONS
    for old, new in (changed or {}).items():
        assert old in functions
        functions = functions.replace(old, new)
    for folder in ("/.kmatrix", "/proc/fs", "/sys/class"):
        functions = functions.replace(folder, f"{root}{folder}")
    functions = functions.replace("kill -USR1 1\n", "kill -USR1 $$\n").replace("export PATH=", "guest_path=")
    assert "USR1 1\n" not in functions
    done = subprocess.run(
        [BUSYBOX, "sh", "-c", f"{functions}\n{calls}"], capture_output=True, text=True, timeout=10, check=False
    )
    # The shell itself reports a call that it killed.
    assert done.stderr in ("", "Killed\n")
    return read_transcript(["@kmatrix init", *done.stdout.splitlines()]).sections


def test_every_file_of_a_mount_is_read_a_hidden_one_too_and_folders_are_not(root: Path) -> None:
    """The vendor's client has a file `.status` (BEEGFS_PROC_ENTRY_STATUS of its ProcFs.c)."""
    folder = root / "proc/fs/beegfs/c1-(none)"
    (folder / "more").mkdir(parents=True)
    for path in (folder / "config", folder / ".status", folder.parent / "version"):
        path.touch()
    found = sections(root, "report files client_files")["files"]
    assert found == Section((f"{folder}/config", f"{folder}/.status"), 0)


def test_a_hidden_file_that_cannot_be_read_is_told(root: Path) -> None:
    folder = root / "proc/fs/beegfs/c1"
    folder.mkdir(parents=True)
    (folder / "config").touch()
    # Nothing can read a process's memory at address 0, not even root.
    (folder / ".status").symlink_to("/proc/self/mem")
    found = sections(root, "report files client_files")["files"]
    assert found.status == 1
    assert "read error" in found.lines[-1]


def test_a_mount_without_files_is_told(root: Path) -> None:
    (root / "proc/fs/beegfs/c1").mkdir(parents=True)
    assert sections(root, "report files client_files")["files"] == Section((), 1)


ENDED = 'limited call sleep 60 || echo "@kmatrix step $?"; kill "$alarm"'


def test_a_call_whose_limit_passed_before_it_began_is_not_waited_for(root: Path) -> None:
    """The calls of a mount share one limit, and what the guest reports between them takes time too."""
    assert sections(root, f"expired=yes; {ENDED}")["call"].status == 137


def test_a_call_that_does_not_end_is_killed_at_the_limit_with_its_place_in_the_kernel(root: Path) -> None:
    found = sections(root, f"alarm_in 0; {ENDED}")["call"]
    assert found.status == 137
    assert found.lines
    assert sections(root, "limited call true; kill $$")["call"] == Section((), 0)


def test_the_prompts_command_for_a_mount_is_the_gates(root: Path) -> None:
    """Without a mount helper too: the image's own may want what the guest has not."""
    gates = re.search(r'limited "mount-\$1" (mount .*) \|\| return 1', FUNCTIONS)
    prompts = re.search(r"Mount with: (mount .*)\\n' (.*)$", INIT, re.MULTILINE)
    assert gates
    assert prompts
    said = sections(
        root, f"printf '@kmatrix begin said\\n@kmatrix| {prompts[1]}\\n@kmatrix end said 0\\n' {prompts[2]}"
    )
    typed = sections(root, f"mount() {{ echo mount $@; }}; report typed {gates[1]}")
    assert said["said"].lines == typed["typed"].lines


KINDS = """
insmod() { echo "insmod ${1##*/}"; }
ip() {
  case "$*" in
    *"type dummy") echo 'ip: RTNETLINK answers: Not supported'; return 1 ;;
    "link add"*) mkdir -p "$net/kmatrix0" ;;
  esac
}
report interface interface
"""


@pytest.mark.parametrize(
    ("there", "listed", "lines", "status"),
    [
        ("lo dummy0", "dummy dummy.ko\n", ("insmod dummy.ko", "dummy0"), 0),
        (
            "lo",
            "dummy dummy.ko.xz\nbridge llc.ko bridge.ko\n",
            ("insmod dummy.ko.xz", NO_DUMMY, "insmod llc.ko", "insmod bridge.ko", "kmatrix0"),
            0,
        ),
        ("lo bonding_masters", "dummy\n", (NO_DUMMY,), 1),
        ("lo", "", (), 1),
    ],
    ids=["made by its module", "second kind", "none that works", "none listed"],
)
def test_the_interface_is_of_the_first_kind_that_there_can_be(
    root: Path, there: str, listed: str, lines: tuple[str, ...], status: int
) -> None:
    net = root / "sys/class/net"
    for name in there.split():
        (net / name).mkdir(parents=True)
    (root / ".kmatrix/mount").mkdir()
    (root / ".kmatrix/mount/interfaces").write_text(listed, encoding="utf-8")
    assert sections(root, f"net={net}\n{KINDS}")["interface"] == Section(lines, status)


def test_a_kernel_that_shows_no_stack_adds_no_words_of_the_program_that_reads_it(root: Path) -> None:
    found = sections(root, f"expired=yes; {ENDED}", changed={"/proc/$child": "/proc/no-process"})["call"]
    assert found == Section((), 137)


def test_the_machines_state_under_secure_boot_is_told_in_the_kernels_own_words(root: Path) -> None:
    (root / "proc").mkdir()
    key = "2e8226da I--- 1 perm 1f010000 0 0 asymmetri lab modules: 5afc: X509.rsa cd31a07e []"
    (root / "proc/keys").write_text(f"052fbb27 I--Q--- 1 perm 1f3f0000 0 65534 keyring _uid: 1\n{key}\n", "utf-8")
    for name, text in {"lockdown": "none [integrity] confidentiality\n", "sig_enforce": "Y\n"}.items():
        (root / name).write_text(text, encoding="utf-8")
    changed = {
        "/sys/kernel/security/lockdown": f"{root}/lockdown",
        "/sys/module/module/parameters/sig_enforce": f"{root}/sig_enforce",
        "/proc/keys": f"{root}/proc/keys",
        "  dmesg | grep": "  printf 'x\\nsecureboot: Secure boot enabled\\n' | grep",
        "mount -t securityfs none": ":",
    }
    found = sections(root, "secured", changed)
    assert {name: section.lines for name, section in found.items()} == {
        "secure-boot": ("secureboot: Secure boot enabled",),
        "securityfs": (),
        "lockdown": ("none [integrity] confidentiality",),
        "sig-enforce": ("Y",),
        "keys": (key,),
    }
