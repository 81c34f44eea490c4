"""Links between the pages, where they need more than a path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from kmatrix.decide.report.paths import INDEX, cell_path
from kmatrix.values.cells import CellResult


@dataclass(frozen=True)
class CellLink:
    """A cell to link to: what the link says of it, its page, and its verdict."""

    text: str
    path: str
    verdict: str


def to_matrix(text: str) -> str:
    """Return a link to the matrix that shows the rows with a kernel or release alone, where script runs."""
    return f"{INDEX}#{urlencode({'text': text})}"


def by_client(cell: CellResult) -> CellLink:
    """Return a link to a cell that says its client version: for a place that is about one kernel."""
    return CellLink(cell.client, cell_path(cell.cell), cell.verdict)


def by_kernel(cell: CellResult) -> CellLink:
    """Return a link to a cell that says its kernel: for a place that is about one client version."""
    return CellLink(cell.kernel, cell_path(cell.cell), cell.verdict)


def cells_of_kernels(cells: Iterable[CellResult]) -> dict[str, list[CellResult]]:
    """Return the cells of each kernel."""
    found: dict[str, list[CellResult]] = {}
    for cell in cells:
        found.setdefault(cell.kernel, []).append(cell)
    return found
