"""The page of a log: every line has a number that a link can name, and the lines can be searched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kmatrix.decide.report.deciding import Place
from kmatrix.decide.report.model import LogText, Report
from kmatrix.decide.report.pages import page
from kmatrix.decide.report.paths import cell_path, log_path, raw_log_path
from kmatrix.values.cells import CellResult

# A page of more lines is slow in a browser; the plain text has all of them.
_MOST_LINES = 5_000
_FIRST_LINES = 1_000
_LAST_LINES = 2_000
_AROUND = 200
_MOST_CHARACTERS = 1_000


@dataclass(frozen=True)
class _Line:
    number: int
    text: str
    cut: int
    decides: bool


@dataclass(frozen=True)
class _Part:
    """Consecutive lines, and how many were left out before them."""

    lines: Sequence[_Line]
    left_out: int


def log_page(report: Report, cell: CellResult, log: LogText, places: Sequence[Place] = ()) -> str:
    """Return the page of a log of a cell.

    Args:
        report: that it is a page of.
        cell: the cell.
        log: the log.
        places: the lines that decided the cell's verdict, in whichever log.
    """
    own = [place for place in places if place.log == log.name]
    decides = frozenset(number for place in own for number in place.deciding)
    parts = [*_parts(log, own, decides)]
    shown = sum(len(part.lines) for part in parts)
    return page(
        report,
        "log.html.j2",
        log_path(log.name),
        cell=cell,
        cell_path=cell_path(cell.cell),
        log=log,
        raw=raw_log_path(log.name),
        parts=parts,
        left_out=len(log.lines) - shown,
        shortened=sum(line.cut > 0 for part in parts for line in part.lines),
        deciding=sorted(decides),
    )


def shorten(text: str, most: int = _MOST_CHARACTERS) -> tuple[str, int]:
    """Return the beginning of a line, and how many characters were left out."""
    return text[:most], max(0, len(text) - most)


def _parts(log: LogText, places: Iterable[Place], decides: frozenset[int]) -> Iterable[_Part]:
    before = 0
    for span in _spans(len(log.lines), places):
        lines = [_Line(number, *shorten(log.lines[number - 1]), number in decides) for number in span]
        yield _Part(lines, span.start - before - 1)
        before = span.stop - 1


def _spans(count: int, places: Iterable[Place]) -> Sequence[range]:
    """Return the numbers of the lines to show: of a long log the first, the last, and those around deciding lines."""
    if count <= _MOST_LINES:
        return [range(1, count + 1)] if count else []
    around = [(place.first - _AROUND, place.last + _AROUND) for place in places]
    found: list[range] = []
    for low, high in sorted([(1, _FIRST_LINES), *around, (count - _LAST_LINES + 1, count)]):
        first, stop = max(1, low), min(count, high) + 1
        if found and first <= found[-1].stop:
            found[-1] = range(found[-1].start, max(stop, found[-1].stop))
        else:
            found.append(range(first, stop))
    return found
