"""Gate `secure-boot`: loads and mounts the signed module in the cell's own kernel, in a machine with Secure Boot."""

from __future__ import annotations

from dataclasses import replace

from kmatrix.decide.secure_boot import of_gate
from kmatrix.effects.disk.logs import open_log
from kmatrix.stages.gates.boot import refused
from kmatrix.stages.gates.gate import ImageUnderTest, Outcome
from kmatrix.stages.secure_boot import boot_secured
from kmatrix.values.boot import BootReport
from kmatrix.values.gate_record import MOUNT_GATE, SECURE_BOOT_GATE

_LEAVE_OUT = "to publish without this gate, leave secure-boot out of the profile's `gates` in matrix.yaml."
# For reasons that the guest's console and its prompt show nothing about.
_NEXT_STEPS = {
    "certificate-missing": f"Set module_signing of the profile in matrix.yaml; {_LEAVE_OUT}",
    "secure-boot-arch": f"Test such modules on a node; {_LEAVE_OUT}",
    "kernel-unsigned": f"Check the toolkit's kernel packages: no node with Secure Boot starts it; {_LEAVE_OUT}",
    "kernel-refused": "Check who signed the toolkit's vmlinuz: its certificate must be one that virt-fw-vars "
    f"--distro-list knows; a newer virt-firmware may have it; {_LEAVE_OUT}",
    "certificate-not-enrolled": "Check the certificate: kernels skip those whose form or key they do not support; "
    "`nox -s keys -- new` makes one that they do.",
    "module-unsigned": "Check that nothing strips or repacks the module after its signing, and build again.",
    "module-key-unknown": "Sign with the key of the profile's certificate (module_signing), and build again.",
    "module-signature-bad": "Check that nothing changes the module after its signing, and build again.",
}


def secure_module(image: ImageUnderTest) -> Outcome:
    """Boot the cell's signed kernel under Secure Boot, and load, mount and unload the image's module in it.

    Raises:
        KmatrixError: no verdict could be reached.
    """
    subject = image.subject
    if isinstance(subject, BootReport):
        return refused(SECURE_BOOT_GATE, image, of_gate(subject), "", "")
    run, recipe = image.cell.run, image.cell.recipe
    # A profile without the gate `mount` wants modules that do not mount here.
    chosen = subject if MOUNT_GATE in run.options.profile.gates else replace(subject, mount=None)
    path = run.logs / f"{recipe.cell.id}.secure-boot.serial.log"
    with open_log(path) as log:
        found = boot_secured(
            image.guests,
            run.machines,
            chosen,
            recipe.certificate,
            run.options.boot_seconds,
            log.line,
        )
    report, serial = found.report, str(path.relative_to(run.options.root))
    if report.verdict == "passed":
        log.check()
        srcversion = subject.module.srcversion
        return Outcome("passed", report.message, serial=serial, srcversion=srcversion, kernel=found.kernel)
    outcome = refused(SECURE_BOOT_GATE, image, report, serial, subject.module.srcversion)
    return replace(outcome, next_step=_NEXT_STEPS.get(report.code, outcome.next_step))
