"""Name the releases that the plan cannot serve: unresolved ones, and those whose toolkit has another kernel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kmatrix.decide.excludes import fits
from kmatrix.values.command_lines import command
from kmatrix.values.lock import ProfileLock
from kmatrix.values.matrix import Exclude, Profile
from kmatrix.values.names import Arch
from kmatrix.values.pins import ReleasePin, UnresolvedPin

Code = Literal["release-unresolved", "toolkit-kernel-mismatch"]
UNRESOLVED: Code = "release-unresolved"
MISMATCH: Code = "toolkit-kernel-mismatch"
_PUBLISHER = "Report it to the release's publisher; an exclude of the release in matrix.yaml silences it."


@dataclass(frozen=True)
class OpenRelease:
    """A release that has no kernels, or another toolkit than its nodes need.

    Attributes:
        release: its version.
        arch: the architecture.
        code: the code of the finding.
        reason: one line.
        credential: the repository (HOST/PATH) that a credential is needed for; empty for other reasons.
        next_step: a sentence.
        expected: the kernel of the nodes, where the toolkit has another.
        actual: the toolkit's kernels, where they are others.
    """

    release: str
    arch: Arch
    code: Code
    reason: str
    credential: str
    next_step: str
    expected: str = ""
    actual: str = ""

    def __str__(self) -> str:
        return f"{self.release} for {self.arch}: {self.code}: {self.reason}. {self.next_step}"


def open_releases_of(
    profile_name: str, profile: Profile, pins: ProfileLock
) -> tuple[tuple[OpenRelease, ...], frozenset[int]]:
    """Return the open releases that no exclude silences, oldest first, and the excludes that silence one.

    Args:
        profile_name: for next steps.
        profile: the profile of matrix.yaml.
        pins: its part of the lock.
    """
    found: list[tuple[ReleasePin | UnresolvedPin, OpenRelease]] = []
    found += [(pin, _unresolved(pin, profile_name)) for pin in pins.unresolved]
    found += [(pin, _mismatch(pin)) for pin in pins.releases if pin.lacks_node_kernel]
    silenced = set[int]()
    left = []
    for pin, release in sorted(found, key=lambda each: (each[0].version, each[0].arch)):
        if pin.arch not in profile.arches:
            continue
        excludes = {index for index, each in enumerate(profile.excludes) if _names(each, pin)}
        silenced |= excludes
        if not excludes:
            left.append(release)
    # Both streams of a release may have the same fault.
    return tuple(dict.fromkeys(left)), frozenset(silenced)


def without_silenced(pins: ProfileLock, releases: Iterable[OpenRelease]) -> ProfileLock:
    """Return pins without the faults of releases that excludes of matrix.yaml silence.

    Args:
        pins: the profile's.
        releases: its open releases.
    """
    named = {(release.release, release.arch) for release in releases}
    return pins.model_copy(
        update={
            "releases": tuple(
                pin for pin in pins.releases if not pin.lacks_node_kernel or (str(pin.version), pin.arch) in named
            ),
            "unresolved": tuple(pin for pin in pins.unresolved if (str(pin.version), pin.arch) in named),
        }
    )


def mismatch_of(pin: ReleasePin) -> str:
    """Return the fault of a toolkit that lacks the kernel of its release's nodes."""
    fault = f"its toolkit has {_kernels(pin)}, but its nodes run {pin.node_kernel}"
    return f"{fault}: nothing is built from this toolkit for it"


def without_toolkit(pins: Iterable[ReleasePin]) -> str:
    """Return the reason why nothing can be built for a kernel that no toolkit has.

    Args:
        pins: the releases whose nodes run it.
    """
    found = dict.fromkeys(f"{pin.version} has {_kernels(pin)}" for pin in pins)
    return f"open: no toolkit has this kernel: that of {', that of '.join(found)}"


def _names(exclude: Exclude, pin: ReleasePin | UnresolvedPin) -> bool:
    """Return whether an exclude names a release as such, and not some of its kernels or clients."""
    others = (exclude.client, exclude.kernel, exclude.flavour, exclude.stream)
    return (
        exclude.release is not None
        and not any(others)
        and fits(exclude.release, str(pin.version))
        and fits(exclude.arch, pin.arch)
    )


def _unresolved(pin: UnresolvedPin, profile_name: str) -> OpenRelease:
    again = command("discover", profile_name)
    if pin.obstacle == "credential":
        next_step = (
            f"Give a credential that may pull {pin.credential or pin.payload.repository}, such as the cluster's pull "
            f"secret, with --authfile or KMATRIX_AUTHFILE, and run {again}."
        )
    elif pin.obstacle == "unreachable":
        next_step = f"Run {again} once the service answers."
    else:
        next_step = f"{again} tries again. {_PUBLISHER}"
    return OpenRelease(
        str(pin.version),
        pin.arch,
        UNRESOLVED,
        f"unresolved since {pin.since}: {pin.reason}",
        pin.credential or "",
        next_step,
    )


def _mismatch(pin: ReleasePin) -> OpenRelease:
    return OpenRelease(
        str(pin.version),
        pin.arch,
        MISMATCH,
        mismatch_of(pin),
        "",
        _PUBLISHER,
        pin.node_kernel or "",
        _kernels(pin),
    )


def _kernels(pin: ReleasePin) -> str:
    return ", ".join(kernel.release for kernel in pin.kernels)
