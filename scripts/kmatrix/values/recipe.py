"""What goes into a cell's image beside its toolkit: packages, key and the files people wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kmatrix.values.cells import Cell
from kmatrix.values.lock import KeyPin, PackagePin
from kmatrix.values.names import ClientVersion, ImageRef

_USERLAND: dict[int, tuple[str, ...]] = {
    7: ("beegfs-client", "beegfs-common", "beegfs-helperd", "beegfs-utils"),
    8: ("beegfs-client", "beegfs-tools"),
}
SOURCE = "beegfs-client"
# A line of every rendered Dockerfile begins with this: only files that have it are removed or written over.
RENDERED_MARK = "# Generated from images/beegfs-client/Dockerfile.j2 "
# What the tool puts into a cell's build context beside the files people wrote.
KEY_FILE = "package-key"
PACKAGES_FOLDER = "packages"
# What an image must pass before it is pushed; a run without the boot gate makes other cell keys.
ALL_GATES = ("static", "boot")
STATIC_GATES = ("static",)


def userland_packages(client: ClientVersion) -> tuple[str, ...]:
    """The names of the vendor's packages a node gets beside the module; those of 8 for any later major."""
    return _USERLAND[min(client.major, max(_USERLAND))]


def userland_by_major() -> tuple[tuple[int, tuple[str, ...]], ...]:
    """What `userland_packages` answers, for who does not know the version yet; the last is for any later major."""
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

    `files` are those of `ImageSource` that an instruction copies: nothing else that people wrote enters the build
    context or the cell key. `base` and `toolkit` are pinned, where this site pulls them; `userland` and `source` are
    the packages and `repository` their directory below the package root; `key` signs them. `gates` are what the image
    must pass before it is pushed; an image with any of `satisfying_keys` has passed at least those.
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
    gates: tuple[str, ...]
    satisfying_keys: frozenset[str]

    @property
    def group(self) -> str:
        """Cells with the same group share every stage below the compile."""
        return f"{self.cell.client}-{self.cell.line}-{self.cell.arch}"

    @property
    def packages(self) -> tuple[PackageFile, ...]:
        """Every package of the context once, by file name."""
        by_file = {package.file: package for package in (*self.userland, self.source)}
        return tuple(by_file[name] for name in sorted(by_file))


@dataclass(frozen=True)
class ImageSource:
    """What lies in a folder under images/: the template, and every file beside it, copied or not.

    `files` are contents by path; `unreadable` says by path why a file could not be read, which is no fault until an
    instruction copies it.
    """

    template: str
    files: Mapping[str, bytes]
    unreadable: Mapping[str, str] = field(default_factory=dict)
