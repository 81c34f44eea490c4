"""The lab's kernels for aarch64: chosen from those that Debian's package archive offers, never fixed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from kmatrix.values.errors import ToolError

_PACKAGE = re.compile(r"linux-(image|headers)-((6\.1|6\.12)\.(\d+)(?:-(\d+)|\+deb\d+)-arm64(-16k)?)")


@dataclass(frozen=True)
class Aarch64Kernels:
    """The kernels by role, as kernel releases: of the 6.1 line, of 6.12, and of 6.12 with pages of 16 KiB."""

    standard: str
    next_line: str
    large_pages: str

    def as_dict(self) -> dict[str, str]:
        """Return the kernels by role, for the lab's state file."""
        return asdict(self)


def choose_aarch64_kernels(package_names: Iterable[str]) -> Aarch64Kernels:
    """Choose the newest kernel of each role from the names of all packages an archive offers.

    Raises:
        ToolError: it lacks a kernel of one of the roles; the message lists the kernels that it has.
    """
    parts: dict[str, set[str]] = {}
    order: dict[str, tuple[int, int]] = {}
    role: dict[str, tuple[str, bool]] = {}
    for name in package_names:
        if match := _PACKAGE.fullmatch(name):
            release = match[2]
            parts.setdefault(release, set()).add(match[1])
            order[release] = (int(match[4]), int(match[5] or 0))
            role[release] = (match[3], bool(match[6]))
    # Oldest first, so that the last one of a role is the newest.
    complete = sorted((each for each, kinds in parts.items() if kinds == {"image", "headers"}), key=order.__getitem__)
    newest = {role[each]: each for each in complete}
    try:
        return Aarch64Kernels(newest["6.1", False], newest["6.12", False], newest["6.12", True])
    except KeyError:
        raise ToolError(
            "the package archive lacks arm64 kernels that the lab needs: one of 6.1, one of 6.12, and one of 6.12 with "
            f"pages of 16 KiB; it has image and headers of: {', '.join(complete) or 'none'}",
            "The lab needs Debian 12; check /etc/apt of the base image.",
        ) from None
