"""The parts of a package's name as rpm writes it, name-epoch:version-release.arch."""

from __future__ import annotations

from kmatrix.values.installed import InstalledPackage
from kmatrix.values.pins import PackagePin


def package_of(pin: PackagePin) -> InstalledPackage:
    """Return a pinned package as an installed one has it.

    Raises:
        ValueError: its NEVRA does not begin with its name, or lacks a part.
    """
    rest, _, arch = pin.nevra.removeprefix(f"{pin.name}-").rpartition(".")
    epoch, colon, version = rest.rpartition(":")
    if not pin.nevra.startswith(f"{pin.name}-") or "-" not in version or not arch or (colon and not epoch.isdecimal()):
        raise ValueError(f"{pin.nevra!r} is not the NEVRA of a package {pin.name}")
    return InstalledPackage("rpm", pin.name, version, arch, int(epoch or 0))
