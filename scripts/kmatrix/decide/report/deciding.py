"""Finds the log lines that decided a cell's verdict: the compiler's error, the kernel's refusal, the last words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kmatrix.decide.formats.transcript import without_stamp
from kmatrix.decide.report.model import LogText
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.text import plain_line

_MOST_PLACES = 4
_MOST_LINES = 6
# Below its message a compiler shows the line of the sources, and below its first a kernel shows registers and a trace.
_AROUND_CAUSE = (3, 6)
_AROUND_CRASH = (4, 26)
_AROUND_GUEST = (4, 8)
_LAST_LINES = 12
_CRASHES = ("oops", "panic", "mount-oops", "mount-panic")
_ENDS = ("hang", "mount-hang", "umount-hang")
_CONSOLE = ".serial.log"
_GUEST_CHECKS = ("boot", "mount", "secure-boot")
# The sections of the guest's report (kmatrix/guest/init) that decide/boot.py and decide/mount.py read before they give
# a code; `log` is the kernel's log.
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "wrong-kernel-booted": ("uname",),
    "modprobe-missing": ("modprobe",),
    "modprobe-failed": ("load",),
    "dependency-missing": ("load",),
    "load-refused": ("log", "load"),
    "init-failed": ("load",),
    "not-loaded": ("modules",),
    "no-filesystem": ("filesystems",),
    "no-proc-entry": ("proc",),
    "loaded-version": ("sys",),
    "loaded-srcversion": ("sys",),
    "taint": ("sys", "tainted"),
    "unload-refused": ("unload",),
    "leak": ("left", "load"),
    "mount-refused": ("log", "mount"),
    "config-rejected": ("log", "mount"),
    "mount-hang": ("mount", "statfs", "lookup", "sync"),
    "mount-not-listed": ("mounted",),
    "mount-threads-missing": ("mounted",),
    "mount-proc-missing": ("files", "mounted"),
    "unload-while-mounted": ("held",),
    "umount-busy": ("umount", "unmounted"),
    "umount-hang": ("umount",),
    "threads-left": ("unmounted",),
    "mount-proc-left": ("unmounted",),
    "unload-after-mount": ("unload", "load"),
    "leak-after-mount": ("left",),
    "module-unsigned": ("log", "load"),
    "module-key-unknown": ("log", "load"),
    "module-signature-bad": ("log", "load"),
}
_BEGIN = re.compile(r"@kmatrix begin ([a-z]+)")
_END = re.compile(r"@kmatrix end ([a-z]+)\S* ?(\d*)")
# The last line of each run in the log of build and gates (stages/verdict.py).
_ENDED = re.compile(r"kmatrix: (passed|failed|errored|skipped): ")
_OUTPUT = re.compile(r"^.*@kmatrix\| ?")


@dataclass(frozen=True)
class Place:
    """Consecutive lines of a log around one or more lines that decided the verdict.

    Attributes:
        log: the name of the log.
        title: the log's name for people.
        first: the number of the first line, from 1 on.
        lines: the lines.
        deciding: the numbers of the lines among them that decided.
    """

    log: str
    title: str
    first: int
    lines: tuple[str, ...]
    deciding: frozenset[int]

    @property
    def last(self) -> int:
        """The number of the last line."""
        return self.first + len(self.lines) - 1

    @property
    def numbered(self) -> tuple[tuple[int, str, bool], ...]:
        """Number, text, and whether it decided, of every line."""
        return tuple((number, text, number in self.deciding) for number, text in enumerate(self.lines, self.first))


@dataclass(frozen=True)
class _Hit:
    log: LogText
    numbers: tuple[int, ...]
    around: tuple[int, int]


def deciding(cell: CellResult, logs: Sequence[LogText]) -> tuple[Place, ...]:
    """Return the places that decided the verdict of a cell that failed or is errored, the first cause first.

    Of a failed build they are the compiler's lines, of a failed boot or mount the kernel's or the guest's. Where none
    can be found, and of an errored cell, they are the last lines. There are none of other cells, or without logs.

    Args:
        cell: the cell's result.
        logs: its logs; the first one that is no console is that of the build and of the gates.
    """
    if cell.verdict not in ("failed", "errored"):
        return ()
    builds = [log for log in logs if not log.name.endswith(_CONSOLE)]
    hits = [*_causes(cell, builds, logs)]
    if not hits:
        console = _console(cell, "", logs) if _ended_in_guest(cell) else None
        cut = [console] if console is not None and "@kmatrix done" not in console.lines else []
        hits = [_tail(log) for log in (*builds[:1], *cut) if log.lines]
    return _merged(hits)


def _causes(cell: CellResult, builds: Sequence[LogText], logs: Sequence[LogText]) -> Iterator[_Hit]:
    seen: dict[tuple[str, str], int] = {}
    for finding in cell.findings:
        if finding.check in _GUEST_CHECKS:
            console = _console(cell, finding.check, logs)
            found = _in_guest(finding, console, seen) if console is not None and console.lines else None
            if found:
                yield found
                continue
        for log in builds[:1]:
            if found := _in_build(finding, log):
                yield found


def _console(cell: CellResult, check: str, logs: Sequence[LogText]) -> LogText | None:
    """Return the console of the boot that decided."""
    consoles = [log for log in logs if log.name.endswith(_CONSOLE)]
    named = [log for log in consoles if log.name == cell.serial.rpartition("/")[2]]
    secured = [log for log in consoles if check == "secure-boot" and log.name.endswith(".secure-boot.serial.log")]
    return next(iter((*named, *secured, *consoles)), None)


def _ended_in_guest(cell: CellResult) -> bool:
    return any(verdict != "passed" and gate in _GUEST_CHECKS for gate, verdict in cell.gates.items())


def _in_build(finding: Finding, log: LogText) -> _Hit | None:
    """Return the line of which the message is a copy, else the first one that has it, of the log's last run."""
    start = max((number for number, line in enumerate(log.lines[:-1]) if _ENDED.match(line)), default=-1) + 1
    held = 0
    for number, line in enumerate(log.lines[start:], start + 1):
        if finding.message not in line and finding.message not in plain_line(line):
            continue
        if line.strip() == finding.message:
            return _Hit(log, (number,), _AROUND_CAUSE)
        held = held or number
    return _Hit(log, (held,), _AROUND_CAUSE) if held and finding.message else None


