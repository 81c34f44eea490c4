"""Finds in a build's log the lines that tell why it failed."""

from __future__ import annotations

import re
from collections.abc import Sequence

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
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
    plain = [_COLOUR.sub("", line).strip() for line in lines]
    plain = [line for line in plain if line and not _ENGINE.match(line)]
    for pattern in _CAUSES:
        found = [line for line in plain if pattern.search(line)]
        if found:
            return tuple(dict.fromkeys(found))[:_KEPT]
    return tuple(plain[-_KEPT:])


def code_of(cause: str) -> str:
    """Return a stable code for a cause: the one our own scripts print, else `compile-error`."""
    match = re.search(r"(?:unpack-packages|build-module): error: ([a-z-]+): ", cause)
    return match[1] if match else "compile-error"
