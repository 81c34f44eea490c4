"""Judge a boot: a transcript and the module file's facts in, one classified report out; nothing is run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kmatrix.decide.formats.transcript import without_stamp
from kmatrix.values.boot import BootReport, End, Section, Transcript
from kmatrix.values.cells import Finding

# The kernel's messages about faults (lib/bug.c, kernel/panic.c, kernel/locking/lockdep.c,
# kernel/module/, lib/refcount.c, mm/slab_common.c, fs/proc/generic.c, fs/sysfs/dir.c).
_DIRTY = re.compile(
    r"WARNING: |BUG: |BUG at |Oops|Kernel panic|general protection fault|[Cc]all [Tt]race:|: [0-9a-f]{4} \[#\d+\]|"
    # Not every INFO: a busy host causes stalls of its own in the guest.
    r"INFO: (task|trying to register|possible|lockdep|suspicious)|"
    r"possible (circular|recursive|irq) lock|inconsistent lock state|suspicious RCU usage|"
    r"Unknown symbol|disagrees about version|"
    r"refcount_t: |cannot create duplicate|already registered|Objects remaining in|still has objects|leaking at least|"
    r"failed to validate module|"
    r"scheduling while atomic|sleeping function called|UBSAN|KASAN|KFENCE"
)
# Messages that are allowed all the same, each with its reason.
_ALLOWED = (
    # The kernel logs this once for every module that is not its own; the taint flags are checked separately.
    re.compile(
        r"loading out-of-tree module taints kernel|module verification failed: signature and/or required key missing"
    ),
)
# The kernel refuses a file before it runs any of its code (kernel/module/main.c, version.c, signing.c).
_REFUSED = re.compile(
    r"Unknown symbol|disagrees about version|version magic|no symbol version|Invalid ELF|Required key not available|"
    r"does not import it|is rejected|failed to validate module|using GPL-only symbol|Invalid relocation|"
    r"Exec format error|Invalid module format|Key was rejected|module_layout"
)
_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
_OOPS = re.compile(
    r"(BUG: unable to handle .*|BUG: kernel NULL pointer.*|general protection fault.*|Oops: .*|kernel BUG at .*|"
    r".*: [0-9a-f]{4} \[#\d+\].*)"
)
_INSERT = re.compile(r"could not insert '?([\w-]+)'?: (.+)")
_NO_LIBRARY = re.compile(r"error while loading shared libraries|unrecognized option|invalid option|Segmentation fault")
_KEY = re.compile(r"Required key not available|Key was rejected")
_MISSING = re.compile(r"(Module \S+ not found.*|could not find module by name.*|No such file or directory.*)")
# /proc/sys/kernel/tainted: bit 12 out-of-tree (O), bit 13 unsigned (E). Documentation/admin-guide/tainted-kernels.rst.
_EXPECTED_TAINT = (1 << 12) | (1 << 13)
_EXPECTED_FLAGS = frozenset("OE")
_TAINT_LETTERS = "PFSRMBUDAWCIOELKXTNJ"
_ROUND = ("load", "modules", "filesystems", "proc", "sys", "tainted", "unload", "left")
_REPORTED = (
    "uname",
    "whole",
    "modprobe",
    "tainted-0",
    *(f"{name}-{number}" for number in "12" for name in _ROUND),
    "log",
)
_STEPS = ("load-1", "unload-1", "load-2", "unload-2", "end")


@dataclass(frozen=True)
class Booted:
    """The facts that a loaded module must show: the cell's kernel, version and srcversion of its file."""

    kernel: str
    version: str
    srcversion: str


