"""The packages that a distribution's package manager has installed in an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, order=True)
class InstalledPackage:
    """One installed package.

    Attributes:
        kind: its package manager's format.
        name: of the package.
        version: with the release of an RPM, and the epoch of a Debian package: as its package manager compares it.
        arch: as its package manager spells it.
        epoch: of an RPM; 0 is none.
        source: the package of the sources that it was built from, where it has another name or version: for a Debian
            package `name` or `name@version`, for an RPM the file's name.
        vendor: who made it; empty if it does not say.
    """

    kind: Literal["deb", "rpm"]
    name: str
    version: str
    arch: str
    epoch: int = 0
    source: str = ""
    vendor: str = ""


@dataclass(frozen=True)
class Distribution:
    """The distribution that an image says it is (os-release); empty where it does not.

    Attributes:
        id: in lower case: `rhel`, `debian`.
        version: `9.4`, `12`.
        name: for people.
    """

    id: str = ""
    version: str = ""
    name: str = ""


@dataclass(frozen=True)
class Installed:
    """The packages of an image, sorted, and its distribution."""

    distribution: Distribution
    packages: tuple[InstalledPackage, ...]
