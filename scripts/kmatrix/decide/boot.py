"""Judge a boot: a transcript and the module file's facts in, one classified report out; nothing is run."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kmatrix.decide.guest_report import (
    complaints,
    find_crash,
    guest_killed,
    no_boot,
    root_incomplete,
    section_lines,
    section_status,
)
from kmatrix.values.boot import BootReport, End, Section, Transcript
from kmatrix.values.cells import Finding

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
_INSERT = re.compile(r"could not insert '?([\w-]+)'?: (.+)")
_NO_LIBRARY = re.compile(r"error while loading shared libraries|unrecognized option|invalid option|Segmentation fault")
_KEY = re.compile(r"Required key not available|Key was rejected")
_MISSING = re.compile(r"(Module \S+ not found.*|could not find module by name.*|No such file or directory.*)")
# /proc/sys/kernel/tainted: bit 12 out-of-tree (O), bit 13 unsigned (E). Documentation/admin-guide/tainted-kernels.rst.
_UNSIGNED = "E"
_OUT_OF_TREE = "O"
_TAINT_LETTERS = "PFSRMBUDAWCIOELKXTNJ"
_ROUND = ("load", "modules", "filesystems", "proc", "sys", "tainted", "unload", "left")
_REPORTED = ("uname", "whole", "modprobe", "tainted-0", "log")
_TWICE = ("1", "2")


@dataclass(frozen=True)
class Booted:
    """The facts that a loaded module must show: the cell's kernel, version and srcversion of its file."""

    kernel: str
    version: str
    srcversion: str


@dataclass(frozen=True)
class _Guest:
    """A guest's report, the rounds that it makes, and the letters of the taint that a sound module causes."""

    transcript: Transcript
    rounds: tuple[str, ...]
    flags: str

    @property
    def steps(self) -> tuple[str, ...]:
        return (*(f"{step}-{number}" for number in self.rounds for step in ("load", "unload")), "end")

    @property
    def reported(self) -> tuple[str, ...]:
        return (*_REPORTED, *(f"{name}-{number}" for number in self.rounds for name in _ROUND))


def judge_boot(
    transcript: Transcript, end: End, expected: Booted, rounds: tuple[str, ...] = _TWICE, *, trusted: bool = False
) -> BootReport:
    """Return the report of a boot; the first fault gives its code.

    Args:
        transcript: the serial line, as read.
        end: how the machine ended.
        expected: the cell's kernel and the facts of its module file.
        rounds: the numbers of the loads that the guest makes.
        trusted: whether the kernel trusts the certificate of the module's signature.
    """
    guest = _Guest(transcript, rounds, _OUT_OF_TREE if trusted else _OUT_OF_TREE + _UNSIGNED)
    if not transcript.init_ran:
        return no_boot(end)
    kernel = " ".join(section_lines(transcript, "uname"))
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
        return guest_killed(transcript.step or "start")
    for name in ("whole", "modprobe"):
        if section_status(transcript, name) is None:
            return _report_missing(name)
    if section_status(transcript, "whole") != 0:
        return root_incomplete()
    if section_status(transcript, "modprobe") != 0:
        return _failed("modprobe-missing", "the image has no modprobe: its module cannot be loaded with it", "modprobe")
    for number in rounds:
        problem = _load(transcript, number) or _loaded(guest, number, expected) or _unload(transcript, number)
        if problem:
            return problem
    return _incomplete(guest) or _judge_log(guest)


def _crash(transcript: Transcript) -> BootReport | None:
    crash = find_crash(transcript)
    if crash is None:
        return None
    if crash.kind == "oops":
        message = f"the kernel oopsed in step {transcript.step}: {crash.text}"
        return _failed("oops", message, "no oops", crash.text)
    return _failed("panic", f"the kernel panicked in step {transcript.step}: {crash.text}", "no panic", crash.text)


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


def _loaded(guest: _Guest, number: str, expected: Booted) -> BootReport | None:
    transcript = guest.transcript
    values = dict(line.partition("=")[::2] for line in section_lines(transcript, f"sys-{number}"))
    if section_status(transcript, f"proc-{number}") is None:
        return _report_missing(f"proc-{number}")
    seen = (
        ("not-loaded", "/proc/modules does not list it", bool(section_lines(transcript, f"modules-{number}"))),
        (
            "no-filesystem",
            "/proc/filesystems does not list beegfs",
            bool(section_lines(transcript, f"filesystems-{number}")),
        ),
        ("no-proc-entry", "/proc/fs/beegfs is not there", section_status(transcript, f"proc-{number}") == 0),
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
    unexpected = "".join(sorted(frozenset(values["taint"]) - frozenset(guest.flags)))
    if unexpected:
        message = f"the module taints the kernel with {unexpected}"
        return _failed("taint", message, ", ".join(guest.flags), values["taint"])
    return _tainted(guest, number)


def _tainted(guest: _Guest, number: str) -> BootReport | None:
    transcript = guest.transcript
    masks = [" ".join(section_lines(transcript, f"tainted-{n}")) for n in ("0", number)]
    if not all(text.isdigit() for text in masks):
        return _report_missing(f"tainted-{number}")
    before, after = map(int, masks)
    expected = sum(1 << _TAINT_LETTERS.index(letter) for letter in guest.flags)
    extra = after & ~before & ~expected
    # A WARN taints too (W): its text in the log is the better message.
    if not extra or _complaints(guest):
        return None
    letters = "".join(letter for bit, letter in enumerate(_TAINT_LETTERS) if extra >> bit & 1)
    return _failed("taint", f"loading it taints the kernel with {letters}", ", ".join(guest.flags), letters)


def _unload(transcript: Transcript, number: str) -> BootReport | None:
    section = transcript.sections.get(f"unload-{number}", Section((), None))
    if section.status is None:
        return _report_missing(f"unload-{number}")
    if section.status != 0:
        output = " / ".join(section.lines)
        return _failed("unload-refused", f"an idle module cannot be unloaded: {output}", "unloaded", output)
    left = section_lines(transcript, f"left-{number}")
    if left:
        return _failed("leak", f"after unloading there is still {', '.join(left)}", "nothing left", ", ".join(left))
    return None


def _incomplete(guest: _Guest) -> BootReport | None:
    """Treat missing or truncated guest output as an error, never as a pass."""
    missing = [name for name in guest.reported if section_status(guest.transcript, name) is None]
    # A full kernel log loses its beginning.
    missing += [f"the log of {step}" for step in guest.steps if step not in guest.transcript.log]
    return _report_missing(*missing) if missing else None


def _report_missing(*names: str) -> BootReport:
    return BootReport("errored", "report-missing", f"the guest's report lacks {', '.join(names)}")


def _judge_log(guest: _Guest) -> BootReport:
    found = _complaints(guest)
    if found:
        findings = tuple(Finding("boot", "log-dirty", line, "a clean kernel log", line) for line in found[:10])
        return BootReport("failed", "log-dirty", f"the kernel complains: {found[0]}", findings)
    return BootReport("passed", "booted", "loaded and unloaded twice in its own kernel")


def _complaints(guest: _Guest) -> list[str]:
    # A mount between two of these steps is another gate's.
    return complaints((line for step in guest.steps for line in guest.transcript.log.get(step, ())), _ALLOWED)


def _failed(code: str, message: str, expected: str, actual: str = "") -> BootReport:
    return BootReport("failed", code, message, (Finding("boot", code, message, expected, actual),))
