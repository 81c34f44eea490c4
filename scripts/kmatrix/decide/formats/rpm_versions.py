"""Order version and release texts as rpm does, so that the lock and a package manager agree on the newest."""

from __future__ import annotations

import re

# How the parts of a text are ordered; the end of a text is a part, too.
_TILDE, _END, _CARET, _LETTERS, _DIGITS = range(5)
VersionKey = tuple[tuple[int, int, str], ...]


def rpm_order(text: str) -> VersionKey:
    """Return a sort key for one version, or one release, by the rules of rpm's `rpmvercmp`.

    Runs of digits are numbers, a number is newer than letters, separators only separate, `~` is older than the end of
    the text (1~rc1 before 1) and `^` is newer than it (1 before 1^git1 before 1.1). Two texts that rpm considers equal
    (1.01 and 1_1) have equal keys.

    No library: the rules are a few lines, and `univers`, whose results are the same, has four dependencies. The
    tests compare this with rpm's own vectors (rpm-software-management/rpm, tests/rpmvercmp.at) and to the program.
    """
    parts = []
    for part in re.findall(r"~|\^|[0-9]+|[A-Za-z]+", text):
        if part == "~":
            parts.append((_TILDE, 0, ""))
        elif part == "^":
            parts.append((_CARET, 0, ""))
        elif part[0].isdigit():
            # As text with its length: a number in a version may be longer than int() takes.
            number = part.lstrip("0")
            parts.append((_DIGITS, len(number), number))
        else:
            parts.append((_LETTERS, 0, part))
    return (*parts, (_END, 0, ""))


def evr_order(epoch: int, version: str, release: str) -> tuple[int, VersionKey, VersionKey]:
    """Return a sort key for a package's epoch, version and release, compared in this order."""
    return epoch, rpm_order(version), rpm_order(release)


def natural(text: str) -> tuple[VersionKey, str]:
    """Return a sort key for kernel releases: rpm's order (427.9 before 427.10, 1~rc1 before 1), then the text."""
    return rpm_order(text), text
