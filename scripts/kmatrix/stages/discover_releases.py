"""Releases: update graph → the pins of every release; one that cannot be read is unresolved and stops no other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from kmatrix.decide.releases import Node, empty_channels, read_graph, select_releases
from kmatrix.decide.retention import overdue, remembered
from kmatrix.decide.updates import updates_of
from kmatrix.effects.net.update_graph import fetch_graph
from kmatrix.effects.registry.client import Registry
from kmatrix.stages.concurrency import map_threads
from kmatrix.stages.earlier_pins import EarlierPins
from kmatrix.stages.progress import Progress, counting
from kmatrix.stages.read_release import Unresolved, read_release
from kmatrix.values.command_lines import command
from kmatrix.values.matrix import Profile
from kmatrix.values.names import Arch
from kmatrix.values.pins import EmptyChannelPin, ReleasePin, UnresolvedPin, UpdatesPin

_THREADS = 8
# Without an answer in between, so many releases show that the registry is down, and each takes seconds to show it. As
# many are under way at a time: a fault of a few of them is no fault of the registry.
_SILENT_RELEASES = _THREADS
Say = Callable[[str], None]


@dataclass(frozen=True)
class FoundReleases:
    """The pins of the selected releases, releases without (all) their pins, updates, and channels without a release."""

    releases: tuple[ReleasePin, ...]
    unresolved: tuple[UnresolvedPin, ...]
    updates: tuple[UpdatesPin, ...]
    empty_channels: tuple[EmptyChannelPin, ...]


def pin_releases(
    profile_name: str,
    profile: Profile,
    registry: Registry,
    before: EarlierPins,
    say: Say,
    warn: Say,
    progress: Progress,
) -> FoundReleases:
    """Return the pins of every selected release, one for each toolkit it has.

    Args:
        profile_name: for messages.
        profile: with overrides.
        registry: payloads, toolkits and node images are read from it.
        before: a payload that was read then is not read again, and a release that is gone from the graph is kept.
        say: is given a line of progress.
        warn: is given a line about a release or a channel that a person has to look at.
        progress: is told how many releases are left.

    Raises:
        UnreachableError: the update graph could not be queried.
        ProtocolError, InputError: its answer or a setting is wrong.
    """
    jobs: list[tuple[Node, Arch]] = []
    updates: list[UpdatesPin] = []
    empty: list[EmptyChannelPin] = []
    for arch in profile.arches:
        graphs = {}
        for channel in profile.channels:
            say(f"querying the update graph for {channel.name} on {arch}")
            graphs[channel.name] = read_graph(fetch_graph(profile.graph, channel.name, arch), profile.graph)
        answered = [name for name, nodes in graphs.items() if nodes]
        leaving = overdue(before.pins, profile, arch, answered, before.today)
        of_the_lock = remembered(before.pins, arch, {*before.forget, *leaving})
        chosen = select_releases(profile_name, profile.channels, graphs, of_the_lock)
        for release in sorted(leaving - {str(node.version) for node in chosen}):
            kept = f"{profile.retention_days} days (retention_days)"
            say(f"{release} for {arch} leaves the lock: it has been gone from the graph for longer than {kept}")
        for name, why in empty_channels(profile.channels, graphs, chosen).items():
            warn(f"{name} for {arch} gives no release ({why}): correct it in matrix.yaml, unless it is yet to come")
            empty.append(EmptyChannelPin(name=name, arch=arch))
        jobs += [(node, arch) for node in chosen]
        updates += updates_of(chosen, arch, before.pins.updates if before.pins else ())
    reader = _Reader(profile, registry, before, say, warn)
    with counting(progress, "discover: releases", len(jobs)) as counted:
        found = map_threads(counted(lambda job: reader.pins_of(*job)), jobs, _THREADS)
    return FoundReleases(
        tuple(pin for pins, _ in found for pin in pins),
        tuple(unresolved for _, unresolved in found if unresolved),
        tuple(updates),
        tuple(empty),
    )


class _Reader:
    """Reads releases, several at a time; once the registry has shown to be down, the others are not tried."""

    def __init__(self, profile: Profile, registry: Registry, before: EarlierPins, say: Say, warn: Say) -> None:
        self._profile = profile
        self._registry = registry
        self._before = before
        self._say = say
        self._warn = warn
        self._lock = threading.Lock()
        self._silent: list[Unresolved] = []

    def pins_of(self, node: Node, arch: Arch) -> tuple[tuple[ReleasePin, ...], UnresolvedPin | None]:
        """Return the pins of a release, the earlier ones where they still hold, and why it is unresolved if it is."""
        before, say = self._before, self._say
        known = before.release(node.version, arch)
        unresolved_before = before.unresolved(node.version, arch)
        since = _gone_since(node, arch, [*known, *([unresolved_before] if unresolved_before else [])], before, say)
        found, unseen = self._seen(known[0] if known else unresolved_before)
        state: dict[str, object] = {"channels": node.channels, "gone": since, "found": found, "unseen": unseen}
        pins = tuple(pin for pin in known if pin.payload.digest == node.payload.digest)
        problem = None
        # Of a release that was gone, other inputs since may have wanted more.
        is_back = not node.gone and any(pin.gone for pin in known)
        if unresolved_before or is_back or not (pins and before.reusable):
            say(f"reading the payload of {node.version} for {arch}")
            read = self._read(node, arch)
            if isinstance(read, Unresolved):
                if known:
                    kept = f"{node.version} for {arch} cannot be read again, so its pins are kept"
                    self._warn(f"{kept}: {read.error.message}")
                # Nobody can mend a release that is gone: more of it is read once it is back.
                if not (known and node.gone):
                    problem = self._unresolved(node, arch, read, unresolved_before, state)
                pins = known
            else:
                pins = read
        return tuple(pin.model_copy(update=state) for pin in pins), problem

    def _seen(self, earlier: ReleasePin | UnresolvedPin | None) -> tuple[str | None, str | None]:
        """Return when the release was first seen, and when it was last not seen."""
        if earlier:
            return earlier.found, earlier.unseen
        # The time at which a first lock was written says nothing about the age of its releases.
        if self._before.pins is None:
            return None, None
        # With other inputs, the last discovery may not have queried the release's channel at all.
        return self._before.now, self._before.last if self._before.reusable else None

    def _read(self, node: Node, arch: Arch) -> tuple[ReleasePin, ...] | Unresolved:
        with self._lock:
            down = self._silent[0] if len(self._silent) >= _SILENT_RELEASES else None
        if down:
            return Unresolved(down.error, "unreachable", down.reason)
        read = read_release(node, arch, self._profile, self._registry)
        with self._lock:
            if isinstance(read, Unresolved) and read.obstacle == "unreachable":
                self._silent.append(read)
            elif len(self._silent) < _SILENT_RELEASES:
                self._silent.clear()
        return read

    def _unresolved(
        self, node: Node, arch: Arch, read: Unresolved, before: UnresolvedPin | None, state: dict[str, object]
    ) -> UnresolvedPin:
        self._warn(f"{node.version} for {arch} is unresolved: {read.error.message}. {read.error.hint}")
        pin = UnresolvedPin(
            version=node.version,
            arch=arch,
            channels=node.channels,
            payload=node.payload,
            toolkits=read.toolkits or (before.toolkits if before and before.payload == node.payload else ()),
            obstacle=read.obstacle,
            reason=read.reason,
            credential=read.credential or None,
            since=before.since if before else self._before.today,
        )
        return pin.model_copy(update=state)


def _gone_since(
    node: Node, arch: Arch, known: list[ReleasePin | UnresolvedPin], before: EarlierPins, say: Say
) -> str | None:
    """Return the day since which a release is gone from the graph, and report a change of it; None if it is there."""
    mark = min((pin.gone for pin in known if pin.gone), default=None)
    if node.gone:
        since = mark or before.today
        removal = command("discover", before.profile_name, "--forget", str(node.version))
        say(f"{node.version} for {arch} has been gone from the graph since {since}; kept ({removal} removes it)")
        return since
    if mark:
        say(f"{node.version} for {arch} is back in the graph, having been gone since {mark}")
    return None
