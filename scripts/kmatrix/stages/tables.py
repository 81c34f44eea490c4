"""Tables on a terminal: the plan and the results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from kmatrix.decide.plan import Plan
from kmatrix.decide.repeat import is_of_release, repeating
from kmatrix.stages.columns import Column, Row, fitting, print_table, wide_console
from kmatrix.stages.gates import named, not_passed
from kmatrix.stages.progress import STYLES
from kmatrix.values.cells import CellResult
from kmatrix.values.command_lines import command
from kmatrix.values.release_result import ReleaseResult

_PLAN = (Column("cell"), Column("in"), Column("flavour", 3), Column("stream", 2), Column("why", 1, least=30))
_RESULTS = (
    Column("cell"),
    Column("verdict"),
    Column("gates", 1),
    Column("releases", 4),
    Column("seconds", 3),
    Column("digest", 2),
)
_RELEASES = (
    Column("release"),
    Column("state"),
    Column("arch", 2),
    Column("streams", 3),
    Column("published", 1),
    Column("minutes from appearance", 5),
    Column("from discovery", 4),
)


def print_plan(plan: Plan) -> None:
    """Print every candidate cell on stdout."""
    rows = []
    for row in plan.rows:
        state = Text(row.state, style={"in": "green", "open": "red"}.get(row.state, "yellow"))
        rows.append((row.id, state, row.flavour, row.stream, row.reason))
    print_table(wide_console(), _PLAN, rows)


def print_results(
    console: Console,
    results: Iterable[CellResult],
    profile_name: str,
    gates: Sequence[str],
    session: str = "build",
    arguments: tuple[str, ...] = (),
    *,
    failures_only: bool = False,
) -> None:
    """Print one row for each cell, for each without a pass why, its log and how to go on, then warnings and the counts.

    Args:
        console: where.
        results: of the cells.
        profile_name: whose cells.
        gates: the names of the profile's gates.
        session: the nox session that shows the results.
        arguments: other options of the command that repeats a cell.
        failures_only: leaves out the rows of cells that passed or were skipped; warnings and counts are of all cells.

    The row of a skipped cell has what is known of it: the seconds, in brackets, of the run that built it.
    """
    every = sorted(results, key=lambda result: result.cell)
    results = [result for result in every if not failures_only or result.verdict in ("failed", "errored")]
    if results or not failures_only:
        print_table(console, _RESULTS, _rows(results, gates, console.width))
    for result in results:
        if result.verdict in ("failed", "errored"):
            console.print(Text(f"{result.cell}: {result.reason}"), soft_wrap=True)
            if result.log:
                console.print(Text(f"       Log: {result.log}"), soft_wrap=True)
            if result.next_step:
                console.print(Text(f"       {result.next_step[:1].upper()}{result.next_step[1:]}"), soft_wrap=True)
            again = repeat_command(result, profile_name, session, arguments)
            if again and again not in result.next_step:
                console.print(Text(f"       Repeat this cell: {again}"), soft_wrap=True)
    warnings = _print_warnings(console, every)
    counts = {verdict: sum(result.verdict == verdict for result in every) for verdict in STYLES}
    words = [f"{count} {verdict}" for verdict, count in counts.items() if count] or ["no cells"]
    words += [f"{warnings} warning{'s' if warnings != 1 else ''}"] if warnings else []
    console.print(Text(", ".join(words)))


def repeat_command(result: CellResult, profile_name: str, session: str, arguments: tuple[str, ...]) -> str:
    """Return the command that brings exactly this cell to its verdict again; empty if none can: its release is open.

    Args:
        result: of the cell.
        profile_name: whose cell.
        session: the nox session that shows the result.
        arguments: the options that the command needs besides those that select profile and cell.
    """
    if is_of_release(result):
        return ""
    name, *options = repeating(result, session)
    return command(name, profile_name, *options, *arguments, "--only", result.cell)


def _rows(results: Sequence[CellResult], gates: Sequence[str], width: int) -> list[Row]:
    """Return a row for each result, with shorter texts where no table with all columns has room otherwise.

    No text is folded: a row of several lines looks like several cells.
    """
    rows: list[Row] = []
    for releases, seconds in ((_listed, True), (_ends, True), (_ends, False)):
        rows = [_row(result, releases(result.releases), _gates(result, gates, seconds)) for result in results]
        if len(fitting(_RESULTS, rows, width)[0]) == len(_RESULTS):
            break
    return rows


def _row(result: CellResult, releases: str, gates: str) -> Row:
    seconds = f"{sum(result.stages.values()):.1f}" if result.stages else "-"
    if result.stages and result.verdict == "skipped":
        seconds = f"({seconds})"
    digest = result.digest.removeprefix("sha256:")[:12] or "-"
    return result.cell, Text(result.verdict, style=STYLES[result.verdict]), gates, releases, seconds, digest


def _listed(releases: Sequence[str]) -> str:
    return ", ".join(releases) or "-"


def _ends(releases: Sequence[str]) -> str:
    """Return the first and the last release, and how many there are; a dash for none."""
    return f"{releases[0]} … {releases[-1]} ({len(releases)})" if len(releases) > 1 else _listed(releases)


def _print_warnings(console: Console, results: Iterable[CellResult]) -> int:
    """Print the warnings of cells, and where to read about each kind; returns their number."""
    found = [(result.cell, warning) for result in results for warning in result.warnings]
    for cell, warning in found:
        console.print(Text(f"{cell}: warning: {warning.code}: {warning.message}", style="yellow"), soft_wrap=True)
    if found:
        pages = ", ".join(f"docs/findings.md#{code}" for code in sorted({warning.code for _, warning in found}))
        console.print(Text(f"       What to do: {pages}"), soft_wrap=True)
    return len(found)


def print_releases(console: Console, releases: Iterable[ReleaseResult]) -> None:
    """Print one row for each release that is not published completely, or that appeared since the first discovery."""
    shown = [release for release in releases if release.state != "published" or release.found]
    if not shown:
        return
    rows: list[Row] = []
    for release in shown:
        state = Text(release.state, style={"published": "green", "incomplete": "yellow"}.get(release.state, "red"))
        minutes = [
            "-" if value is None else f"{value:.1f}"
            for value in (release.minutes_from_appearance, release.minutes_from_discovery)
        ]
        streams = ", ".join(release.streams) or "-"
        rows.append((release.version, state, release.arch, streams, release.published or "-", *minutes))
    print_table(console, _RELEASES, rows)
    for release in shown:
        for finding in release.findings:
            console.print(Text(f"{release.version} for {release.arch}: {finding.message}"), soft_wrap=True)


def left_out(results: Iterable[CellResult], gates: Sequence[str]) -> str:
    """Return in words the gates, of these, that passed and published cells are known to lack; empty for none."""
    lacking = [not_passed(result.gates, gates) for result in results if result.verdict in ("passed", "skipped")]
    cells = sum(bool(each) for each in lacking)
    names = dict.fromkeys(name for each in lacking for name in each)
    return f"{named(names)} NOT RUN on {cells} cell{'s' if cells != 1 else ''}" if cells else ""


def _gates(result: CellResult, gates: Sequence[str], seconds: bool = True) -> str:
    """Return the gates that a cell passed, each with its seconds where it took any; loud about the others."""
    words = []
    for name, verdict in result.gates.items():
        took = result.stages.get(name, 0.0) if seconds else 0.0
        passed = f" {took:.1f} s" if took >= 1 else ""
        words.append(f"{name}{passed if verdict == 'passed' else f' {verdict.upper()}'}")
    if result.verdict in ("passed", "skipped"):
        words += [f"{name} NOT RUN" for name in not_passed(result.gates, gates) if name not in result.gates]
    return ", ".join(words) or "-"
