"""The boot gate's judgement: one transcript of a good boot, and every fault as one change of it."""

from __future__ import annotations

import re

import pytest

from kmatrix.decide.boot import Booted, judge_boot
from kmatrix.decide.formats.transcript import read_transcript
from kmatrix.values.boot import BootReport, End

KERNEL = "6.1.0-56-amd64"
EXPECTED = Booted(KERNEL, "8.98.1", "5EDA9FA7DAD7685145E25C4")


def section(name: str, *lines: str, status: int = 0) -> str:
    return "".join(
        [f"@kmatrix begin {name}\n", *(f"@kmatrix| {line}\n" for line in lines), f"@kmatrix end {name} {status}\n"]
    )


def cycle(number: int) -> str:
    return (
        f"@kmatrix step load-{number}\n"
        + section(f"load-{number}")
        + section(f"modules-{number}", "beegfs 16384 0 - Live 0xffffffffc05a0000 (OE)")
        + section(f"filesystems-{number}", "nodev\tbeegfs")
        + section(f"proc-{number}", "status", "version")
        + section(f"sys-{number}", "version=8.98.1", f"srcversion={EXPECTED.srcversion}", "taint=OE", "refcnt=0")
        + section(f"tainted-{number}", "12288")
        + f"@kmatrix step unload-{number}\n"
        + section(f"unload-{number}")
        + section(f"left-{number}")
    )


GOOD = (
    "SeaBIOS (version 1.16.2)\n@kmatrix init\n"
    + section("uname", KERNEL)
    + section("whole")
    + section("modprobe", "/usr/sbin/modprobe")
    + section("tainted-0", "0")
    + cycle(1)
    + cycle(2)
    + "@kmatrix step end\n"
    + section(
        "log",
        "[    4.500000] kmatrix: step load-1",
        "[    4.600000] beegfs: loading out-of-tree module taints kernel.",
        "[    4.700000] beegfs: module verification failed: signature and/or required key missing - tainting kernel",
        "[    4.800000] kmatrix: step unload-1",
        "[    4.900000] kmatrix: step load-2",
        "[    5.000000] kmatrix: step unload-2",
        "[    5.100000] kmatrix: step end",
    )
    + "@kmatrix done\n[    5.6] reboot: Power down\n"
)


def judge(text: str, end: End = "powered-off") -> BootReport:
    return judge_boot(read_transcript(text.splitlines()), end, EXPECTED)


def logged(line: str, step: str = "load-1") -> str:
    return GOOD.replace(f"kmatrix: step {step}\n", f"kmatrix: step {step}\n@kmatrix| [    4.55] {line}\n")


def cut(after: str, *lines: str) -> str:
    """Return the serial line of a kernel that dies after `after`, having printed `lines`."""
    return GOOD[: GOOD.index(after) + len(after)] + "".join(f"[    4.900000] {line}\n" for line in lines)


def refused(words: str, kernel_words: str = "") -> str:
    failed = GOOD.replace(section("load-1"), section("load-1", words, status=1))
    head, _, tail = failed.partition("@kmatrix begin modules-1")
    text = head + tail[tail.index("@kmatrix step end") :]
    said = f"kmatrix: step load-1\n@kmatrix| [    4.55] {kernel_words}\n"
    return text.replace("kmatrix: step load-1\n", said) if kernel_words else text


def test_a_good_boot_passes() -> None:
    assert judge(GOOD) == BootReport("passed", "booted", "loaded and unloaded twice in its own kernel")


def test_a_root_that_was_cut_short_says_nothing_about_the_module() -> None:
    """The messages of modprobe are not to be believed then."""
    cut = GOOD.replace(section("whole"), section("whole", status=1))
    cut = cut.replace(section("modprobe", "/usr/sbin/modprobe"), section("modprobe", "not found", status=127))
    report = judge(cut)
    assert (report.verdict, report.code) == ("errored", "root-incomplete")


