"""Gate `boot`: loads the image's module in the cell's own kernel, in a virtual machine."""

from __future__ import annotations

from kmatrix.decide.boot import judge_boot
from kmatrix.decide.mount import judge_mount, mount_began
from kmatrix.stages.boot import Boot
from kmatrix.stages.gates.gate import ImageUnderTest, Outcome
from kmatrix.stages.subject import Subject
from kmatrix.values.boot import BootReport
from kmatrix.values.gate_record import MOUNT_GATE


def boot_module(image: ImageUnderTest) -> Outcome:
    """Boot the cell's kernel, and load and unload the image's module in it.

    The gate `mount` shares the boot, so that it costs no second one, unless the mounts went wrong: what those left
    behind says nothing about loading, which is then judged by a boot without them.

    Raises:
        KmatrixError: no verdict could be reached.
    """
    subject = image.subject
    if isinstance(subject, BootReport):
        return refused("boot", image, subject, "", "")
    mounting = MOUNT_GATE in image.gates and subject.mount is not None
    boot = image.boot(subject, mounting=mounting)
    if mounting and not mounted_well(boot):
        mounting = False
        boot = image.boot(subject, mounting=mounting)
    report = judge_boot(boot.transcript, boot.end, subject.module)
    return outcome_of("boot", image, report, subject, mounting=mounting)


def outcome_of(gate: str, image: ImageUnderTest, report: BootReport, subject: Subject, *, mounting: bool) -> Outcome:
    """Return a report on a boot as the outcome of a gate.

    Raises:
        ToolError: it passed, and the log of the serial line is incomplete.
    """
    serial, srcversion = image.serial(mounting=mounting), subject.module.srcversion
    if report.verdict == "passed":
        image.check_serial(mounting=mounting)
        kernel = image.tested_kernel(mounting=mounting)
        return Outcome("passed", report.message, serial=serial, srcversion=srcversion, kernel=kernel)
    return refused(gate, image, report, serial, srcversion)


def refused(gate: str, image: ImageUnderTest, report: BootReport, serial: str, srcversion: str) -> Outcome:
    """Return the outcome of a gate that an image did not pass, with the next step.

    Args:
        gate: its name.
        image: the image.
        report: why.
        serial: the path of the guest's console; empty if there was no boot.
        srcversion: the module's; empty if it is not known.
    """
    reason = f"{gate}: {report.code}: {report.message}"
    next_step = _next_step(image, serial, report.verdict)
    return Outcome(report.verdict, reason, report.findings, next_step, serial, srcversion)


def mounted_well(boot: Boot) -> bool:
    """Return whether nothing that a boot mounted went wrong, so that it also shows whether the module loads."""
    return not mount_began(boot.transcript) or judge_mount(boot.transcript, boot.end).verdict == "passed"


def _next_step(image: ImageUnderTest, serial: str, verdict: str) -> str:
    if verdict == "failed":
        options, cell = image.cell.run.options, image.cell.recipe.cell.id
        where = f"Read the kernel's messages in {serial}; " if serial else ""
        shell = f"{options.next('boot', cell, '--shell')} boots the image with a prompt."
        if image.has_name:
            return f"{where}{shell}"
        force = ("--force",) if options.rebuild else ()
        keep = options.next("build", *force, "--no-push", "--no-boot", "--only", cell)
        return f"{where}{keep} builds the image again and keeps it in the container engine, and {shell}"
    return (
        f"Read in {serial} how far the machine came; run the command again, with fewer --jobs, or with --accel tcg if "
        "this machine's virtualisation is unsound."
    )
