"""The page of the finding codes: which of them this report has, and what each means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kmatrix.decide.report.meanings import as_page
from kmatrix.decide.report.model import Report
from kmatrix.decide.report.pages import page
from kmatrix.decide.report.paths import FINDINGS, cell_path
from kmatrix.values.cells import CellResult

_SHOWN = 10


@dataclass(frozen=True)
class _Occurrence:
    code: str
    cells: tuple[CellResult, ...]
    releases: tuple[str, ...]

    @property
    def shown(self) -> Sequence[CellResult]:
        return self.cells[:_SHOWN]

    @property
    def more(self) -> int:
        return len(self.cells) - len(self.shown)


def findings_page(report: Report) -> str:
    """Return the page."""
    return page(
        report,
        "findings.html.j2",
        FINDINGS,
        occurrences=_occurrences(report),
        meanings=as_page(report.meanings),
        cell_path=cell_path,
    )


def _occurrences(report: Report) -> Sequence[_Occurrence]:
    """Return the codes of the report; those of the most cells come first."""
    cells: dict[str, dict[str, CellResult]] = {}
    releases: dict[str, dict[str, None]] = {}
    for cell in report.cells:
        for finding in (*cell.findings, *cell.warnings):
            cells.setdefault(finding.code, {})[cell.cell] = cell
    for release in report.releases:
        for finding in release.findings:
            releases.setdefault(finding.code, {})[f"{release.version} ({release.arch})"] = None
    found = [
        _Occurrence(code, tuple(cells.get(code, {}).values()), tuple(releases.get(code, ())))
        for code in {**cells, **releases}
    ]
    return sorted(found, key=lambda each: (-len(each.cells), -len(each.releases), each.code))
