"""What a run of cells shows on the pages of GitHub Actions: the summary of its step, and annotations."""

from __future__ import annotations

from collections.abc import Iterable

from kmatrix.commands.invocation import Invocation
from kmatrix.decide.github_summary import LIMIT, github_summary
from kmatrix.decide.workflow_commands import annotations_of
from kmatrix.stages.tables import repeat_command
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import ToolError
from kmatrix.values.release_result import ReleaseResult


def show_on_github(
    call: Invocation,
    profile_name: str,
    results: Iterable[CellResult],
    releases: Iterable[ReleaseResult],
    session: str,
    arguments: tuple[str, ...],
) -> None:
    """Write the summary of the step and the annotations, if GitHub Actions runs this; a fault of it is only reported.

    Args:
        call: the command line.
        profile_name: whose cells.
        results: of the run's cells.
        releases: of the profile.
        session: the nox session that brings a cell to its verdict again.
        arguments: its other arguments.
    """
    if call.github is None:
        return
    results = tuple(results)

    def repeat(result: CellResult) -> str:
        return repeat_command(result, profile_name, session, arguments)

    try:
        room = LIMIT - call.github.summary_bytes()
        call.github.summarise(github_summary(f"{call.command}: profile {profile_name}", results, repeat, room))
    except ToolError as error:
        # It decides no verdict.
        call.say(f"warning: {error.message}. {error.hint}")
    call.github.annotate(annotations_of(results, releases, call.next("report", profile_name)))
