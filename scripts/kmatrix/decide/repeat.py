"""Decides which command brings exactly one cell to its verdict again."""

from __future__ import annotations

from kmatrix.values.cells import CellResult

# The check whose findings are about a release, so that no run of a cell brings it to another verdict.
_OF_RELEASE = "release"


def is_of_release(result: CellResult) -> bool:
    """Return whether no command brings a cell to another verdict, as its release is open."""
    return any(finding.check == _OF_RELEASE for finding in result.findings)


def repeating(result: CellResult, command: str) -> tuple[str, ...]:
    """Return the name of the command that repeats a cell, and the options that it needs besides those of `command`.

    Args:
        result: of the cell.
        command: the one that shows the result: the run that it is of, or `report`, which knows no run.
    """
    if command in ("verify", "build"):
        return (command,)
    if command == "push":
        # A push leaves published cells alone; a build does what is still to be done for them.
        return ("build",) if result.digest else ("push",)
    if command == "watch":
        # It would update the bundle, too.
        return ("build",)
    return ("build", "--force") if needs_force(result) else ("build",)


def needs_force(result: CellResult) -> bool:
    """Return whether a build may skip a cell by a result of an unknown run, so that it needs `--force`.

    A cell that failed although an image of it is published was built by force, or verified; or its image lacks gates,
    and a build would repeat these without it. For an errored one, a build does what could not be done.
    """
    return bool(result.digest) and result.verdict != "errored"
