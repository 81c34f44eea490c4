"""Boots: load a cell image's module in the cell's own kernel, in a virtual machine, and mount with it if wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kmatrix.decide.boot import judge_boot
from kmatrix.decide.formats.transcript import read_transcript
from kmatrix.decide.guest_report import section_lines
from kmatrix.effects.disk.files import file_digest
from kmatrix.effects.engine import Engine
from kmatrix.effects.vm.qemu import Guest, Machines
from kmatrix.stages.guests import Guests
from kmatrix.stages.subject import Subject
from kmatrix.values.boot import BootReport, End, Transcript
from kmatrix.values.errors import ToolError
from kmatrix.values.gate_record import TestedKernel

# Slow machines without hardware virtualisation need 10 s; a busy one with several guests a multiple.
BOOT_SECONDS = 120.0


@dataclass(frozen=True)
class Boot:
    """A boot that was made: what the guest reported, and how the machine ended.

    `vmlinuz` is the SHA-256 of the toolkit's kernel file that was booted (`sha256:<hex>`), unpacked or as it is;
    `lines` are those of the serial console.
    """

    transcript: Transcript
    end: End
    vmlinuz: str = ""
    lines: tuple[str, ...] = ()


def boot_image(
    engine: Engine,
    machines: Machines,
    subject: Subject,
    folder: Path,
    deadline_seconds: float,
    on_line: Callable[[str], None],
) -> BootReport:
    """Boot a subject and return the report on loading its module, with the kernel that answered (see `boot_guest`).

    Args:
        engine: has image and toolkit.
        machines: run the guest.
        subject: the image and its module.
        folder: see `Guests`.
        deadline_seconds: the time limit of the guest once its init runs.
        on_line: is given every line of the serial console.
    """
    with Guests(engine, folder) as guests:
        boot = boot_guest(guests, machines, subject, deadline_seconds, on_line)
    report = judge_boot(boot.transcript, boot.end, subject.module)
    return replace(report, kernel=tested_kernel(boot, subject.toolkit))


def tested_kernel(boot: Boot, toolkit: str) -> TestedKernel | None:
    """Return the kernel that answered in a boot, as a record has it; None if none did.

    Args:
        boot: the boot.
        toolkit: the reference, by digest, of the toolkit that the kernel is from.
    """
    release = " ".join(section_lines(boot.transcript, "uname"))
    return TestedKernel(toolkit, boot.vmlinuz, release) if boot.vmlinuz and release else None


def boot_guest(
    guests: Guests,
    machines: Machines,
    subject: Subject,
    deadline_seconds: float,
    on_line: Callable[[str], None],
) -> Boot:
    """Boot a subject; a machine that does not come up is started once more.

    The first attempt starts the kernel unpacked, where that is possible; the second starts its vmlinuz as it is.

    Args:
        guests: write and keep the guest's files.
        machines: run the guest.
        subject: the image and its module.
        deadline_seconds: the time limit of the guest once its init runs.
        on_line: is given every line of the serial console.

    Raises:
        ToolError, UnreachableError: no verdict could be reached: the container engine or QEMU failed.
        InputError: a file on this machine's disk cannot be written or read.
    """
    return start_guest(machines, guests.guest(subject), deadline_seconds, on_line)


def start_guest(machines: Machines, guest: Guest, deadline_seconds: float, on_line: Callable[[str], None]) -> Boot:
    """Boot a guest whose files are written; see `boot_guest`.

    Raises:
        ToolError: QEMU failed.
        InputError: the kernel's file cannot be read.
    """
    vmlinuz = file_digest(guest.vmlinuz)
    for attempt in (1, 2):
        lines: list[str] = []

        def take(line: str, lines: list[str] = lines) -> None:
            lines.append(line)
            on_line(line)

        tried = guest if attempt == 1 else replace(guest, unpacked=None)
        try:
            end = machines.boot(tried, BOOT_SECONDS, deadline_seconds, take)
        except ToolError:
            # QEMU may refuse the unpacked kernel alone.
            if tried.unpacked is None:
                raise
            continue
        boot = Boot(read_transcript(lines), end.end, vmlinuz, tuple(lines))
        if boot.transcript.init_ran or boot.end in ("killed", "refused"):
            break
    return boot
