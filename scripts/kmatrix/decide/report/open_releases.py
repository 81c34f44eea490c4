"""The releases of a report: those that results have, and those of the lock that no result tells of."""

from __future__ import annotations

from collections.abc import Iterable

from kmatrix.decide.plan import Plan
from kmatrix.decide.release_times import release_findings, release_results
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import ReleaseVersion
from kmatrix.values.release_result import ReleaseResult


def with_open_releases(known: Iterable[ReleaseResult], plan: Plan, pins: ProfileLock) -> tuple[ReleaseResult, ...]:
    """Return the releases that results have, with those of the lock that are unresolved or mismatched, oldest first.

    Discovery may have found them after the last build, or no build was ever run.

    Args:
        known: the releases that results have; these stay as they are.
        plan: the complete one.
        pins: the profile's.
    """
    known = tuple(known)
    there = {(each.version, each.arch) for each in known}
    rows = [row for row in plan.rows if row.state != "out"]
    found = release_results(rows, pins, release_findings(plan.open), {})
    open_ones = [each for each in found if each.findings and (each.version, each.arch) not in there]
    if not open_ones:
        return known
    return tuple(sorted((*known, *open_ones), key=lambda each: (ReleaseVersion.parse(each.version), each.arch)))
