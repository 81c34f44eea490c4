"""The gates between a built image and the registry: static checks, then the boot gate."""

from __future__ import annotations

from dataclasses import replace

from kmatrix.decide.boot import Booted
from kmatrix.decide.checks import check_module
from kmatrix.decide.formats.kernel_tree import kernel_facts
from kmatrix.effects.disk.logs import open_log
from kmatrix.effects.engine.inspect import read_cell_image, read_toolkit
from kmatrix.stages.boot import Subject, boot_image
from kmatrix.stages.patience import patiently
from kmatrix.stages.publish import image_of
from kmatrix.stages.run_context import BootOptions, CellWork, cell_result
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


def pass_gates(work: CellWork, image_id: str) -> CellResult:
    """Put an image through every gate of the run; the first that does not hold ends it.

    Raises:
        KmatrixError: no verdict could be reached.
    """
    report = _check(work, image_id)
    shop, recipe = work.shop, work.recipe
    if not report.passed:
        first, others = report.findings[0], len(report.findings) - 1
        reason = f"{first.code}: {first.message}" + (f" (and {others} more)" if others else "")
        result = cell_result(recipe, "failed", reason, findings=report.findings, next_step=_AFTER_CHECKS)
        return replace(result, image_id=image_id, srcversion=report.srcversion)
    name = str(image_of(shop.options.target, recipe.cell))
    passed = cell_result(recipe, "passed", NOT_BOOTED, image=name)
    passed = replace(passed, image_id=image_id, srcversion=report.srcversion)
    return passed if shop.options.boot is None else _boot(work, shop.options.boot, passed, report)


def _check(work: CellWork, image_id: str) -> CheckReport:
    shop, recipe, cell = work.shop, work.recipe, work.recipe.cell
    toolkit = recipe.toolkit.pinned
    with work.stage("check"):
        facts = shop.kernels.get(
            f"{toolkit} {cell.kernel}",
            lambda: kernel_facts(
                cell.kernel, patiently(lambda: read_toolkit(shop.engine, toolkit, cell.kernel), shop.engine)
            ),
        )
        image = patiently(lambda: read_cell_image(shop.engine, image_id, cell.kernel), shop.engine)
        key = _key_expected(work, image)
        report = check_module(Expectation(cell, key, shop.options.profile.rdma), image, facts)
    for note in report.notes:
        work.line(f"kmatrix: note: {note}")
    return report


def _key_expected(work: CellWork, image: ImageFacts) -> str:
    """An image that passed more gates than this run asks for is right too."""
    found = image.labels.get(labels.CELL_KEY, "")
    return found if found in work.recipe.satisfying_keys else work.recipe.cell_key


def _boot(work: CellWork, options: BootOptions, passed: CellResult, checked: CheckReport) -> CellResult:
    shop, cell = work.shop, work.recipe.cell
    serial = shop.logs / f"{cell.id}.serial.log"
    subject = Subject(
        name=cell.id,
        image=passed.image_id,
        toolkit=work.recipe.toolkit.pinned,
        arch=cell.arch,
        module=Booted(cell.kernel, str(cell.client), checked.srcversion),
        depends=checked.depends,
    )
    with work.stage("boot"), open_log(serial) as log:
        folder = shop.options.root / "build" / "boot"
        report = boot_image(shop.engine, shop.machines, subject, folder, options.deadline_seconds, log.line)
        if report.verdict == "passed":
            log.check()
    result = replace(passed, serial=str(serial.relative_to(shop.options.root)), booted=report.verdict == "passed")
    if report.verdict == "passed":
        return replace(result, reason=f"every check passed; {report.message}")
    reason = f"boot: {report.code}: {report.message}"
    next_step = _after_boot(report, result.serial, cell.id, shop.options.profile_name)
    return replace(
        result, verdict=report.verdict, reason=reason, image="", findings=report.findings, next_step=next_step
    )
