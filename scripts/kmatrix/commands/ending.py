"""How a run over cells ends: with the table of what it reached, and what it did not reach if it was cut short."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kmatrix.commands.github import show_on_github
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import LABS
from kmatrix.commands.run import GRAPH
from kmatrix.decide.cut_run import CutRun, reason_of, resume_clause, unreached
from kmatrix.stages import tables
from kmatrix.values.cells import CellResult
from kmatrix.values.release_result import ReleaseResult


@dataclass(frozen=True)
class Ending:
    """What a run over cells has to tell at its end.

    Attributes:
        call: the command line.
        profile_name: whose cells.
        gates: the names of the profile's gates.
        results: of the cells that reached a verdict.
        releases: of the profile.
        cut: what it did not do, if it was cut short.
    """

    call: Invocation
    profile_name: str
    gates: Sequence[str]
    results: Collection[CellResult]
    releases: Collection[ReleaseResult]
    cut: CutRun | None = None

    def show(self) -> None:
        """Print the table and what was not reached; on GitHub, write the summary of the step and the annotations."""
        call = self.call
        arguments = _repeated(call, self.profile_name)
        if self.results or self.cut is None:
            tables.print_results(
                call.console,
                self.results,
                self.profile_name,
                self.gates,
                call.command,
                arguments,
                failures_only=call.quiet,
            )
        if self.cut:
            call.conclude(str(self.cut))
        show_on_github(call, self.profile_name, self.results, self.releases, call.command, arguments, self.cut)


def _repeated(call: Invocation, profile_name: str) -> tuple[str, ...]:
    """Return the options of a command line that a command which repeats one of its cells needs."""
    typed = list(call.typed)
    if call.command == "watch" and profile_name not in LABS and GRAPH in typed:
        # Cells of other profiles are built from the lock, and a build would refuse the option.
        at = typed.index(GRAPH)
        del typed[at : at + 2]
    return tuple(typed)


def cut_short(
    call: Invocation,
    profile_name: str,
    error: BaseException,
    noun: str,
    wanted: Collection[str],
    reached: Collection[str],
) -> CutRun:
    """Return what a run did not do that an error or a signal ended; the error gets the command that goes on as a note.

    Args:
        call: the command line.
        profile_name: whose cells.
        error: ended the run.
        noun: what it is about: `cell` or `bundle`.
        wanted: the names of these.
        reached: those of which it has a verdict.
    """
    # Nothing but the registry tells the next run what it need not do again.
    publishes = call.command != "verify" and call.push and call.boot is not None and not call.force
    left = unreached(wanted, reached)
    clause = resume_clause(call.same(profile_name), noun, goes_on=publishes, finished=not left)
    error.add_note(clause)
    return CutRun(noun, len(wanted), left, reason_of(error), clause)
