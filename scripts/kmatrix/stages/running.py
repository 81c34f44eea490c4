"""The cells and steps of a session that are under way: since when, and whether that is longer than usual."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kmatrix.decide.slow_stages import slow_after, usual_of


@dataclass(frozen=True)
class Row:
    """A cell in a stage, or a step of a session.

    `subject` is the cell, or the name of the step; `detail` is the stage, or how far the step is (`120 of 4000`), empty
    for a step that is not counted. `seconds` is how long it has been there, `usual` how long others were (None if that
    is not known).
    """

    subject: str
    detail: str
    seconds: float
    usual: float | None = None

    @property
    def slow(self) -> bool:
        """Whether it takes much longer than others did."""
        return self.usual is not None and self.seconds > slow_after(self.usual)

    @property
    def time(self) -> str:
        """Its seconds, and the word `slow` if it is."""
        return f"{self.seconds:.0f} s" + (" slow" if self.slow else "")

    @property
    def remark(self) -> str:
        """The usual seconds, if it is slow."""
        return f"usually {self.usual:.0f} s" if self.slow else ""

    def __str__(self) -> str:
        """Return a line that reports that it is not done yet."""
        where = f"{self.subject}: {self.detail}" if self.detail else self.subject
        usually = "" if self.usual is None else f" (usually {self.usual:.0f} s)"
        return f"{where}: still running after {self.seconds:.0f} s{usually}"


@dataclass
class _Entry:
    detail: str
    since: float
    counts: bool
    # The seconds at which the next line about it is due.
    due: float


class Running:
    """The cells and steps under way; every method may be called from any thread."""

    def __init__(self, earlier: Mapping[str, float] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing under way.

        Args:
            earlier: the usual seconds of stages in earlier runs, by name.
            clock: returns seconds.
        """
        self._earlier = earlier or {}
        self._clock = clock
        self._changed = threading.Condition()
        self._entries: dict[str, _Entry] = {}
        self._finished: dict[str, list[float]] = {}
        self._ended = False

    def enter(self, cell: str, stage: str) -> None:
        """Note that a cell enters a stage, and so leaves the one before."""
        with self._changed:
            self._leave(cell, finished=True)
            self._entries[cell] = _Entry(stage, self._clock(), True, slow_after(self._usual(stage)))
            self._changed.notify()

    def step(self, name: str, count: str = "") -> None:
        """Note that a step begins, or how far it is."""
        with self._changed:
            if name in self._entries:
                self._entries[name].detail = count
            else:
                self._entries[name] = _Entry(count, self._clock(), False, slow_after(None))
                self._changed.notify()

    def leave(self, subject: str, finished: bool = True) -> None:
        """Note that a cell or a step is no longer under way; `finished` is whether its last stage was not cut short."""
        with self._changed:
            self._leave(subject, finished)

    def rows(self) -> list[Row]:
        """Return what is under way: the slow ones first, then by name."""
        with self._changed:
            now = self._clock()
            rows = [self._row(subject, entry, now) for subject, entry in self._entries.items()]
        return sorted(rows, key=lambda row: (not row.slow, row.subject))

    def due(self) -> tuple[list[Row], float | None]:
        """Return what has become slow, or takes twice as long as when it was returned before.

        Returns:
            these, and the seconds until others may be due; None while nothing is under way.
        """
        with self._changed:
            now = self._clock()
            rows = []
            for subject, entry in self._entries.items():
                seconds = now - entry.since
                # By now more cells may have shown how long the stage takes.
                entry.due = max(entry.due, slow_after(self._usual(entry.detail) if entry.counts else None))
                if seconds >= entry.due:
                    entry.due = 2 * seconds
                    rows.append(self._row(subject, entry, now))
            left = [entry.since + entry.due - now for entry in self._entries.values()]
            return rows, max(0.1, min(left)) if left else None

    def watch(self, report: Callable[[Row], None]) -> None:
        """Report what is due as soon as it is, until `end`; it sleeps in between."""
        while not self._ended:
            rows, wait = self.due()
            for row in rows:
                report(row)
            with self._changed:
                if not self._ended:
                    self._changed.wait(wait)

    def end(self) -> None:
        """End `watch`."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _leave(self, subject: str, finished: bool) -> None:
        entry = self._entries.pop(subject, None)
        if entry is not None and entry.counts and finished:
            self._finished.setdefault(entry.detail, []).append(self._clock() - entry.since)

    def _usual(self, stage: str) -> float | None:
        return usual_of(stage, self._finished, self._earlier)

    def _row(self, subject: str, entry: _Entry, now: float) -> Row:
        usual = self._usual(entry.detail) if entry.counts else None
        return Row(subject, entry.detail, now - entry.since, usual)
