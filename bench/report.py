"""The human-readable report: one row per aim, and remarks on missed ones."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.aims import FULL_WEIGHT, Judged

_BUSY = 0.25


def table(judged: Iterable[Judged]) -> Table:
    """Return the table of all aims."""
    rows = Table(box=None, pad_edge=False)
    for column in ("measure", "measured", "aim", "verdict"):
        rows.add_column(column, no_wrap=column != "measure", justify="right" if column == "measured" else "left")
    for entry in judged:
        verdicts = {
            True: Text("met", style="green"),
            False: Text("MISSED", style="bold red"),
            None: Text("not measured"),
        }
        rows.add_row(entry.aim.label, shown(entry), entry.aim.text, verdicts[entry.met])
    return rows


def shown(entry: Judged) -> str:
    """Return a measured value as text: integers with thousands separators, others with two decimals."""
    if entry.value is None:
        return "-"
    number = f"{entry.value:,}" if isinstance(entry.value, int) else f"{entry.value:.2f}"
    return f"{number} {entry.aim.unit}".rstrip()


def remarks(judged: Iterable[Judged], weight: int | None, busy: float = 0) -> list[str]:
    """Return the remarks: missed aims, a weight other than the aims', other work on the machine.

    Args:
        judged: every aim.
        weight: of the stand-in client in the cold matrix; None if that was not run.
        busy: running tasks per core before the bench began.
    """
    missed = [entry.aim.name for entry in judged if entry.met is False]
    found = [f"MISSED {len(missed)} of the aims: {', '.join(missed)}"] if missed else []
    if weight is not None and weight != FULL_WEIGHT:
        found.append(f"the cold matrix had weight {weight}, the aims assume {FULL_WEIGHT}: do not quote its results")
    if busy > _BUSY:
        found.append(f"the machine was busy before ({busy:.2f} running tasks per core): wall times are too long")
    return found


def print_report(console: Console, judged: tuple[Judged, ...], weight: int | None, busy: float = 0) -> None:
    """Print the table and the remarks."""
    console.print(table(judged))
    for remark in remarks(judged, weight, busy):
        console.print(remark, style="bold red", markup=False, highlight=False, soft_wrap=True)
