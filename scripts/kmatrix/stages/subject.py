"""Subjects of boots: an image whose module a kernel loads, and what the guest mounts with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kmatrix.decide.boot import Booted
from kmatrix.decide.formats.elf import MalformedElfError, read_module
from kmatrix.decide.mount_config import mount_config
from kmatrix.values.boot import BootReport
from kmatrix.values.cells import Cell, Finding
from kmatrix.values.module import ImageFacts, module_path
from kmatrix.values.mount import MountSetup
from kmatrix.values.names import Arch

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


def _failed(finding: Finding) -> BootReport:
    return BootReport("failed", finding.code, finding.message, (finding,))
