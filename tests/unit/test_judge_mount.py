"""The mount gate's judgement: one transcript of two good mounts, and every fault as one change of it."""

from __future__ import annotations

import random
import re

import pytest

from kmatrix.decide.formats.transcript import read_transcript
from kmatrix.decide.guest_report import complaints
from kmatrix.decide.mount import judge_mount, mount_began
from kmatrix.values.boot import BootReport, End

THREADS = ("beegfs_DGramLis", "beegfs_XNodeSyn", "beegfs_AckMgr", "beegfs_Flusher")
FOLDER = "/proc/fs/beegfs/c47-2"
# A thread and a file of the module itself, which no mount starts or ends.
IDLE = ("thread beegfs_flush", "proc /proc/fs/beegfs/version")
MOUNTED = (
    *(f"thread {name}" for name in ("beegfs_flush", *THREADS)),
    f"proc {FOLDER}",
    "proc /proc/fs/beegfs/version",
    "mount beegfs_nodev /mnt/beegfs",
)
FILES = tuple(f"{FOLDER}/{name}" for name in ("config", "mgmt_nodes", "meta_nodes", "storage_nodes", "status"))
HELD = "modprobe: FATAL: Module beegfs is in use."
BUSY = "umount: can't unmount /mnt/beegfs: Device or resource busy"
STEPS = [f"{step}-{number}" for number in "12" for step in ("mount", "use", "umount")]


def section(name: str, *lines: str, status: int = 0) -> str:
    return "".join(
        [f"@kmatrix begin {name}\n", *(f"@kmatrix| {line}\n" for line in lines), f"@kmatrix end {name} {status}\n"]
    )


def used(number: int) -> str:
    """Return the calls that need no server, as they fail without one."""
    return (
        section(f"statfs-{number}", "stat: can't read file system information: Resource unavailable", status=1)
        + section(f"lookup-{number}", status=1)
        + section(f"sync-{number}")
    )


def cycle(number: int) -> str:
    return (
        f"@kmatrix step load-{number}\n"
        + section(f"load-{number}")
        + f"@kmatrix step mount-{number}\n"
        + section(f"idle-{number}", *IDLE)
        + section(f"mount-{number}")
        + section(f"mounted-{number}", *MOUNTED)
        + section(f"files-{number}", *FILES)
        + section(f"held-{number}", HELD, status=1)
        + f"@kmatrix step use-{number}\n"
        + used(number)
        + f"@kmatrix step umount-{number}\n"
        + section(f"umount-{number}")
        + section(f"unmounted-{number}", *IDLE)
        + f"@kmatrix step unload-{number}\n"
        + section(f"unload-{number}")
        + section(f"left-{number}")
    )


GOOD = (
    "SeaBIOS (version 1.16.2)\n@kmatrix init\n"
    + section("uname", "6.1.0-56-amd64")
    + section("whole")
    + "@kmatrix step interface\n"
    + section("interface", "dummy0")
    + cycle(1)
    + cycle(2)
    + "@kmatrix step end\n"
    + section(
        "log",
        "[    4.400000] kmatrix: step interface",
        *(
            f"[    {5 + round_}.{index}00000] kmatrix: step {step}-{round_}"
            for round_ in (1, 2)
            for index, step in enumerate(("load", "mount", "use", "umount", "unload"))
        ),
        "[    8.900000] kmatrix: step end",
    )
    + "@kmatrix done\n[    9.0] reboot: Power down\n"
)


def judge(text: str, end: End = "powered-off") -> BootReport:
    return judge_mount(read_transcript(text.splitlines()), end)


def changed(*pairs: tuple[str, str], text: str = GOOD) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def logged(step: str, *lines: str, text: str = GOOD) -> str:
    added = "".join(f"@kmatrix| [    8.050000] {line}\n" for line in lines)
    return changed((f"kmatrix: step {step}\n", f"kmatrix: step {step}\n{added}"), text=text)


def cut(after: str, *lines: str) -> str:
    """Return the serial line of a kernel that dies after `after`, having printed `lines`."""
    assert after in GOOD
    return GOOD[: GOOD.index(after) + len(after)] + "".join(f"[    4.900000] {line}\n" for line in lines)


def without(first: str, last: str, text: str = GOOD) -> str:
    """Return the serial line without the part from the line with `first` to before the line with `last`."""
    start = text.index(f"@kmatrix {first}")
    return text[:start] + text[text.index(f"@kmatrix {last}", start) :]


