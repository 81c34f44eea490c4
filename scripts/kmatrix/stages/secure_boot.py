"""Boots under Secure Boot: the toolkit's signed kernel, started by UEFI firmware that verifies it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kmatrix.decide.formats.pe import is_signed
from kmatrix.decide.secure_boot import Secured, judge_secure_boot
from kmatrix.effects.disk.files import cannot_write
from kmatrix.effects.vm.firmware import enrolled_variables, find_firmware
from kmatrix.effects.vm.qemu import Machines, SecureBoot, kernel_arguments
from kmatrix.stages.boot import Boot, start_guest, tested_kernel
from kmatrix.stages.guests import Guests
from kmatrix.stages.subject import Subject
from kmatrix.values.boot import BootReport
from kmatrix.values.gate_record import TestedKernel

# The names on the disk that the firmware reads.
_KERNEL, _INITRAMFS = "vmlinuz.efi", "initramfs"
# Makes the guest's init report on Secure Boot, and load the module once.
_FOR_INIT = "secure-boot"
_ARCH = "x86_64"


@dataclass(frozen=True)
class SecureReport:
    """The report of a boot under Secure Boot, and the kernel that answered; None if none did."""

    report: BootReport
    kernel: TestedKernel | None = None


def boot_secured(
    guests: Guests,
    machines: Machines,
    subject: Subject,
    certificate: bytes,
    deadline_seconds: float,
    on_line: Callable[[str], None],
) -> SecureReport:
    """Boot a subject under Secure Boot, and judge it.

    Args:
        guests: write and keep the guest's files.
        machines: run the guest.
        subject: the image and its module; a mount is made if the subject has one.
        certificate: of the module's signature (DER), which the firmware is made to trust; empty if there is none.
        deadline_seconds: the time limit of the guest once its init runs.
        on_line: is given every line of the serial console.

    Raises:
        KmatrixError: no verdict could be reached: the container engine, QEMU or the firmware is missing or failed.
    """
    if not certificate:
        return _errored("certificate-missing", "the profile has no certificate for this cell's module")
    if subject.arch != _ARCH:
        message = f"there is no firmware for {subject.arch} that keeps its variables from the kernel"
        return _errored("secure-boot-arch", message)
    kernel = guests.kernel(subject)
    if not is_signed(kernel.vmlinuz.read_bytes()):
        message = f"the toolkit's vmlinuz of {subject.module.kernel} has no signature: no firmware starts it"
        return _errored("kernel-unsigned", message)
    firmware = find_firmware()
    # A real-time kernel does not call the firmware, and so never reads db, unless it is told to (efi_disable_runtime in
    # drivers/firmware/efi/efi.c, CONFIG_EFI_DISABLE_RUNTIME). What follows the dashes is for init (init/main.c).
    arguments = f"initrd=\\{_INITRAMFS} {kernel_arguments(subject.arch)} efi=runtime -- {_FOR_INIT}"
    variables = enrolled_variables(
        firmware, certificate, f"\\{_KERNEL}", arguments, guests.folder / "secure-boot", guests.engine.run_id
    )
    place = guests.path(f"{subject.name}.secure-boot")
    machine = SecureBoot(firmware.code, place / "variables.fd", place / "disk")
    plain = guests.guest(subject)
    try:
        machine.disk.mkdir(parents=True)
        shutil.copyfile(variables, machine.variables)
        _link(kernel.vmlinuz, machine.disk / _KERNEL)
        if plain.initramfs:
            _link(plain.initramfs, machine.disk / _INITRAMFS)
        guest = replace(plain, initramfs=None, unpacked=None, secure_boot=machine)
        boot = start_guest(machines, guest, deadline_seconds, on_line)
    except OSError as error:
        raise cannot_write(place, error) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return _judged(boot, subject, certificate)


def _judged(boot: Boot, subject: Subject, certificate: bytes) -> SecureReport:
    secured = Secured(boot.transcript, boot.end, boot.lines, subject.mount is not None)
    report = judge_secure_boot(secured, subject.module, certificate)
    return SecureReport(report, tested_kernel(boot, subject.toolkit))


def _link(file: Path, target: Path) -> None:
    """Give a file a second name; where the disk has no such names, copy it."""
    with suppress(OSError):
        target.hardlink_to(file)
        return
    shutil.copyfile(file, target)


def _errored(code: str, message: str) -> SecureReport:
    return SecureReport(BootReport("errored", code, message))
