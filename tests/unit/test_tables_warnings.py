"""Warnings stand below the table of results: with their cell, their code, and the page that says what to do."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console

from kmatrix.stages import tables
from kmatrix.values.cells import CellResult, Finding, Verdict

LOST = Finding("features", "feature-lost", "KERNEL_HAS_A is gone")
UNKNOWN = Finding("features", "features-unknown", "no list")


def shown(*results: CellResult) -> list[str]:
    out = io.StringIO()
    tables.print_results(Console(file=out, width=60), results, "lab", ("static",))
    return out.getvalue().splitlines()


def result(cell: str, verdict: Verdict, warnings: Sequence[Finding] = ()) -> CellResult:
    gates: dict[str, Verdict] = {"static": "passed"}
    return CellResult(cell, "8.3.1", "k", (), verdict, "reason", gates=gates, warnings=tuple(warnings))


def test_each_warning_has_its_cell_and_its_code_whatever_the_verdict() -> None:
    lines = shown(result("a", "passed", [LOST, UNKNOWN]), result("b", "failed", [LOST]), result("c", "skipped"))
    assert lines[-5:] == [
        "a: warning: feature-lost: KERNEL_HAS_A is gone",
        "a: warning: features-unknown: no list",
        "b: warning: feature-lost: KERNEL_HAS_A is gone",
        "       What to do: docs/findings.md#feature-lost, docs/findings.md#features-unknown",
        "1 passed, 1 failed, 1 skipped, 3 warnings",
    ]


def test_one_warning_is_one() -> None:
    assert shown(result("a", "skipped", [LOST]))[-1] == "1 skipped, 1 warning"
    assert shown(result("a", "skipped"))[-1] == "1 skipped"
