"""Tables for people: the plan and the results."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from kmatrix.decide.plan import Plan
from kmatrix.stages.columns import Column, print_table
from kmatrix.stages.progress import STYLES
from kmatrix.values.cells import CellResult

_PLAN = (Column("cell"), Column("in"), Column("flavour", 3), Column("line", 2), Column("why", 1, least=30))
_RESULTS = (
    Column("cell"),
    Column("verdict"),
    Column("booted", 1),
    Column("releases", 4, least=18),
    Column("seconds", 3),
    Column("digest", 2),
)


def wide_console(stderr: bool = False) -> Console:
    """A console; where there is no terminal, wide enough that no row is folded."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=240)


def print_plan(plan: Plan) -> None:
    """Print every candidate cell on stdout."""
    rows = []
    for row in plan.rows:
        state = Text("in", style="green") if row.cell else Text("out", style="yellow")
        rows.append((row.id, state, row.flavour, row.line, row.reason))
    print_table(wide_console(), _PLAN, rows)


def print_results(console: Console, results: Iterable[CellResult]) -> None:
    """Print one row for each cell, the reason and the next step of each that is bad, and the counts."""
    results = sorted(results, key=lambda result: result.cell)
    rows = []
    for result in results:
        seconds = f"{sum(result.stages.values()):.1f}" if result.stages else "-"
        digest = result.digest.removeprefix("sha256:")[:12] or "-"
        verdict = Text(result.verdict, style=STYLES[result.verdict])
        booted = f"{result.stages['boot']:.1f} s" if "boot" in result.stages else "yes" if result.booted else "-"
        if result.verdict == "passed" and not result.booted:
            booted = "NOT BOOTED"
        rows.append((result.cell, verdict, booted, ", ".join(result.releases), seconds, digest))
    print_table(console, _RESULTS, rows)
    for result in results:
        if result.verdict in ("failed", "errored"):
            console.print(Text(f"{result.cell}: {result.reason}"), soft_wrap=True)
            if result.next_step:
                console.print(Text(f"       {result.next_step[:1].upper()}{result.next_step[1:]}"), soft_wrap=True)
    counts = {verdict: sum(result.verdict == verdict for result in results) for verdict in STYLES}
    console.print(Text(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "no cells"))
