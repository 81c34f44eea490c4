"""Read the toolkits of a release payload, each with the node image that it belongs to, as values."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from kmatrix.decide.formats.json_text import json_object, text_of
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import ImageRef

# An OS image carries one of these names, by age and by kind; a second stream adds its number.
_OS_NAMES = ("rhel-coreos", "stream-coreos", "rhel-coreos-8", "machine-os-content")
_TOOLKIT = re.compile(r"driver-toolkit(-[0-9]+)?")
_NUMBERED = re.compile(r".*-[0-9]+")
LEAVE_OUT = "an exclude of the release in matrix.yaml silences it"
_PAYLOAD_HINT = (
    "Compare with `oc adm release info` of that release; if a mirror or another graph is set, it serves something "
    f"else; {LEAVE_OUT}."
)


@dataclass(frozen=True)
class Toolkit:
    """A driver toolkit of a release, and the OS image it belongs to where the release names one."""

    tag: str
    image: ImageRef
    os_tag: str = ""
    os_image: ImageRef | None = None


def read_toolkits(text: str, where: str) -> tuple[Toolkit, ...]:
    """Parse `image-references` (an ImageStream) of a release payload: its toolkits, each with its OS image.

    Raises:
        ProtocolError: not an ImageStream, no toolkit, or one without a digest; names `where`.
    """
    data = json_object(text, f"image-references of {where}", _PAYLOAD_HINT)
    spec = data.get("spec")
    tags = spec.get("tags") if isinstance(spec, dict) else None
    if not isinstance(tags, list):
        raise ProtocolError(f"image-references of {where} is not an ImageStream: it has no spec.tags", _PAYLOAD_HINT)
    sources: dict[str, Any] = {}
    for tag in tags:
        if isinstance(tag, dict) and isinstance(tag.get("name"), str):
            source = tag.get("from")
            sources[tag["name"]] = source.get("name") if isinstance(source, dict) else None
    found = []
    for name in sorted(sources):
        if not (match := _TOOLKIT.fullmatch(name)):
            continue
        os_tag = _os_tag(sources, match[1] or "")
        os_image = _pinned(sources[os_tag], os_tag, where) if os_tag else None
        found.append(Toolkit(name, _pinned(sources[name], name, where), os_tag, os_image))
    if not found:
        raise ProtocolError(
            f"image-references of {where} names no driver-toolkit",
            f"Releases have one from 4.6.30 and 4.7.11 on; {LEAVE_OUT}.",
        )
    return tuple(found)


def _os_tag(tags: Collection[str], suffix: str) -> str:
    """Return the tag of the OS image that a toolkit belongs to, or an empty text.

    A tag that has none of the known names is an OS image if it has `coreos` in its name and comes with extensions
    (openshift/machine-config-operator, pkg/osimagestream/imagestream_provider.go).
    """
    known = next((base + suffix for base in _OS_NAMES if base + suffix in tags), "")
    others = [
        tag
        for tag in tags
        if "coreos" in tag
        and f"{tag}-extensions" in tags
        and (tag.endswith(suffix) if suffix else not _NUMBERED.fullmatch(tag))
    ]
    return known or min(others, default="")


def _pinned(value: Any, tag: str, where: str) -> ImageRef:
    try:
        image = ImageRef.parse(text_of(value, "from.name"))
        if not image.digest:
            raise ValueError(f"{image} has no digest")
    except ValueError as error:
        raise ProtocolError(f"image-references of {where}: {tag}: {error}", _PAYLOAD_HINT) from None
    return image
