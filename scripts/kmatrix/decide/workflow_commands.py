"""Commands of GitHub Actions: the lines of a step's output that the runner acts on.

The runner reads standard output and standard error alike (actions/runner, src/Runner.Worker/Handlers/ScriptHandler.cs):
a line that begins with `::` after blanks, and a line with `##[` anywhere, may be a command
(src/Runner.Common/ActionCommand.cs). So text of logs must not be read as commands at all: between `stop-commands` and
its token no command counts (src/Runner.Worker/ActionCommandManager.cs). The runner looks for the marks by the rules of
a language, which may ignore invisible characters, so taking the marks out of a text would have to know those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from kmatrix.decide.cut_run import reason_of
from kmatrix.decide.open_releases import OpenRelease
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import KmatrixError
from kmatrix.values.pins import EmptyChannelPin
from kmatrix.values.release_result import ReleaseResult
from kmatrix.values.text import plain_line

# GitHub shows no more of a kind for each step.
SHOWN = 10
Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Annotation:
    """A message that GitHub shows on a run's page; `title` is its heading."""

    level: Level
    title: str
    message: str

    def __str__(self) -> str:
        """Return the line that makes it; escaped as in actions/toolkit, packages/core/src/command.ts."""
        title = _escaped(self.title).replace(":", "%3A").replace(",", "%2C")
        return f"::{self.level} title={title}::{_escaped(self.message)}"


def stop(token: str) -> str:
    """Return the line after which no command counts until `resume`; nobody else may know the token."""
    return f"::stop-commands::{token}"


def resume(token: str) -> str:
    """Return the line after which commands count again."""
    return f"::{token}::"


def annotations_of(
    cells: Iterable[CellResult],
    releases: Iterable[ReleaseResult] = (),
    repeat: str = "",
    first: Iterable[Annotation] = (),
) -> tuple[Annotation, ...]:
    """Return an annotation for each cell without a pass, and for each warning and each release with a finding.

    GitHub drops those beyond ten of a kind, so the tenth counts the rest.

    Args:
        cells: the results.
        releases: of the run.
        repeat: the command that shows all of them, in backquotes.
        first: errors of the complete run.
    """
    cells, releases = tuple(cells), tuple(releases)
    bad = [cell for cell in cells if cell.verdict in ("failed", "errored")]
    # A cell that failed says more about the product than one without a verdict.
    bad.sort(key=lambda cell: cell.verdict != "failed")
    errors = [*first, *(Annotation("error", cell.cell, f"{cell.verdict}: {cell.reason}") for cell in bad)]
    warnings = [
        Annotation("warning", cell.cell, f"{warning.code}: {warning.message}")
        for cell in cells
        for warning in cell.warnings
    ]
    warnings += [
        Annotation("warning", f"{release.version} for {release.arch}", f"{finding.code}: {finding.message}")
        for release in releases
        for finding in release.findings
    ]
    return (*_shown(errors, repeat), *_shown(warnings, repeat))


def annotations_of_bundles(bundles: Iterable[BundleResult], first: Iterable[Annotation] = ()) -> tuple[Annotation, ...]:
    """Return an annotation for each bundle without a pass, after errors of the run; the tenth counts the rest."""
    bad = [bundle for bundle in bundles if bundle.verdict in ("failed", "errored")]
    errors = [Annotation("error", f"bundle {each.client}", f"{each.verdict}: {each.reason}") for each in bad]
    return tuple(_shown([*first, *errors], ""))


def annotation_of(error: Exception) -> Annotation:
    """Return the annotation of an error that ended a command."""
    # Complete: an error about a file lists its problems.
    return Annotation("error", "kmatrix", str(error) if isinstance(error, KmatrixError) else reason_of(error))


def annotations_of_discovery(
    open_releases: Iterable[OpenRelease], empty_channels: Iterable[EmptyChannelPin]
) -> tuple[Annotation, ...]:
    """Return a warning for each open release and each channel without a release; the tenth counts the rest."""
    found = [
        Annotation("warning", f"{each.release} for {each.arch}", f"{each.code}: {each.reason}")
        for each in open_releases
    ]
    found += [Annotation("warning", f"{each.name} for {each.arch}", "gives no release") for each in empty_channels]
    return tuple(_shown(found, ""))


def _shown(found: list[Annotation], repeat: str) -> Iterator[Annotation]:
    if len(found) <= SHOWN:
        yield from found
        return
    yield from found[: SHOWN - 1]
    left = len(found) - SHOWN + 1
    where = f"; {repeat} and the step's summary show them" if repeat else "; the step's log shows them"
    yield Annotation(found[0].level, "kmatrix", f"{left} more{where}")


def _escaped(text: str) -> str:
    # The backslash forms are for whoever builds an annotation of text that is no single line.
    return plain_line(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
