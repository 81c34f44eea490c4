"""Tables for people: the plan and the results."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kmatrix.decide.plan import Plan
from kmatrix.stages.progress import STYLES
from kmatrix.values.cells import CellResult


def wide_console(stderr: bool = False) -> Console:
    """A console; where there is no terminal, wide enough that no row is folded."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=240)


def print_plan(plan: Plan) -> None:
    """Print every candidate cell on stdout."""
    table = Table(box=None, pad_edge=False)
    for column in ("cell", "in", "flavour", "line", "why"):
        table.add_column(column, overflow="fold")
    for row in plan.rows:
        state = Text("in", style="green") if row.cell else Text("out", style="yellow")
        table.add_row(row.id, state, row.flavour, row.line, row.reason)
    wide_console().print(table)


def print_results(console: Console, results: Iterable[CellResult]) -> None:
    """Print one row for each cell, and the counts."""
    results = sorted(results, key=lambda result: result.cell)
    table = Table(box=None, pad_edge=False)
    for column in ("cell", "verdict", "booted", "releases", "seconds", "digest"):
        table.add_column(column, no_wrap=column in ("cell", "verdict", "digest"), overflow="fold")
    for result in results:
        seconds = f"{sum(result.stages.values()):.1f}" if result.stages else "-"
        digest = result.digest.removeprefix("sha256:")[:12] or "-"
        verdict = Text(result.verdict, style=STYLES[result.verdict])
        booted = f"{result.stages['boot']:.1f} s" if "boot" in result.stages else "yes" if result.booted else "-"
        if result.verdict == "passed" and not result.booted:
            booted = "NOT BOOTED"
        table.add_row(result.cell, verdict, booted, ", ".join(result.releases), seconds, digest)
    console.print(table)
    for result in results:
        if result.verdict in ("failed", "errored"):
            console.print(Text(f"{result.cell}: {result.reason}"), soft_wrap=True)
    counts = {verdict: sum(result.verdict == verdict for result in results) for verdict in STYLES}
    console.print(Text(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "no cells"))
