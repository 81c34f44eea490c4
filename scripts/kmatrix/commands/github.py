"""What a run of cells shows on the pages of GitHub Actions: the summary of its step, and annotations."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kmatrix.commands.invocation import Invocation
from kmatrix.decide.cut_run import CutRun
from kmatrix.decide.github_summary import LIMIT, github_summary
from kmatrix.decide.workflow_commands import Annotation, annotations_of
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
    cut: CutRun | None = None,
) -> None:
    """Write the summary of the step and the annotations, if GitHub Actions runs this; a fault of it is only reported.

    Args:
        call: the command line.
        profile_name: whose cells.
        results: of the run's cells.
        releases: of the profile.
        session: the nox session that shows the results.
        arguments: other options of the command that repeats a cell.
        cut: what the run did not do, if it was cut short.
    """
    if call.github is None:
        return
    results = tuple(results)

    def repeat(result: CellResult) -> str:
        return repeat_command(result, profile_name, session, arguments)

    title = f"{call.command}: profile {profile_name}"
    summarise(call, lambda room: github_summary(title, results, repeat, room, cut))
    call.github.annotate(
        annotations_of(results, releases, call.next("report", profile_name), cut_annotations(call, cut))
    )


def summarise(call: Invocation, make: Callable[[int], str]) -> None:
    """Append to the summary of the step, if GitHub Actions runs this; a fault of it is only reported.

    Args:
        call: the command line.
        make: returns the text, of at most so many bytes.
    """
    if call.github is None:
        return
    try:
        call.github.summarise(make(LIMIT - call.github.summary_bytes()))
    except ToolError as error:
        # It decides no verdict.
        call.warn(f"warning: {error.message}. {error.hint}")


def cut_annotations(call: Invocation, cut: CutRun | None) -> tuple[Annotation, ...]:
    """Return the annotation of a run that was cut short; none of one that was not."""
    if cut is None:
        return ()
    return (Annotation("error", call.command, f"{cut.reason}; {cut}; {cut.resume.replace('`', '')}"),)