def _in_guest(finding: Finding, log: LogText, seen: dict[tuple[str, str], int]) -> _Hit | None:
    """Return the lines that a gate which boots judged; where there are none but an end, the last step and what follows.

    There are none of a finding about the image.
    """
    if finding.code in _CRASHES:
        for words in filter(None, (finding.actual, finding.message)):
            for number, line in enumerate(log.lines, 1):
                if words in line:
                    return _Hit(log, (number,), _AROUND_CRASH)
        return _last_step(log)
    parts = _parts(finding)
    kinds = SECTIONS.get(finding.code, ())
    sections = [*_sections(log)] if kinds else []
    for kind in kinds:
        for section in (each for each in sections if each.kind == kind):
            numbers = [number for number in section.numbers if _has(log.lines[number - 1], parts)]
            if numbers:
                return _Hit(log, tuple(numbers[:_MOST_LINES]), _AROUND_GUEST)
    for kind in kinds:
        ends = [each.end for each in sections if each.kind == kind and (each.failed or kind not in ("load", "log"))]
        if ends:
            return _Hit(log, (ends[0],), _AROUND_GUEST)
    # A complaint is a line of the kernel as it stands; one that is repeated has a finding for each time.
    start = seen.get((log.name, finding.message), 0)
    for number, line in enumerate(log.lines[start:], start + 1):
        if _kernels(line) == finding.message:
            seen[(log.name, finding.message)] = number
            return _Hit(log, (number,), _AROUND_CRASH)
    return _last_step(log) if kinds or finding.code in _ENDS else None


@dataclass(frozen=True)
class _Section:
    kind: str
    numbers: range
    end: int
    failed: bool


def _sections(log: LogText) -> Iterator[_Section]:
    kind, start = "", 0
    for number, line in enumerate(log.lines, 1):
        if match := _BEGIN.search(line):
            kind, start = match[1], number + 1
        elif (match := _END.search(line)) and kind:
            yield _Section(kind, range(start, number), number, match[2] != "0")
            kind = ""
    if kind:
        yield _Section(kind, range(start, len(log.lines) + 1), len(log.lines), failed=True)


def _parts(finding: Finding) -> tuple[str, ...]:
    """Return the parts of what was there that the guest printed as lines of their own."""
    parts = re.split(r" / |, ", finding.actual)
    return tuple(part for part in parts if len(part) > 1 and part not in ("none", "nothing", "it"))


def _has(line: str, words: Sequence[str]) -> bool:
    return any(word in line for word in words)


def _kernels(line: str) -> str:
    return without_stamp(_OUTPUT.sub("", line)).rstrip()


def _last_step(log: LogText) -> _Hit:
    steps = (number for number in range(len(log.lines), 0, -1) if "@kmatrix step " in log.lines[number - 1])
    found = next(steps, 0)
    return _Hit(log, (found,), (2, _AROUND_CRASH[1])) if found else _tail(log)


def _tail(log: LogText) -> _Hit:
    last = next((number for number in range(len(log.lines), 0, -1) if log.lines[number - 1].strip()), len(log.lines))
    return _Hit(log, (last,), (_LAST_LINES - 1, 0))


def _merged(hits: Iterable[_Hit]) -> tuple[Place, ...]:
    """Return the places of the hits, in their order; those that overlap or meet are one."""
    found: list[tuple[LogText, int, int, frozenset[int]]] = []
    for hit in hits:
        first = max(1, hit.numbers[0] - hit.around[0])
        last = min(len(hit.log.lines), hit.numbers[-1] + hit.around[1])
        numbers = frozenset(hit.numbers)
        at = len(found)
        for index in range(len(found) - 1, -1, -1):
            log, low, high, others = found[index]
            if log is hit.log and first <= high + 1 and low <= last + 1:
                first, last, numbers = min(first, low), max(last, high), numbers | others
                del found[index]
                at = index
        found.insert(at, (hit.log, first, last, numbers))
    return tuple(
        Place(log.name, log.title, first, log.lines[first - 1 : last], numbers)
        for log, first, last, numbers in found[:_MOST_PLACES]
    )
