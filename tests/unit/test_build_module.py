"""images/beegfs-client/build-module with real make, in a tree of its own: which failures are the sources' fault."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "images" / "beegfs-client" / "build-module"
KERNEL = "5.14.0-1.el9.x86_64"
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
_COMPILED = "cp /dev/null beegfs.ko"
# In the form of real records: of kernel 6.1 by the vendor's Makefile, of 6.12 by the lab's, of a link and of modpost.
_RECORDS = {
    "source/os/.iov_iter.o.cmd": (
        "cmd_/w/build/../source/os/iov_iter.o := gcc -Wp,-MMD,/w/.iov_iter.o.d -D__KERNEL__  -DCC_USING_FENTRY "
        "-DKERNEL_HAS_ITER_KVEC -DOFED_HAS_NETNS -DKERNEL_WRITEPAGE_HAS_FOLIO -I/w/build/../source "
        "-DBEEGFS_MODULE_NAME_STR='\\\"beegfs\\\"' -DBEEGFS_NVFS '-DBEEGFS_VERSION=\\\"8.3.1\\\"' -DMODULE "
        "-DKBUILD_BASENAME='\"iov_iter\"' -c -o /w/iov_iter.o /w/iov_iter.c   ; ./tools/objtool/objtool /w/iov_iter.o\n"
        "source_/w/iov_iter.o := gcc -DKERNEL_HAS_SECOND_LINE -c x.c\n"
    ),
    "source/.main.o.cmd": (
        "savedcmd_../source/main.o := gcc-12 -DBEEGFS_FAULT_OOPS=1 -DBEEGFS_DEBUG=0 -DBEEGFS_LEVEL=12 "
        "'-DBEEGFS_NO_RDMA' -DKERNEL_HAS_ITER_KVEC -DBEEGFS_VERSION='\"8.98.1\"' -c -o main.o main.c\n"
    ),
    "build/.beegfs.o.cmd": "savedcmd_beegfs.o := ld -r -DKERNEL_HAS_LINKED -o beegfs.o @beegfs.mod\n",
    "build/.beegfs.mod.o.cmd": "savedcmd_beegfs.mod.o := gcc -DKERNEL_HAS_MODPOST -c -o beegfs.mod.o beegfs.mod.c\n",
}
_MACROS = ["BEEGFS_FAULT_OOPS", "BEEGFS_NO_RDMA", "BEEGFS_NVFS", "KERNEL_HAS_ITER_KVEC", "KERNEL_WRITEPAGE_HAS_FOLIO"]
_MACROS += ["OFED_HAS_NETNS"]


@dataclass(frozen=True)
class Toolkit:
    """A root with one kernel and the client's sources, and programs that come before the system's."""

    root: Path

    @property
    def source(self) -> Path:
        """The folder where make runs."""
        return self.root / "opt/beegfs/src/client/client_module_8/build"

    def program(self, name: str, body: str) -> None:
        """Put a program before the system's."""
        file = self.root / "bin" / name
        file.write_text(f"#!/bin/bash\n{body}\n")
        file.chmod(0o755)

    def run(self, recipe: str, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script with a makefile of one recipe, in a mount namespace where `before` has run."""
        (self.source / "Makefile").write_text(f"module:\n\t{recipe}\n")
        script = SCRIPT.read_text(encoding="utf-8")
        for place in ("/opt/beegfs", "/sys/fs/cgroup"):
            script = script.replace(place, f"{self.root}{place}")
        script = script.replace('"/lib/modules', f'"{self.root}/lib/modules')
        here = self.root / "build-module"
        here.write_text(f"{before}\n{script}")
        command = ["bash", str(here), KERNEL, "8", "yes", str(self.root / "out")]
        return subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", *command] if before else command,
            env={**os.environ, "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}", "LC_ALL": "C", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def toolkit(tmp_path: Path) -> Toolkit:
    made = Toolkit(tmp_path)
    tree = tmp_path / "lib/modules" / KERNEL
    for folder in (made.source, tree, tmp_path / "bin", tmp_path / "sys/fs/cgroup/memory", tmp_path / "tmp"):
        folder.mkdir(parents=True)
    for name in ("modules.dep", "modules.builtin"):
        (tree / name).touch()
    made.program("modinfo", "echo ib_core")
    made.program("depmod", "exit 0")
    return made


def test_a_module_that_compiles_is_laid_out(toolkit: Toolkit) -> None:
    done = toolkit.run(_COMPILED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (toolkit.root / "out/opt/lib/modules" / KERNEL / "extra/beegfs.ko").is_file()


def with_records(toolkit: Toolkit, names: Iterable[str]) -> str:
    """Return a recipe that leaves these records of a compile behind, and a module."""
    steps = []
    for number, name in enumerate(names):
        kept = toolkit.root / f"record.{number}"
        kept.write_text(_RECORDS[name])
        record = toolkit.source.parent / name
        steps.append(f"mkdir -p {record.parent}; cp {kept} {record}")
    return "; ".join([*steps, _COMPILED])


def test_the_feature_macros_of_the_compile_lie_beside_the_module(toolkit: Toolkit) -> None:
    done = toolkit.run(with_records(toolkit, _RECORDS))
    assert done.returncode == 0, done.stderr
    listed = toolkit.root / "out/opt/lib/modules" / KERNEL / "extra/beegfs.features"
    assert listed.read_text().splitlines() == _MACROS
    assert (stat.S_IMODE(listed.stat().st_mode), listed.stat().st_mtime) == (0o644, 0)
    assert "features-unknown" not in done.stderr


def test_a_compile_without_macros_has_an_empty_list(toolkit: Toolkit) -> None:
    record = toolkit.source.parent / "source/.main.o.cmd"
    done = toolkit.run(f"mkdir {record.parent}; echo 'cmd_x := gcc -DMODULE -c x.c' >{record}; {_COMPILED}")
    assert done.returncode == 0, done.stderr
    assert (toolkit.root / "out/opt/lib/modules" / KERNEL / "extra/beegfs.features").read_text() == ""


@pytest.mark.parametrize("names", [(), ("build/.beegfs.o.cmd", "build/.beegfs.mod.o.cmd")], ids=["none", "no compile"])
def test_a_compile_that_left_no_record_is_told_and_has_no_list(toolkit: Toolkit, names: tuple[str, ...]) -> None:
    done = toolkit.run(with_records(toolkit, names))
    assert (done.returncode, "build-module: warning: features-unknown: kbuild left no record" in done.stderr) == (
        0,
        True,
    )
    assert not (toolkit.root / "out/opt/lib/modules" / KERNEL / "extra/beegfs.features").exists()


def test_records_that_cannot_be_read_stop_the_build(toolkit: Toolkit) -> None:
    toolkit.program(
        "find", f'case $* in *.o.cmd*) echo "find: i/o error" >&2; exit 1 ;; esac; exec {shutil.which("find")} "$@"'
    )
    done = toolkit.run(_COMPILED)
    assert (done.returncode, "build-module: stopped: step-failed: " in done.stderr) == (75, True), done.stderr


def test_a_compile_that_says_no_ends_as_make_does(toolkit: Toolkit) -> None:
    done = toolkit.run("echo 'a.c:1:1: error: no' >&2; exit 1")
    assert (done.returncode, "stopped" in done.stderr) == (2, False), done.stderr
    assert list(toolkit.source.iterdir()) == [toolkit.source / "Makefile"]


def test_a_compile_that_makes_nothing_is_the_sources_fault(toolkit: Toolkit) -> None:
    done = toolkit.run("true")
    assert (done.returncode, "build-module: error: module-missing: " in done.stderr) == (1, True), done.stderr


def test_what_the_script_itself_finds_wrong_stays_its_word(toolkit: Toolkit) -> None:
    shutil.rmtree(toolkit.root / "lib/modules" / KERNEL)
    (toolkit.root / "lib/modules").mkdir(exist_ok=True)
    done = toolkit.run(_COMPILED)
    assert (done.returncode, "build-module: error: toolkit-lacks-kernel: " in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("file", "count"),
    [("memory.events", "low 0\noom 1\noom_kill %d\n"), ("memory/memory.oom_control", "oom_kill %d\n")],
)
def test_a_compile_of_which_the_kernel_killed_a_part_was_stopped(toolkit: Toolkit, file: str, count: str) -> None:
    """Linux's Documentation/admin-guide/cgroup-v2.rst (memory.events), and mm/memcontrol.c for the older file."""
    events = toolkit.root / "sys/fs/cgroup" / file
    events.write_text(count % 3)
    assert toolkit.run("exit 1").returncode == 2
    toolkit.program("gcc", f"printf '{count % 4}' >{events}; exit 1".replace("\n", "\\n"))
    done = toolkit.run("gcc")
    assert (done.returncode, "build-module: stopped: out-of-memory: " in done.stderr) == (75, True), done.stderr


def test_make_that_is_killed_was_stopped(toolkit: Toolkit) -> None:
    done = toolkit.run("kill -9 $$PPID")
    assert (done.returncode, "build-module: stopped: step-killed: " in done.stderr) == (75, True), done.stderr


@pytest.mark.parametrize("full", ["source", "tmp"])
def test_a_compile_on_a_disk_that_is_full_was_stopped(toolkit: Toolkit, full: str) -> None:
    folder = toolkit.source if full == "source" else toolkit.root / "tmp"
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the kernel gives no user namespaces here")
    mount = f"mount -t tmpfs -o size=64k none '{folder}'"
    if full == "source":
        mount = f"saved=$(cat '{folder}/Makefile'); {mount}; printf '%s\\n' \"$saved\" >'{folder}/Makefile'"
    # Truncation is not always reported as such: an assembler finds that its input ends too early.
    done = toolkit.run(
        "echo '{standard input}: Error: open CFI at the end of file' >&2; exit 1",
        mount,
        TMPDIR=str(toolkit.root / "tmp"),
    )
    assert (done.returncode, f"build-module: stopped: disk-full: cannot write to {folder}\n" in done.stderr) == (
        75,
        True,
    ), done.stderr


@pytest.mark.parametrize("program", ["depmod", "modinfo", "cp"])
def test_what_fails_after_the_compile_says_nothing_about_the_sources(toolkit: Toolkit, program: str) -> None:
    toolkit.program(program, "echo disk full >&2; exit 1")
    done = toolkit.run(": >beegfs.ko")
    assert (done.returncode, "build-module: stopped: step-failed: " in done.stderr) == (75, True), done.stderr
