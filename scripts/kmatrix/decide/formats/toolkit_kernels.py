"""Read the kernels of a driver toolkit, from its labels or from its release file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kmatrix.decide.formats.json_text import json_object, text_of
from kmatrix.decide.formats.payload import LEAVE_OUT
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import Arch, Flavour, ReleaseVersion, image_tag, kernel_release, stream_of_rhel

# Labels since 4.22 (openshift/driver-toolkit#180: Dockerfile, Dockerfile.rhel10): the arguments of the build, which may
# be empty, as `dnf install kernel-devel-VERSION` takes them.
_LABELS = ("kernel-version", "kernel-rt-version")
_RHEL_KERNEL_WITHOUT_ARCH = re.compile(r".*\.el[0-9]+(_[0-9]+)?")
_EL = re.compile(r"\.el([0-9]+)(?:_([0-9]+))?(?![0-9])")
# A kernel-rt that is built from sources of its own has that in its release: 5.14.0-284.45.1.rt14.330.el9_2.x86_64.
_RT_RELEASE = re.compile(r"\.rt[0-9]+\.")
# os-release's VERSION besides a bare version: "9.4 (Plow)".
_RHEL = re.compile(r"([0-9]{1,2}(?:\.[0-9]+)?)(?: \(.*\))?")
# rpm -q of a package that is not there (rpm-software-management/rpm, lib/query.c), on its standard output.
_NOT_INSTALLED = re.compile(r"package (\S+) is not installed")
_RELEASE_FILE = "driver-toolkit-release.json"
_TOOLKIT_HINT = f"Look at /etc/{_RELEASE_FILE} in that image and report it to the release's publisher; {LEAVE_OUT}."


@dataclass(frozen=True)
class ToolkitKernels:
    """The RHEL version of a toolkit and its kernels, each with its flavour."""

    rhel: str
    kernels: tuple[tuple[str, Flavour], ...]


def kernels_of_labels(
    labels: Mapping[str, Any], arch: Arch, where: str, release: ReleaseVersion, flavours: Iterable[Flavour] = ()
) -> ToolkitKernels | None:
    """Return the kernels of a toolkit whose labels name them, or None where its release file has to be read.

    The labels are the same on all architectures, although only x86_64 has a real-time kernel.

    Args:
        labels: the image's labels.
        arch: the toolkit's architecture.
        where: the toolkit, for messages.
        release: the release of the toolkit.
        flavours: the wanted ones.

    Raises:
        ProtocolError: they do not name kernels.
    """
    kernel, real_time = (labels.get(name) for name in _LABELS)
    flavours = tuple(flavours)
    if not isinstance(kernel, str) or not _EL.search(kernel):
        return None
    if arch == "x86_64" and not real_time and "rt" in flavours:
        return None
    file = {"KERNEL_VERSION": kernel, "RT_KERNEL_VERSION": real_time if arch == "x86_64" else None}
    return read_toolkit_kernels(json.dumps(file), arch, where, release, flavours)


def read_toolkit_kernels(
    text: str, arch: Arch, where: str, release: ReleaseVersion, flavours: Iterable[Flavour] = ()
) -> ToolkitKernels:
    """Parse a toolkit's /etc/driver-toolkit-release.json, which the Dockerfile of openshift/driver-toolkit writes.

    All branches write the output of `rpm -q` for the kernel packages there: rpm's message that a package is not
    installed where there is no real-time kernel, and both names without a separator where a package is there twice.
    `+rt` is appended to the real-time kernel's name since 4.16 (openshift/driver-toolkit#154).

    Args:
        text: the file's content.
        arch: the toolkit's architecture; toolkits of 4.7 and 4.8 leave it out of the kernel release.
        where: the toolkit, for messages.
        release: the release of the toolkit.
        flavours: the wanted ones; `64k` adds the 64k kernel of aarch64, which the file does not list.

    Raises:
        ProtocolError: not of that form.
    """
    what = f"{_RELEASE_FILE} of {where}"
    data = json_object(text, what, _TOOLKIT_HINT)
    try:
        kernel = _kernel(data.get("KERNEL_VERSION"), "KERNEL_VERSION", arch)
        real_time = _real_time_kernel(data.get("RT_KERNEL_VERSION"), arch)
        rhel = _rhel(data.get("RHEL_VERSION"), kernel)
        if real_time and image_tag(real_time) == image_tag(kernel):
            raise ValueError(f"KERNEL_VERSION and RT_KERNEL_VERSION both name {kernel}, which cannot be both kernels")
    except ValueError as error:
        raise ProtocolError(f"{what}: {error}", _TOOLKIT_HINT) from None
    kernels: list[tuple[str, Flavour]] = [(kernel, "standard")]
    if real_time:
        kernels.append((real_time, "rt"))
    if arch == "aarch64" and "64k" in tuple(flavours) and _has_64k(release, kernel):
        kernels.append((f"{kernel}+64k", "64k"))
    return ToolkitKernels(rhel, tuple(kernels))


def _has_64k(release: ReleaseVersion, kernel: str) -> bool:
    """Return whether the toolkit of aarch64 has kernel-64k: since 4.15 (openshift/driver-toolkit#140), RHEL or CentOS.

    The RHEL version does not decide it: 9.2 has the package, and 4.13 and 4.14 are based on it too.
    """
    minor = tuple(int(part) for part in release.minor.split("."))
    el = _EL.search(kernel)
    return minor >= (4, 15) and el is not None and int(el[1]) >= 9


def _kernel(value: Any, name: str, arch: Arch) -> str:
    if isinstance(value, list):
        raise ValueError(f"{name} is a list ({', '.join(map(str, value))}), not one kernel release")
    text = text_of(value, name)
    if match := _NOT_INSTALLED.fullmatch(text.strip()):
        raise ValueError(f"{name} is rpm's message that {match[1]} is not installed: the toolkit has no such kernel")
    names = _names(text, arch)
    if len(names) > 1 and all(each[0].isdigit() for each in names):
        raise ValueError(f"{name} names {len(names)} kernels ({', '.join(names)}), not one")
    return kernel_release(_with_arch(text, arch))


def _names(text: str, arch: Arch) -> list[str]:
    """Return the possible kernel releases in a text, also where no separator stands between two of them."""
    glued = rf"(?<=\.{arch})(?=[0-9])|(?<=\.{arch}\+rt)(?=[0-9])"
    return [name for word in re.split(r"[\s,;]+", text) for name in re.split(glued, word) if name]


def _real_time_kernel(value: Any, arch: Arch) -> str:
    """Return the real-time kernel as a node's `uname -r` prints it; empty where the toolkit has none."""
    name = "RT_KERNEL_VERSION"
    if value is None or value == "":
        return ""
    if isinstance(value, str) and (match := _NOT_INSTALLED.fullmatch(value.strip())) and "kernel-rt" in match[1]:
        return ""
    kernel = _kernel(value, name, arch)
    # Since RHEL 9.3 both kernels are built from one source and differ by this alone.
    if _EL.search(kernel) and not _RT_RELEASE.search(kernel) and "+rt" not in kernel:
        return f"{kernel}+rt"
    return kernel


def _rhel(value: Any, kernel: str) -> str:
    el = _EL.search(kernel)
    of_kernel = ".".join(part for part in el.groups() if part) if el else ""
    text = text_of(value or of_kernel or None, "RHEL_VERSION")
    match = _RHEL.fullmatch(text)
    rhel = match[1] if match else text
    line = stream_of_rhel(rhel)
    # Without a version from its build, a toolkit states that of its base image, whose RHEL major may differ.
    return of_kernel if of_kernel and stream_of_rhel(of_kernel) != line else rhel


def _with_arch(kernel: str, arch: Arch) -> str:
    return f"{kernel}.{arch}" if _RHEL_KERNEL_WITHOUT_ARCH.fullmatch(kernel) else kernel
