"""What changed since the report before, and what was published last."""

from __future__ import annotations

from kmatrix.decide.report.model import Report
from kmatrix.decide.report.pages import page
from kmatrix.decide.report.paths import CHANGES


def changes_page(report: Report) -> str:
    """Return the page."""
    return page(report, "changes.html.j2", CHANGES)
