"""The progress of a session: in place on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, Self, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kmatrix.stages.columns import Column, fitting
from kmatrix.stages.running import Running
from kmatrix.values.cells import CellResult
from kmatrix.values.narration import Narration
from kmatrix.values.text import plain

STYLES = {"passed": "green", "failed": "red", "errored": "yellow", "skipped": "cyan"}
_COLUMNS = (Column(""), Column("", 1), Column("", 2), Column("", 3))
T = TypeVar("T")
R = TypeVar("R")


class Progress(Protocol):
    """Reports the progress of a session; every method may be called from any thread."""

    def say(self, text: str) -> None:
        """Print a line about the complete session."""

    def warn(self, text: str) -> None:
        """Print a line about a fault that no cell's verdict shows, with --quiet too."""

    def stage(self, cell: str, stage: str) -> None:
        """Report that a cell enters a stage."""

    def done(self, result: CellResult) -> None:
        """Report the verdict of a cell."""

    def output(self, cell: str, line: str) -> None:
        """Report a line that a program printed for a cell: the compiler, the container engine, the guest."""

    def step(self, name: str, count: str = "") -> None:
        """Report that a step of the session begins, or how far it is."""

    def over(self, name: str) -> None:
        """Report that a step is over."""


def in_place(console: Console) -> bool:
    """Return whether a table can be drawn again and again in place: FORCE_COLOR and the like make no terminal."""
    return console.is_interactive and console.file.isatty()


@contextmanager
def stepping(progress: Progress, name: str, count: str = "") -> Iterator[None]:
    """Report a step of the session while it runs."""
    progress.step(name, count)
    try:
        yield
    finally:
        progress.over(name)


@contextmanager
def counting(progress: Progress, name: str, total: int) -> Iterator[Callable[[Callable[[T], R]], Callable[[T], R]]]:
    """Report a step that makes `total` calls; yields the wrapper of the function that it calls."""
    lock, done = threading.Lock(), 0

    def counted(call: Callable[[T], R]) -> Callable[[T], R]:
        def calling(item: T) -> R:
            nonlocal done
            try:
                return call(item)
            finally:
                with lock:
                    done += 1
                    progress.step(name, f"{done} of {total}")

        return calling

    with stepping(progress, name, f"0 of {total}"):
        yield counted


def narrating(progress: Progress, name: str) -> Narration:
    """Return the narration of a step, each line of which says how far the step is."""

    def say(text: str) -> None:
        progress.say(f"{name}: {text}")
        progress.step(name, text)

    def output(part: str, line: str) -> None:
        progress.output(f"{name}: {part}", line)

    return Narration(say, output)


def line_of(result: CellResult, number: int, total: int) -> Text:
    """Return one line about a finished cell, and one for each of its first findings and its log."""
    text = Text(f"[{number}/{total}] {result.cell} ")
    text.append(result.verdict, style=STYLES[result.verdict])
    # The stages of a skipped cell are those of the run that built it.
    if result.stages and result.verdict != "skipped":
        text.append(f" in {sum(result.stages.values()):.1f} s")
    if result.verdict not in ("passed",):
        text.append(f": {result.reason}")
    if result.verdict in ("failed", "errored"):
        for finding in result.findings[:5]:
            # A reason often ends with the finding, after the name of the gate.
            if not result.reason.endswith(finding.message):
                text.append(f"\n      {finding.code}: {finding.message}")
        if result.log:
            text.append(f"\n      log: {result.log}")
    return text


