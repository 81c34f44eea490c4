"""Boots: load a cell image's module in the cell's own kernel, in a virtual machine, and mount with it if wanted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kmatrix.decide.boot import Booted, judge_boot
from kmatrix.decide.formats.elf import MalformedElfError, read_module
from kmatrix.decide.formats.transcript import read_transcript
from kmatrix.decide.guest_report import section_lines
from kmatrix.decide.mount_config import mount_config
from kmatrix.effects.disk.files import cannot_write, file_digest
from kmatrix.effects.engine import Engine
from kmatrix.effects.vm.boot_files import KernelFiles, kernel_files, run_prefix
from kmatrix.effects.vm.initramfs import write_initramfs
from kmatrix.effects.vm.qemu import Guest, Machines
from kmatrix.values.boot import BootReport, End, Transcript
from kmatrix.values.cells import Cell, Finding
from kmatrix.values.errors import ToolError
from kmatrix.values.gate_record import TestedKernel
from kmatrix.values.module import ImageFacts, module_path
from kmatrix.values.mount import MountSetup
from kmatrix.values.names import Arch

# Slow machines without hardware virtualisation need 10 s; a busy one with several guests a multiple.
BOOT_SECONDS = 120.0
_LEAST_MEMORY_MB = 512
# The vendor's mount waits one second by itself, its umount one and a half; a busy machine needs a multiple.
_MOUNT_SECONDS = 30.0
_LEAST_MOUNT_SECONDS = 10.0


@dataclass(frozen=True)
class Subject:
    """The subject of a boot: an image, the toolkit (by digest) whose kernel it is for, and facts of the module's file.

    `depends` are the in-tree modules that a node has and the image has not; `mount` is None if nothing is mounted.
    """

    name: str
    image: str
    toolkit: str
    arch: Arch
    module: Booted
    depends: tuple[str, ...]
    mount: MountSetup | None = None


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


def subject_of(
    name: str, image: str, cell: Cell, toolkit: str, ko: bytes | None, any_version: bool = False
) -> Subject | BootReport:
    """Return the subject for a boot of a cell's module; if there is no module to boot, the verdict.

    Args:
        name: of the subject, for the files of its boot.
        image: its id or reference in the engine.
        cell: has the kernel, and the client version that the loaded module must report.
        toolkit: its reference by digest.
        ko: the module's file in the image; None if there is none.
        any_version: the loaded module must report the version that stands in its file, of whatever client.
    """
    if ko is None:
        return _failed(Finding("boot", "module-missing", f"the image has no {module_path(cell.kernel)}"))
    try:
        module = read_module(ko)
    except MalformedElfError as error:
        return _failed(Finding("boot", "module-unreadable", error.message))
    version = (module.first("version") or "") if any_version else str(cell.client)
    booted = Booted(cell.kernel, version, module.first("srcversion") or "")
    return Subject(name, image, toolkit, cell.arch, booted, module.depends)


def with_mount(subject: Subject, facts: ImageFacts, major: int, deadline_seconds: float) -> Subject:
    """Return a subject that is mounted too, with the image's own template; unchanged if the image has none.

    Args:
        subject: the subject.
        facts: of its image.
        major: of the client version.
        deadline_seconds: the time limit of the guest, of which the calls of one mount may take a quarter, and more
            where that is too little for a sound client.
    """
    if facts.client_config is None:
        return subject
    least = min(_LEAST_MOUNT_SECONDS, deadline_seconds / 2)
    limit = round(min(_MOUNT_SECONDS, max(deadline_seconds / 4, least)))
    return replace(subject, mount=MountSetup(mount_config(facts.client_config, major), max(1, limit)))


def boot_image(
    engine: Engine,
    machines: Machines,
    subject: Subject,
    folder: Path,
    deadline_seconds: float,
    on_line: Callable[[str], None],
) -> BootReport:
    """Boot a subject and return the report on loading its module, with the kernel that answered (see `boot_guest`)."""
    boot = boot_guest(engine, machines, subject, folder, deadline_seconds, on_line)
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
    engine: Engine,
    machines: Machines,
    subject: Subject,
    folder: Path,
    deadline_seconds: float,
    on_line: Callable[[str], None],
) -> Boot:
    """Boot a subject; a machine that does not come up is started once more.

    The first attempt starts the kernel unpacked, where that is possible; the second starts its vmlinuz as it is.

    Args:
        engine: has image and toolkit.
        machines: run the guest.
        subject: the image and its module.
        folder: keeps kernels for all runs; each initramfs is written here under a name of the run's own.
        deadline_seconds: the time limit of the guest once its init runs.
        on_line: is given every line of the serial console.

    Raises:
        ToolError, UnreachableError: no verdict could be reached: the container engine or QEMU failed.
        InputError: a file on this machine's disk cannot be written or read.
    """
    guest = prepare_guest(engine, subject, folder)
    try:
        return start_guest(machines, guest, deadline_seconds, on_line)
    finally:
        remove_guest(guest)


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


def prepare_guest(engine: Engine, subject: Subject, folder: Path, interactive: bool = False) -> Guest:
    """Write the files for a boot of `subject`; `remove_guest` removes them.

    Raises:
        ToolError, UnreachableError, InputError: the engine failed, the toolkit lacks a file, or the disk is full.
    """
    kernel = subject.module.kernel
    files = files_of_kernel(engine, subject, folder)
    # Another run may boot another image of the same cell at the same time.
    initramfs = folder / f"{run_prefix(engine.run_id)}{subject.name}.cpio"
    try:
        size = write_initramfs(
            engine, subject.image, kernel, files, initramfs, subject.arch, subject.mount, interactive
        )
    except BaseException as error:
        initramfs.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(initramfs, error) from error
        raise
    return Guest(subject.arch, files.vmlinuz, initramfs, guest_memory(size), interactive, files.unpacked)


def guest_memory(size: int) -> int:
    """Return the memory of a guest in MB, for an initramfs of `size` bytes.

    The root file system gets half of the memory that the archive and the kernel leave (init/do_mounts.c: a tmpfs).
    """
    return max(_LEAST_MEMORY_MB, 200 + 3 * size // 2**20)


def files_of_kernel(engine: Engine, subject: Subject, folder: Path) -> KernelFiles:
    """Return the files of a subject's kernel; `folder` keeps them.

    Raises:
        ToolError, UnreachableError, InputError: as `kernel_files`.
    """
    kernel = subject.module.kernel
    return kernel_files(engine, subject.toolkit, kernel, subject.depends, folder / _short(subject.toolkit) / kernel)


def remove_guest(guest: Guest) -> None:
    """Remove a guest's initramfs; its kernel is kept for the next boot."""
    if guest.initramfs:
        with suppress(FileNotFoundError):
            guest.initramfs.unlink()


def _failed(finding: Finding) -> BootReport:
    return BootReport("failed", finding.code, finding.message, (finding,))


def _short(toolkit: str) -> str:
    return toolkit.rpartition(":")[2][:16]