def judge_boot(transcript: Transcript, end: End, expected: Booted) -> BootReport:
    """Return the report of a boot; the first fault gives its code.

    Args:
        transcript: the serial line, as read.
        end: how the machine ended.
        expected: the cell's kernel and the facts of its module file.
    """
    if not transcript.init_ran:
        return _no_boot(end)
    kernel = " ".join(_lines(transcript, "uname"))
    if kernel and kernel != expected.kernel:
        message = f"the toolkit's vmlinuz is kernel {kernel}, the cell is for {expected.kernel}"
        return _failed("wrong-kernel-booted", message, expected.kernel, kernel)
    crashed = _crash(transcript)
    if crashed:
        return crashed
    if end == "deadline":
        message = f"the guest did not come back from step {transcript.step or 'start'} within the deadline"
        return _failed("hang", message, "an end", f"nothing more after {transcript.step or 'start'}")
    if not transcript.done:
        return BootReport(
            "errored",
            "guest-killed",
            f"the guest ended in step {transcript.step or 'start'}, without being powered off",
        )
    for name in ("whole", "modprobe"):
        if _status(transcript, name) is None:
            return _report_missing(name)
    if _status(transcript, "whole") != 0:
        return BootReport(
            "errored", "root-incomplete", "the image's root file system did not fit into the guest's memory"
        )
    if _status(transcript, "modprobe") != 0:
        return _failed("modprobe-missing", "the image has no modprobe: its module cannot be loaded with it", "modprobe")
    for number in ("1", "2"):
        problem = _load(transcript, number) or _loaded(transcript, number, expected) or _unload(transcript, number)
        if problem:
            return problem
    return _incomplete(transcript) or _judge_log(transcript)


def _no_boot(end: End) -> BootReport:
    if end == "killed":
        return BootReport("errored", "guest-killed", "the virtual machine was ended from outside before it was up")
    return BootReport("errored", "no-boot", "the kernel did not come up as far as init within the deadline")


def _crash(transcript: Transcript) -> BootReport | None:
    """Return the report of an oops or a panic on the line; with oops=panic both end the guest at once."""
    where = f"in step {transcript.step}"
    for line in map(without_stamp, transcript.console):
        if match := _OOPS.search(line):
            return _failed("oops", f"the kernel oopsed {where}: {match[1]}", "no oops", match[1])
        if match := _PANIC.search(line):
            return _failed("panic", f"the kernel panicked {where}: {match[1]}", "no panic", match[1])
    return None


def _load(transcript: Transcript, number: str) -> BootReport | None:
    section = transcript.sections.get(f"load-{number}", Section((), None))
    if section.status is None:
        return _report_missing(f"load-{number}")
    if section.status == 0:
        return None
    output = " / ".join(section.lines) or "modprobe printed nothing"
    log = transcript.log.get(f"load-{number}", ())
    kernel_line = next((line for line in log if _REFUSED.search(line)), "")
    if number != "1":
        return _failed("leak", f"the second load fails: {output}", "a second load", kernel_line or output)
    if _NO_LIBRARY.search(output):
        return _failed("modprobe-failed", f"the image's own modprobe does not work: {output}", "a modprobe", output)
    missing = _MISSING.search(output)
    if missing and "Module beegfs not found" not in missing[1]:
        message = f"an in-tree module it needs is not where the node has it: {output}"
        return _failed("dependency-missing", message, "every dependency", output)
    # modprobe maps errnos to texts of its own, and init may return the same errnos: only the kernel's log decides.
    if kernel_line or _KEY.search(output):
        refusal = kernel_line or output
        return _failed("load-refused", f"the kernel refuses the module: {refusal}", "", refusal)
    insert = _INSERT.search(output)
    if insert is None or insert[1] != "beegfs":
        return _failed("modprobe-failed", f"modprobe fails, and the kernel logs nothing: {output}", "loaded", output)
    return _failed("init-failed", f"the module's init returned an error: {insert[2]}", "success", insert[2])


