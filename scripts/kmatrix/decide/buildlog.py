"""Finds in a build's log the lines that tell why it failed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kmatrix.values.text import plain_line

# The compiler's own errors come first: what make and the engine say afterwards only repeats that something failed.
_CAUSES = (
    re.compile(r"(unpack-packages|build-module): error: "),
    re.compile(r": (fatal )?error: |^ERROR: modpost|error: .*undeclared|undefined reference|modpost: .*undefined!"),
    re.compile(r"No space left on device|Killed|cannot allocate memory", re.IGNORECASE),
    re.compile(r"(^|\s)(error|fatal|failed)\b", re.IGNORECASE),
)
_ENGINE = re.compile(r"Step \d|---> |Removing intermediate container |The command '")
_KEPT = 5


def causes(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the first few lines that name a cause; the last lines where none does."""
    told = [plain_line(line).strip() for line in lines]
    told = [line for line in told if line and not _ENGINE.match(line)]
    for pattern in _CAUSES:
        found = [line for line in told if pattern.search(line)]
        if found:
            return tuple(dict.fromkeys(found))[:_KEPT]
    return tuple(told[-_KEPT:])


def code_of(cause: str) -> str:
    """Return a stable code for a cause: the one our own scripts print, else `compile-error`."""
    match = re.search(r"(?:unpack-packages|build-module): error: ([a-z-]+): ", cause)
    return match[1] if match else "compile-error"
