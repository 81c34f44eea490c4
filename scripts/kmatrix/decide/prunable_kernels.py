"""Decide whose images may be removed: of kernels that lost their last release for longer than a profile keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kmatrix.decide.retention import days_between
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import Arch

KernelOf = tuple[Arch, str]


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


def kernel_ages(pins: ProfileLock, others: Iterable[ProfileLock], days: int, today: str) -> KernelAges:
    """Decide for every kernel of a profile.

    Only a kernel that left the lock by a rule is removable: one that a release has is in the plan, and would be built
    again. A release whose own kernels are not known may have any kernel of its architecture.

    Args:
        pins: the profile's pins.
        others: those of other profiles that publish to the same place.
        days: the profile's `retention_days`.
        today: the day, as 2026-03-31.
    """
    kept: dict[KernelOf, str] = {}
    unknown: dict[Arch, str] = {}
    for lock in (pins, *others):
        resolved = {(pin.version, pin.arch) for pin in lock.releases}
        for pin in lock.releases:
            gone = f", gone since {pin.gone}" if pin.gone else ""
            for name in (*(kernel.release for kernel in pin.kernels), pin.node_kernel):
                if name is not None and (gone == "" or (pin.arch, name) not in kept):
                    kept[pin.arch, name] = f"release {pin.version} has it{gone}"
        for open_pin in lock.unresolved:
            if open_pin.gone is None and (open_pin.version, open_pin.arch) not in resolved:
                unknown[open_pin.arch] = f"release {open_pin.version} is unresolved, and might have it"
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
        else:
            removable[key] = retired.since
    return KernelAges(removable, kept)
