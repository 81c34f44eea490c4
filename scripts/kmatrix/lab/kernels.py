"""The lab's kernels: chosen from those that Debian's package archive offers, never fixed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass

from kmatrix.values.errors import ToolError

_PACKAGE = re.compile(r"linux-(image|headers)-((6\.\d+)\.(\d+)(?:-(\d+)|\+deb\d+)-(rt-)?amd64)")


@dataclass(frozen=True)
class LabKernels:
    """The lab's kernels by role, as kernel releases.

    `older` and `newer` are of the 6.1 line, as far apart as the archive has them, so that their symbol
    CRCs differ; `real_time` is `newer`'s real-time sibling; `next_line` is of the 6.12 line.
    """

    older: str
    newer: str
    real_time: str
    next_line: str

    def as_dict(self) -> dict[str, str]:
        """Return the kernels by role, for the lab's state file."""
        return asdict(self)


def further_kernel(package_names: Iterable[str], used: Collection[str]) -> tuple[str, str]:
    """Choose the kernel of a further toolkit: the newest of 6.12 that no toolkit has, else the newest such of 6.1.

    Args:
        package_names: names of all packages that an archive offers.
        used: the kernels of the lab's toolkits.

    Returns:
        the kernel release and its line, 6.12 or 6.1.

    Raises:
        ToolError: there is none; the message lists the kernels that the archive has.
    """
    _, plain = _offered(package_names)
    for line in ("6.12", "6.1"):
        if free := [release for release in plain[line] if release not in used]:
            return free[-1], line
    has = ", ".join(release for releases in plain.values() for release in releases) or "none of 6.1 and 6.12"
    raise ToolError(
        f"the package archive has no further kernel: toolkits of the lab have each that it offers ({has})",
        "Retract a release that is not needed (`nox -s lab -- status` lists them); its kernel can then be used again.",
    )


def choose_kernels(package_names: Iterable[str]) -> LabKernels:
    """Choose from the names of all packages an archive offers.

    Raises:
        ToolError: it lacks a kernel of one of the roles; the message lists the kernels that it has.
    """
    whole, plain = _offered(package_names)
    with_rt = [r for r in plain["6.1"] if r.replace("-amd64", "-rt-amd64") in whole]
    if len(plain["6.1"]) < 2 or not with_rt or not plain["6.12"]:
        raise ToolError(
            "the package archive lacks kernels that the lab needs: two of 6.1, one of them with its real-time "
            f"sibling, and one of 6.12; it has image and headers of: {', '.join(whole) or 'none'}",
            "The lab needs Debian 12; check /etc/apt of the base image.",
        )
    newer = with_rt[-1]
    older = next(r for r in plain["6.1"] if r != newer)
    return LabKernels(older, newer, newer.replace("-amd64", "-rt-amd64"), plain["6.12"][-1])


def _offered(package_names: Iterable[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the kernels that an archive has image and headers of, oldest first: all, and the standard ones by line."""
    parts: dict[str, set[str]] = {}
    order: dict[str, tuple[str, int, int, bool]] = {}
    for name in package_names:
        if match := _PACKAGE.fullmatch(name):
            release = match[2]
            parts.setdefault(release, set()).add(match[1])
            order[release] = (match[3], int(match[4]), int(match[5] or 0), bool(match[6]))
    whole = sorted((r for r, kinds in parts.items() if kinds == {"image", "headers"}), key=lambda r: order[r])
    plain = {line: [r for r in whole if order[r][0] == line and not order[r][3]] for line in ("6.1", "6.12")}
    return whole, plain
