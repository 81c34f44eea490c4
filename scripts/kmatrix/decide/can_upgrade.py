"""Decide whether a cluster can be updated: whether every kernel on its way has a module that passed every gate."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from kmatrix.decide.excludes import kernels_of
from kmatrix.decide.update_routes import Update, edges_of, newest_reachable, releases_of, shortest_route
from kmatrix.decide.upgrade_answer import Answer, KernelAnswer, Known, Obstacle, Question
from kmatrix.values.command_lines import command
from kmatrix.values.errors import InputError
from kmatrix.values.names import Arch, ClientVersion, Flavour, ReleaseVersion
from kmatrix.values.pins import ReleasePin


def can_upgrade(question: Question, known: Known) -> Answer:
    """Answer whether every kernel on the route is published, with all gates passed, and is in the client's bundle.

    The route has both ends: a node runs the first release until it reboots, and the releases between are run too.
    Of a release with two OS streams the kernels of both count, since its pools may run either.

    Raises:
        InputError: the update leads to no newer release, or the lock does not have one of the two releases.
    """
    if not question.start < question.end:
        raise InputError(
            f"--to {question.end} is not newer than --from {question.start}",
            "Exchange the two: clusters update upwards.",
        )
    routes: dict[Arch, tuple[Update, ...]] = {}
    kernels: list[KernelAnswer] = []
    obstacles: list[Obstacle] = []
    for arch in question.arches:
        for version, option in ((question.start, "--from"), (question.end, "--to")):
            _require_known(version, option, arch, known)
        updates = edges_of(known.pins.updates, arch)
        route = shortest_route(updates, question.start, question.end)
        if route is None:
            reason = _no_route(question, updates, known.profile_name)
            obstacles.append(Obstacle(str(question.end), arch, reason))
            continue
        routes[arch] = route
        versions = (question.start, *(update.to for update in route))
        obstacles += _unresolved(versions, arch, known)
        obstacles += _unknown_flavours(versions, arch, question, known)
        obstacles += _missing_kernels(versions, arch, question, known)
        kernels += _kernels(versions, arch, question, known)
    return Answer(question, routes, tuple(kernels), tuple(obstacles))


def _require_known(version: ReleaseVersion, option: str, arch: Arch, known: Known) -> None:
    releases = {str(each) for each in releases_of(known.pins, arch)}
    if str(version) in releases:
        return
    near = get_close_matches(str(version), sorted(releases), n=3)
    listed = f"The nearest that it has: {', '.join(near)}. " if near else ""
    raise InputError(
        f"{option} {version}: the lock of profile {known.profile_name} has no such release for {arch}",
        f"{listed}Add a channel that has it to channels in matrix.yaml (and raise `newest` there if it is older), then "
        f"run {command('discover', known.profile_name)}.",
    )


def _no_route(question: Question, updates: tuple[Update, ...], profile_name: str) -> str:
    if not updates:
        return f"the lock has no updates of the graph; run {command('discover', profile_name)}"
    nearest = newest_reachable(updates, question.start, question.end)
    sources = sorted({update.source for update in updates if update.to == question.end})
    way = (
        f"the nearest that can be reached from {question.start} is {nearest}"
        if nearest
        else (f"none before it can be reached from {question.start} either")
    )
    before = f"; {question.end} can be reached from {', '.join(map(str, sources))}" if sources else ""
    return f"the update graph has no route from {question.start} to {question.end}: {way}{before}"


def _unresolved(versions: tuple[ReleaseVersion, ...], arch: Arch, known: Known) -> Iterable[Obstacle]:
    for pin in known.pins.unresolved:
        if pin.arch == arch and pin.version in versions:
            needs = f"; a credential for {pin.credential} would resolve it" if pin.credential else ""
            reason = (
                f"its kernels are not known: {pin.reason}{needs}; then run {command('discover', known.profile_name)}"
            )
            yield Obstacle(str(pin.version), arch, reason)


def _unknown_flavours(
    versions: tuple[ReleaseVersion, ...], arch: Arch, question: Question, known: Known
) -> Iterable[Obstacle]:
    """Yield the flavours whose kernel is not known: a toolkit that is not that of the nodes tells none of them.

    The OS image states the standard kernel alone.
    """
    for pin in _pins(versions, arch, known):
        flavours = {kernel.flavour for kernel in pin.kernels} & set(question.flavours) - {"standard"}
        for flavour in sorted(flavours) if pin.lacks_node_kernel else ():
            reason = f"its {flavour} kernel ({pin.stream}) is not known: its toolkit lacks the kernel of its nodes"
            yield Obstacle(str(pin.version), arch, f"{reason}, {pin.node_kernel}; use another release")


def _missing_kernels(
    versions: tuple[ReleaseVersion, ...], arch: Arch, question: Question, known: Known
) -> Iterable[Obstacle]:
    """Yield the releases without a kernel that nodes of the first one need after their update: it is not known."""
    needed: set[Flavour] = set()
    unresolved = {pin.version for pin in known.pins.unresolved if pin.arch == arch}
    for version in versions:
        pins = _pins((version,), arch, known)
        if not pins and version not in unresolved:
            reason = f"the lock does not have its kernels; run {command('discover', known.profile_name)}"
            yield Obstacle(str(version), arch, reason)
        # Of a toolkit that is not that of the nodes, the standard kernel of the nodes counts.
        found = {kernel.flavour for pin in pins for kernel in pin.kernels} & set(question.flavours)
        for flavour in sorted(needed - found) if pins else ():
            yield Obstacle(str(version), arch, f"its toolkit has no {flavour} kernel, but {question.start} has one")
        if version == question.start:
            needed = found


def _pins(versions: tuple[ReleaseVersion, ...], arch: Arch, known: Known) -> list[ReleasePin]:
    return [pin for pin in known.pins.releases if pin.arch == arch and pin.version in versions]


def _kernels(
    versions: tuple[ReleaseVersion, ...], arch: Arch, question: Question, known: Known
) -> Iterable[KernelAnswer]:
    for kernel in kernels_of(_pins(versions, arch, known)):
        if kernel.flavour in question.flavours:
            safe, reason = _module(question.client, kernel.release, arch, known)
            releases = tuple(dict.fromkeys(str(pin.version) for pin in kernel.pins))
            stream = kernel.pins[0].stream
            yield KernelAnswer(kernel.release, arch, kernel.flavour, stream, releases, safe, reason)


def _module(client: ClientVersion, kernel: str, arch: Arch, known: Known) -> tuple[bool, str]:
    """Return whether a kernel's module is published, passed every gate and is in the bundle, and the reason."""
    rows = (row for row in known.plan.rows if row.client == client and row.kernel == kernel and row.arch == arch)
    row = next(rows, None)
    if row is None or row.cell is None:
        why = row.reason if row else "the plan has no cell for it"
        return False, why if row and row.open else f"not built: {why}"
    name = known.profile_name
    bundle = known.bundle if known.bundle and known.bundle.is_published else None
    has_module = bundle is not None and kernel in bundle.kernels
    if bundle and has_module and kernel in bundle.kept:
        return True, f"in the bundle, kept from an earlier one: {bundle.kept[kernel]}"
    result = known.results.get(row.id)
    if result is None:
        return False, f"there is no result of {row.id} here; run {command('build', name, '--only', row.id)}"
    if result.verdict in ("failed", "errored"):
        return False, f"{result.verdict}: {result.reason}"
    if not result.digest:
        return False, f"passed, but not pushed; run {command('push', name, '--only', row.id)}"
    lacking = [gate for gate in known.gates if result.gates.get(gate) != "passed"]
    if lacking:
        gates = ", ".join(lacking)
        return False, f"published, but without a pass of {gates}; run {command('build', name, '--only', row.id)}"
    if bundle is None:
        why = f"its last bundle failed ({known.bundle.reason})" if known.bundle else "it has no published bundle"
        return False, f"published, but not in a bundle of client {client}: {why}; run {command('bundle', name)}"
    if not has_module:
        return False, f"published, but not in the bundle of client {client}; run {command('bundle', name)}"
    seen = f", seen in the registry at {result.seen}" if result.seen else ""
    return True, f"in the bundle, gates {', '.join(known.gates)} passed{seen}"
