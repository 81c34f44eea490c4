"""Image manifests and manifest lists, as registries send them: parsed, and refused if they are malformed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kmatrix.decide.formats.json_text import text_of
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import GO_ARCH, Arch, ImageRef

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT = ", ".join((*_INDEXES, *_MANIFESTS))
# The grammar of opencontainers/image-spec, descriptor.md: a digest becomes part of addresses and of file names.
_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[A-Za-z0-9=_-]+")


@dataclass(frozen=True)
class Manifest:
    """An image manifest: its digest, its configuration's digest and its layers (digest, media type, size in bytes).

    `config_size` is the size of the configuration in bytes; `content` are the manifest's own bytes, of `media_type`.
    """

    ref: ImageRef
    digest: str
    config: str
    layers: tuple[tuple[str, str, int], ...]
    config_size: int = 0
    media_type: str = ""
    content: bytes = b""


@dataclass(frozen=True)
class Named:
    """The target of a name: the digest of a manifest or a list, and the manifest of each architecture it has."""

    digest: str
    manifests: Mapping[Arch, Manifest]


@dataclass(frozen=True)
class RawManifest:
    """A manifest or a manifest list, as the registry sent it and parsed."""

    digest: str
    media_type: str
    content: bytes
    parsed: dict[str, Any]


def is_list(raw: RawManifest) -> bool:
    """Return whether it is a manifest list."""
    return "manifests" in raw.parsed


def manifest_of(ref: ImageRef, raw: RawManifest) -> Manifest:
    """Parse the manifest of an image.

    Raises:
        ProtocolError: it is malformed.
    """
    try:
        layers = tuple(
            (_digest(each["digest"]), text_of(each["mediaType"], "mediaType"), int(each["size"]))
            for each in raw.parsed["layers"]
        )
        config = raw.parsed["config"]
        size = int(config.get("size", 0))
        return Manifest(ref, raw.digest, _digest(config["digest"]), layers, size, raw.media_type, raw.content)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _malformed(ref, error) from error


def of_platform(ref: ImageRef, raw: RawManifest, arch: Arch) -> str | None:
    """Return the digest of the first Linux image for an architecture in a manifest list, or None if there is none.

    Raises:
        ProtocolError: the list is malformed.
    """
    try:
        for entry in raw.parsed["manifests"]:
            platform = entry.get("platform") or {}
            if platform.get("architecture") == GO_ARCH[arch] and platform.get("os", "linux") == "linux":
                # It must be a valid digest, as it becomes part of an address.
                return ref.with_digest(str(entry["digest"])).digest
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _malformed(ref, error) from error
    return None


def _digest(value: Any) -> str:
    found = text_of(value, "digest")
    if not _DIGEST.fullmatch(found):
        raise ValueError(f"digest {found!r:.80}")
    return found


def _malformed(ref: ImageRef, error: Exception) -> ProtocolError:
    return ProtocolError(
        f"{ref}: not an image manifest ({error!r} is missing or wrong)",
        "Check which artifact was pushed under this name.",
    )
