"""The boot gate: loads a cell image's module in the cell's own kernel, in a virtual machine, and judges what it saw."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kmatrix.decide.boot import Booted, judge_boot
from kmatrix.decide.formats.transcript import read_transcript
from kmatrix.effects.disk.files import cannot_write
from kmatrix.effects.engine import Engine
from kmatrix.effects.vm.boot_files import kernel_files, run_prefix, write_initramfs
from kmatrix.effects.vm.qemu import Guest, Machines
from kmatrix.values.boot import BootReport
from kmatrix.values.errors import ToolError
from kmatrix.values.names import Arch

# Slow machines without hardware virtualisation need 10 s; a busy one with several guests a multiple.
BOOT_SECONDS = 120.0
_LEAST_MEMORY_MB = 512


@dataclass(frozen=True)
class Subject:
    """What is booted: an image, the toolkit (by digest) whose kernel it is for, and the module's own words.

    `depends` are the in-tree modules that a node has and the image has not.
    """

    name: str
    image: str
    toolkit: str
    arch: Arch
    module: Booted
    depends: tuple[str, ...]


def boot_image(
    engine: Engine,
    machines: Machines,
    subject: Subject,
    folder: Path,
    deadline_seconds: float,
    on_line: Callable[[str], None],
) -> BootReport:
    """Boot a subject and return what that showed; a machine that does not come up is tried once more.

    The first try starts the kernel unpacked, where that can be; the second starts its vmlinuz as it is.

    Args:
        engine: has image and toolkit.
        machines: boots.
        subject: what to boot.
        folder: where kernels are kept for all runs, and initramfs files are made, each of a name of the run's own.
        deadline_seconds: how long the guest may take once its init runs.
        on_line: is given every line of the serial console.

    Raises:
        ToolError, UnreachableError: no verdict could be reached: engine or QEMU failed.
    """
    guest = prepare_guest(engine, subject, folder)
    try:
        for attempt in (1, 2):
            lines: list[str] = []

            def take(line: str, lines: list[str] = lines) -> None:
                lines.append(line)
                on_line(line)

            tried = guest if attempt == 1 else replace(guest, unpacked=None)
            try:
                end = machines.boot(tried, BOOT_SECONDS, deadline_seconds, take)
            except ToolError:
                # It may be the unpacked kernel that QEMU does not take.
                if tried.unpacked is None:
                    raise
                continue
            report = judge_boot(read_transcript(lines), end.end, subject.module)
            if report.code != "no-boot" or attempt == 2:
                break
        return report
    finally:
        remove_guest(guest)


def prepare_guest(engine: Engine, subject: Subject, folder: Path, interactive: bool = False) -> Guest:
    """Write what a boot of `subject` needs; `remove_guest` removes it.

    Raises:
        ToolError, UnreachableError, InputError: engine, toolkit or disk do not give what it needs.
    """
    kernel = subject.module.kernel
    files = kernel_files(engine, subject.toolkit, kernel, subject.depends, folder / _short(subject.toolkit) / kernel)
    # Another run may boot another image of the same cell at the same time.
    initramfs = folder / f"{run_prefix(engine.run_id)}{subject.name}.cpio"
    try:
        size = write_initramfs(engine, subject.image, kernel, files, initramfs, subject.arch, interactive)
    except BaseException as error:
        initramfs.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(initramfs, error) from error
        raise
    # The root file system gets half of what the archive and the kernel leave (init/do_mounts.c: a tmpfs).
    memory = max(_LEAST_MEMORY_MB, 200 + 3 * size // 2**20)
    return Guest(subject.arch, files.vmlinuz, initramfs, memory, interactive, files.unpacked)


def remove_guest(guest: Guest) -> None:
    """Remove a guest's initramfs; its kernel is kept for the next boot."""
    if guest.initramfs:
        with suppress(FileNotFoundError):
            guest.initramfs.unlink()


def _short(toolkit: str) -> str:
    return toolkit.rpartition(":")[2][:16]
