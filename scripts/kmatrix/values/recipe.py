"""The inputs of a cell's image beside its toolkit: packages, their key, and files written by people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kmatrix.values.cells import Cell
from kmatrix.values.names import ClientVersion, ImageRef
from kmatrix.values.pins import KeyPin, PackagePin

_USERLAND: dict[int, tuple[str, ...]] = {
    7: ("beegfs-client", "beegfs-common", "beegfs-helperd", "beegfs-utils"),
    8: ("beegfs-client", "beegfs-tools"),
}
SOURCE = "beegfs-client"
# A line of every rendered Dockerfile begins with this: only files that have it are removed or written over.
RENDERED_MARK = "# Generated from images/beegfs-client/Dockerfile.j2 "
# Added to a cell's build context beside the files written by people.
KEY_FILE = "package-key"
PACKAGES_FOLDER = "packages"
# The layout of a signed module, which the build puts into the context of the last stage, and the stage it comes from.
MODULE_FOLDER = "module"
MODULE_STAGE = "module"


def userland_packages(client: ClientVersion) -> tuple[str, ...]:
    """Return the names of the vendor's packages that a node gets beside the module; those of 8 for later majors."""
    return _USERLAND[min(client.major, max(_USERLAND))]


def userland_by_major() -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Return those names by major version, for callers that do not know it yet; the last is for any later major."""
    return tuple(sorted(_USERLAND.items()))


@dataclass(frozen=True)
class PackageFile:
    """One RPM of a build context: its file name, and the package it must be."""

    file: str
    nevra: str
    pin: PackagePin


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a cell's image.

    `files` are those of `ImageSource` that an instruction copies: no other file written by people enters the build
    context or the cell key. `base` and `toolkit` are pinned, where this site pulls them; `userland` and `source` are
    the packages and `repository` their directory below the package root; `key` signs them. `cell_key` is a digest over
    everything that decides the image's bytes, and over nothing else. `certificate` is that of the module's signature
    (DER); empty for a module that is not signed.
    """

    cell: Cell
    dockerfile: str
    files: Mapping[str, bytes] = field(hash=False)
    base: ImageRef
    toolkit: ImageRef
    key: KeyPin
    repository: str
    userland: tuple[PackageFile, ...]
    source: PackageFile
    cell_key: str
    certificate: bytes = b""

    @property
    def group(self) -> str:
        """The name that all cells share whose stages below the compile are the same."""
        return f"{self.cell.client}-{self.cell.stream}-{self.cell.arch}"

    @property
    def packages(self) -> tuple[PackageFile, ...]:
        """Every package of the context once, by file name."""
        by_file = {package.file: package for package in (*self.userland, self.source)}
        return tuple(by_file[name] for name in sorted(by_file))


@dataclass(frozen=True)
class ImageSource:
    """A folder under images/: the template, and every file beside it, copied or not.

    `files` are contents by path; `unreadable` has, by path, why a file could not be read. That is no fault until an
    instruction copies the file.
    """

    template: str
    files: Mapping[str, bytes]
    unreadable: Mapping[str, str] = field(default_factory=dict)
