"""Read a guest's report for every gate that shares its boot: sections, crashes, and complaints of the kernel."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kmatrix.decide.formats.transcript import without_stamp
from kmatrix.values.boot import BootReport, End, Section, Transcript

# The kernel's messages about faults (lib/bug.c, kernel/panic.c, kernel/locking/lockdep.c,
# kernel/module/, lib/refcount.c, mm/slab_common.c, fs/proc/generic.c, fs/super.c, fs/sysfs/dir.c).
_DIRTY = re.compile(
    r"WARNING: |BUG: |BUG at |Oops|Kernel panic|general protection fault|[Cc]all [Tt]race:|: [0-9a-f]{4} \[#\d+\]|"
    # Not every INFO: a busy host causes stalls of its own in the guest.
    r"INFO: (task|trying to register|possible|lockdep|suspicious)|"
    r"possible (circular|recursive|irq) lock|inconsistent lock state|suspicious RCU usage|"
    r"Unknown symbol|disagrees about version|"
    r"VFS: Busy inodes after unmount|"
    r"refcount_t: |cannot create duplicate|already registered|Objects remaining in|still has objects|leaking at least|"
    r"failed to validate module|"
    r"scheduling while atomic|sleeping function called|UBSAN|KASAN|KFENCE"
)
_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
_OOPS = re.compile(
    r"(BUG: unable to handle .*|BUG: kernel NULL pointer.*|general protection fault.*|Oops: .*|kernel BUG at .*|"
    r".*: [0-9a-f]{4} \[#\d+\].*)"
)


@dataclass(frozen=True)
class Crash:
    """An oops or a panic on the console, and the kernel's own words about it."""

    kind: Literal["oops", "panic"]
    text: str


def find_crash(transcript: Transcript) -> Crash | None:
    """Return the first crash on the console; with oops=panic either kind ends the guest at once, in its last step."""
    for line in map(without_stamp, transcript.console):
        if match := _OOPS.search(line):
            return Crash("oops", match[1])
        if match := _PANIC.search(line):
            return Crash("panic", match[1])
    return None


def complaints(lines: Iterable[str], allowed: Iterable[re.Pattern[str]] = ()) -> list[str]:
    """Return the lines of a kernel log that report a fault of the kernel.

    Args:
        lines: without time stamps.
        allowed: patterns of lines that are no fault all the same.
    """
    entries = tuple(allowed)
    return [line for line in lines if _DIRTY.search(line) and not any(entry.search(line) for entry in entries)]


def section_lines(transcript: Transcript, name: str) -> tuple[str, ...]:
    """Return the lines of a section; none if the guest did not report it."""
    return transcript.sections.get(name, Section((), None)).lines


def section_status(transcript: Transcript, name: str) -> int | None:
    """Return the status of a section; None if the guest did not report it to its end."""
    return transcript.sections.get(name, Section((), None)).status


def no_boot(end: End) -> BootReport:
    """Return the report of a guest whose init did not run."""
    if end == "killed":
        return BootReport("errored", "guest-killed", "the virtual machine was ended from outside before it was up")
    return BootReport("errored", "no-boot", "the kernel did not come up as far as init within the deadline")


def guest_killed(step: str) -> BootReport:
    """Return the report of a guest that ended without being powered off by its init."""
    return BootReport("errored", "guest-killed", f"the guest ended in step {step}, without being powered off")


def root_incomplete() -> BootReport:
    """Return the report of a guest that lacks files of the image."""
    return BootReport("errored", "root-incomplete", "the image's root file system did not fit into the guest's memory")
