"""Gate `static`: every check of the image that needs neither its kernel nor its module to run."""

from __future__ import annotations

from kmatrix.decide.checks import check_module
from kmatrix.stages.gates.gate import ImageUnderTest, Outcome
from kmatrix.values.module import Expectation

_NEXT_STEP = (
    "Compare the expected and the actual value of each finding, correct the client's sources or its Dockerfile, and "
    "build again; or leave the kernel out by an exclude in matrix.yaml."
)


def check_image(image: ImageUnderTest) -> Outcome:
    """Check an image against its cell and the cell's kernel."""
    run, recipe = image.cell.run, image.cell.recipe
    expected = Expectation(recipe.cell, recipe.cell_key, run.options.profile.rdma)
    report = check_module(expected, image.facts, image.kernel)
    for note in report.notes:
        image.cell.line(f"kmatrix: note: {note}")
    if report.passed:
        return Outcome("passed", "every check passed", srcversion=report.srcversion)
    first, others = report.findings[0], len(report.findings) - 1
    reason = f"{first.code}: {first.message}" + (f" (and {others} more)" if others else "")
    return Outcome("failed", reason, report.findings, _NEXT_STEP, srcversion=report.srcversion)
