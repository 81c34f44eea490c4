"""What a run or a discovery shows on the pages of GitHub Actions: the summary of its step, and annotations."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import SelectedProfile
from kmatrix.decide.cut_run import CutRun
from kmatrix.decide.github_summary import LIMIT, discovery_summary, github_summary
from kmatrix.decide.lock_news import news_of
from kmatrix.decide.open_releases import open_releases_of
from kmatrix.decide.workflow_commands import Annotation, annotations_of, annotations_of_discovery
from kmatrix.stages.tables import repeat_command
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import ToolError
from kmatrix.values.lock import ProfileLock
from kmatrix.values.release_result import ReleaseResult


def show_on_github(
    call: Invocation,
    profile_name: str,
    results: Iterable[CellResult],
    releases: Iterable[ReleaseResult],
    session: str,
    arguments: tuple[str, ...],
    cut: CutRun | None = None,
    pending: int = 0,
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
        pending: how many planned cells have no verdict, for a report.
    """
    if call.github is None:
        return
    results = tuple(results)

    def repeat(result: CellResult) -> str:
        return repeat_command(result, profile_name, session, arguments)

    title = f"{call.command}: profile {profile_name}"
    summarise(call, lambda room: github_summary(title, results, repeat, room, cut, pending))
    call.github.annotate(
        annotations_of(results, releases, call.next("report", profile_name), cut_annotations(call, cut))
    )


def show_discovery(call: Invocation, chosen: SelectedProfile, before: ProfileLock | None, pins: ProfileLock) -> None:
    """Write the summary of the step about a discovery and its annotations, if GitHub Actions runs this.

    Args:
        call: the command line.
        chosen: the profile.
        before: its pins before the discovery; None without any.
        pins: those that it gave.
    """
    if call.github is None:
        return
    found, _ = open_releases_of(chosen.name, chosen.effective, pins)
    title = f"{call.command}: releases of profile {chosen.name}"
    summarise(call, lambda room: discovery_summary(title, pins, news_of(before, pins), found, room))
    call.github.annotate(annotations_of_discovery(found, pins.empty_channels))


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
