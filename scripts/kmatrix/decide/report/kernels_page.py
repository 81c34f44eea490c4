"""The kernels: which modules they could share, and in which features they differ."""

from __future__ import annotations

from kmatrix.decide.report.links import by_kernel
from kmatrix.decide.report.model import Report
from kmatrix.decide.report.pages import page
from kmatrix.decide.report.paths import KERNELS
from kmatrix.decide.report.sharing import sharing


def kernels_page(report: Report) -> str:
    """Return the page."""
    return page(report, "kernels.html.j2", KERNELS, clients=sharing(report.cells), link=by_kernel)
