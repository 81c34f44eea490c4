"""Find the shortest route through the update graph, as the lock keeps it: release by release."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import Arch, ReleaseVersion
from kmatrix.values.pins import UpdatesPin


@dataclass(frozen=True)
class Update:
    """One update of the graph; a conditional one has a known risk, which the cluster evaluates.

    The graph lists both kinds apart, as `edges` and `conditionalEdges` (openshift/cincinnati,
    docs/design/openshift.md).
    """

    source: ReleaseVersion
    to: ReleaseVersion
    conditional: bool


def edges_of(pins: Iterable[UpdatesPin], arch: Arch) -> tuple[Update, ...]:
    """Return the updates that a lock has for one architecture."""
    found = []
    for pin in pins:
        for source in pin.sources.split() if pin.arch == arch else ():
            found.append(Update(ReleaseVersion.parse(source.rstrip("?")), pin.to, source.endswith("?")))
    return tuple(found)


def releases_of(pins: ProfileLock, arch: Arch) -> set[ReleaseVersion]:
    """Return the releases that a lock has for an architecture, the unresolved ones included."""
    known = {pin.version for pin in pins.releases if pin.arch == arch}
    return known | {pin.version for pin in pins.unresolved if pin.arch == arch}


def shortest_route(updates: Iterable[Update], start: ReleaseVersion, end: ReleaseVersion) -> tuple[Update, ...] | None:
    """Return the route with the fewest updates; of several the one with the fewest conditional ones, then the newest.

    Returns:
        the updates in order; None if no route leads there.
    """
    by_source = _by_source(updates)
    routes: dict[ReleaseVersion, tuple[Update, ...]] = {start: ()}
    level = [start]
    while level and end not in routes:
        found: dict[ReleaseVersion, tuple[Update, ...]] = {}
        # Newest first, and only a better route replaces one: of equal routes the newest stays.
        for version in sorted(level, reverse=True):
            for update in by_source.get(version, ()):
                route = (*routes[version], update)
                if update.to not in routes and (update.to not in found or _risks(route) < _risks(found[update.to])):
                    found[update.to] = route
        routes |= found
        level = list(found)
    return routes.get(end)


def newest_reachable(updates: Iterable[Update], start: ReleaseVersion, end: ReleaseVersion) -> ReleaseVersion | None:
    """Return the newest release before `end` that a route leads to; None if there is none."""
    by_source = _by_source(updates)
    seen = {start}
    todo = [start]
    while todo:
        for update in by_source.get(todo.pop(), ()):
            if update.to not in seen:
                seen.add(update.to)
                todo.append(update.to)
    return max((version for version in seen if start < version < end), default=None)


def _by_source(updates: Iterable[Update]) -> Mapping[ReleaseVersion, list[Update]]:
    found: dict[ReleaseVersion, list[Update]] = {}
    for update in updates:
        found.setdefault(update.source, []).append(update)
    return found


def _risks(route: tuple[Update, ...]) -> int:
    return sum(update.conditional for update in route)
