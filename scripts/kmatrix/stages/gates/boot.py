"""Gate `boot`: loads the image's module in the cell's own kernel, in a virtual machine."""

from __future__ import annotations

from kmatrix.effects.disk.logs import open_log
from kmatrix.stages.boot import boot_image, subject_of
from kmatrix.stages.gates.gate import Outcome, TestedImage
from kmatrix.stages.run_context import BootOptions
from kmatrix.values.boot import BootReport
from kmatrix.values.command_lines import command


def boot_module(image: TestedImage) -> Outcome:
    """Boot the cell's kernel, and load and unload the image's module in it.

    Raises:
        KmatrixError: no verdict could be reached.
    """
    run, recipe = image.cell.run, image.cell.recipe
    subject = subject_of(recipe.cell.id, image.id, recipe.cell, recipe.toolkit.pinned, image.facts.ko)
    if isinstance(subject, BootReport):
        return _not_passed(image, subject, "", "")
    srcversion = subject.module.srcversion
    options = run.options.boot or BootOptions()
    path = run.logs / f"{recipe.cell.id}.serial.log"
    serial = str(path.relative_to(run.options.root))
    with open_log(path) as log:
        folder = run.options.root / "build" / "boot"
        report = boot_image(run.engine, run.machines, subject, folder, options.deadline_seconds, log.line)
        if report.verdict == "passed":
            # A pass that nobody can look up is none.
            log.check()
    if report.verdict == "passed":
        return Outcome("passed", report.message, serial=serial, srcversion=srcversion)
    return _not_passed(image, report, serial, srcversion)


def _not_passed(image: TestedImage, report: BootReport, serial: str, srcversion: str) -> Outcome:
    reason = f"boot: {report.code}: {report.message}"
    next_step = _next_step(image, serial, report.verdict)
    return Outcome(report.verdict, reason, report.findings, next_step, serial, srcversion)


def _next_step(image: TestedImage, serial: str, verdict: str) -> str:
    if verdict == "failed":
        again = command("boot", image.cell.run.options.profile_name, image.cell.recipe.cell.id, "--shell")
        where = f"Read the kernel's messages in {serial}; " if serial else ""
        return f"{where}{again} boots the same image with a prompt."
    return (
        f"Read in {serial} how far the machine came; run the command again, with fewer --jobs, or with --accel tcg if "
        "this machine's virtualisation is unsound."
    )
