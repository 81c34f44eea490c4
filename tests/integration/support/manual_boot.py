"""The command `boot`: one sound image in the engine, changed copies of it, and the output of booting them."""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from kmatrix.effects.vm.qemu import Guest, GuestEnd, Machines
from kmatrix.values.names import image_tag
from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, Run, Site
from tests.integration.support.session import LABEL

_VERDICT = re.compile(r"^boot (passed|failed|errored): ([\w-]+): (.*)$", re.MULTILINE)
_MOUNT = re.compile(r"^mount (passed|failed|errored): ([\w-]+): ", re.MULTILINE)


@dataclass(frozen=True)
class BootOutput:
    """A run of `boot`, with its report of the gate boot, and verdict and code of the gate mount."""

    run: Run
    verdict: str
    code: str
    message: str
    mount: tuple[str, ...]


class ManualBoot:
    """One cell's image, built and kept in the engine; each boot uses the kernels on disk as the test left them."""

    def __init__(self, site: Site, kernel: str) -> None:
        self.site = site
        self.kernel = kernel
        self.image = f"{site.target}/beegfs-client:{image_tag(f'{NEWER_CLIENT}-{kernel}')}"
        built = site.run("build", "--no-push", "--only", f"{NEWER_CLIENT}-{kernel}")
        assert built.code == 0, built.stderr

    @property
    def module(self) -> str:
        """The path of its module."""
        return f"/opt/lib/modules/{self.kernel}/extra/beegfs.ko"

    @property
    def folder(self) -> Path:
        """The folder of the kernels."""
        return self.site.root / "build" / "boot"

    @property
    def kernel_files(self) -> Path:
        """The kernel's files on disk, which the first boot writes."""
        (found,) = self.folder.glob(f"*/{self.kernel}/with-*")
        return found

    def changed(self, commands: str = "true", files: dict[str, bytes] | None = None) -> str:
        """Return the name of a copy of the image with these files (path: content), after these commands ran in it."""
        return changed_image(self.site, self.image, commands, files)

    def boot(self, image: str = "", *arguments: str, accel: str = "tcg") -> BootOutput:
        """Boot an image, by default the sound one."""
        run = self.site.run("boot", image or self.image, "--accel", accel, *arguments)
        found, mount = _VERDICT.search(run.stdout), _MOUNT.search(run.stdout)
        verdict, code, message = found.groups() if found else ("", "", "")
        return BootOutput(run, verdict, code, message, mount.groups() if mount else ())


def changed_image(site: Site, image: str, commands: str = "true", files: dict[str, bytes] | None = None) -> str:
    """Return the name of a copy of an image with these files (path: content), after these commands ran in it."""
    client = docker.from_env()
    labels = {LABEL: site.session.name}
    made = client.containers.create(
        image, entrypoint=["sh", "-ec"], command=[commands], network_mode="none", labels=labels
    )
    try:
        for path, content in (files or {}).items():
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as archive:
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.size, entry.mode = len(content), 0o644
                archive.addfile(entry, io.BytesIO(content))
            assert made.put_archive("/", packed.getvalue())
        made.start()
        assert made.wait()["StatusCode"] == 0, made.logs().decode()
        repository, tag = f"{site.target}/beegfs-client", f"changed-{secrets.token_hex(4)}"
        made.commit(repository, tag)
    finally:
        made.remove(force=True)
        client.close()
    return f"{repository}:{tag}"


@contextmanager
def other_kernel_files(manual: ManualBoot) -> Iterator[Path]:
    """Yield the kernel's files on disk, which a test may change; restore them at the end."""
    files = manual.kernel_files
    kept = files.with_name(f"kept-{files.name}")
    shutil.copytree(files, kept)
    try:
        yield files
    finally:
        shutil.rmtree(files)
        kept.rename(files)


def vmlinuz_of(lab: Lab, toolkit: str, kernel: str) -> bytes:
    """Return the vmlinuz of a kernel in a toolkit of the lab."""
    client = docker.from_env()
    made = client.containers.create(lab.toolkits[toolkit], ["true"], labels={LABEL: "looking"})
    try:
        stream, _ = made.get_archive(f"/lib/modules/{kernel}/vmlinuz")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            file = archive.extractfile("vmlinuz")
            assert file, "it is a link"
            return file.read()
    finally:
        made.remove()
        client.close()


def at_serial_line(patch: pytest.MonkeyPatch, cell: str, mark: str, action: Callable[[], None]) -> None:
    """Act whenever the guest of a cell prints a line that contains `mark`; the command `boot` is exempt."""
    boot = Machines.boot

    def booting(
        self: Machines, guest: Guest, boot_seconds: float, seconds: float, on_line: Callable[[str], None]
    ) -> GuestEnd:
        def saying(line: str) -> None:
            on_line(line)
            if guest.initramfs and f"-{cell}." in guest.initramfs.name and mark in line:
                action()

        return boot(self, guest, boot_seconds, seconds, saying)

    patch.setattr(Machines, "boot", booting)


def emulators(word: str = "") -> list[int]:
    """Return the process ids of this process's emulators that have `word` in their command lines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode()
            parent = int((folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == os.getpid() and Path(command.partition("\0")[0]).name.startswith("qemu-") and word in command:
            found.append(int(folder.name))
    return found
