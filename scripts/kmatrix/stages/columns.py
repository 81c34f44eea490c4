"""Tables whose columns are as wide as they need: a narrow terminal shows fewer columns, never narrower ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_GAP = 2
Row = Sequence[str | Text]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: its heading.
        leave: the column with the highest number is left out first; 0 for one that always stays.
        least: the width (in terminal cells) down to which its text may be folded; 0 where it is never folded.
    """

    name: str
    leave: int = 0
    least: int = 0


def wide_console(stderr: bool = False) -> Console:
    """Return a console; where there is no terminal, one so wide that no row is folded."""
    console = Console(stderr=stderr)
    # FORCE_COLOR makes a terminal of it for rich, but gives no pipe a width.
    return console if console.is_terminal and console.file.isatty() else Console(stderr=stderr, width=240)


def fitting(columns: Sequence[Column], rows: Sequence[Row], width: int) -> tuple[list[int], bool]:
    """Select the columns that a terminal shows.

    Args:
        columns: all of them.
        rows: their texts.
        width: of the terminal.

    Returns:
        the positions of the columns that stay, and whether these fit.
    """
    needed = []
    for at, column in enumerate(columns):
        wide = max([cell_len(column.name), *(_text(row[at]).cell_len for row in rows)])
        needed.append(min(wide, column.least or wide))
    shown = list(range(len(columns)))
    while not (fits := sum(needed[at] + _GAP for at in shown) - _GAP <= width):
        last = max(shown, key=lambda at: columns[at].leave)
        if not columns[last].leave:
            break
        shown.remove(last)
    return shown, fits


def print_table(console: Console, columns: Sequence[Column], rows: Iterable[Row]) -> None:
    """Print a table, and the names of the columns that are left out."""
    rows = list(rows)
    shown, fits = fitting(columns, rows, console.width)
    picked = [columns[at] for at in shown]
    cells = [[_text(row[at]) for at in shown] for row in rows]
    if fits:
        table = Table(box=None, pad_edge=False)
        for column in picked:
            table.add_column(column.name, no_wrap=not column.least, min_width=column.least or None, overflow="fold")
        for row in cells:
            table.add_row(*row)
        console.print(table)
    else:
        # A line of its own for the first text, a cell's id, which can so be copied even where the terminal folds it.
        for first, *others in [[Text(column.name, style="bold") for column in picked], *cells]:
            console.print(first, soft_wrap=True)
            console.print(Text(" " * _GAP).join([Text(), *others]), soft_wrap=True)
    left_out = [column.name for at, column in enumerate(columns) if at not in shown]
    if left_out:
        console.print(Text(f"left out, as the terminal is narrow: {', '.join(left_out)}"), soft_wrap=True)


def _text(cell: str | Text) -> Text:
    return Text(cell) if isinstance(cell, str) else cell
