"""What a release payload says of its toolkits, and a toolkit of its kernels, as values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import Arch, Flavour, ImageRef, kernel_release, line_of_rhel

# An OS image carries one of these names, by age and by kind; a second stream adds its number.
_OS_NAMES = ("rhel-coreos", "stream-coreos", "rhel-coreos-8", "machine-os-content")
_TOOLKIT = re.compile(r"driver-toolkit(-[0-9]+)?")
_RHEL_KERNEL_WITHOUT_ARCH = re.compile(r".*\.el[0-9]+(_[0-9]+)?")
_EL = re.compile(r"\.el([0-9]+)_([0-9]+)")


@dataclass(frozen=True)
class Toolkit:
    """A driver toolkit of a release, and the OS image it belongs to where the release names one."""

    tag: str
    image: ImageRef
    os_tag: str = ""
    os_image: ImageRef | None = None


@dataclass(frozen=True)
class ToolkitKernels:
    """What a toolkit is for: the RHEL version and its kernels, each with its flavour."""

    rhel: str
    kernels: tuple[tuple[str, Flavour], ...]


def read_toolkits(text: str, where: str) -> tuple[Toolkit, ...]:
    """Parse `image-references` (an ImageStream) of a release payload: its toolkits, each with its OS image.

    Raises:
        ProtocolError: not an ImageStream, no toolkit, or one without a digest; names `where`.
    """
    data = json_object(text, f"image-references of {where}")
    spec = data.get("spec")
    tags = spec.get("tags") if isinstance(spec, dict) else None
    if not isinstance(tags, list):
        raise ProtocolError(f"image-references of {where} is no ImageStream: it has no spec.tags")
    sources: dict[str, Any] = {}
    for tag in tags:
        if isinstance(tag, dict) and isinstance(tag.get("name"), str):
            source = tag.get("from")
            sources[tag["name"]] = source.get("name") if isinstance(source, dict) else None
    found = []
    for name in sorted(sources):
        if not (match := _TOOLKIT.fullmatch(name)):
            continue
        suffix = match[1] or ""
        os_tag = next((base + suffix for base in _OS_NAMES if base + suffix in sources), "")
        os_image = _pinned(sources[os_tag], os_tag, where) if os_tag else None
        found.append(Toolkit(name, _pinned(sources[name], name, where), os_tag, os_image))
    if not found:
        raise ProtocolError(f"image-references of {where} names no driver-toolkit")
    return tuple(found)


def read_toolkit_kernels(text: str, arch: Arch, where: str, flavours: Iterable[Flavour] = ()) -> ToolkitKernels:
    """Parse a toolkit's /etc/driver-toolkit-release.json.

    Args:
        text: the file's content.
        arch: the toolkit's architecture; toolkits of 4.7 and 4.8 leave it out of the kernel release.
        where: the toolkit, for messages.
        flavours: the wanted ones; `64k` adds the 64k kernel of aarch64, which the file does not list.

    Raises:
        ProtocolError: not of that form.
    """
    data = json_object(text, f"driver-toolkit-release.json of {where}")
    try:
        kernel = kernel_release(_with_arch(text_of(data.get("KERNEL_VERSION"), "KERNEL_VERSION"), arch))
        real_time = text_of(data.get("RT_KERNEL_VERSION") or "", "RT_KERNEL_VERSION")
        el = _EL.search(kernel)
        rhel = text_of(data.get("RHEL_VERSION") or (f"{el[1]}.{el[2]}" if el else None), "RHEL_VERSION")
        line_of_rhel(rhel)
        kernels: list[tuple[str, Flavour]] = [(kernel, "standard")]
        if real_time:
            kernels.append((kernel_release(_with_arch(real_time, arch)), "rt"))
    except ValueError as error:
        raise ProtocolError(f"driver-toolkit-release.json of {where}: {error}") from None
    # A bare major is CentOS Stream, always ahead of the minor that brought kernel-64k.
    has_64k = tuple(int(part) for part in rhel.split(".")) >= (9, 2) or rhel == "9"
    if arch == "aarch64" and "64k" in tuple(flavours) and has_64k:
        kernels.append((f"{kernel}+64k", "64k"))
    return ToolkitKernels(rhel, tuple(kernels))


def _with_arch(kernel: str, arch: Arch) -> str:
    return f"{kernel}.{arch}" if _RHEL_KERNEL_WITHOUT_ARCH.fullmatch(kernel) else kernel


def _pinned(value: Any, tag: str, where: str) -> ImageRef:
    try:
        image = ImageRef.parse(text_of(value, "from.name"))
        if not image.digest:
            raise ValueError(f"{image} has no digest")
    except ValueError as error:
        raise ProtocolError(f"image-references of {where}: {tag}: {error}") from None
    return image


def json_object(text: str, what: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ProtocolError: it is none; says what it should have been.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"{what} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ProtocolError(f"{what} is not a JSON object")
    return data


def text_of(value: Any, name: str) -> str:
    """Return `value` if it is text.

    Raises:
        ValueError: it is not; says the name.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} is missing or is not text")
    return value
