"""Judge whether the calls of a mount returned, and where in the kernel one stood that did not."""

from __future__ import annotations

import re

from kmatrix.decide.guest_report import section_lines, section_status
from kmatrix.values.boot import BootReport, Transcript
from kmatrix.values.cells import Finding

# With these the guest states that a call did not end by itself (`limited` of kmatrix/guest/init).
_KILLED, _STUCK = 137, 124
_CALLS = {
    "mount": "the mount",
    "statfs": "statfs on the root",
    "lookup": "a lookup in the root",
    "sync": "sync",
    "umount": "the umount",
}
_FRAME = re.compile(r"\[<[0-9a-f]*>\] ([\w.]+)\+0x")


def expired(transcript: Transcript, name: str) -> BootReport | None:
    """Return the report of a call that the guest had to kill, with the place in the kernel where it stood."""
    status = section_status(transcript, name)
    if status not in (_KILLED, _STUCK):
        return None
    kind = name.partition("-")[0]
    outcome = "was killed" if status == _KILLED else "stays in the kernel even when killed"
    place = _place(section_lines(transcript, name))
    where = f"; it stood in {place}" if place else ""
    message = f"{_CALLS[kind]} ({name}) did not return within its limit and {outcome}{where}"
    code = "umount-hang" if kind == "umount" else "mount-hang"
    return failed(code, message, "a return", place or outcome)


def _place(lines: tuple[str, ...]) -> str:
    """Return the innermost functions of a kernel stack, as /proc/<pid>/stack has them (fs/proc/base.c).

    The line before them is /proc/<pid>/wchan, which has no end of line. A kernel without stack traces tells it alone.
    """
    frames = [frame for line in lines for frame in _FRAME.findall(line)]
    if frames:
        return ", called by ".join(frames[:4])
    # A task that is running has no place to wait in, and wchan is 0.
    return "" if lines[-1:] == ("0",) else " / ".join(lines[-2:])


def failed(code: str, message: str, expected: str, actual: str) -> BootReport:
    """Return the report of a gate `mount` that one fault fails."""
    return BootReport("failed", code, message, (Finding("mount", code, message, expected, actual),))
