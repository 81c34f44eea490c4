"""boot: run the boot gate manually, with the serial console shown live, or with an interactive prompt in the guest."""

from __future__ import annotations

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.pins import pins_for
from kmatrix.commands.profile import SelectedProfile, select_profile
from kmatrix.commands.run import marked_engine, tidy
from kmatrix.effects.engine import Engine
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.stages.boot import Subject, boot_image, prepare_guest, remove_guest
from kmatrix.stages.boot_subjects import find_subjects
from kmatrix.stages.held_images import SharedImages, hold_image
from kmatrix.stages.progress import PlainProgress
from kmatrix.stages.run import exit_code
from kmatrix.stages.run_context import BootOptions, Options, RunContext, new_run
from kmatrix.values.boot import BootReport
from kmatrix.values.errors import Exit, InputError, ToolError
from kmatrix.values.names import ImageRef


def boot(call: Invocation) -> Exit:
    """Boot one cell, or any image that has modules for kernels of the profile; no other gate is run.

    Raises:
        KmatrixError: as `find_subjects`, or no verdict could be reached.
    """
    chosen = select_profile(call)
    pins = pins_for(call, chosen)
    with marked_engine(call) as engine:
        run = boot_run(call, chosen, engine)
        try:
            subjects = find_subjects(run, pins, call.subject)
            if call.shell:
                return _attach(call, run, subjects)
            # A bundle's toolkits are more than a disk has room for; the one of a single kernel is kept for the next
            # boot.
            toolkits = [ImageRef.parse(subject.toolkit) for subject in subjects]
            with SharedImages(run, toolkits, keep=len(subjects) == 1) as shared:
                reports = [_boot_one(run, shared, subject) for subject in subjects]
        finally:
            run.machines.stop()
            tidy(call, engine)
    for subject, report in zip(subjects, reports, strict=True):
        kernel = f"{subject.module.kernel}: " if len(subjects) > 1 else ""
        print(f"{report.verdict}: {report.code}: {kernel}{report.message}")
    return exit_code(report.verdict for report in reports)


def boot_run(call: Invocation, chosen: SelectedProfile, engine: Engine) -> RunContext:
    """Return the context of a run that boots and pushes nothing."""
    options = Options(
        root=call.root,
        profile_name=chosen.name,
        profile=chosen.effective,
        target=chosen.effective.target or "",
        boot=call.boot or BootOptions(),
        push=False,
        places=call.places,
    )
    return new_run(engine, load_credentials(call.authfile), options, PlainProgress(call.console, 0), pushes=False)


def _boot_one(run: RunContext, toolkits: SharedImages, subject: Subject) -> BootReport:
    with toolkits.held(ImageRef.parse(subject.toolkit)):
        return boot_image(
            run.engine, run.machines, subject, run.boot_folder, run.options.boot_seconds, run.progress.say
        )


def _attach(call: Invocation, run: RunContext, subjects: list[Subject]) -> Exit:
    if len(subjects) > 1:
        kernels = ", ".join(subject.module.kernel for subject in subjects)
        raise InputError(f"{call.subject} has modules for {kernels}", "--shell boots one kernel: name a cell.")
    hold_image(run, ImageRef.parse(subjects[0].toolkit))
    guest = prepare_guest(run.engine, subjects[0], run.boot_folder, interactive=True)
    try:
        status = run.machines.attach(guest)
    finally:
        remove_guest(guest)
    if status != 0:
        raise ToolError(
            f"the virtual machine ended with status {status}",
            "Read QEMU's output above; `--accel tcg` does not need hardware virtualisation.",
        )
    return Exit.OK
