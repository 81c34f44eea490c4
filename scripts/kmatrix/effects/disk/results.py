"""build/results.json and its JUnit sibling: read, and brought up to date after every cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.disk.state_file import StateFile, known_fields, profile_text, read_entries, write_entries
from kmatrix.values.cells import CellResult, Finding, Verdict

SCHEMA = 2


def read_results(path: Path, profile_name: str) -> dict[str, CellResult]:
    """Return the results of earlier runs of a profile by cell id; empty where there are none.

    Raises:
        InputError: the file is there and cannot be read as results.
    """
    return {result.cell: result for result in read_entries(_file(path), profile_name, _result)}


def results_text(path: Path, profile_name: str) -> str:
    """Return the content of results.json, with this profile's cells in place of those of the last run.

    Raises:
        InputError: the file is there and cannot be read as results.
    """
    return profile_text(_file(path), profile_name)


def write_results(
    path: Path,
    profile_name: str,
    results: Mapping[str, CellResult],
    order: Iterable[str],
    engine: Mapping[str, str] | None = None,
) -> None:
    """Put results into results.json, and write results.xml (JUnit) beside it.

    Other cells and other profiles stay as they are on disk now; the caller holds the checkout's lock.

    Args:
        path: of results.json.
        profile_name: whose cells.
        results: the results that this run changed, by cell id.
        order: cell ids in the plan's order; others are left out.
        engine: the container engine of this run, as `EngineInUse.as_dict` has it.

    Raises:
        InputError: a file cannot be written, or the file there is no results file.
    """
    merged = {**read_results(path, profile_name), **results}
    cells = [merged[cell] for cell in order if cell in merged]
    facts = {"engine": dict(engine)} if engine else {}
    write_entries(_file(path), profile_name, [asdict(cell) for cell in cells], facts)
    write_atomically(path.with_suffix(".xml"), junit(profile_name, cells))


def _file(path: Path) -> StateFile:
    hint = "Delete the file. It is regenerated, and published cells are looked up in the registry."
    return StateFile(path, "results file", SCHEMA, "cells", hint)


def junit(profile_name: str, cells: Iterable[CellResult]) -> str:
    """Return results as JUnit XML: one test case per cell."""
    cells = list(cells)
    count = {verdict: sum(cell.verdict == verdict for cell in cells) for verdict in ("failed", "errored", "skipped")}
    suite = ElementTree.Element(
        "testsuite",
        name=f"kmatrix.{profile_name}",
        tests=str(len(cells)),
        failures=str(count["failed"]),
        errors=str(count["errored"]),
        skipped=str(count["skipped"]),
    )
    tags = {"failed": "failure", "errored": "error", "skipped": "skipped"}
    for cell in cells:
        seconds = f"{sum(cell.stages.values()):.3f}"
        case = ElementTree.SubElement(suite, "testcase", classname=cell.client, name=cell.cell, time=seconds)
        if cell.verdict in tags:
            entry = ElementTree.SubElement(case, tags[cell.verdict], message=cell.reason)
            lines = [
                f"{f.code}: {f.message}"
                + (f" (expected {f.expected}, found {f.actual})" if f.expected or f.actual else "")
                for f in cell.findings
            ]
            entry.text = "\n".join([*lines, cell.next_step] if cell.next_step else lines)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _result(entry: Mapping[str, Any]) -> CellResult:
    values = known_fields(CellResult, entry)
    for verdict in (values["verdict"], *values["gates"].values()):
        if verdict not in get_args(Verdict):
            raise ValueError(f"{verdict!r} is no verdict")
    values["gates_at"] = {str(name): str(at) for name, at in values["gates_at"].items()}
    values["releases"] = tuple(values["releases"])
    values["findings"] = tuple(Finding(**known_fields(Finding, finding)) for finding in values["findings"])
    return CellResult(**values)