CASES = {
    "wrong-kernel-booted": GOOD.replace(f"| {KERNEL}", "| 6.1.0-55-amd64"),
    "modprobe-missing": GOOD.replace(
        section("modprobe", "/usr/sbin/modprobe"), section("modprobe", "modprobe: not found", status=127)
    ),
    "dependency-missing": refused("modprobe: FATAL: Module ib_core not found in directory /opt/lib/modules/6.1.0"),
    "load-refused": refused(
        "modprobe: ERROR: could not insert 'beegfs': Invalid argument",
        "beegfs: disagrees about version of symbol ib_register_client",
    ),
    "init-failed": refused("modprobe: ERROR: could not insert 'beegfs': Invalid argument"),
    "oops": cut(
        "@kmatrix step load-1\n", "BUG: kernel NULL pointer dereference, address: 0000000000000000", "Oops: 0002"
    ),
    "panic": cut("@kmatrix step load-1\n", "Kernel panic - not syncing: beegfs: fault"),
    "not-loaded": GOOD.replace(
        section("modules-1", "beegfs 16384 0 - Live 0xffffffffc05a0000 (OE)"), section("modules-1")
    ),
    "no-filesystem": GOOD.replace(section("filesystems-2", "nodev\tbeegfs"), section("filesystems-2", status=1)),
    "no-proc-entry": GOOD.replace(section("proc-1", "status", "version"), section("proc-1", "ls: no", status=1)),
    "loaded-version": GOOD.replace("version=8.98.1", "version=8.98.0", 1),
    "loaded-srcversion": GOOD.replace(EXPECTED.srcversion, "0000000000000000000000"),
    "unload-refused": GOOD.replace(
        section("unload-1"), section("unload-1", "modprobe: FATAL: Module is in use.", status=1)
    ),
    "log-dirty": logged("WARNING: CPU: 0 PID: 60 at fs/beegfs.c:1 init"),
}


@pytest.mark.parametrize("code", sorted(CASES))
def test_each_fault_has_a_code_of_its_own(code: str) -> None:
    report = judge(CASES[code])
    assert (report.verdict, report.code) == ("failed", code)
    assert report.findings
    assert report.message


@pytest.mark.parametrize("left", ["/proc/fs/beegfs", "/sys/module/beegfs", "nodev\tbeegfs", "beegfs_inode_cache"])
def test_what_stays_after_unloading_is_a_leak(left: str) -> None:
    report = judge(GOOD.replace(section("left-1"), section("left-1", left)))
    assert report.code == "leak"
    assert left in report.message


def test_a_second_load_that_fails_is_a_leak() -> None:
    failed = section("load-2", "modprobe: ERROR: could not insert 'beegfs': Cannot allocate memory", status=1)
    assert judge(GOOD.replace(section("load-2"), failed)).code == "leak"


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: possible circular locking dependency detected",
        "BUG: sleeping function called from invalid context at mm/slab.h:1",
        "Call Trace:",
        "beegfs: Unknown symbol nothing (err -2)",
        "refcount_t: underflow; use-after-free.",
        "kmem_cache_destroy beegfs: Slab cache still has objects, Objects remaining in beegfs",
        "proc_dir_entry 'fs/beegfs' already registered",
        "INFO: task modprobe:60 blocked for more than 120 seconds.",
    ],
)
@pytest.mark.parametrize("step", ["load-1", "unload-1", "load-2", "unload-2", "end"])
def test_a_complaint_in_the_kernel_log_fails_at_every_step(line: str, step: str) -> None:
    report = judge(logged(line, step))
    assert report.code == "log-dirty"
    assert line in report.message


def test_what_the_kernel_said_before_the_first_step_is_not_the_modules() -> None:
    early = GOOD.replace(
        "@kmatrix| [    4.5] kmatrix", "@kmatrix| [    1.0] WARNING: of the machine\n@kmatrix| [    4.5] kmatrix"
    )
    assert judge(early).verdict == "passed"


@pytest.mark.parametrize(("value", "letters"), [("12800", "W"), ("4608", "W"), ("12289", "P"), ("28672", "L")])
def test_any_other_taint_fails(value: str, letters: str) -> None:
    report = judge(GOOD.replace(section("tainted-1", "12288"), section("tainted-1", value)))
    assert report.code == "taint"
    assert letters in report.message


def test_a_taint_the_kernel_had_before_is_not_the_modules() -> None:
    before = re.sub(r"\| 12288", "| 12800", GOOD.replace(section("tainted-0", "0"), section("tainted-0", "512")))
    assert judge(before).verdict == "passed"


def test_an_unexpected_flag_of_the_module_itself_fails() -> None:
    assert judge(GOOD.replace("taint=OE", "taint=POE", 1)).code == "taint"


def test_a_guest_that_does_not_come_back_hangs_and_the_step_is_named() -> None:
    report = judge(cut("@kmatrix step load-1\n"), "deadline")
    assert (report.verdict, report.code) == ("failed", "hang")
    assert "load-1" in report.message


def test_an_oops_with_a_deadline_is_an_oops() -> None:
    assert judge(CASES["oops"], "deadline").code == "oops"


