"""The files of the report, one after the other: thousands of pages need not be in memory at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kmatrix.decide.report.badges import badges
from kmatrix.decide.report.cell_page import cell_page
from kmatrix.decide.report.changes_page import changes_page
from kmatrix.decide.report.deciding import deciding
from kmatrix.decide.report.document import document
from kmatrix.decide.report.feed import feed
from kmatrix.decide.report.findings_page import findings_page
from kmatrix.decide.report.junit import junit
from kmatrix.decide.report.kernels_page import kernels_page
from kmatrix.decide.report.log_page import log_page
from kmatrix.decide.report.matrix_page import matrix_page
from kmatrix.decide.report.model import LogText, Report
from kmatrix.decide.report.neighbours import neighbours
from kmatrix.decide.report.pages import asset
from kmatrix.decide.report.paths import (
    CELL_STYLE,
    CHANGES,
    DOCUMENT,
    FEED,
    FINDINGS,
    INDEX,
    JUNIT,
    KERNELS,
    LOG_SCRIPT,
    MATRIX_SCRIPT,
    RELEASES,
    SCRIPT,
    STYLE,
    cell_path,
    log_path,
    raw_log_path,
)
from kmatrix.decide.report.releases_page import releases_page
from kmatrix.values.cells import CellResult
from kmatrix.values.text import plain


def site_files(report: Report, logs_of: Callable[[CellResult], Sequence[LogText]]) -> Iterator[tuple[str, str]]:
    """Yield path and text of every file of a report.

    Args:
        report: the report.
        logs_of: returns those logs of a cell that are there.
    """
    yield STYLE, asset("style.css")
    yield SCRIPT, asset("report.js")
    yield MATRIX_SCRIPT, asset("matrix.js")
    yield INDEX, matrix_page(report)
    yield CHANGES, changes_page(report)
    yield RELEASES, releases_page(report)
    yield KERNELS, kernels_page(report)
    yield FINDINGS, findings_page(report)
    yield CELL_STYLE, asset("cell.css")
    yield LOG_SCRIPT, asset("log.js")
    around = neighbours(report.cells)
    for cell in report.cells:
        logs = tuple(logs_of(cell))
        places = deciding(cell, logs)
        yield cell_path(cell.cell), cell_page(report, cell, logs, places, around[cell.cell])
        for log in logs:
            yield log_path(log.name), log_page(report, cell, log, places)
            yield raw_log_path(log.name), plain("".join(f"{line}\n" for line in log.lines))
    yield from badges(report.cells, report.pending, report.gates)
    yield FEED, feed(report)
    yield JUNIT, junit(report.profile, report.cells, report.releases)
    # In ASCII: nothing of the results can be half a surrogate pair, which cannot be written.
    yield DOCUMENT, document(report)
