"""Judge the mounts of a boot: a transcript in, one classified report out; nothing is run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

from kmatrix.decide.guest_report import (
    complaints,
    find_crash,
    guest_killed,
    no_boot,
    root_incomplete,
    section_lines,
    section_status,
)
from kmatrix.decide.mount_calls import expired, failed
from kmatrix.decide.mount_refusal import why_refused
from kmatrix.values.boot import BootReport, End, Transcript
from kmatrix.values.cells import Finding

_ROUNDS = ("1", "2")
_ROUND = ("mount", "use", "umount")
_STEPS = tuple(f"{step}-{number}" for number in _ROUNDS for step in _ROUND)
# A module that the gate `boot` loads and unloads, and that fails to do so after a mount: the fault is the mount's.
_AFTER = ("unload-1", "load-2", "unload-2")
_STATE = re.compile(r"(thread|proc|mount) \S")
_IN_USE = re.compile(r"\bin use\b")
# Complaints of the kernel that a mount without a server causes legitimately. There are none: the client's words about
# servers that it cannot reach ("Waiting for beegfs-mgmtd@…") are its own, and the rules look for faults of the kernel.
# A call that waits for a server ends before the kernel would report it as blocked, after 120 s (kernel/hung_task.c).
_ALLOWED: tuple[re.Pattern[str], ...] = ()


def mount_began(transcript: Transcript) -> bool:
    """Return whether the guest came as far as the first mount, or ended while it prepared that."""
    began = any(name.startswith("mount-") for name in transcript.sections)
    return began or transcript.step == "interface" or transcript.step.startswith("mount-")


def judge_mount(transcript: Transcript, end: End, rounds: tuple[str, ...] = _ROUNDS) -> BootReport:
    """Return the report of the mounts of a boot; the first fault gives its code.

    Args:
        transcript: the serial line, as read.
        end: how the machine ended.
        rounds: the numbers of the mounts that the guest makes.
    """
    if not transcript.init_ran:
        return no_boot(end)
    if section_status(transcript, "whole") not in (0, None):
        return root_incomplete()
    for name in ("whole", "interface"):
        if section_status(transcript, name) is None:
            return _lacking(transcript, end, name)
    if section_status(transcript, "interface") != 0:
        return _no_interface(transcript)
    for number in rounds:
        problem = _judge_round(transcript, end, number) or _after_round(transcript, number)
        if problem:
            return problem
    reported = (*(f"left-{number}" for number in rounds), "log")
    missing = [name for name in reported if section_status(transcript, name) is None]
    steps = (f"{step}-{number}" for number in rounds for step in _ROUND)
    missing += [f"the log of {step}" for step in steps if step not in transcript.log]
    if missing:
        return _lacking(transcript, end, *missing)
    if not transcript.done or end == "deadline" or find_crash(transcript):
        return _lacking(transcript, end, "its end")
    return _judge_log(transcript)


def _judge_round(transcript: Transcript, end: End, number: str) -> BootReport | None:
    """Return the first fault of one mount, in the order in which the guest reports it."""
    checks: tuple[tuple[str, Callable[[Transcript, str], BootReport | None]], ...] = (
        ("idle", _state_readable),
        ("mount", _mount),
        ("mounted", _mounted),
        ("files", _files),
        ("held", _held),
        ("statfs", expired),
        ("lookup", expired),
        ("sync", expired),
        ("umount", _umount),
        ("unmounted", _unmounted),
    )
    for kind, check in checks:
        name = f"{kind}-{number}"
        if section_status(transcript, name) is None:
            return _lacking(transcript, end, name)
        problem = check(transcript, name)
        if problem:
            return problem
    return None


def _after_round(transcript: Transcript, number: str) -> BootReport | None:
    """Return the fault of a module that after a mount cannot be unloaded cleanly, or not be loaded again."""
    for name in (f"unload-{number}", "load-2"):
        if section_status(transcript, name) not in (0, None):
            output = " / ".join(section_lines(transcript, name))
            message = f"after a mount and its umount, step {name} fails: {output}"
            return failed("unload-after-mount", message, "as without a mount", output)
        left = ", ".join(section_lines(transcript, f"left-{number}"))
        if left:
            message = f"after a mount and its umount, step unload-{number} leaves {left}"
            return failed("leak-after-mount", message, "nothing left", left)
    return None


def _no_interface(transcript: Transcript) -> BootReport:
    output = " / ".join(section_lines(transcript, "interface"))
    reason = f": {output}" if output else ""
    message = f"the kernel of the toolkit has no network interface for a mount beside the loopback{reason}"
    return BootReport("errored", "mount-interface-missing", message)


def _lacking(transcript: Transcript, end: End, *names: str) -> BootReport:
    """Return the reason why the guest did not report something: its end, or else a report that is not complete."""
    step = transcript.step or "start"
    mounting = step in _STEPS + _AFTER and mount_began(transcript)
    crash = find_crash(transcript)
    if crash and not mounting:
        return _report_missing(f"the kernel ended in step {step}: {crash.text}", *names)
    if crash and crash.kind == "oops":
        return failed("mount-oops", f"the kernel oopsed in step {step}: {crash.text}", "no oops", crash.text)
    if crash:
        return failed("mount-panic", f"the kernel panicked in step {step}: {crash.text}", "no panic", crash.text)
    if end == "deadline" and not mounting:
        return _report_missing(f"the guest did not come back from step {step} within the deadline", *names)
    if end == "deadline":
        code = "umount-hang" if step.startswith("umount-") else "mount-hang"
        message = f"the guest did not come back from step {step} within the deadline"
        return failed(code, message, "an end", f"nothing more after {step}")
    if not transcript.done:
        return guest_killed(step)
    for number in _ROUNDS:
        for name in (f"load-{number}", f"unload-{number}"):
            if section_status(transcript, name) not in (0, None):
                output = " / ".join(section_lines(transcript, name))
                return _report_missing(f"the guest went no further than step {name}: {output}", *names)
    return _report_missing("", *names)


def _mount(transcript: Transcript, name: str) -> BootReport | None:
    late = expired(transcript, name)
    if late or section_status(transcript, name) == 0:
        return late
    output = " / ".join(section_lines(transcript, name)) or "mount printed nothing"
    reason = why_refused(transcript.log.get(name, ()))
    if reason.configuration:
        message = f"the client refuses the configuration of its own package: {reason.line}"
        return failed("config-rejected", message, "a mount", reason.line)
    said = reason.line or output
    return failed("mount-refused", f"the client refuses the mount: {said}", "a mount", said)


def _mounted(transcript: Transcript, name: str) -> BootReport | None:
    unreadable = _state_readable(transcript, name)
    if unreadable:
        return unreadable
    added = _added(transcript, name)
    if not added["mount"]:
        message = "mount reports success, but /proc/mounts does not list the file system"
        return failed("mount-not-listed", message, "a line of type beegfs", "none")
    if not added["thread"]:
        return failed("mount-threads-missing", "the mount has started no thread of the client", "threads", "none")
    if not added["proc"]:
        message = "the file system is mounted, but has no entry below /proc/fs/beegfs"
        return failed("mount-proc-missing", message, "/proc/fs/beegfs/<id>", "none")
    return None


def _files(transcript: Transcript, name: str) -> BootReport | None:
    lines = section_lines(transcript, name)
    folders = tuple(f"{path}/" for path in _added(transcript, name.replace("files", "mounted"))["proc"])
    files = [line for line in lines if line.startswith(folders)]
    if section_status(transcript, name) != 0:
        said = " / ".join(line for line in lines if not line.startswith("/proc/")) or "there is none"
        message = f"a file of the mount below /proc/fs/beegfs cannot be read: {said}"
        return failed("mount-proc-missing", message, "readable files", said)
    if not files:
        where = ", ".join(folders)
        return failed("mount-proc-missing", f"the mount's folder {where} has no files", "files", "none")
    return None


def _held(transcript: Transcript, name: str) -> BootReport | None:
    output = " / ".join(section_lines(transcript, name))
    if section_status(transcript, name) == 0:
        message = "the module can be unloaded while its file system is mounted"
        return failed("unload-while-mounted", message, "a refusal", output or "unloaded")
    if not _IN_USE.search(output):
        message = (
            f"the refusal to unload a module whose file system is mounted does not say that it is in use: {output}"
        )
        return failed("unload-while-mounted", message, "in use", output)
    return None


def _umount(transcript: Transcript, name: str) -> BootReport | None:
    late = expired(transcript, name)
    if late or section_status(transcript, name) == 0:
        return late
    output = " / ".join(section_lines(transcript, name)) or "umount printed nothing"
    return failed("umount-busy", f"the file system cannot be unmounted: {output}", "an umount", output)


def _unmounted(transcript: Transcript, name: str) -> BootReport | None:
    unreadable = _state_readable(transcript, name)
    if unreadable:
        return unreadable
    added = _added(transcript, name)
    if added["mount"]:
        left = ", ".join(added["mount"])
        return failed("umount-busy", f"after the umount /proc/mounts still lists {left}", "no mount", left)
    if added["thread"]:
        left = ", ".join(added["thread"])
        return failed("threads-left", f"after the umount there is still the client's thread {left}", "no thread", left)
    if added["proc"]:
        left = ", ".join(added["proc"])
        return failed("mount-proc-left", f"after the umount there is still {left}", "no entry", left)
    return None


def _added(transcript: Transcript, name: str) -> dict[str, list[str]]:
    """Return the client's threads, entries in /proc and mounts that were not there before the mount."""
    idle = section_lines(transcript, f"idle-{name[-1]}")
    added: dict[str, list[str]] = {"thread": [], "proc": [], "mount": []}
    for line in (Counter(section_lines(transcript, name)) - Counter(idle)).elements():
        kind, _, rest = line.partition(" ")
        added[kind].append(rest)
    return added


def _state_readable(transcript: Transcript, name: str) -> BootReport | None:
    """Treat a line that is none of the guest's as lost output: something else wrote to the serial line."""
    unknown = next((line for line in section_lines(transcript, name) if not _STATE.match(line)), None)
    return None if unknown is None else _report_missing(f"it has a line that the guest does not write: {unknown}", name)


def _judge_log(transcript: Transcript) -> BootReport:
    # A complaint of the first load too is one of every load, with a mount before it or without.
    after = () if complaints(transcript.log.get("load-1", ())) else _AFTER
    lines: Iterable[str] = (line for step in _STEPS + after for line in transcript.log.get(step, ()))
    found = complaints(lines, _ALLOWED)
    if found:
        findings = tuple(Finding("mount", "mount-log-dirty", line, "a clean kernel log", line) for line in found[:10])
        return BootReport("failed", "mount-log-dirty", f"the kernel complains: {found[0]}", findings)
    return BootReport("passed", "mounted", "mounted and unmounted twice without a server")


def _report_missing(reason: str, *names: str) -> BootReport:
    because = f" ({reason})" if reason else ""
    return BootReport("errored", "mount-report-missing", f"the guest's report lacks {', '.join(names)}{because}")
