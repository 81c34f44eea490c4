"""The finding codes, and what each means."""

from __future__ import annotations

from kmatrix.decide.report.model import Report
from kmatrix.decide.report.pages import page
from kmatrix.decide.report.paths import FINDINGS


def findings_page(report: Report) -> str:
    """Return the page."""
    return page(report, "findings.html.j2", FINDINGS)
