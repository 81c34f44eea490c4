"""Read the kernel of a node's OS image, which its toolkit must have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kmatrix.decide.formats.json_text import json_object
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import Arch, kernel_release

# Node images since 4.19 are built by a Containerfile whose last layers have the list of packages (openshift/os,
# Containerfile and scripts/generate-metadata).
META_FILE = "usr/share/openshift/base/meta.json"
_META_LABEL = "io.openshift.metalayer"
# From 4.12 to 4.18 rpm-ostree names the kernel (coreos/rpm-ostree, rust/src/container.rs); before, coreos-assembler
# names some packages of machine-os-content (src/cmd-upload-oscontainer). Since 4.22 the first one says `true` only.
_KERNEL_LABELS = ("ostree.linux", "com.coreos.rpm.kernel")
_HINT = "Compare with `oc adm release info --rpmdb` of that release, and report it to the release's publisher."


def has_meta_file(labels: Mapping[str, Any]) -> bool:
    """Return whether one of a node image's topmost layers has the list of its packages."""
    return labels.get(_META_LABEL) == "true"


def kernel_of_labels(labels: Mapping[str, Any]) -> str | None:
    """Return the kernel release that a node image's labels name, or None where they name none."""
    for name in _KERNEL_LABELS:
        value = labels.get(name)
        if isinstance(value, str) and value not in ("", "true"):
            try:
                return kernel_release(value)
            except ValueError:
                continue
    return None


def kernel_of_meta(text: str, where: str) -> str:
    """Return the kernel release of a node image's list of packages.

    Args:
        text: content of `META_FILE`: `rpmdb.pkglist` has [name, epoch, version, release, architecture] of each package.
        where: the image, for messages.

    Raises:
        ProtocolError: it has another form, or not exactly one kernel-core.
    """
    what = f"{META_FILE} of {where}"
    packages = json_object(text, what, _HINT).get("rpmdb.pkglist")
    if not isinstance(packages, list):
        raise ProtocolError(f"{what} has no list rpmdb.pkglist", _HINT)
    found = set[str]()
    for package in packages:
        # A package without an epoch has the number 0 there, and others a text.
        if not isinstance(package, list) or [isinstance(part, str) for part in package[:1] + package[2:]] != [True] * 4:
            raise ProtocolError(f"{what}: {package!r:.80} is not [name, epoch, version, release, arch]", _HINT)
        name, _, version, release, arch = package
        if name == "kernel-core":
            found.add(f"{version}-{release}.{arch}")
    if len(found) != 1:
        names = ", ".join(sorted(found)) or "none"
        raise ProtocolError(f"{what} should have one kernel-core and has {names}", _HINT)
    try:
        return kernel_release(found.pop())
    except ValueError as error:
        raise ProtocolError(f"{what}: kernel-core: {error}", _HINT) from None


def as_toolkit_spells(kernel: str, toolkit: Iterable[str], arch: Arch) -> str:
    """Return a node's kernel as a toolkit spells it, or unchanged where the toolkit does not have it.

    The names of kernels that are not RHEL's may lack the architecture that a package has besides its version.
    """
    bare = re.sub(rf"\.{arch}$", "", kernel)
    return next((name for name in toolkit if re.sub(rf"\.{arch}$", "", name) == bare), kernel)
