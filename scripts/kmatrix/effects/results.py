"""build/results.json and its JUnit sibling: read, and written whole after every cell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

from kmatrix.effects.files import write_atomically
from kmatrix.values.cells import CellResult, Finding, Verdict
from kmatrix.values.errors import InputError

SCHEMA = 1


def read_results(path: Path, profile_name: str) -> dict[str, CellResult]:
    """Return the results of earlier runs of a profile by cell id; empty where there are none.

    Raises:
        InputError: the file is there and cannot be read as results.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("schema") != SCHEMA or content.get("profile") != profile_name:
            return {}
        return {entry["cell"]: _result(entry) for entry in content["cells"]}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"results file {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"results file {path}: not as this program writes it ({type(error).__name__}: {error})",
            "Remove the file: what is published is asked of the registry, and a new one is written.",
        ) from error


def write_results(path: Path, profile_name: str, results: Mapping[str, CellResult], order: Iterable[str]) -> None:
    """Write results.json, and results.xml (JUnit) beside it.

    Args:
        path: of results.json.
        profile_name: whose cells.
        results: by cell id.
        order: cell ids in the plan's order; others are left out.
    """
    cells = [results[cell] for cell in order if cell in results]
    content = {"schema": SCHEMA, "profile": profile_name, "cells": [asdict(cell) for cell in cells]}
    write_atomically(path, json.dumps(content, indent=1) + "\n")
    write_atomically(path.with_suffix(".xml"), junit(profile_name, cells))


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
            entry.text = "\n".join(
                f"{f.code}: {f.message}"
                + (f" (expected {f.expected}, found {f.actual})" if f.expected or f.actual else "")
                for f in cell.findings
            )
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _result(entry: Mapping[str, Any]) -> CellResult:
    values = dict(entry)
    if values["verdict"] not in get_args(Verdict):
        raise ValueError(f"{values['verdict']!r} is no verdict")
    values["releases"] = tuple(values["releases"])
    values["findings"] = tuple(Finding(**finding) for finding in values["findings"])
    return CellResult(**values)