def refused(*log: str, number: int = 1, output: str = "mount: mounting failed: Operation canceled") -> str:
    text = without(f"begin mounted-{number}", f"begin unmounted-{number}")
    text = changed((section(f"mount-{number}"), section(f"mount-{number}", output, status=255)), text=text)
    return logged(f"mount-{number}", *log, text=text)


def stopped(call: str, status: int, *output: str) -> str:
    """Return the report of a guest that had to kill a call, and went on to its end."""
    text = without(f"begin {call}", "step end")
    return changed(("@kmatrix step end", section(call, *output, status=status) + "@kmatrix step end"), text=text)


def code(report: BootReport) -> tuple[str, str]:
    return report.verdict, report.code


def test_two_good_mounts_pass() -> None:
    assert judge(GOOD) == BootReport("passed", "mounted", "mounted and unmounted twice without a server")


def state(*without_words: str, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    return (*(line for line in MOUNTED if not any(word in line for word in without_words)), *more)


def with_state(kind: str, number: int, *lines: str) -> str:
    was = MOUNTED if kind == "mounted" else IDLE
    return changed((section(f"{kind}-{number}", *was), section(f"{kind}-{number}", *lines)))


CASES = {
    "mount-refused": refused("beegfs: mount(71): App (init): Couldn't find any usable NIC"),
    "config-rejected": refused("beegfs: mount(71): The config argument 'connClientPort' is invalid"),
    "mount-hang": stopped("mount-1", 137),
    "mount-oops": cut("@kmatrix step mount-1\n", "BUG: kernel NULL pointer dereference, address: 0000000000000000"),
    "mount-panic": cut("@kmatrix step use-2\n", "Kernel panic - not syncing: beegfs: fault"),
    "mount-not-listed": with_state("mounted", 1, *state("mount ")),
    "mount-threads-missing": with_state("mounted", 2, *state(*THREADS)),
    "mount-proc-missing": with_state("mounted", 1, *state(FOLDER)),
    "unload-while-mounted": changed((section("held-1", HELD, status=1), section("held-1"))),
    "umount-busy": changed((section("umount-1"), section("umount-1", BUSY, status=1))),
    "umount-hang": stopped("umount-2", 124),
    "threads-left": with_state("unmounted", 1, *IDLE, "thread beegfs_AckMgr"),
    "mount-proc-left": with_state("unmounted", 2, *IDLE, f"proc {FOLDER}"),
    "leak-after-mount": changed((section("left-1"), section("left-1", "beegfs_inodes"))),
    "mount-log-dirty": logged("umount-2", "WARNING: CPU: 0 PID: 60 at fs/dcache.c:1 umount_check+0x1/0x2"),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_each_fault_has_a_code_of_its_own(name: str) -> None:
    report = judge(CASES[name])
    assert code(report) == ("failed", name)
    assert [(each.check, each.code) for each in report.findings] == [("mount", name)]
    assert report.message


ERRORED: dict[str, tuple[str, End]] = {
    "no-boot": ("SeaBIOS\n", "no-boot"),
    "guest-killed": (cut("@kmatrix step use-1\n"), "killed"),
    "root-incomplete": (changed((section("whole"), section("whole", status=1))), "powered-off"),
    "mount-interface-missing": (
        without("step mount-1", "step end").replace(
            section("interface", "dummy0"), section("interface", "ip: RTNETLINK answers: Not supported", status=1)
        ),
        "powered-off",
    ),
    "mount-report-missing": (GOOD.replace(section("files-2", *FILES), ""), "powered-off"),
}


@pytest.mark.parametrize("name", sorted(ERRORED))
def test_a_guest_that_shows_nothing_about_the_mounts_is_errored(name: str) -> None:
    text, end = ERRORED[name]
    report = judge(text, end)
    assert code(report) == ("errored", name)
    assert not report.findings


def test_a_missing_interface_is_reported_with_the_guests_words() -> None:
    report = judge(ERRORED["mount-interface-missing"][0])
    assert "loopback" in report.message
    assert "RTNETLINK answers: Not supported" in report.message


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("lines", "name", "words"),
    [
        (("BUG: unable to handle page fault for address: dead", "Oops: 0002 [#1]"), "mount-oops", "page fault"),
        (("Kernel panic - not syncing: made up",), "mount-panic", "made up"),
    ],
)
def test_a_crash_in_any_step_of_a_mount_names_the_step(
    step: str, lines: tuple[str, ...], name: str, words: str
) -> None:
    report = judge(cut(f"@kmatrix step {step}\n", *lines), "deadline")
    assert code(report) == ("failed", name)
    assert f"in step {step}" in report.message
    assert words in report.message


def test_a_crash_after_the_last_report_of_a_step_is_found_too() -> None:
    report = judge(cut("@kmatrix end unmounted-2 0\n", "kernel BUG at fs/super.c:1!"), "killed")
    assert code(report) == ("failed", "mount-oops")


@pytest.mark.parametrize("step", STEPS)
def test_a_deadline_in_any_step_of_a_mount_is_a_hang_there(step: str) -> None:
    report = judge(cut(f"@kmatrix step {step}\n"), "deadline")
    assert code(report) == ("failed", "umount-hang" if step.startswith("umount") else "mount-hang")
    assert step in report.message


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("call", ["mount", "statfs", "lookup", "sync", "umount"])
@pytest.mark.parametrize(("status", "words"), [(137, "was killed"), (124, "stays in the kernel even when killed")])
def test_a_call_that_does_not_return_is_a_hang(call: str, number: int, status: int, words: str) -> None:
    report = judge(stopped(f"{call}-{number}", status))
    assert code(report) == ("failed", "umount-hang" if call == "umount" else "mount-hang")
    assert words in report.message
    assert f"{call}-{number}" in report.message


def test_a_call_that_cannot_be_killed_shows_where_it_stands_in_the_kernel() -> None:
    """As cat prints wchan, which has no end of line, and stack."""
    stack = ("beegfs_fill_super[<0>] msleep+0x2d/0x40", "[<0>] beegfs_fill_super+0x1a0/0x300 [beegfs]", "[<0>] x86+0x1")
    report = judge(stopped("mount-1", 124, *stack))
    assert "it stood in msleep, called by beegfs_fill_super, called by x86" in report.message
    assert report.findings[0].actual == "msleep, called by beegfs_fill_super, called by x86"


@pytest.mark.parametrize(("output", "words"), [("do_wait", "it stood in do_wait"), ("0", "when killed")])
def test_a_kernel_without_stacks_tells_the_place_alone(output: str, words: str) -> None:
    assert judge(stopped("umount-1", 124, output)).message.endswith(words)


REASONS = {
    "beegfs: mount(71): The config argument 'noSuch' is invalid": True,
    "beegfs: mount(71): Invalid argument for sysTargetOfflineTimeoutSecs: 1 (must be at least 30)": True,
    "beegfs: mount(71): Failed to open config file: '/etc/x'": True,
    "beegfs: mount(71): Error occurred while reading the config file (line: 1, file: '/etc/x')": True,
    "beegfs: mount(71): Management host undefined": True,
    "beegfs: mount(71): No connAuthFile configured. Using BeeGFS without connection authentication": True,
    "beegfs: mount(71): Failed to open auth file: '/etc/beegfs/conn.auth'": True,
    "beegfs: mount(71): Auth file is empty or too small: '/etc/beegfs/conn.auth'": True,
    "beegfs: mount(71): App (init data objects): Unable to load configured interfaces file: /x": True,
    "beegfs: mount(71): App (init local node info): Couldn't find any usable NIC": False,
    # Of the lab's stand-in.
    "beegfs: cannot read the configuration file '/x': error -2": True,
    "beegfs: sysMgmtdHost 'a.example' is not an IP address": True,
    "beegfs: no connAuthFile: name a file with the secret, or set connDisableAuthentication = true": True,
    "beegfs: the secret of connAuthFile '/x' is too short": True,
    "beegfs: no usable interface: none but the loopback is up and has an IPv4 address": False,
}


@pytest.mark.parametrize("line", REASONS)
def test_the_line_with_the_reason_decides_whether_the_configuration_is_at_fault(line: str) -> None:
    """The vendor's client calls every failure of its first initialisation a configuration error."""
    general = "beegfs: mount(71): Configuration error: Initialization of common objects failed."
    report = judge(refused("beegfs: mount(71): Built without NVFS RDMA support.", line, general))
    assert report.code == ("config-rejected" if REASONS[line] else "mount-refused")
    assert report.findings[0].actual == line
    assert line in report.message


def test_a_configuration_error_without_a_reason_is_the_configurations() -> None:
    line = "beegfs: mount(71): Configuration error: Initialization of common objects failed."
    report = judge(refused(line))
    assert (report.code, report.findings[0].actual) == ("config-rejected", line)


def test_a_refused_mount_is_told_in_the_clients_own_words() -> None:
    line = "beegfs: mount(71): Mount sanity check failed. Canceling mount."
    log = (
        "dummy0: another driver failed",
        "beegfs: mount(71): IPv6 availability check failed during connect. Falling back to IPv4",
        line,
        "beegfs: mount(71): App (stop): All components stopped.",
        "beegfs: mount(71): the mount is refused",
    )
    assert judge(refused(*log)).findings[0].actual == line


def test_a_refused_mount_without_a_word_of_the_kernel_has_the_words_of_mount() -> None:
    report = judge(refused(output="mount: mounting beegfs_nodev: No such device"))
    assert code(report) == ("failed", "mount-refused")
    assert report.findings[0].actual == "mount: mounting beegfs_nodev: No such device"


def test_a_second_mount_that_is_refused_fails_too() -> None:
    assert judge(refused("beegfs: mount(93): cannot register", number=2)).code == "mount-refused"


@pytest.mark.parametrize(
    ("files", "status", "words"),
    [
        ((), 1, "there is none"),
        ((*FILES, f"cat: can't open '{FILES[0]}': Permission denied"), 1, "config': Permission denied"),
        ((*FILES, f"cat: read error on '{FILES[1]}': Input/output error"), 1, "mgmt_nodes': Input/output error"),
        (("/proc/fs/beegfs/another/config",), 0, f"{FOLDER}/ has no files"),
    ],
)
def test_files_in_proc_that_cannot_be_read_fail(files: tuple[str, ...], status: int, words: str) -> None:
    report = judge(changed((section("files-1", *FILES), section("files-1", *files, status=status))))
    assert code(report) == ("failed", "mount-proc-missing")
    assert report.message.endswith(words)


def test_a_mount_without_a_folder_in_proc_and_a_module_that_could_be_unloaded_are_told_as_such() -> None:
    assert "no entry below /proc/fs/beegfs" in judge(CASES["mount-proc-missing"]).message
    assert "can be unloaded while" in judge(CASES["unload-while-mounted"]).message


@pytest.mark.parametrize("said", ["modprobe: ERROR: could not remove 'beegfs': Operation not permitted", ""])
def test_a_refusal_to_unload_must_say_that_the_module_is_in_use(said: str) -> None:
    assert judge(changed((section("held-2", HELD, status=1), section("held-2", said, status=1)))).code == (
        "unload-while-mounted"
    )


@pytest.mark.parametrize("said", [HELD, "rmmod: ERROR: Module beegfs is in use by: nothing", "beegfs: in use"])
def test_the_programs_words_for_a_module_in_use_may_differ(said: str) -> None:
    assert judge(changed((section("held-1", HELD, status=1), section("held-1", said, status=1)))).verdict == "passed"


def test_a_mount_that_umount_left_is_busy_whatever_else_is_left() -> None:
    report = judge(with_state("unmounted", 1, *MOUNTED))
    assert code(report) == ("failed", "umount-busy")
    assert "/mnt/beegfs" in report.message


def test_a_second_thread_of_a_name_that_was_there_is_left() -> None:
    report = judge(with_state("unmounted", 1, *IDLE, "thread beegfs_flush"))
    assert code(report) == ("failed", "threads-left")
    assert "beegfs_flush" in report.message


def test_the_first_fault_decides_and_not_the_crash_that_follows_from_it() -> None:
    """A thread that is left runs in memory that the unload frees."""
    text = CASES["threads-left"]
    text = text[: text.index("@kmatrix step unload-1\n") + len("@kmatrix step unload-1\n")]
    report = judge(f"{text}[    7.0] BUG: unable to handle page fault for address: dead\n", "killed")
    assert code(report) == ("failed", "threads-left")


@pytest.mark.parametrize(
    "line",
    [
        # fs/super.c of 5.14 and of 6.12
        "VFS: Busy inodes after unmount of beegfs. Self-destruct in 5 seconds.  Have a nice day...",
        "VFS: Busy inodes after unmount of beegfs (beegfs)",
        # fs/dcache.c
        "BUG: Dentry 00000000c0ffee{i=2,n=/}  still in use (1) [unmount of beegfs beegfs]",
    ],
)
def test_what_a_umount_leaves_in_the_kernels_caches_is_a_complaint(line: str) -> None:
    assert code(judge(logged("umount-1", line))) == ("failed", "mount-log-dirty")


@pytest.mark.parametrize("step", ["interface", "load-1", "end"])
@pytest.mark.parametrize(
    ("lines", "end"), [(("Kernel panic - not syncing: x",), "killed"), ((), "deadline")], ids=["crash", "hang"]
)
def test_a_fault_outside_of_the_mounts_is_not_blamed_on_them(step: str, lines: tuple[str, ...], end: End) -> None:
    report = judge(cut(f"@kmatrix step {step}\n", *lines), end)
    assert code(report) == ("errored", "mount-report-missing")
    assert f"step {step}" in report.message


@pytest.mark.parametrize("step", ["unload-1", "load-2", "unload-2"])
@pytest.mark.parametrize(
    ("lines", "end", "expected"),
    [
        (("Kernel panic - not syncing: x",), "killed", "mount-panic"),
        (("BUG: kernel NULL pointer dereference, address: 0",), "killed", "mount-oops"),
        ((), "deadline", "mount-hang"),
    ],
)
def test_a_module_that_is_unloaded_and_loaded_without_a_mount_alone_is_the_mounts_fault(
    step: str, lines: tuple[str, ...], end: End, expected: str
) -> None:
    """The gate `boot` has shown that it is, or shows it by a boot without mounts."""
    report = judge(cut(f"@kmatrix step {step}\n", *lines), end)
    assert code(report) == ("failed", expected)
    assert f"step {step}" in report.message


@pytest.mark.parametrize(
    ("name", "following"), [("unload-1", "step load-2"), ("load-2", "step mount-2"), ("unload-2", "")]
)
def test_a_module_that_a_mount_holds_is_named_with_the_step_that_fails(name: str, following: str) -> None:
    text = changed((section(name), section(name, "modprobe: made-up reason", status=1)))
    report = judge(without(following, "step end", text=text) if following else text)
    assert code(report) == ("failed", "unload-after-mount")
    assert name in report.message
    assert "made-up reason" in report.message


def test_a_machine_that_does_not_power_off_after_a_complete_report_is_no_pass() -> None:
    assert judge(GOOD, "deadline").verdict == "errored"
    assert judge(GOOD + "[    9.1] Kernel panic - not syncing: at shutdown\n").verdict == "errored"


@pytest.mark.parametrize("step", STEPS)
def test_a_complaint_in_the_kernel_log_fails_in_every_step_of_a_mount(step: str) -> None:
    report = judge(logged(step, "BUG: sleeping function called from invalid context at mm/slab.h:1"))
    assert code(report) == ("failed", "mount-log-dirty")
    assert "sleeping function" in report.message


@pytest.mark.parametrize("step", ["interface", "load-1", "end"])
def test_a_complaint_elsewhere_is_the_boot_gates(step: str) -> None:
    assert judge(logged(step, "WARNING: CPU: 0 PID: 60 at somewhere")).verdict == "passed"


@pytest.mark.parametrize("step", ["unload-1", "load-2", "unload-2"])
def test_a_complaint_of_an_unload_or_a_load_after_a_mount_is_the_mounts_unless_there_was_one_before_it(
    step: str,
) -> None:
    """A cache that still has a mount's objects; an image that passed the gate `boot` before shows it here alone."""
    text = logged(step, "kmem_cache_destroy beegfs_inodes: Slab cache still has objects")
    report = judge(text)
    assert code(report) == ("failed", "mount-log-dirty")
    assert "still has objects" in report.message
    assert judge(logged("load-1", "WARNING: CPU: 0 PID: 60 at each load", text=text)).verdict == "passed"


@pytest.mark.parametrize("number", [1, 2])
def test_whatever_an_unload_after_a_mount_leaves_is_named(number: int) -> None:
    report = judge(changed((section(f"left-{number}"), section(f"left-{number}", "/proc/fs/beegfs", "beegfs_inodes"))))
    assert code(report) == ("failed", "leak-after-mount")
    assert f"unload-{number}" in report.message
    assert report.findings[0].actual == "/proc/fs/beegfs, beegfs_inodes"


@pytest.mark.parametrize(
    "line",
    [
        "beegfs: beegfs_XNodeSyn(75): Init: Waiting for beegfs-mgmtd@192.0.2.2:8008...",
        "beegfs: mount(71): Unable to resolve the root entry. Management server offline?",
        "beegfs: stat(80): Stat FS: Communication error: no storage server",
        "beegfs: umount(90): Deregistration: failed. Management node offline?",
        "beegfs: mount(71): Configuration error",
    ],
)
def test_the_clients_words_about_servers_that_it_cannot_reach_are_no_complaint(line: str) -> None:
    assert judge(logged("use-1", line)).verdict == "passed"


def test_an_allowed_line_is_no_complaint() -> None:
    lines = ("INFO: task stat:80 blocked for more than 120 seconds.", "WARNING: CPU: 0")
    assert complaints(lines, (re.compile("blocked for more than"),)) == ["WARNING: CPU: 0"]


@pytest.mark.parametrize("step", STEPS)
def test_a_log_that_lost_a_step_says_nothing_about_the_mounts(step: str) -> None:
    report = judge(re.sub(rf"@kmatrix\| .* kmatrix: step {step}\n", "", GOOD))
    assert code(report) == ("errored", "mount-report-missing")
    assert f"the log of {step}" in report.message


SECTIONS = [name for name in re.findall(r"@kmatrix begin (\S+)", GOOD) if not re.match(r"uname|load|unload", name)]


@pytest.mark.parametrize("broken", SECTIONS)
def test_a_section_whose_end_was_overwritten_never_counts_as_good(broken: str) -> None:
    text = re.sub(rf"@kmatrix end {broken} \d+\n", f"@kmatrix end {broken} [    4.4] some driver: ready\n", GOOD)
    assert text != GOOD
    report = judge(text)
    assert code(report) == ("errored", "mount-report-missing")
    assert broken in report.message


@pytest.mark.parametrize("kind", ["idle", "mounted", "unmounted"])
def test_a_state_with_a_line_that_is_not_the_guests_says_nothing(kind: str) -> None:
    text = changed((f"@kmatrix begin {kind}-2\n", f"@kmatrix begin {kind}-2\n@kmatrix| thr[    4.4] driver: ready\n"))
    report = judge(text)
    assert code(report) == ("errored", "mount-report-missing")
    assert f"{kind}-2" in report.message


def test_the_mounts_began_with_the_first_step_of_one() -> None:
    def began(text: str) -> bool:
        return mount_began(read_transcript(text.splitlines()))

    assert began(GOOD)
    assert began(cut("@kmatrix step mount-1\n"))
    assert began(cut("@kmatrix step unload-1\n"))
    assert not began(cut("@kmatrix step load-1\n"))
    assert not began(ERRORED["mount-interface-missing"][0])


def parts(text: str) -> list[str]:
    """Return the sections and the single lines of a serial line; every section is a part, and so is each line."""
    return [
        *re.findall(r"@kmatrix begin (?:\S+)\n(?:@kmatrix\|.*\n)*@kmatrix end .*\n", text),
        *(f"{line}\n" for line in text.splitlines()),
    ]


# Lines of the boot gate, lines with which nothing is lost as long as others of their kind are there, and output of
# calls whose status alone counts.
DISPENSABLE = re.compile(
    r"SeaBIOS|reboot: |@kmatrix step |@kmatrix (begin|end) (uname|load|unload)-?\d?|\| 6\.1\.0|\| dummy0|"
    r"kmatrix: step (interface|load|unload|end)|\| stat: |"
    rf"\| (thread ({'|'.join(THREADS)})|{FOLDER}/)|"
    # Present before the mount and after it, or in one of the two states while mounted.
    r"\| (thread beegfs_flush|proc /proc/fs/beegfs/version)|"
    # Its lines are then those of the section before it, and the end of this one is there.
    r"@kmatrix begin "
)


@pytest.mark.parametrize("seed", range(40))
def test_no_part_of_the_contract_can_be_lost_and_the_mounts_pass(seed: int) -> None:
    chosen = random.Random(seed)
    places = [match.start() for match in re.finditer(r"(?m)^", GOOD) if match.start() < len(GOOD)]
    for _ in range(30):
        start = chosen.choice(places)
        possible = [part for part in parts(GOOD[start:]) if GOOD.startswith(part, start)]
        lost = chosen.choice(possible)
        report = judge(GOOD[:start] + GOOD[start + len(lost) :])
        whole_section = lost.count("\n") > 1 and not re.match(r"@kmatrix begin (uname|load|unload)", lost)
        if whole_section or not DISPENSABLE.search(lost):
            assert report.verdict != "passed", lost


@pytest.mark.parametrize("end", ["killed", "deadline"])
@pytest.mark.parametrize("seed", range(20))
def test_a_serial_line_that_ends_anywhere_before_its_end_never_passes(seed: int, end: End) -> None:
    lines = GOOD.splitlines(keepends=True)
    until = random.Random(seed).randrange(lines.index("@kmatrix done\n"))
    assert judge("".join(lines[:until]), end).verdict != "passed"
