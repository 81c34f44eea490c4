"""What a report is about: results beside the plan, so that what is not built yet is not left out of any count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from kmatrix.decide.plan import Plan
from kmatrix.decide.release_times import releases_of
from kmatrix.decide.report.grid import newest_first
from kmatrix.decide.report.model import PendingCell
from kmatrix.values.cells import CellResult
from kmatrix.values.lock import ProfileLock
from kmatrix.values.release_result import ReleaseResult


@dataclass(frozen=True)
class Known:
    """The cells with a verdict, the planned ones without (None if the plan is not known), and the releases."""

    cells: tuple[CellResult, ...]
    releases: tuple[ReleaseResult, ...]
    pending: tuple[PendingCell, ...] | None = None


def beside_plan(
    cells: Sequence[CellResult],
    releases: Sequence[ReleaseResult],
    plan: Plan,
    pins: ProfileLock,
    gates: Iterable[str],
) -> Known:
    """Return what results and the plan know together.

    Discovery may have found releases after the last run, a run may be under way or have been about some cells, and
    results may come from a checkout with another lock: what either of the two knows is there.

    Args:
        cells: the results; each gets the releases that the plan says it serves, if the plan has it.
        releases: as results have them; the plan decides about the state of those that it has.
        plan: the complete one.
        pins: the profile's.
        gates: the names of those that a published cell must have passed.
    """
    rows = {row.id: row for row in plan.rows if row.state != "out"}
    served = tuple(replace(cell, releases=rows[cell.cell].releases) if cell.cell in rows else cell for cell in cells)
    results = {cell.cell for cell in cells}
    pending = tuple(
        PendingCell(row.id, str(row.client), row.kernel, row.releases, row.arch, row.flavour, row.stream)
        for row in rows.values()
        if row.id not in results
    )
    planned = releases_of(plan, pins, served, gates, releases)
    there = {(each.version, each.arch) for each in planned}
    found = [*planned, *(each for each in releases if (each.version, each.arch) not in there)]
    # Results from elsewhere may have a version of a form that the lock would not take.
    place = {version: -number for number, version in enumerate(newest_first(each.version for each in found))}
    return Known(served, tuple(sorted(found, key=lambda each: (place[each.version], each.arch))), pending)
