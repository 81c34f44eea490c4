"""The page of a log: every line has a number that a link can name, and the lines can be searched."""

from __future__ import annotations

from kmatrix.decide.report.model import LogText, Report
from kmatrix.decide.report.pages import page
from kmatrix.decide.report.paths import log_path, raw_log_path
from kmatrix.values.cells import CellResult


def log_page(report: Report, cell: CellResult, log: LogText) -> str:
    """Return the page of a log of a cell."""
    return page(report, "log.html.j2", log_path(log.name), cell=cell, log=log, raw=raw_log_path(log.name))
