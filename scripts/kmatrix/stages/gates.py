"""The gates between a built image and the registry: static checks, then the boot gate."""

from __future__ import annotations

from dataclasses import replace

from kmatrix.decide.checks import check_module
from kmatrix.decide.formats.kernel_tree import kernel_facts
from kmatrix.effects.disk.logs import open_log
from kmatrix.effects.engine.inspect import read_cell_image, read_toolkit
from kmatrix.stages.boot import Subject, boot_image, subject_of
from kmatrix.stages.patience import patiently
from kmatrix.stages.publish import image_of
from kmatrix.stages.run_context import BootOptions, CellContext, cell_result
from kmatrix.values import labels
from kmatrix.values.boot import BootReport
from kmatrix.values.cells import CellResult
from kmatrix.values.command_lines import command
from kmatrix.values.module import CheckReport, Expectation, ImageFacts

NOT_BOOTED = "static checks passed, NOT BOOTED (--no-boot)"
_AFTER_CHECKS = (
    "Compare what each finding expected with what it found, correct the client's sources or its Dockerfile, and build "
    "again; or leave the kernel out by an exclude in matrix.yaml."
)


def _after_boot(report: BootReport, serial: str, cell: str, profile_name: str) -> str:
    if report.verdict == "failed":
        return (
            f"Read what the kernel said in {serial}; "
            f"{command('boot', profile_name, cell, '--shell')} boots the same image for a look."
        )
    return (
        f"Read how far the machine came in {serial}; run the command again, with fewer --jobs, or with --accel tcg if "
        "this machine's virtualisation is unsound."
    )


def pass_gates(cell: CellContext, image_id: str) -> CellResult:
    """Put an image through every gate of the run; the first that does not hold ends it.

    Raises:
        KmatrixError: no verdict could be reached.
    """
    report, ko = _check(cell, image_id)
    run, recipe = cell.run, cell.recipe
    if not report.passed:
        first, others = report.findings[0], len(report.findings) - 1
        reason = f"{first.code}: {first.message}" + (f" (and {others} more)" if others else "")
        result = cell_result(recipe, "failed", reason, findings=report.findings, next_step=_AFTER_CHECKS)
        return replace(result, image_id=image_id, srcversion=report.srcversion)
    name = str(image_of(run.options.target, recipe.cell))
    passed = cell_result(recipe, "passed", NOT_BOOTED, image=name)
    passed = replace(passed, image_id=image_id, srcversion=report.srcversion)
    return passed if run.options.boot is None else _boot(cell, run.options.boot, passed, ko)


def _check(cell: CellContext, image_id: str) -> tuple[CheckReport, bytes | None]:
    run, recipe = cell.run, cell.recipe
    kernel = recipe.cell.kernel
    toolkit = recipe.toolkit.pinned
    with cell.stage("check"):
        facts = run.kernel_facts.get(
            f"{toolkit} {kernel}",
            lambda: kernel_facts(kernel, patiently(lambda: read_toolkit(run.engine, toolkit, kernel), run.engine)),
        )
        image = patiently(lambda: read_cell_image(run.engine, image_id, kernel), run.engine)
        key = _key_expected(cell, image)
        report = check_module(Expectation(recipe.cell, key, run.options.profile.rdma), image, facts)
    for note in report.notes:
        cell.line(f"kmatrix: note: {note}")
    return report, image.ko


def _key_expected(cell: CellContext, image: ImageFacts) -> str:
    """An image that passed more gates than this run asks for is right too."""
    found = image.labels.get(labels.CELL_KEY, "")
    return found if found in cell.recipe.satisfying_keys else cell.recipe.cell_key


def _boot(cell: CellContext, options: BootOptions, passed: CellResult, ko: bytes | None) -> CellResult:
    run, recipe = cell.run, cell.recipe
    serial = run.logs / f"{recipe.cell.id}.serial.log"
    subject = subject_of(recipe.cell.id, passed.image_id, recipe.cell, recipe.toolkit.pinned, ko)
    with cell.stage("boot"), open_log(serial) as log:
        folder = run.options.root / "build" / "boot"
        report = (
            boot_image(run.engine, run.machines, subject, folder, options.deadline_seconds, log.line)
            if isinstance(subject, Subject)
            else subject
        )
        if report.verdict == "passed":
            log.check()
    result = replace(passed, serial=str(serial.relative_to(run.options.root)), booted=report.verdict == "passed")
    if report.verdict == "passed":
        return replace(result, reason=f"every check passed; {report.message}")
    reason = f"boot: {report.code}: {report.message}"
    next_step = _after_boot(report, result.serial, recipe.cell.id, run.options.profile_name)
    return replace(
        result, verdict=report.verdict, reason=reason, image="", findings=report.findings, next_step=next_step
    )
