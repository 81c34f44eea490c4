"""Decide, in a watch, which bundles are out of date, what it changed, in three lines, and with which code it ends."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import Cell, CellResult
from kmatrix.values.errors import Exit
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import ClientVersion

# The worst first.
_WORST = (Exit.FAILED, Exit.ERRORED, Exit.UNREACHABLE)
_MOST_NAMES = 20


def watch_exit(codes: Collection[Exit], published: bool) -> Exit:
    """Return the exit code of a watch.

    Args:
        codes: those of its steps.
        published: whether it published a cell or a bundle.
    """
    return next((code for code in _WORST if code in codes), Exit.OK if published else Exit.NOTHING_NEW)


def published_now(results: Iterable[CellResult], before: Mapping[str, CellResult]) -> tuple[CellResult, ...]:
    """Return the results of the cells that a run pushed, of all its results.

    Args:
        results: of the run.
        before: what was known before it, by cell.
    """
    return tuple(
        result
        for result in results
        if result.verdict == "passed"
        and result.pushed
        and (result.cell not in before or before[result.cell].pushed != result.pushed)
    )


def clients_to_bundle(
    cells: Iterable[Cell],
    results: Mapping[str, CellResult],
    before: Mapping[str, CellResult],
    bundles: Mapping[str, BundleResult],
) -> frozenset[ClientVersion]:
    """Return the clients whose bundle does not have exactly their published cells, as far as results tell.

    A bundle without a verdict, or with a bad one, is tried again, and so is one about which nothing is known. A client
    without a published cell has no bundle to compose.

    Args:
        cells: of the plan.
        results: of all runs, this one included, by cell.
        before: of all runs before, by cell.
        bundles: of all runs before, by client.
    """
    published: dict[ClientVersion, list[CellResult]] = {}
    for cell in cells:
        result = results.get(cell.id)
        if result and result.digest and result.verdict in ("passed", "skipped"):
            published.setdefault(cell.client, []).append(result)
    moved = {cell for cell, known in before.items() if cell in results and results[cell].digest != known.digest}
    return frozenset(
        client
        for client, own in published.items()
        if any(result.cell in moved for result in own) or _is_stale(own, bundles.get(str(client)))
    )


def _is_stale(cells: list[CellResult], bundle: BundleResult | None) -> bool:
    if bundle is None or not bundle.digest or bundle.verdict in ("failed", "errored"):
        return True
    if any(cell.pushed > bundle.seen for cell in cells):
        return True
    # Modules of cells that cannot be built any more, and of kernels that a service lost, stay in a bundle.
    earlier = {cell.removeprefix(f"{bundle.client}-") for cell in bundle.earlier}
    return {cell.kernel for cell in cells} != set(bundle.kernels) - earlier - set(bundle.kept)


def published_bundles(results: Iterable[BundleResult], before: Mapping[str, BundleResult]) -> tuple[BundleResult, ...]:
    """Return the bundles that a run published, of all its results; one may be published although it is errored.

    Args:
        results: of the run.
        before: what was known before it, by client.
    """
    return tuple(
        result
        for result in results
        if result.verdict == "passed"
        or (
            result.verdict != "skipped"
            and result.digest
            and (result.client not in before or before[result.client].digest != result.digest)
        )
    )


def releases_line(before: ProfileLock | None, after: ProfileLock, fault: str = "") -> str:
    """Return which releases and kernels are new.

    Args:
        before: the pins before discovery; None without any.
        after: the pins after it.
        fault: why there was no discovery.
    """
    if fault:
        return f"releases: not discovered: {fault}"
    known = set(_releases(before)) if before else set()
    releases = [name for name in _releases(after) if name not in known]
    lacking = [f"{pin.version} for {pin.arch}" for pin in after.unresolved]
    old = {kernel.release for pin in before.releases for kernel in pin.kernels} if before else set()
    kernels = dict.fromkeys(kernel.release for pin in after.releases for kernel in pin.kernels)
    words = [_listed("new", releases), _listed("unresolved", [each for each in lacking if each in releases])]
    new = _listed("new", [kernel for kernel in kernels if kernel not in old])
    return f"releases: {', '.join(filter(None, words)) or 'none new'}; kernels: {new or 'none new'}"


def cells_line(results: Iterable[CellResult], before: Mapping[str, CellResult], fault: str = "") -> str:
    """Return which cells were published, failed and errored.

    Args:
        results: of the run.
        before: what was known before it, by cell.
        fault: why nothing, or not everything, was built.
    """
    # They ended in any order.
    results = sorted(results, key=lambda result: result.cell)
    published = [result.cell for result in published_now(results, before)]
    words = [_listed("published", published)]
    words += [_listed(verdict, [r.cell for r in results if r.verdict == verdict]) for verdict in ("failed", "errored")]
    told = "; ".join(filter(None, words))
    if fault:
        return f"cells: {told}; the others not built: {fault}" if told else f"cells: not built: {fault}"
    return f"cells: {told or 'none published'}"


def bundles_line(results: Iterable[BundleResult], before: Mapping[str, BundleResult], fault: str = "") -> str:
    """Return which bundles were published, failed and errored.

    Args:
        results: of the run.
        before: what was known before it, by client.
        fault: why none, or not each, was composed.
    """
    results = list(results)
    words = [
        f"{result.client} published with {len(result.kernels)} kernel{'s' if len(result.kernels) != 1 else ''} as "
        f"{result.digest}"
        for result in published_bundles(results, before)
    ]
    words += [f"{result.client} {result.verdict}" for result in results if result.verdict in ("failed", "errored")]
    told = "; ".join(words)
    if fault:
        return f"bundles: {told}; the others not composed: {fault}" if told else f"bundles: not composed: {fault}"
    return f"bundles: {told or 'none published'}"


def _releases(pins: ProfileLock) -> list[str]:
    """Return the name of every release, oldest first."""
    keys = {(pin.version, pin.arch) for pin in pins.releases} | {(pin.version, pin.arch) for pin in pins.unresolved}
    return [f"{version} for {arch}" for version, arch in sorted(keys)]


def _listed(word: str, names: list[str]) -> str:
    """Return `2 new: a, b`; empty for no names."""
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{len(names)} {word}: {', '.join(names[:_MOST_NAMES])}{more}"
