"""The page of a cell: its verdict, gates, findings, the deciding lines of its logs, and the facts about its image."""

from __future__ import annotations

from collections.abc import Sequence

from kmatrix.decide.report.model import LogText, Report
from kmatrix.decide.report.pages import page
from kmatrix.decide.report.paths import cell_path, log_path
from kmatrix.values.cells import CellResult


def cell_page(report: Report, cell: CellResult, logs: Sequence[LogText]) -> str:
    """Return the page.

    Args:
        report: that it is a page of.
        cell: the cell's result.
        logs: those of its logs that are there.
    """
    links = [{"path": log_path(log.name), "title": log.title} for log in logs]
    return page(report, "cell.html.j2", cell_path(cell.cell), cell=cell, logs=links)