def _loaded(transcript: Transcript, number: str, expected: Booted) -> BootReport | None:
    values = dict(line.partition("=")[::2] for line in _lines(transcript, f"sys-{number}"))
    if _status(transcript, f"proc-{number}") is None:
        return _report_missing(f"proc-{number}")
    seen = (
        ("not-loaded", "/proc/modules does not list it", bool(_lines(transcript, f"modules-{number}"))),
        ("no-filesystem", "/proc/filesystems does not list beegfs", bool(_lines(transcript, f"filesystems-{number}"))),
        ("no-proc-entry", "/proc/fs/beegfs is not there", _status(transcript, f"proc-{number}") == 0),
    )
    for code, lack, holds in seen:
        if not holds:
            return _failed(code, f"the module loads, but {lack}", "it", "nothing")
    for code, key, wanted in (
        ("loaded-version", "version", expected.version),
        ("loaded-srcversion", "srcversion", expected.srcversion),
    ):
        if values.get(key) != wanted:
            message = f"the loaded module's {key} is not the file's: another module is loaded"
            return _failed(code, message, wanted, values.get(key, "none"))
    if "taint" not in values:
        return _report_missing(f"sys-{number}")
    unexpected = frozenset(values["taint"]) - _EXPECTED_FLAGS
    if unexpected:
        return _failed(
            "taint", f"the module taints the kernel with {''.join(sorted(unexpected))}", "O, E", values["taint"]
        )
    return _tainted(transcript, number)


def _tainted(transcript: Transcript, number: str) -> BootReport | None:
    masks = [" ".join(_lines(transcript, f"tainted-{n}")) for n in ("0", number)]
    if not all(text.isdigit() for text in masks):
        return _report_missing(f"tainted-{number}")
    before, after = map(int, masks)
    extra = after & ~before & ~_EXPECTED_TAINT
    # A WARN taints too (W): its text in the log is the better message.
    if not extra or _complaints(transcript):
        return None
    letters = "".join(letter for bit, letter in enumerate(_TAINT_LETTERS) if extra >> bit & 1)
    return _failed("taint", f"loading it taints the kernel with {letters}", "O, E", letters)


def _unload(transcript: Transcript, number: str) -> BootReport | None:
    section = transcript.sections.get(f"unload-{number}", Section((), None))
    if section.status is None:
        return _report_missing(f"unload-{number}")
    if section.status != 0:
        output = " / ".join(section.lines)
        return _failed("unload-refused", f"an idle module cannot be unloaded: {output}", "unloaded", output)
    left = _lines(transcript, f"left-{number}")
    if left:
        return _failed("leak", f"after unloading there is still {', '.join(left)}", "nothing left", ", ".join(left))
    return None


def _incomplete(transcript: Transcript) -> BootReport | None:
    """Treat missing or truncated guest output as an error, never as a pass."""
    missing = [name for name in _REPORTED if _status(transcript, name) is None]
    # A full kernel log loses its beginning.
    missing += [f"the log of {step}" for step in _STEPS if step not in transcript.log]
    return _report_missing(*missing) if missing else None


def _report_missing(*names: str) -> BootReport:
    return BootReport("errored", "report-missing", f"the guest's report lacks {', '.join(names)}")


def _judge_log(transcript: Transcript) -> BootReport:
    complaints = _complaints(transcript)
    if complaints:
        findings = tuple(Finding("boot", "log-dirty", line, "a clean kernel log", line) for line in complaints[:10])
        return BootReport("failed", "log-dirty", f"the kernel complains: {complaints[0]}", findings)
    return BootReport("passed", "booted", "loaded and unloaded twice in its own kernel")


def _complaints(transcript: Transcript) -> list[str]:
    # A mount between two of these steps is another gate's.
    lines = [line for step in _STEPS for line in transcript.log.get(step, ())]
    return list(_complaining(lines))


def _complaining(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if _DIRTY.search(line) and not any(entry.search(line) for entry in _ALLOWED):
            yield line


def _failed(code: str, message: str, expected: str, actual: str = "") -> BootReport:
    return BootReport("failed", code, message, (Finding("boot", code, message, expected, actual),))


def _lines(transcript: Transcript, name: str) -> tuple[str, ...]:
    return transcript.sections.get(name, Section((), None)).lines


def _status(transcript: Transcript, name: str) -> int | None:
    return transcript.sections.get(name, Section((), None)).status