@pytest.mark.parametrize(
    ("end", "code"), [("no-boot", "no-boot"), ("killed", "guest-killed"), ("powered-off", "no-boot")]
)
def test_a_kernel_that_does_not_reach_init_says_nothing_about_the_module(end: End, code: str) -> None:
    report = judge("SeaBIOS\n[    0.0] Linux version 6.1\n", end)
    assert (report.verdict, report.code) == ("errored", code)


def test_a_guest_killed_in_mid_step_says_nothing_about_the_module() -> None:
    report = judge(cut("@kmatrix step unload-1\n"), "killed")
    assert (report.verdict, report.code) == ("errored", "guest-killed")


def test_a_line_the_kernel_wrote_into_is_still_ours() -> None:
    broken = GOOD.replace("@kmatrix step load-1\n", "[    4.400000] some driver: ready@kmatrix step load-1\r\n")
    assert judge(broken).verdict == "passed"


SECTIONS = re.findall(r"@kmatrix begin (\S+)", GOOD)


@pytest.mark.parametrize("missing", SECTIONS)
def test_a_report_that_is_missing_never_counts_as_good(missing: str) -> None:
    text = re.sub(rf"@kmatrix begin {missing}\n(@kmatrix\|.*\n)*@kmatrix end {missing} 0\n", "", GOOD)
    assert text != GOOD
    assert judge(text).verdict != "passed"


@pytest.mark.parametrize("broken", SECTIONS)
def test_a_report_whose_end_was_overwritten_never_counts_as_good(broken: str) -> None:
    text = GOOD.replace(f"@kmatrix end {broken} 0\n", f"@kmatrix end {broken} [    4.4] some driver: ready\n")
    assert text != GOOD
    report = judge(text)
    assert (report.verdict, report.code) == ("errored", "report-missing")
    assert broken in report.message


def test_taint_flags_that_cannot_be_read_say_nothing_about_the_module() -> None:
    report = judge(GOOD.replace("@kmatrix| 12288\n", "@kmatrix| 122[    4.7] some driver: ready\n", 1))
    assert (report.verdict, report.code) == ("errored", "report-missing")


def test_a_panic_on_a_line_of_ours_is_the_kernels() -> None:
    until = GOOD[: GOOD.index("@kmatrix begin load-1")]
    text = until + "@kmatrix begin load-1[    4.700000] Kernel panic - not syncing: beegfs: fatal\n"
    assert judge(text, "killed").code == "panic"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("modprobe: error while loading shared libraries: libkmod.so.2: No such file or directory", "modprobe-failed"),
        ("modprobe: unrecognized option: S", "modprobe-failed"),
        ("modprobe: FATAL: Module beegfs not found in directory /opt/lib/modules/x", "modprobe-failed"),
        ("modprobe: ERROR: could not insert 'ib_core': Cannot allocate memory", "modprobe-failed"),
        ("modprobe: FATAL: Module rdma_cm not found in directory /opt/lib/modules/x", "dependency-missing"),
        ("modprobe: ERROR: could not insert 'beegfs': Unknown symbol in module, or unknown parameter", "init-failed"),
        ("modprobe: ERROR: could not insert 'beegfs': Required key not available", "load-refused"),
    ],
)
def test_what_modprobe_says_is_not_taken_for_what_the_kernel_says(words: str, code: str) -> None:
    text = GOOD.replace(section("load-1"), section("load-1", words, status=1))
    assert judge(text).code == code


@pytest.mark.parametrize(
    ("line", "dirty"),
    [
        ("Call trace:", True),
        ("failed to validate module [beegfs] BTF: -22", True),
        ("kmem_cache_destroy beegfs: Slab cache still has objects", True),
        ("INFO: task modprobe:12 blocked for more than 120 seconds.", True),
        ("INFO: NMI handler (perf_event_nmi_handler) took too long to run: 1.2 msecs", False),
    ],
)
def test_the_machines_own_stalls_are_not_the_modules(line: str, dirty: bool) -> None:
    text = GOOD.replace(
        "@kmatrix| [    5.100000] kmatrix: step end",
        f"@kmatrix| [    5.050000] {line}\n@kmatrix| [    5.100000] kmatrix: step end",
    )
    assert text != GOOD
    assert (judge(text).code == "log-dirty") is dirty


@pytest.mark.parametrize("step", ["load-1", "unload-1", "load-2", "unload-2", "end"])
def test_a_log_that_lost_a_step_says_nothing_about_the_module(step: str) -> None:
    report = judge(re.sub(rf"@kmatrix\| .* kmatrix: step {step}\n", "", GOOD))
    assert (report.verdict, report.code) == ("errored", "report-missing")
    assert f"the log of {step}" in report.message
