"""Decide the state of every release, and how long it took from its appearance in the update graph to its last push."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from kmatrix.decide.plan import Row
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import Arch
from kmatrix.values.pins import ReleasePin, UnresolvedPin
from kmatrix.values.release_result import ReleaseResult, ReleaseState

UNRESOLVED = "release-unresolved"
MISMATCH = "toolkit-kernel-mismatch"
# A release and an architecture.
Key = tuple[str, Arch]


def release_results(
    rows: Iterable[Row],
    pins: ProfileLock,
    findings: Mapping[Key, tuple[Finding, ...]],
    pushed: Mapping[str, str],
    earlier: Iterable[ReleaseResult] = (),
) -> tuple[ReleaseResult, ...]:
    """Return every release that has cells or findings, oldest first.

    Args:
        rows: of the complete plan: the cells that are in, and those that are open.
        pins: the profile's.
        findings: of releases without kernels, or without their own, by release and architecture.
        pushed: see `push_times`.
        earlier: the releases as they were known before.
    """
    before = {(result.version, result.arch): result for result in earlier}
    cells: dict[Key, list[Row]] = {}
    for row in rows:
        for release in row.releases:
            cells.setdefault((release, row.arch), []).append(row)
    results = []
    for key, known in sorted(_pins_of(pins).items(), key=lambda item: (item[1][0].version, item[1][0].arch)):
        own, faults = cells.get(key, []), findings.get(key, ())
        if not own and not faults:
            # Every cell of it is excluded.
            continue
        result = ReleaseResult(
            version=key[0],
            arch=key[1],
            state=_state(own, faults, pushed),
            streams=tuple(dict.fromkeys(row.stream for row in own)),
            kernels=tuple(dict.fromkeys(row.kernel for row in own)),
            findings=faults,
            unseen=min((pin.unseen for pin in known if pin.unseen), default=""),
            found=min((pin.found for pin in known if pin.found), default=""),
        )
        results.append(_timed(result, before.get(key), [pushed.get(row.id, "") for row in own]))
    return tuple(results)


def release_findings(pins: ProfileLock, wanted: Collection[Key]) -> dict[Key, tuple[Finding, ...]]:
    """Return the findings about releases whose kernels, or whose nodes' kernel, no toolkit of theirs gives.

    Args:
        pins: the profile's.
        wanted: the releases that the plan has as open; an exclude of matrix.yaml silences the others.
    """
    found: dict[Key, list[Finding]] = {}
    for unresolved in pins.unresolved:
        finding = Finding("release", UNRESOLVED, unresolved.reason)
        found.setdefault((str(unresolved.version), unresolved.arch), []).append(finding)
    for pin in pins.releases:
        if pin.lacks_node_kernel:
            found.setdefault((str(pin.version), pin.arch), []).append(mismatch_of(pin))
    return {key: tuple(findings) for key, findings in found.items() if key in wanted}


def mismatch_of(pin: ReleasePin) -> Finding:
    """Return the finding about a release whose toolkit lacks its nodes' kernel."""
    kernels = ", ".join(kernel.release for kernel in pin.kernels)
    message = f"the toolkit of {pin.version} {pin.arch} is for {kernels}, its nodes run {pin.node_kernel}"
    return Finding("release", MISMATCH, message, pin.node_kernel or "", kernels)


def push_times(results: Iterable[CellResult], gates: Iterable[str]) -> dict[str, str]:
    """Return when each cell was pushed that is published with every one of `gates` passed, by cell id.

    A cell that another run pushed has the time of the last gate that its record names: it is pushed right after that.
    Empty where neither is known.
    """
    wanted = tuple(gates)
    return {
        result.cell: result.pushed or max(result.gates_at.values(), default="")
        for result in results
        if result.digest and all(result.gates.get(gate) == "passed" for gate in wanted)
    }


def _pins_of(pins: ProfileLock) -> dict[Key, list[ReleasePin | UnresolvedPin]]:
    found: dict[Key, list[ReleasePin | UnresolvedPin]] = {}
    known: list[ReleasePin | UnresolvedPin] = [*pins.releases, *pins.unresolved]
    for pin in known:
        found.setdefault((str(pin.version), pin.arch), []).append(pin)
    return found


def _state(cells: list[Row], findings: tuple[Finding, ...], pushed: Mapping[str, str]) -> ReleaseState:
    codes = {finding.code for finding in findings}
    if UNRESOLVED in codes:
        return "unresolved"
    if codes:
        return "mismatch"
    return "published" if all(row.id in pushed for row in cells) else "incomplete"


def _timed(result: ReleaseResult, before: ReleaseResult | None, times: list[str]) -> ReleaseResult:
    """Return the result with its times: those that are written already, else those of a release published now."""
    if before and before.published:
        return replace(
            result,
            published=before.published,
            minutes_from_appearance=before.minutes_from_appearance,
            minutes_from_discovery=before.minutes_from_discovery,
        )
    # A release that was published before, at a time that is not known, is not published by a later push.
    if result.state != "published" or not all(times) or (before and before.state == "published"):
        return result
    published = max(times)
    return replace(
        result,
        published=published,
        minutes_from_appearance=_minutes(result.unseen, published),
        minutes_from_discovery=_minutes(result.found, published),
    )


def _minutes(start: str, end: str) -> float | None:
    """Return the minutes between two times; 0 where the cells were there first, as those of a shared kernel are."""
    if not start or not end:
        return None
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    return round(max(0.0, seconds) / 60, 1)
