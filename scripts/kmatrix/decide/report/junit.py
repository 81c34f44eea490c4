"""Results as JUnit XML, which systems of continuous integration show beside a run."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.release_result import ReleaseResult
from kmatrix.values.text import plain_line


def junit(profile_name: str, cells: Iterable[CellResult], releases: Iterable[ReleaseResult] = ()) -> str:
    """Return results as JUnit XML: one test case per cell, and one for each release with a finding, as an error."""
    cells = list(cells)
    faulty = [release for release in releases if release.findings]
    count = {verdict: sum(cell.verdict == verdict for cell in cells) for verdict in ("failed", "errored", "skipped")}
    suite = ElementTree.Element(
        "testsuite",
        name=plain_line(f"kmatrix.{profile_name}"),
        tests=str(len(cells) + len(faulty)),
        failures=str(count["failed"]),
        errors=str(count["errored"] + len(faulty)),
        skipped=str(count["skipped"]),
    )
    tags = {"failed": "failure", "errored": "error", "skipped": "skipped"}
    for cell in cells:
        # A skipped cell has the seconds of the run that built it.
        seconds = "0.000" if cell.verdict == "skipped" else f"{sum(cell.stages.values()):.3f}"
        case = ElementTree.SubElement(
            suite, "testcase", classname=plain_line(cell.client), name=plain_line(cell.cell), time=seconds
        )
        if cell.verdict in tags:
            entry = ElementTree.SubElement(case, tags[cell.verdict], message=cell.reason)
            lines = _lines(cell.findings)
            entry.text = "\n".join([*lines, cell.next_step] if cell.next_step else lines)
        if cell.warnings:
            # No verdict: JUnit has no form for a warning, and shows a case's output beside it.
            shown = ElementTree.SubElement(case, "system-out")
            shown.text = "\n".join(f"warning: {line}" for line in _lines(cell.warnings))
    for release in faulty:
        name = plain_line(f"{release.version} {release.arch}")
        case = ElementTree.SubElement(suite, "testcase", classname="release", name=name, time="0.000")
        entry = ElementTree.SubElement(case, "error", message=release.findings[0].message)
        entry.text = "\n".join(_lines(release.findings))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _lines(findings: Iterable[Finding]) -> list[str]:
    return [
        f"{f.code}: {f.message}" + (f" (expected {f.expected}, found {f.actual})" if f.expected or f.actual else "")
        for f in findings
    ]
