"""The releases: their state, and how long each took from its appearance to its last push."""

from __future__ import annotations

from kmatrix.decide.report.model import Report
from kmatrix.decide.report.pages import page
from kmatrix.decide.report.paths import RELEASES


def releases_page(report: Report) -> str:
    """Return the page."""
    return page(report, "releases.html.j2", RELEASES)
