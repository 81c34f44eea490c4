"""Gate `static`: every check of the image that needs neither its kernel nor its module to run."""

from __future__ import annotations

from dataclasses import replace

from kmatrix.decide.checks import check_module
from kmatrix.decide.features import (
    change_of,
    features_of_cell,
    gained_note,
    lost_finding,
    next_step_of,
    unknown_finding,
)
from kmatrix.decide.formats.elf import MalformedElfError
from kmatrix.stages.features import unknown_before
from kmatrix.stages.gates.gate import ImageUnderTest, Outcome
from kmatrix.values.cells import Finding
from kmatrix.values.errors import ToolError
from kmatrix.values.gate_record import RecordedModule
from kmatrix.values.module import Expectation, ModuleFile, features_path

_NEXT_STEP = (
    "Compare the expected and the actual value of each finding, correct the client's sources or its Dockerfile, and "
    "build again; or leave the kernel out by an exclude in matrix.yaml."
)


def check_image(image: ImageUnderTest) -> Outcome:
    """Check an image against its cell, the cell's kernel, and the features of the kernels before it."""
    run, recipe = image.cell.run, image.cell.recipe
    expected = Expectation(recipe.cell, recipe.cell_key, run.options.profile.rdma, recipe.certificate)
    report = check_module(expected, image.facts, image.kernel)
    for note in report.notes:
        image.cell.line(f"kmatrix: note: {note}")
    about_features = _about_features(image)
    fails = run.options.profile.feature_lost == "fail"
    findings = (*report.findings, *about_features) if fails else report.findings
    known = Outcome(
        "passed",
        "every check passed",
        srcversion=report.srcversion,
        warnings=() if fails else about_features,
        module=_module(image),
        module_file=_module_file(image),
        labels=image.facts.labels,
    )
    if not findings:
        return known
    first, others = findings[0], len(findings) - 1
    reason = f"{first.code}: {first.message}" + (f" (and {others} more)" if others else "")
    next_step = _NEXT_STEP if report.findings else next_step_of(findings)
    return replace(known, verdict="failed", message=reason, findings=findings, next_step=next_step)


def _about_features(image: ImageUnderTest) -> tuple[Finding, ...]:
    """Return the findings about features; they are warnings, or failures if the profile says so.

    Raises:
        ToolError: the profile refuses lost features, and the registry did not answer for an earlier kernel's module.
    """
    run, cell = image.cell.run, image.cell.recipe.cell
    if image.facts.features is None:
        return (unknown_finding(features_path(cell.kernel)),)
    own = features_of_cell(cell, image.facts.features)
    strict = run.options.profile.feature_lost == "fail"
    if unknown := unknown_before(run, cell):
        why = f"the registry did not answer for {unknown.id}, with whose features this module is compared"
        if strict:
            raise ToolError(why, f"Run {run.options.next('build', '--only', cell.id)} again.")
        image.cell.line(f"kmatrix: note: {why}")
    change = change_of(own, run.known_features.values(), strict=strict)
    if change is None:
        return ()
    if note := gained_note(change):
        image.cell.line(f"kmatrix: note: {note}")
    return (lost_finding(change),) if change.lost else ()


def _module(image: ImageUnderTest) -> RecordedModule | None:
    """Return the facts about the module that later runs compare others with; None for a file that is no module."""
    try:
        return image.module
    except MalformedElfError:
        return None


def _module_file(image: ImageUnderTest) -> ModuleFile | None:
    try:
        return image.module_file
    except MalformedElfError:
        return None
