"""The first page: coverage of the newest release, counts, and the matrix of clients and kernels."""

from __future__ import annotations

from kmatrix.decide.report.model import Report
from kmatrix.decide.report.pages import page
from kmatrix.decide.report.paths import INDEX, cell_path


def matrix_page(report: Report) -> str:
    """Return the page."""
    cells = [{"id": each.cell, "path": cell_path(each.cell), "verdict": each.verdict} for each in report.cells]
    return page(report, "index.html.j2", INDEX, cells=cells)
