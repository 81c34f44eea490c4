"""Find the kernels that a lock holds, and their releases that the matrix excludes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.values.errors import Problem
from kmatrix.values.matrix import Exclude, Profile
from kmatrix.values.names import FLAVOURS, Arch, Flavour
from kmatrix.values.pins import ReleasePin


@dataclass(frozen=True)
class Kernel:
    """A kernel on an architecture, with every release whose nodes run it, oldest first.

    `toolkits` are the pins whose toolkit has it, oldest first; without any, nothing can be built for it.
    """

    release: str
    arch: Arch
    flavour: Flavour
    pins: tuple[ReleasePin, ...]
    toolkits: tuple[ReleasePin, ...]


def kernels_of(releases: Iterable[ReleasePin]) -> list[Kernel]:
    """Return the kernels of a lock in natural order, each once per architecture.

    A release whose toolkit lacks its nodes' kernel runs that kernel, which the toolkit of another release may have.
    """
    found: dict[tuple[str, Arch], tuple[Flavour, list[ReleasePin], list[ReleasePin]]] = {}
    # The toolkit of the oldest release is used: a new z-stream with the same kernel changes no cell.
    for pin in sorted(releases, key=lambda pin: (pin.version, pin.toolkit.pinned)):
        if pin.lacks_node_kernel and pin.node_kernel:
            found.setdefault((pin.node_kernel, pin.arch), ("standard", [], []))[1].append(pin)
            continue
        for kernel in pin.kernels:
            _, pins, toolkits = found.setdefault((kernel.release, pin.arch), (kernel.flavour, [], []))
            pins.append(pin)
            toolkits.append(pin)
    kernels = [
        Kernel(release, arch, flavour, tuple(pins), tuple(toolkits))
        for (release, arch), (flavour, pins, toolkits) in found.items()
    ]
    return sorted(kernels, key=lambda kernel: (natural(kernel.release), FLAVOURS.index(kernel.flavour), kernel.arch))


def fits(pattern: str | None, value: str) -> bool:
    """Return whether a value matches a glob; None matches all."""
    return pattern is None or fnmatchcase(value, pattern)


def excluded(
    kernel: Kernel, excludes: list[tuple[int, Exclude]]
) -> tuple[tuple[ReleasePin, ...], int | None, set[int]]:
    """Return the releases that are left, the exclude that removed the last one, and all excludes that removed any.

    An exclude by release removes that release from the kernel; the cell is out when none is left.
    """
    left = kernel.pins
    last: int | None = None
    hits: set[int] = set()
    for index, exclude in excludes:
        if not (
            fits(exclude.kernel, kernel.release)
            and fits(exclude.arch, kernel.arch)
            and fits(exclude.flavour, kernel.flavour)
        ):
            continue
        removed = {
            id(pin)
            for pin in kernel.pins
            if fits(exclude.release, str(pin.version)) and fits(exclude.stream, pin.stream)
        }
        if removed:
            hits.add(index)
        left = tuple(pin for pin in left if id(pin) not in removed)
        if not left and last is None:
            last = index
    return left, last, hits


def useless_excludes(profile_name: str, profile: Profile, kernels: list[Kernel], used: set[int]) -> list[Problem]:
    """Return a problem for every exclude that removed nothing, with the nearest existing values."""
    values: dict[str, list[str]] = {
        "client": [str(client) for client in profile.clients],
        "kernel": [kernel.release for kernel in kernels],
        "release": list(dict.fromkeys(str(pin.version) for kernel in kernels for pin in kernel.pins)),
        "arch": list(dict.fromkeys(kernel.arch for kernel in kernels)),
        "flavour": list(dict.fromkeys(kernel.flavour for kernel in kernels)),
        "stream": list(dict.fromkeys(pin.stream for kernel in kernels for pin in kernel.pins)),
    }
    problems = []
    for index, exclude in enumerate(profile.excludes):
        if index in used:
            continue
        given = [(key, pattern) for key in values if (pattern := getattr(exclude, key))]
        said = ", ".join(f"{key} {pattern}" for key, pattern in given)
        near = [
            f"{key}: {nearest(pattern, values[key])}"
            for key, pattern in given
            if not any(fnmatchcase(value, pattern) for value in values[key])
        ]
        why = "; ".join(near) or "each of these occurs, but not together"
        key = f"profiles.{profile_name}.excludes[{index}]"
        problems.append(Problem(exclude.where, f"{key}: matches no cell ({said}); {why}"))
    return problems


def nearest(pattern: str, values: list[str]) -> str:
    """Return `nearest: …` with the values most similar to a glob."""
    if not values:
        return "there are none at all"
    near = get_close_matches(re.sub(r"[*?\[\]!]", "", pattern), values, n=3, cutoff=0.3)
    return f"nearest: {', '.join(near or values[:3])}"
