"""The files of guests: the kernel of a boot, which is kept, and its initramfs, which the boots of an image share."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType

from kmatrix.effects.disk.files import cannot_write
from kmatrix.effects.engine import Engine
from kmatrix.effects.vm.boot_files import KernelFiles, kernel_files, run_prefix
from kmatrix.effects.vm.initramfs import write_initramfs
from kmatrix.effects.vm.qemu import Guest
from kmatrix.stages.subject import Subject

_LEAST_MEMORY_MB = 512


class Guests:
    """The guests of some boots; boots of equal subjects share an initramfs, which `close` removes.

    Args:
        engine: has images and toolkits.
        folder: keeps kernels for all runs; each initramfs is written here under a name of the run's own.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self._guests: dict[tuple[Subject, bool], Guest] = {}

    def __enter__(self) -> Guests:
        """Return the guests, whose files are removed at the end."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove each initramfs."""
        self.close()

    def guest(self, subject: Subject, *, interactive: bool = False) -> Guest:
        """Return the guest for a boot of `subject`; its files are written the first time.

        Args:
            subject: the image and its module.
            interactive: whether a person sits at the console; such a guest has an initramfs of its own.

        Raises:
            ToolError, UnreachableError, InputError: the engine failed, the toolkit lacks a file, or the disk is full.
        """
        wanted = subject, interactive
        if wanted not in self._guests:
            self._guests[wanted] = self._prepare(subject, interactive)
        return self._guests[wanted]

    def kernel(self, subject: Subject) -> KernelFiles:
        """Return the files of a subject's kernel.

        Raises:
            ToolError, UnreachableError, InputError: as `kernel_files`.
        """
        release, toolkit = subject.module.kernel, subject.toolkit
        return kernel_files(self.engine, toolkit, release, subject.depends, self.folder / _short(toolkit) / release)

    def path(self, name: str) -> Path:
        """Return a path for a file of these boots; another run may boot another image of the same cell meanwhile."""
        return self.folder / f"{run_prefix(self.engine.run_id)}{name}"

    def close(self) -> None:
        """Remove each initramfs; the kernels are kept for the next boot."""
        for guest in self._guests.values():
            if guest.initramfs:
                with suppress(FileNotFoundError):
                    guest.initramfs.unlink()
        self._guests.clear()

    def _prepare(self, subject: Subject, interactive: bool) -> Guest:
        kernel = subject.module.kernel
        files = self.kernel(subject)
        # Subjects of one name may differ in anything else, as in what they mount with.
        initramfs = self.path(f"{subject.name}.{len(self._guests) + 1}.cpio")
        try:
            size = write_initramfs(
                self.engine, subject.image, kernel, files, initramfs, subject.arch, subject.mount, interactive
            )
        except BaseException as error:
            initramfs.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise cannot_write(initramfs, error) from error
            raise
        return Guest(subject.arch, files.vmlinuz, initramfs, _memory(size), interactive, files.unpacked)


def _memory(size: int) -> int:
    """Return the memory of a guest in MB, for an initramfs of `size` bytes.

    The root file system gets half of the memory that the archive and the kernel leave (init/do_mounts.c: a tmpfs).
    """
    return max(_LEAST_MEMORY_MB, 200 + 3 * size // 2**20)


def _short(toolkit: str) -> str:
    return toolkit.rpartition(":")[2][:16]