class _Shown:
    """The common part: lines about a session, with the cells and steps that are under way."""

    def __init__(
        self, console: Console, total: int, usual: Mapping[str, float] | None = None, verbose: bool = False
    ) -> None:
        """Show nothing yet.

        Args:
            console: where.
            total: the number of cells; 0 for a session that is not about cells.
            usual: the usual seconds of stages in earlier runs, by name.
            verbose: whether the output of programs is shown.
        """
        self.console = console
        self.total = total
        self.running = Running(usual)
        self._verbose = verbose
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(STYLES, 0)

    def say(self, text: str) -> None:
        """Print a line about the complete session."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a line about a fault that no cell's verdict shows."""
        self.say(text)

    def output(self, cell: str, line: str) -> None:
        """Print a program's line, after the cell that it is about, if all output is wanted."""
        if self._verbose:
            text = plain(line).replace("\n", f"\n{cell} | ")
            self.console.print(Text(f"{cell} | ", style="dim").append(text, style="not dim"), soft_wrap=True)

    def step(self, name: str, count: str = "") -> None:
        """Note that a step of the session begins, or how far it is."""
        self.running.step(name, count)

    def over(self, name: str) -> None:
        """Note that a step is over."""
        self.running.leave(name)

    def stage(self, cell: str, stage: str) -> None:
        """Note that a cell enters a stage."""
        self.running.enter(cell, stage)

    def done(self, result: CellResult) -> None:
        """Print the verdict of a cell; a failure with its cause."""
        self.running.leave(result.cell, finished=result.verdict in ("passed", "skipped"))
        with self._lock:
            self._counts[result.verdict] += 1
            finished = sum(self._counts.values())
        # Without the lock: the thread that renders a table holds the console's own, and waits for this one.
        self.console.print(line_of(result, finished, self.total), soft_wrap=True)


class PlainProgress(_Shown):
    """Prints one line per event, and one about what takes longer than usual; use as a context manager."""

    def __enter__(self) -> Self:
        """Begin to look for what takes long."""
        watch = self.running.watch
        threading.Thread(target=watch, args=(lambda row: self.say(str(row)),), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """End that."""
        self.running.end()

    def stage(self, cell: str, stage: str) -> None:
        """Report that a cell enters a stage."""
        super().stage(cell, stage)
        self.say(f"{cell}: {stage}")


class QuietProgress:
    """Prints warnings alone; use as a context manager. Without a console it says them like any other line."""

    _console: Console | None = None

    def __init__(self, console: Console | None = None) -> None:
        self._console = console

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def say(self, text: str) -> None:
        """Print nothing."""

    def warn(self, text: str) -> None:
        """Print the line."""
        if self._console is None:
            self.say(text)
        else:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def stage(self, cell: str, stage: str) -> None:
        """Print nothing."""

    def done(self, result: CellResult) -> None:
        """Print nothing: the table at the end has the failures."""

    def output(self, cell: str, line: str) -> None:
        """Print nothing."""

    def step(self, name: str, count: str = "") -> None:
        """Print nothing."""

    def over(self, name: str) -> None:
        """Print nothing."""


class LiveProgress(_Shown):
    """Shows a table of what is under way below the lines of finished cells; use as a context manager."""

    def __init__(
        self, console: Console, total: int, usual: Mapping[str, float] | None = None, verbose: bool = False
    ) -> None:
        """Show nothing yet; see `_Shown`."""
        super().__init__(console, total, usual, verbose)
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        """Show the table."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self._live.stop()

    def _render(self) -> RenderableType:
        with self._lock:
            counts = dict(self._counts)
        running = self.running.rows()
        width = self.console.width
        rows: list[list[Text]] = []
        for row in running:
            style = "yellow" if row.slow else ""
            rows.append([Text(row.subject), *(Text(text, style) for text in (row.detail, row.time, row.remark))])
        shown, _ = fitting(_COLUMNS, rows, width)
        if len(shown) < len(_COLUMNS) - 1:
            # Where a cell is, and for how long, stands below its id then.
            pairs = [(cell, Text("  ").join([Text(), *others])) for cell, *others in rows]
            rows, shown = [[line] for pair in pairs for line in pair], [0]
        table = Table.grid(padding=(0, 2))
        for _ in shown:
            # A folded line would leave parts of itself behind when the table is drawn again.
            table.add_column(no_wrap=True, overflow="ellipsis")
        for cells in rows:
            table.add_row(*(cells[at] for at in shown))
        return Group(self._head(counts), table) if self.total else table

    def _head(self, counts: Mapping[str, int]) -> Text:
        head = Text(f"{sum(counts.values())}/{self.total} cells", no_wrap=True, overflow="ellipsis")
        for verdict, count in counts.items():
            if count:
                head.append(f"  {count} {verdict}", style=STYLES[verdict])
        return head
