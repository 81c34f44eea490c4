"""State which kernels each release runs, for `deploy/can-upgrade`: one line per release, architecture and stream."""

from __future__ import annotations

from kmatrix.decide.excludes import kernels_of
from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import ARCHES, GO_ARCH, ReleaseVersion
from kmatrix.values.text import plain_line

UNKNOWN = "unknown"


def release_kernels(pins: ProfileLock) -> str:
    """Return the lines `RELEASE ARCH STREAM KERNEL...`, oldest release first; ARCH is spelled as Kubernetes does.

    A release whose kernels are not known has a line `RELEASE ARCH unknown REASON`. Of one whose toolkit is not that of
    its nodes, only the standard kernel is known: the one that its OS image states.
    """
    found: dict[tuple[ReleaseVersion, int, str], list[str]] = {}
    for kernel in kernels_of(pins.releases):
        for pin in kernel.pins:
            key = (pin.version, ARCHES.index(pin.arch), pin.stream)
            if kernel.release not in (listed := found.setdefault(key, [])):
                listed.append(kernel.release)
    lines = [(key, " ".join(sorted(kernels, key=natural))) for key, kernels in found.items()]
    for unresolved in pins.unresolved:
        lines.append(((unresolved.version, ARCHES.index(unresolved.arch), UNKNOWN), plain_line(unresolved.reason)))
    lines.sort(key=lambda line: (line[0][0], line[0][1], natural(line[0][2])))
    return "".join(f"{version} {GO_ARCH[ARCHES[arch]]} {stream} {rest}\n" for (version, arch, stream), rest in lines)
