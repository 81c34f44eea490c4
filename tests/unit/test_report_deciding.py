"""The lines that decided a cell's verdict, found in logs as the builder, the kernel and the guest write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from kmatrix.decide.report.deciding import SECTIONS, Place, deciding
from kmatrix.decide.report.model import LogText
from kmatrix.values.cells import CellResult, Finding, Verdict
from tests.unit.support.finding_codes import finding_codes, package_sources

SOURCE = Path(__file__).parents[2] / "scripts" / "kmatrix"
CELL = "7.98.1-6.1.0-56-amd64"
ERROR = "/opt/beegfs/src/source/inode.c:77:9: error: implicit declaration of function 'generic_fillattr'"
BUILD = (
    "Step 21/21 : RUN /kmatrix/build-module 6.1.0-56-amd64",
    "make[1]: Entering directory '/usr/src/linux-headers-6.1.0-56-amd64'",
    *(f"  CC [M]  /opt/beegfs/src/source/{name}.o" for name in ("client", "config", "device", "file", "inode")),
    ERROR,
    "   77 |         generic_fillattr(inode, stat);",
    "      |         ^~~~~~~~~~~~~~~~",
    "cc1: some warnings being treated as errors",
    "make[3]: *** [scripts/Makefile.build:250: source/inode.o] Error 1",
    *(f"filler {number}" for number in range(20)),
)
ENDED = (f"kmatrix: compile-error: {ERROR}", f"kmatrix: failed: build: {ERROR}")
# What Linux 6.1.0-56-amd64 of Debian printed when a module's init read address 0, and when it warned.
OOPS = (
    "@kmatrix init",
    "@kmatrix step load-1",
    "[    5.802193] BUG: kernel NULL pointer dereference, address: 0000000000000000",
    "[    5.807726] #PF: supervisor read access in kernel mode",
    "[    5.808140] Oops: 0000 [#1] PREEMPT SMP NOPTI",
    "[    5.808759] RIP: 0010:beegfs_init+0x8/0x1000 [beegfs]",
    *(f"[    5.81{number:04}]  frame_{number}+0x1/0x2" for number in range(40)),
)
GUEST = """\
@kmatrix init
@kmatrix begin uname
@kmatrix| 6.1.0-56-amd64
@kmatrix end uname 0
@kmatrix step load-1
@kmatrix begin load-1
@kmatrix| modprobe: ERROR: could not insert 'beegfs': Invalid argument
@kmatrix end load-1 1
@kmatrix begin idle-1
@kmatrix| thread beegfs_Flusher
@kmatrix end idle-1 0
@kmatrix begin held-1
@kmatrix| modprobe: FATAL: Module beegfs is in use.
@kmatrix end held-1 1
@kmatrix begin unmounted-1
@kmatrix| thread beegfs_Flusher
@kmatrix end unmounted-1 0
@kmatrix begin unload-1
@kmatrix| modprobe: FATAL: Module beegfs is in use.
@kmatrix end unload-1 1
@kmatrix begin left-1
@kmatrix end left-1 0
@kmatrix begin left-2
@kmatrix| /proc/fs/beegfs
@kmatrix end left-2 0
@kmatrix begin modprobe
@kmatrix end modprobe 127
@kmatrix step end
@kmatrix begin log
@kmatrix| [    3.203467] ------------[ cut here ]------------
@kmatrix| [    3.203545] WARNING: CPU: 0 PID: 92 at fault.h:75 beegfs_init+0x6/0x1000 [beegfs]
@kmatrix| [    3.205011] Call Trace:
@kmatrix| [    3.246605] beegfs: disagrees about version of symbol register_filesystem
@kmatrix| [    4.434384] WARNING: CPU: 0 PID: 92 at fault.h:75 beegfs_init+0x6/0x1000 [beegfs]
@kmatrix end log 0
@kmatrix done""".splitlines()


def build_log(lines: Sequence[str]) -> LogText:
    return LogText(f"{CELL}.log", "build and gates", tuple(lines))


def console(lines: Sequence[str], name: str = f"{CELL}.serial.log") -> LogText:
    return LogText(name, "console of the boot", tuple(lines))


def result(verdict: Verdict, *findings: Finding, serial: str = "", gate: str = "") -> CellResult:
    gates: dict[str, Verdict] = {gate: verdict} if gate else {}
    return CellResult(
        *(CELL, "7.98.1", "6.1.0-56-amd64", (), verdict, "why"),
        findings=findings,
        gates=gates,
        serial=f"build/logs/lab/{serial}" if serial else "",
    )


def decided(places: Sequence[Place]) -> list[str]:
    return [text for place in places for _, text, decides in place.numbered if decides]


def test_the_compilers_line_decides_and_not_the_copy_at_the_end_of_the_log() -> None:
    (place,) = deciding(result("failed", Finding("build", "compile-error", ERROR)), [build_log((*BUILD, *ENDED))])
    assert place.deciding == {8}
    assert decided([place]) == [ERROR]
    assert (place.first, place.last) == (5, 14)


def test_the_compilers_line_of_the_last_run_decides() -> None:
    lines = (*BUILD, *ENDED, *BUILD, *ENDED)
    (place,) = deciding(result("failed", Finding("build", "compile-error", ERROR)), [build_log(lines)])
    assert place.deciding == {len(BUILD) + len(ENDED) + 8}


def test_a_line_behind_the_stamp_of_a_builder_is_found() -> None:
    lines = ("#12 RUN build-module", f"#12 4.216 {ERROR}", *ENDED)
    (place,) = deciding(result("failed", Finding("build", "compile-error", ERROR)), [build_log(lines)])
    assert place.deciding == {2}


def test_places_that_overlap_are_one_and_there_are_four_at_most() -> None:
    near = [Finding("build", "compile-error", f"a.c:{number}: error: x") for number in range(3)]
    lines = [finding.message for finding in near]
    (place,) = deciding(result("failed", *near), [build_log(lines)])
    assert place.deciding == {1, 2, 3}
    far = [Finding("build", "compile-error", f"a.c:{number}: error: x") for number in range(9)]
    lines = [text for finding in far for text in (finding.message, *(["-"] * 30))]
    places = deciding(result("failed", *far), [build_log(lines)])
    assert [decided([each]) for each in places] == [[finding.message] for finding in far[:4]]


@pytest.mark.parametrize(("code", "check"), [("oops", "boot"), ("mount-oops", "mount")])
def test_the_kernels_first_words_of_a_crash_decide_and_its_trace_is_shown(code: str, check: str) -> None:
    words = "BUG: kernel NULL pointer dereference, address: 0000000000000000"
    finding = Finding(check, code, f"the kernel oopsed in step load-1: {words}", "no oops", words)
    (place,) = deciding(result("failed", finding, gate=check), [build_log(BUILD), console(OOPS)])
    assert place.log == f"{CELL}.serial.log"
    assert place.deciding == {3}
    assert len(place.lines) > 25


@pytest.mark.parametrize(
    ("code", "check", "actual", "numbers"),
    [
        ("init-failed", "boot", "Invalid argument", {7}),
        ("load-refused", "boot", "beegfs: disagrees about version of symbol register_filesystem", {33}),
        ("unload-refused", "boot", "modprobe: FATAL: Module beegfs is in use.", {19}),
        ("leak", "boot", "/proc/fs/beegfs", {24}),
        ("threads-left", "mount", "beegfs_Flusher", {16}),
        ("modprobe-missing", "boot", "", {27}),
        ("wrong-kernel-booted", "boot", "6.1.0-56-amd64", {3}),
    ],
)
def test_the_guests_lines_decide(code: str, check: str, actual: str, numbers: set[int]) -> None:
    finding = Finding(check, code, f"a message: {actual}", "something else", actual)
    (place,) = deciding(result("failed", finding, gate=check), [build_log(BUILD), console(GUEST)])
    assert place.deciding == numbers


def test_every_complaint_of_the_kernel_has_its_own_line() -> None:
    words = "WARNING: CPU: 0 PID: 92 at fault.h:75 beegfs_init+0x6/0x1000 [beegfs]"
    findings = [
        Finding("boot", "log-dirty", text, "a clean kernel log", text) for text in (words, "Call Trace:", words)
    ]
    (place,) = deciding(result("failed", *findings, gate="boot"), [console(GUEST)])
    assert place.deciding == {31, 32, 34}


def test_of_a_hang_the_last_step_decides() -> None:
    finding = Finding("boot", "hang", "the guest did not come back", "an end", "nothing more after load-1")
    lines = (
        "@kmatrix init",
        "@kmatrix step load-1",
        "[   48.538392] watchdog: BUG: soft lockup - CPU#0 stuck for 45s!",
    )
    (place,) = deciding(result("failed", finding, gate="boot"), [console(lines)])
    assert place.deciding == {2}
    assert place.last == 3


def test_the_console_that_the_result_names_is_read() -> None:
    finding = Finding("boot", "init-failed", "it failed", "success", "Invalid argument")
    other = console(("@kmatrix init",))
    named = console(GUEST, f"{CELL}.alone.serial.log")
    (place,) = deciding(result("failed", finding, serial=named.name), [other, named])
    assert place.log == named.name


def test_a_finding_about_the_image_has_its_line_in_the_log_of_the_gates() -> None:
    line = "kmatrix: crc-mismatch: the CRC of printk differs"
    lines = (*BUILD, line, "kmatrix: failed: crc-mismatch: the CRC of printk differs")
    static = result("failed", Finding("static", "crc-mismatch", "the CRC of printk differs"), gate="static")
    assert decided(deciding(static, [build_log(lines)])) == [line]
    lines = ("kmatrix: config-missing: no file", "kmatrix: failed: mount: no file")
    mount = result("failed", Finding("mount", "config-missing", "no file"), gate="mount")
    assert decided(deciding(mount, [build_log(lines), console(GUEST)])) == [lines[0]]


def test_of_an_errored_cell_the_last_lines_decide() -> None:
    lines = (*BUILD, "kmatrix: errored: the container engine is unreachable", "")
    (place,) = deciding(result("errored"), [build_log(lines)])
    assert decided([place]) == ["kmatrix: errored: the container engine is unreachable"]
    assert len(place.lines) == 12


def test_of_a_guest_that_ended_early_the_last_lines_of_its_console_are_shown_too() -> None:
    cut = console(("@kmatrix init", "@kmatrix step load-1"))
    places = deciding(result("errored", gate="boot"), [build_log(BUILD), cut])
    assert [place.log for place in places] == [f"{CELL}.log", f"{CELL}.serial.log"]
    places = deciding(result("errored", gate="boot"), [build_log(BUILD), console(GUEST)])
    assert [place.log for place in places] == [f"{CELL}.log"]


@pytest.mark.parametrize("verdict", ["passed", "skipped"])
def test_a_good_cell_has_no_deciding_lines(verdict: Verdict) -> None:
    assert deciding(result(verdict), [build_log(BUILD)]) == ()


def test_without_logs_or_lines_nothing_decides() -> None:
    failed = result("failed", Finding("build", "compile-error", ERROR), Finding("boot", "oops", "x", "", "x"))
    assert deciding(failed, []) == ()
    assert deciding(failed, [build_log(()), console(())]) == ()


def test_every_code_with_sections_exists_and_so_do_its_sections() -> None:
    codes = {each.code for each in finding_codes(package_sources(SOURCE)).used}
    assert SECTIONS.keys() <= codes
    guest = (SOURCE / "guest" / "init").read_text(encoding="utf-8")
    for kind in {kind for kinds in SECTIONS.values() for kind in kinds}:
        assert re.search(rf"\b{kind}\b", guest), kind
