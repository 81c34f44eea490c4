"""Decide whose images may be removed: of kernels that lost their last release for longer than a profile keeps them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kmatrix.decide.retention import days_between
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import Arch, ImageRef
from kmatrix.values.pins import RetiredPin

KernelOf = tuple[Arch, str]


# 5.14.0-427.50.1.el9_4.x86_64+rt, 4.18.0-305.rt7.72.el8.x86_64, and Debian's 6.1.0-56-rt-amd64.
_OF_A_FLAVOUR = re.compile(r"\+|[.-]rt")


@dataclass(frozen=True)
class OtherProfile:
    """Another profile that publishes to the same place: its pins, and its `retention_days`; None keeps every image."""

    name: str
    pins: ProfileLock
    days: int | None


@dataclass(frozen=True)
class KernelAges:
    """The kernels whose images may be removed, each with the day on which its last release left the channels.

    `kept` has the reason for every other kernel that a lock knows.
    """

    removable: Mapping[KernelOf, str]
    kept: Mapping[KernelOf, str]

    def why_kept(self, kernel: KernelOf) -> str:
        """Return why a kernel's images stay; empty if they may be removed."""
        if kernel in self.removable:
            return ""
        return self.kept.get(kernel, "the lock neither has this kernel nor says why it left")


def same_target(one: str, other: str) -> bool:
    """Return whether two targets are the same place, also where a registry has several names, as Docker Hub has."""
    places = {ImageRef.parse(f"{each}/image").registry for each in (one, other)}
    return len(places) == 1


def kernel_ages(pins: ProfileLock, others: Iterable[OtherProfile], days: int, today: str) -> KernelAges:
    """Decide for every kernel of a profile.

    Only a kernel that left the lock by a rule is removable: one that a release has is in the plan, and would be built
    again. A release whose own kernels are not known may have any kernel of its architecture, also if it has earlier
    pins: they may be of another payload, or lack a toolkit. Of one whose toolkit is not that of its nodes, only the
    standard kernel is known.

    Args:
        pins: the profile's pins.
        others: the other profiles that publish to the same place.
        days: the profile's `retention_days`.
        today: the day, as 2026-03-31.
    """
    others = tuple(others)
    kept: dict[KernelOf, str] = {}
    unknown: dict[Arch, str] = {}
    unknown_flavours: dict[Arch, str] = {}
    for lock, limit in ((pins, days), *((each.pins, each.days) for each in others)):
        for pin in lock.releases:
            gone = f", gone since {pin.gone}" if pin.gone else ""
            for name in (*(kernel.release for kernel in pin.kernels), pin.node_kernel):
                if name is not None and (gone == "" or (pin.arch, name) not in kept):
                    kept[pin.arch, name] = f"release {pin.version} has it{gone}"
            if pin.lacks_node_kernel:
                unknown_flavours[pin.arch] = f"the real-time and 64k kernels of release {pin.version} are not known"
        for open_pin in lock.unresolved:
            if open_pin.gone is None or limit is None or days_between(open_pin.gone, today) <= limit:
                unknown[open_pin.arch] = f"release {open_pin.version} is unresolved, and might have it"
    for other in others:
        for retired in other.pins.retired:
            if why := _why_kept_by(other, retired, today):
                kept.setdefault((retired.arch, retired.kernel), why)
    removable: dict[KernelOf, str] = {}
    for retired in pins.retired:
        key = retired.arch, retired.kernel
        if key in kept:
            continue
        if retired.since is None:
            kept[key] = "the lock does not say since when it is retired; the next discovery notes it"
        elif days_between(retired.since, today) <= days:
            kept[key] = f"its last release left on {retired.since}, not longer than {days} days ago"
        elif retired.arch in unknown:
            kept[key] = unknown[retired.arch]
        elif retired.arch in unknown_flavours and _OF_A_FLAVOUR.search(retired.kernel):
            kept[key] = unknown_flavours[retired.arch]
        else:
            removable[key] = retired.since
    return KernelAges(removable, kept)


def _why_kept_by(other: OtherProfile, retired: RetiredPin, today: str) -> str:
    """Return why another profile still keeps a kernel that it retired; empty if it does not."""
    if other.days is None:
        return f"profile {other.name} keeps every image"
    if retired.since is None:
        return f"profile {other.name} does not say since when it is retired; the next discovery notes it"
    if days_between(retired.since, today) <= other.days:
        left = f"its last release left on {retired.since}"
        return f"for profile {other.name} {left}, not longer than {other.days} days ago"
    return ""
