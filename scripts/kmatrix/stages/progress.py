"""The progress of a run: a live table on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kmatrix.stages.columns import Column, fitting
from kmatrix.values.cells import CellResult

STYLES = {"passed": "green", "failed": "red", "errored": "yellow", "skipped": "cyan"}
_COLUMNS = (Column(""), Column("", 1), Column("", 2))


class Progress(Protocol):
    """Reports the progress of a run; every method may be called from any thread."""

    def say(self, text: str) -> None:
        """Print a line about the complete run."""

    def stage(self, cell: str, stage: str) -> None:
        """Report that a cell enters a stage."""

    def done(self, result: CellResult) -> None:
        """Report the verdict of a cell."""


def line_of(result: CellResult, number: int, total: int) -> Text:
    """Return one line about a finished cell, and one for each of its first findings and its log."""
    text = Text(f"[{number}/{total}] {result.cell} ")
    text.append(result.verdict, style=STYLES[result.verdict])
    if result.stages:
        text.append(f" in {sum(result.stages.values()):.1f} s")
    if result.verdict not in ("passed",):
        text.append(f": {result.reason}")
    if result.verdict in ("failed", "errored"):
        for finding in result.findings[:5]:
            text.append(f"\n      {finding.code}: {finding.message}")
        if result.log:
            text.append(f"\n      log: {result.log}")
    return text


@dataclass
class PlainProgress:
    """Prints one line per event."""

    console: Console
    total: int
    _finished: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, text: str) -> None:
        """Print a line about the complete run."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def stage(self, cell: str, stage: str) -> None:
        """Report that a cell enters a stage."""
        self.say(f"{cell}: {stage}")

    def done(self, result: CellResult) -> None:
        """Report the verdict of a cell."""
        with self._lock:
            self._finished += 1
            self.console.print(line_of(result, self._finished, self.total), soft_wrap=True)


class LiveProgress:
    """Shows a table of the running cells below the lines of finished ones; use as a context manager."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._lock = threading.Lock()
        self._running: dict[str, tuple[str, float]] = {}
        self._counts = dict.fromkeys(STYLES, 0)
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a line about the complete run."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def stage(self, cell: str, stage: str) -> None:
        """Report that a cell enters a stage."""
        with self._lock:
            self._running[cell] = (stage, time.monotonic())

    def done(self, result: CellResult) -> None:
        """Report the verdict of a cell."""
        with self._lock:
            self._running.pop(result.cell, None)
            self._counts[result.verdict] += 1
            finished = sum(self._counts.values())
        # Without the lock: the thread that renders the table holds the console's own, and waits for this one.
        self._console.print(line_of(result, finished, self._total), soft_wrap=True)

    def _render(self) -> RenderableType:
        with self._lock:
            running = sorted(self._running.items())
            counts = dict(self._counts)
        head = Text(f"{sum(counts.values())}/{self._total} cells")
        for verdict, count in counts.items():
            if count:
                head.append(f"  {count} {verdict}", style=STYLES[verdict])
        now = time.monotonic()
        rows = [(cell, stage, f"{now - since:.0f} s") for cell, (stage, since) in running]
        shown, _ = fitting(_COLUMNS, rows, self._console.width)
        table = Table.grid(padding=(0, 2))
        for _ in shown:
            # A folded line would leave parts of itself behind when the table is drawn again.
            table.add_column(no_wrap=True, overflow="ellipsis")
        for row in rows:
            table.add_row(*(row[at] for at in shown))
        return Group(head, table)
