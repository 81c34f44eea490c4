"""The first page: coverage of the newest release, what is broken and why, and the matrix of clients and kernels."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kmatrix.decide.report.coverage import newest_releases, troubles, unresolved
from kmatrix.decide.report.grid import (
    USUAL_ARCH,
    USUAL_FLAVOUR,
    VERDICTS,
    Row,
    choices,
    count_verdicts,
    make_grid,
)
from kmatrix.decide.report.model import Report
from kmatrix.decide.report.pages import page
from kmatrix.decide.report.paths import INDEX, cell_path

# Longer lists are shortened, and say by how much.
LISTED_TROUBLES = 12
LISTED_CELLS = 4
LISTED_CLIENTS = 8
LISTED_RELEASES = 2
# With more columns, a cell shows its sign alone.
WORDY_COLUMNS = 8
_REASON = 160
# After the upstream version, and before the distribution and the architecture.
_BREAKS = re.compile(r"(?<=-)|(?=\.el)|(?=\.(?:x86_64|aarch64|ppc64le|s390x))")


def matrix_page(report: Report) -> str:
    """Return the page."""
    cells = report.known_cells
    grid = make_grid(cells)
    counts = count_verdicts(cells)
    return page(
        report,
        "index.html.j2",
        INDEX,
        grid=grid,
        counts=counts,
        bar_of=bar,
        cells=cells,
        newest=newest_releases(report.releases, cells, report.gates),
        unresolved=unresolved(report.releases),
        incomplete=sum(each.state == "incomplete" for each in report.releases),
        troubles=troubles(report.cells),
        choices=choices(grid),
        verdicts=VERDICTS,
        path_of=cell_path,
        tags_of=lambda row: _tags(row, grid.usual_stream),
        parts_of=_parts,
        shortened=_shortened,
        dense=len(grid.clients) > WORDY_COLUMNS,
        listed_troubles=LISTED_TROUBLES,
        listed_cells=LISTED_CELLS,
        listed_clients=LISTED_CLIENTS,
        listed_releases=LISTED_RELEASES,
    )


def bar(counts: Mapping[str, int]) -> list[tuple[str, float, float]]:
    """Return the parts of a bar that shows counts: verdict, start and width in percent."""
    total = sum(counts.values())
    parts, start = [], 0
    for name in reversed(VERDICTS):
        if number := counts.get(name, 0):
            parts.append((name, round(100 * start / total, 3), round(100 * number / total, 3)))
            start += number
    return parts


def _tags(row: Row, usual_stream: str) -> list[str]:
    """Return what is unusual about a kernel: its architecture, flavour and stream."""
    found = [(row.arch, USUAL_ARCH), (row.flavour, USUAL_FLAVOUR), (row.stream, usual_stream)]
    return [value for value, usual in found if value and value != usual]


def _parts(kernel: str) -> list[str]:
    """Return the parts of a kernel release, between which a narrow column may break it."""
    return [part for part in _BREAKS.split(kernel) if part]


def _shortened(text: str) -> str:
    return text if len(text) <= _REASON else f"{text[: _REASON - 1].rstrip()}…"
