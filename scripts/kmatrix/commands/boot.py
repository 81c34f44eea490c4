"""boot: run the gates that boot manually, with the console shown live; or give a person a prompt in the guest."""

from __future__ import annotations

from dataclasses import replace

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.pins import pins_for
from kmatrix.commands.profile import SelectedProfile, select_profile
from kmatrix.commands.run import marked_engine, tidy
from kmatrix.decide.boot import judge_boot
from kmatrix.effects.engine import Engine
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.signing.module_keys import load_certificate
from kmatrix.stages.boot import Boot, boot_guest
from kmatrix.stages.boot_subjects import ManualSubject, find_subjects
from kmatrix.stages.gates import gates_of_profile
from kmatrix.stages.gates.boot import mounted_well
from kmatrix.stages.gates.mount import mount_report
from kmatrix.stages.guests import Guests
from kmatrix.stages.held_images import SharedImages, hold_image
from kmatrix.stages.progress import PlainProgress
from kmatrix.stages.run import exit_code
from kmatrix.stages.run_context import Options, RunContext, new_run
from kmatrix.stages.secure_boot import boot_secured
from kmatrix.stages.subject import Subject
from kmatrix.values.boot import BootOptions, BootReport
from kmatrix.values.errors import Exit, InputError, ToolError
from kmatrix.values.gate_record import BOOT_GATE, MOUNT_GATE, SECURE_BOOT_GATE
from kmatrix.values.names import ImageRef


def boot(call: Invocation) -> Exit:
    """Boot one cell, or any image that has modules for kernels of the profile, and mount with it if the profile does.

    Raises:
        KmatrixError: as `find_subjects`, or no verdict could be reached.
    """
    chosen = select_profile(call)
    pins = pins_for(call, chosen)
    with marked_engine(call) as engine:
        run = boot_run(call, chosen, engine)
        try:
            named = find_subjects(run, pins, call.subject)
            subjects = [each.subject for each in named]
            if call.shell:
                for unfit in (each.unmountable for each in named if each.unmountable):
                    run.progress.say(f"kmatrix: mount: {unfit.code}: {unfit.message}")
                return _attach(call, run, subjects)
            # A bundle's toolkits are more than a disk has room for; the one of a single kernel is kept for the next
            # boot.
            toolkits = [ImageRef.parse(subject.toolkit) for subject in subjects]
            with SharedImages(run, toolkits, keep=len(subjects) == 1) as shared:
                reports = [_boot_one(run, shared, each) for each in named]
        finally:
            run.machines.stop()
            tidy(call, engine)
    for subject, judged in zip(subjects, reports, strict=True):
        kernel = f"{subject.module.kernel}: " if len(subjects) > 1 else ""
        for gate, report in judged.items():
            print(f"{gate} {report.verdict}: {report.code}: {kernel}{report.message}")
    return exit_code(report.verdict for judged in reports for report in judged.values())


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


def _boot_one(run: RunContext, toolkits: SharedImages, named: ManualSubject) -> dict[str, BootReport]:
    """Return the report of each gate of the profile that boots."""
    with toolkits.held(ImageRef.parse(named.subject.toolkit)), Guests(run.engine, run.boot_folder) as guests:
        reports = _loading_and_mounting(run, guests, named)
        if SECURE_BOOT_GATE in gates_of_profile(run.options.profile):
            run.progress.say("kmatrix: booting under Secure Boot")
            reports[SECURE_BOOT_GATE] = _secured(run, guests, named)
    return reports


def _loading_and_mounting(run: RunContext, guests: Guests, named: ManualSubject) -> dict[str, BootReport]:
    """Return the reports of two gates: as the gates do, by one boot, and a second if mounts went wrong."""
    alone = replace(named.subject, mount=None)
    if MOUNT_GATE not in gates_of_profile(run.options.profile):
        return {BOOT_GATE: _loading(run, guests, alone)}
    if named.unmountable is not None:
        return {BOOT_GATE: _loading(run, guests, alone), MOUNT_GATE: named.unmountable}
    boot = _boot(run, guests, named.subject)
    mounts = mount_report(boot, named.subject)
    if mounted_well(boot):
        return {BOOT_GATE: judge_boot(boot.transcript, boot.end, alone.module), MOUNT_GATE: mounts}
    run.progress.say("kmatrix: the mounts went wrong: booting again without them")
    return {BOOT_GATE: _loading(run, guests, alone), MOUNT_GATE: mounts}


def _secured(run: RunContext, guests: Guests, named: ManualSubject) -> BootReport:
    """Return the report of the gate secure-boot, with the certificate that the profile has."""
    options, subject = run.options, named.subject
    if MOUNT_GATE not in gates_of_profile(options.profile) or named.unmountable is not None:
        subject = replace(subject, mount=None)
    signing = options.profile.module_signing
    certificate = load_certificate(signing, options.root) if signing else b""
    secured = boot_secured(guests, run.machines, subject, certificate, options.boot_seconds, run.progress.say)
    return secured.report


def _loading(run: RunContext, guests: Guests, alone: Subject) -> BootReport:
    boot = _boot(run, guests, alone)
    return judge_boot(boot.transcript, boot.end, alone.module)


def _boot(run: RunContext, guests: Guests, subject: Subject) -> Boot:
    return boot_guest(guests, run.machines, subject, run.options.boot_seconds, run.progress.say)


def _attach(call: Invocation, run: RunContext, subjects: list[Subject]) -> Exit:
    if len(subjects) > 1:
        kernels = ", ".join(subject.module.kernel for subject in subjects)
        raise InputError(f"{call.subject} has modules for {kernels}", "--shell boots one kernel: name a cell.")
    hold_image(run, ImageRef.parse(subjects[0].toolkit))
    with Guests(run.engine, run.boot_folder) as guests:
        status = run.machines.attach(guests.guest(subjects[0], interactive=True))
    if status != 0:
        raise ToolError(
            f"the virtual machine ended with status {status}",
            "Read QEMU's output above; `--accel tcg` does not need hardware virtualisation.",
        )
    return Exit.OK
