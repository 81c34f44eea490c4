"""Reads in a build's log why it failed, and whose fault that is."""

from __future__ import annotations

import re
from collections.abc import Sequence

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What the machine did to a step, as glibc's strerror, bash, make, gcc and rpm word it.
_WORLD = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|Input/output error|Stale file handle"
    r"|Cannot allocate memory|virtual memory exhausted|out of memory|Too many open files"
    r"|Resource temporarily unavailable|Transport endpoint is not connected"
    r"|Killed signal terminated program|\bKilled$|^Killed\b|line \d+: +\d+ (Killed|Terminated)\b"
    r"|\*\*\* \[.*\] (Killed|Terminated|Error 1(29|[3-5]\d))\b",
    re.IGNORECASE,
)
_STEP = re.compile(r"Step \d+/\d+ : ")
# The two steps whose own words say something about the product: the check of its packages, and its compile.
_COMPILE = re.compile(r"The command '[^']*/build-module ")
_PACKAGES = re.compile(r"The command '[^']*/unpack-packages ")
# The compiler's own errors come first: what make and the engine say afterwards only repeats that something failed.
_CAUSES = (
    re.compile(r"(unpack-packages|build-module): error: "),
    re.compile(r": (fatal )?error: |^ERROR: modpost|error: .*undeclared|undefined reference|modpost: .*undefined!"),
    _WORLD,
    re.compile(r"(^|\s)(error|fatal|failed)\b", re.IGNORECASE),
)
_ENGINE = re.compile(r"Step \d|---> |Removing intermediate container |The command '")
_KEPT = 5


def causes(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the first few lines that name a cause; the last lines where none does."""
    plain = [_COLOUR.sub("", line).strip() for line in lines]
    plain = [line for line in plain if line and not _ENGINE.match(line)]
    for pattern in _CAUSES:
        found = [line for line in plain if pattern.search(line)]
        if found:
            return tuple(dict.fromkeys(found))[:_KEPT]
    return tuple(plain[-_KEPT:])


def is_the_products_fault(error: str, lines: Sequence[str]) -> bool:
    """Whether a build that a step ended says that the product is bad: its compile, or its packages' check, said no.

    A full disk, a killed compiler or a step that needs the network say nothing about it, whatever the step's exit code.

    Args:
        error: the engine's own words, which name the step's command.
        lines: the build's log.
    """
    last = max((number for number, line in enumerate(lines) if _STEP.match(line)), default=0)
    step = [_COLOUR.sub("", line).strip() for line in lines[last:]]
    if any(_WORLD.search(line) for line in step):
        return False
    if _PACKAGES.search(error):
        return any(_CAUSES[0].search(line) for line in step)
    return bool(_COMPILE.search(error))


def code_of(cause: str) -> str:
    """Return a stable code for a cause: the one our own scripts print, else `compile-error`."""
    match = re.search(r"(?:unpack-packages|build-module): error: ([a-z-]+): ", cause)
    return match[1] if match else "compile-error"
