"""Tell what a discovery changed in the pins of a profile, one line for each change."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from kmatrix.decide.open_releases import mismatch_of
from kmatrix.values.errors import Exit
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import Arch, ReleaseVersion
from kmatrix.values.pins import ReleasePin

_Release = tuple[ReleaseVersion, Arch]


def news_of(before: ProfileLock | None, after: ProfileLock) -> tuple[str, ...]:
    """Return the changes from one state of the pins to the next; empty if the lock's text stays the same.

    Args:
        before: the pins that the lock has; None without any.
        after: the pins now.
    """
    if before is None:
        return (f"the first lock: {_count(len(_releases(after)), 'release')} with {_kernels(after)}",)
    if before == after:
        return ()
    return (*_of_releases(before, after), *_of_unresolved(before, after), *_of_the_rest(before, after))


def mismatches(pins: ProfileLock) -> tuple[str, ...]:
    """Return a line for each toolkit that lacks the kernel of its release's nodes."""
    return tuple(f"{pin.version} for {pin.arch}: {mismatch_of(pin)}" for pin in pins.releases if pin.lacks_node_kernel)


def discovery_exit(pins: ProfileLock) -> Exit:
    """Return the exit code of a discovery that gave these pins: the worst fault decides."""
    if mismatches(pins) or pins.empty_channels or any(pin.obstacle == "malformed" for pin in pins.unresolved):
        return Exit.ERRORED
    return Exit.UNREACHABLE if pins.unresolved else Exit.OK


def _of_releases(before: ProfileLock, after: ProfileLock) -> Iterator[str]:
    old, new = _releases(before), _releases(after)
    unresolved = {(pin.version, pin.arch) for pin in before.unresolved}
    for key in sorted(old.keys() | new.keys()):
        name = f"{key[0]} for {key[1]}"
        if key not in new:
            yield f"{name} has left the lock"
        elif key not in old:
            word = "is resolved" if key in unresolved else "is new"
            yield f"{name} {word}, with {_named(new[key])}"
        elif old[key] != new[key]:
            yield from (f"{name} {change}" for change in _changes(old[key], new[key]))


def _changes(old: tuple[ReleasePin, ...], new: tuple[ReleasePin, ...]) -> Iterator[str]:
    """Yield the differences between the pins of one release, as ends of a sentence."""
    found = []
    if _named(old) != _named(new):
        found.append(f"has {_named(new)} instead of {_named(old)}")
    if {pin.payload for pin in old} != {pin.payload for pin in new}:
        found.append("has another payload")
    if (marks := (old[0].gone, new[0].gone)) != (None, None) and marks[0] != marks[1]:
        found.append(f"is gone from the graph since {marks[1]}" if marks[1] else "is back in the graph")
    if old[0].channels != new[0].channels:
        found.append(f"is in {', '.join(new[0].channels)} instead of {', '.join(old[0].channels)}")
    yield from found or ["has other facts about its toolkit or its nodes"]


def _of_unresolved(before: ProfileLock, after: ProfileLock) -> Iterator[str]:
    old = {(pin.version, pin.arch): pin for pin in before.unresolved}
    new = {(pin.version, pin.arch): pin for pin in after.unresolved}
    for key in sorted(old.keys() | new.keys()):
        name = f"{key[0]} for {key[1]}"
        if key not in new and key not in _releases(after):
            yield f"{name}, which was unresolved, has left the lock"
        elif key not in new and _releases(before).get(key) == _releases(after)[key]:
            yield f"{name} is resolved: its pins stay as they were"
        elif key in new and (key not in old or old[key] != new[key]):
            yield f"{name} is unresolved: {new[key].reason}"


def _of_the_rest(before: ProfileLock, after: ProfileLock) -> Iterator[str]:
    if before.base != after.base:
        yield f"the base is {after.base.pinned}"
    if before.clients != after.clients or before.unavailable != after.unavailable:
        yield "the packages of clients differ"
    for channel in sorted({(pin.name, pin.arch) for pin in after.empty_channels}):
        if channel not in {(pin.name, pin.arch) for pin in before.empty_channels}:
            yield f"{channel[0]} for {channel[1]} gives no release"
    for channel in sorted({(pin.name, pin.arch) for pin in before.empty_channels}):
        if channel not in {(pin.name, pin.arch) for pin in after.empty_channels}:
            yield f"{channel[0]} for {channel[1]}, which gave no release, gives some or has left matrix.yaml"
    if before.updates != after.updates:
        yield "the updates between releases differ"
    old, new = ({(pin.kernel, pin.arch): pin for pin in pins.retired} for pins in (before, after))
    for key in sorted(old.keys() | new.keys()):
        name = f"kernel {key[0]} for {key[1]}"
        if key not in new:
            yield f"{name} is no longer retired"
        elif old.get(key) != new[key]:
            yield f"{name} is retired: {new[key].reason}"
    if before.inputs != after.inputs:
        yield "matrix.yaml changed"


def _releases(pins: ProfileLock) -> dict[_Release, tuple[ReleasePin, ...]]:
    def key(pin: ReleasePin) -> _Release:
        return pin.version, pin.arch

    ordered = sorted(pins.releases, key=lambda pin: (pin.version, pin.arch, pin.toolkit.pinned))
    return {each: tuple(group) for each, group in groupby(ordered, key)}


def _kernels(pins: ProfileLock) -> str:
    return _count(len({kernel.release for pin in pins.releases for kernel in pin.kernels}), "kernel")


def _named(pins: tuple[ReleasePin, ...]) -> str:
    names = list(dict.fromkeys(kernel.release for pin in pins for kernel in pin.kernels))
    return f"kernel{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
