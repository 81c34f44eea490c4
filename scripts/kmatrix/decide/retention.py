"""Keep releases and kernels that an earlier lock has and a shorter reply lacks, unless a rule or a user drops them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import date

from kmatrix.decide.releases import Node
from kmatrix.values.errors import InputError
from kmatrix.values.lock import ProfileLock
from kmatrix.values.matrix import Channel, Profile
from kmatrix.values.names import Arch, Flavour, kernel_release
from kmatrix.values.pins import ReleasePin, RetiredPin, UnresolvedPin

_BEFORE_RELEASE = re.compile(r"-(?:rc|ec|fc|okd|0\.)")


def remembered(known: ProfileLock | None, arch: Arch, forget: Collection[str] = ()) -> tuple[Node, ...]:
    """Return the releases that a lock has for an architecture, without those named by --forget."""
    every: tuple[UnresolvedPin | ReleasePin, ...] = (*known.unresolved, *known.releases) if known else ()
    pins = {pin.version: pin for pin in every if pin.arch == arch}
    nodes = (Node(pin.version, pin.payload, pin.channels) for pin in pins.values())
    return tuple(node for node in nodes if str(node.version) not in forget)


def days_between(day: str, later: str) -> int:
    """Return the number of days from one day to a later one, each as 2026-03-31."""
    return (date.fromisoformat(later) - date.fromisoformat(day)).days


def overdue(
    known: ProfileLock | None, profile: Profile, arch: Arch, answered: Collection[str], today: str
) -> frozenset[str]:
    """Return the releases of a lock that have been gone from their channels for longer than the profile keeps them.

    The day on which a discovery first missed a release counts, however long ago the one before it was. A channel
    without any release in the graph's answer is at fault itself: its releases stay.

    Args:
        known: the pins before.
        profile: its `retention_days`; without it no release is overdue.
        arch: whose releases.
        answered: the channels of matrix.yaml for which the graph has releases now.
        today: the day, as 2026-03-31.
    """
    pins: tuple[ReleasePin | UnresolvedPin, ...] = (*known.releases, *known.unresolved) if known else ()
    return frozenset(
        str(pin.version)
        for pin in pins
        if pin.arch == arch and _is_overdue(pin.gone, profile, today) and set(pin.channels) <= set(answered)
    )


def _is_overdue(gone: str | None, profile: Profile, today: str) -> bool:
    return bool(gone and profile.retention_days and days_between(gone, today) > profile.retention_days)


def refuse_useless_forgets(
    forget: Collection[str],
    known: ProfileLock | None,
    releases: Iterable[ReleasePin],
    unresolved: Iterable[UnresolvedPin] = (),
) -> tuple[str, ...]:
    """Check the names that --forget has; return those that are kernels.

    Args:
        forget: releases that the lock has and the graph has no more, or kernels that no release has.
        known: the pins before.
        releases: the pins after, without the forgotten ones.
        unresolved: the releases that are unresolved after.

    Raises:
        InputError: a name has nothing to forget.
    """
    before = {str(pin.version) for pin in (known.releases if known else ())}
    before |= {str(pin.version) for pin in (known.unresolved if known else ())}
    there = {str(pin.version) for pin in unresolved}
    releases = tuple(releases)
    kernels = []
    for name in forget:
        still = [pin for pin in releases if str(pin.version) == name]
        having = [str(pin.version) for pin in releases if name in _kernels(pin)]
        if still or having or name in there:
            kernel = having and not still
            has = f"{', '.join(dict.fromkeys(having))} has {name}" if kernel else f"the update graph has {name}"
            raise InputError(
                f"--forget {name}: {has}",
                f"Add an exclude to matrix.yaml instead ({'kernel' if kernel else 'release'}: {name}).",
            )
        if name in before:
            continue
        if not _is_kernel(name):
            gone = sorted({str(pin.version) for pin in releases if pin.gone})
            listed = f"gone and kept: {', '.join(gone)}" if gone else "none is gone and kept"
            raise InputError(
                f"--forget {name}: the lock has no such release, and it is not a kernel release either",
                f"Name a release as the lock has it ({listed}), or a kernel as `uname -r` prints it.",
            )
        kernels.append(name)
    return tuple(kernels)


def retired(
    known: ProfileLock | None,
    releases: Iterable[ReleasePin],
    profile: Profile,
    forget: Collection[str],
    kernels: Iterable[str],
    today: str,
) -> tuple[RetiredPin, ...]:
    """Return the kernels that lost their pin by a rule or by --forget, with the kernels retired earlier and their days.

    Args:
        known: the pins before.
        releases: the pins now.
        profile: as it is now.
        forget: releases named by --forget.
        kernels: kernels named by --forget.
        today: the date, for the reasons, and for kernels whose releases are still in their channels.
    """
    releases = tuple(releases)
    there = {(kernel, pin.arch) for pin in releases for kernel in _kernels(pin)}
    stays = {(pin.version, pin.arch) for pin in releases}
    # Locks of earlier versions have no day: today is the first that is known.
    found = {(pin.kernel, pin.arch): (pin.reason, pin.since or today) for pin in (known.retired if known else ())}
    left: dict[tuple[str, Arch], tuple[str, str]] = {}
    for pin in known.releases if known else ():
        if (pin.version, pin.arch) not in stays:
            reason, since = f"{_why(pin, profile, forget, today)}, {today}", pin.gone or today
        else:
            reason, since = "", today
        for name, flavour in _kernels(pin).items():
            key = name, pin.arch
            if reason:
                # Of several releases, the one that left the channels last.
                left[key] = max(left.get(key, ("", "")), (reason, since), key=lambda entry: entry[1])
            # A kernel of such a flavour is only searched when its flavour is wanted.
            elif flavour not in profile.flavours:
                left[key] = f"flavour {flavour} left matrix.yaml, {today}", today
    for name in kernels:
        for arch in profile.arches:
            since = found.get((name, arch), ("", today))[1]
            left[name, arch] = f"forgotten by name, {today}", since
    return tuple(
        RetiredPin(kernel=kernel, arch=arch, reason=reason, since=since)
        for (kernel, arch), (reason, since) in {**found, **left}.items()
        if (kernel, arch) not in there
    )


def _kernels(pin: ReleasePin) -> dict[str, Flavour]:
    """Return the kernels of a release's toolkit and of its nodes, which may run one that the toolkit lacks."""
    nodes: dict[str, Flavour] = {pin.node_kernel: "standard"} if pin.node_kernel else {}
    return {**nodes, **{kernel.release: kernel.flavour for kernel in pin.kernels}}


def _why(pin: ReleasePin, profile: Profile, forget: Collection[str], today: str) -> str:
    if str(pin.version) in forget:
        return f"release {pin.version} was forgotten by name"
    if pin.arch not in profile.arches:
        return f"architecture {pin.arch} left matrix.yaml"
    rules = [_rule(channel) for channel in profile.channels if channel.name in pin.channels]
    if not rules:
        return f"release {pin.version} was of {', '.join(pin.channels)}, which left matrix.yaml"
    if pin.gone and _is_overdue(pin.gone, profile, today):
        days = f"{profile.retention_days} day{'' if profile.retention_days == 1 else 's'}"
        return f"release {pin.version} has been gone from the graph since {pin.gone}, for longer than {days}"
    return f"release {pin.version} is not of {' nor of '.join(rules)}"


def _rule(channel: Channel) -> str:
    first = f" from {channel.first} on" if channel.first else ""
    return f"{channel.name}{first}" + (f", the newest {channel.newest}" if channel.newest else "")


def _is_kernel(name: str) -> bool:
    """Return whether a name is a kernel release with at least a build number, and not a pre-release of OpenShift."""
    try:
        return kernel_release(name) == name and "-" in name and not _BEFORE_RELEASE.search(name)
    except ValueError:
        return False
