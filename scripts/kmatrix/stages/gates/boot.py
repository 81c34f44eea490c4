"""Gate `boot`: loads the image's module in the cell's own kernel, in a virtual machine."""

from __future__ import annotations

from kmatrix.effects.disk.logs import open_log
from kmatrix.stages.boot import boot_image, subject_of
from kmatrix.stages.gates.gate import ImageUnderTest, Outcome
from kmatrix.values.boot import BootReport


def boot_module(image: ImageUnderTest) -> Outcome:
    """Boot the cell's kernel, and load and unload the image's module in it.

    Raises:
        KmatrixError: no verdict could be reached.
    """
    run, recipe = image.cell.run, image.cell.recipe
    subject = subject_of(recipe.cell.id, image.id, recipe.cell, recipe.toolkit.pinned, image.facts.ko)
    if isinstance(subject, BootReport):
        return _not_passed(image, subject, "", "")
    srcversion = subject.module.srcversion
    path = run.logs / f"{recipe.cell.id}.serial.log"
    serial = str(path.relative_to(run.options.root))
    with open_log(path) as log:
        report = boot_image(run.engine, run.machines, subject, run.boot_folder, run.options.boot_seconds, log.line)
        if report.verdict == "passed":
            # A pass that nobody can look up is none.
            log.check()
    if report.verdict == "passed":
        return Outcome("passed", report.message, serial=serial, srcversion=srcversion)
    return _not_passed(image, report, serial, srcversion)


def _not_passed(image: ImageUnderTest, report: BootReport, serial: str, srcversion: str) -> Outcome:
    reason = f"boot: {report.code}: {report.message}"
    next_step = _next_step(image, serial, report.verdict)
    return Outcome(report.verdict, reason, report.findings, next_step, serial, srcversion)


def _next_step(image: ImageUnderTest, serial: str, verdict: str) -> str:
    if verdict == "failed":
        options, cell = image.cell.run.options, image.cell.recipe.cell.id
        where = f"Read the kernel's messages in {serial}; " if serial else ""
        shell = f"{options.next('boot', cell, '--shell')} boots the image with a prompt."
        if image.named:
            return f"{where}{shell}"
        force = ("--force",) if options.rebuild else ()
        keep = options.next("build", *force, "--no-push", "--no-boot", "--only", cell)
        return f"{where}{keep} builds the image again and keeps it in the container engine, and {shell}"
    return (
        f"Read in {serial} how far the machine came; run the command again, with fewer --jobs, or with --accel tcg if "
        "this machine's virtualisation is unsound."
    )
