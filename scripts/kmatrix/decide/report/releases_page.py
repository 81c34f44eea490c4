"""The releases: their state, and how long each took from its appearance to its last push."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kmatrix.decide.report.coverage import is_covered
from kmatrix.decide.report.grid import newest_first
from kmatrix.decide.report.links import CellLink, by_client, cells_of_kernels, to_matrix
from kmatrix.decide.report.model import Report
from kmatrix.decide.report.moments import in_words
from kmatrix.decide.report.pages import page
from kmatrix.decide.report.paths import RELEASES
from kmatrix.decide.report.release_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, release_chart
from kmatrix.values.cells import CellResult
from kmatrix.values.release_result import ReleaseResult

# A kernel links to so many cells: to all of them, or else to those that failed or are errored.
_MOST_LINKS = 6


@dataclass(frozen=True)
class ReleaseKernel:
    """A kernel of a release.

    Attributes:
        kernel: its release.
        path: of the matrix, where script reduces it to this kernel.
        good: how many of its cells are covered.
        total: how many cells it has, those that are not built yet among them.
        links: to some of its cells.
        more: how many other cells failed or are errored.
        pending: how many cells are not built yet.
    """

    kernel: str
    path: str
    good: int
    total: int
    links: tuple[CellLink, ...]
    more: int
    pending: int


@dataclass(frozen=True)
class ReleaseRow:
    """A release, its kernels, and its times in words; empty where they are not known."""

    release: ReleaseResult
    kernels: tuple[ReleaseKernel, ...]
    from_appearance: str
    from_discovery: str


def releases_page(report: Report) -> str:
    """Return the page."""
    cells = cells_of_kernels(report.cells)
    pending = Counter(cell.kernel for cell in report.pending or ())
    place = {client: number for number, client in enumerate(newest_first({each.client for each in report.cells}))}
    for own in cells.values():
        own.sort(key=lambda cell: place[cell.client])
    kernels = {
        kernel: _kernel(kernel, cells.get(kernel, ()), pending[kernel], report.gates)
        for each in report.releases
        for kernel in each.kernels
    }
    rows = [_row(each, kernels) for each in reversed(report.releases)]
    frame = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
    return page(report, "releases.html.j2", RELEASES, rows=rows, chart=release_chart(report.releases), frame=frame)


def _row(release: ReleaseResult, kernels: Mapping[str, ReleaseKernel]) -> ReleaseRow:
    return ReleaseRow(
        release=release,
        kernels=tuple(kernels[each] for each in reversed(release.kernels)),
        from_appearance=_words(release.minutes_from_appearance),
        from_discovery=_words(release.minutes_from_discovery),
    )


def _kernel(kernel: str, own: Sequence[CellResult], pending: int, gates: Sequence[str]) -> ReleaseKernel:
    broken = [cell for cell in own if cell.verdict in ("failed", "errored")]
    shown = own if len(own) <= _MOST_LINKS else broken[:_MOST_LINKS]
    return ReleaseKernel(
        kernel=kernel,
        path=to_matrix(kernel),
        good=sum(is_covered(cell, gates) for cell in own),
        total=len(own) + pending,
        links=tuple(by_client(cell) for cell in shown),
        more=max(0, len(broken) - _MOST_LINKS) if len(own) > _MOST_LINKS else 0,
        pending=pending,
    )


def _words(minutes: float | None) -> str:
    # JSON as Python reads it has NaN and Infinity.
    return in_words(minutes) if minutes is not None and abs(minutes) < float("inf") else ""
