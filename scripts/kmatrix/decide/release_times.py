"""Decide the state of every release, and how long it took from its appearance in the update graph to its last push."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from kmatrix.decide.open_releases import MISMATCH, UNRESOLVED, Code, OpenRelease
from kmatrix.decide.plan import Plan, Row
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import Arch
from kmatrix.values.pins import ReleasePin, UnresolvedPin
from kmatrix.values.release_result import ReleaseResult, ReleaseState

# A release and an architecture.
Key = tuple[str, Arch]


def releases_of(
    plan: Plan,
    pins: ProfileLock,
    results: Iterable[CellResult],
    gates: Iterable[str],
    earlier: Iterable[ReleaseResult] = (),
) -> tuple[ReleaseResult, ...]:
    """Return the releases of a profile as its results show them, oldest first.

    Args:
        plan: the complete one.
        pins: the profile's.
        results: of all its cells that are known.
        gates: the names of those that a published cell must have passed.
        earlier: the releases as they were known before.
    """
    rows = [row for row in plan.rows if row.state != "out"]
    return release_results(rows, pins, release_findings(plan.open), push_times(results, gates), earlier)


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
        earlier: the releases as they were known before; of several that are the same, the earliest time counts.
    """
    before: dict[tuple[str, str], ReleaseResult] = {}
    for each in earlier:
        other = before.get((each.version, each.arch))
        if not (other and other.published) or (each.published and each.published < other.published):
            before[each.version, each.arch] = each
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


def release_findings(releases: Iterable[OpenRelease]) -> dict[Key, tuple[Finding, ...]]:
    """Return the findings about releases whose kernels, or whose nodes' kernel, no toolkit of theirs gives.

    Args:
        releases: those that the plan has as open; an exclude of matrix.yaml silences others.
    """
    found: dict[Key, tuple[Finding, ...]] = {}
    for release in releases:
        key = (release.release, release.arch)
        found[key] = (*found.get(key, ()), _finding(release, release.code))
    return found


def open_results(rows: Iterable[Row], releases: Iterable[OpenRelease]) -> tuple[CellResult, ...]:
    """Return the results of the cells that are open: no toolkit has their kernel, so nothing can be built.

    Args:
        rows: of the plan; others are passed over.
        releases: those that the plan has as open.
    """
    mismatched = [release for release in releases if release.code == MISMATCH]
    results = []
    for row in rows:
        if row.state == "open":
            own = [each for each in mismatched if each.release in row.releases and each.arch == row.arch]
            results.append(
                CellResult(
                    cell=row.id,
                    client=str(row.client),
                    kernel=row.kernel,
                    arch=row.arch,
                    flavour=row.flavour,
                    stream=row.stream,
                    releases=row.releases,
                    verdict="errored",
                    reason=row.reason,
                    findings=tuple(_finding(each, each.code) for each in own),
                    next_step=own[0].next_step if own else "",
                )
            )
    return tuple(results)


def _finding(release: OpenRelease, code: Code) -> Finding:
    return Finding("release", code, release.reason, release.expected, release.actual)


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
