"""Configurations, manifests and lists of images as the bytes that a registry gets, each of one family of media types.

The families are Docker's and OCI's (opencontainers/image-spec, media-types.md). An image with a layer of OCI's family
is of OCI's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kmatrix.values.names import GO_ARCH, Arch, digest_of

_OCI = "application/vnd.oci.image."
_DOCKER = "application/vnd.docker."
_DOCKER_LAYER = f"{_DOCKER}image.rootfs.diff.tar"


@dataclass(frozen=True)
class Layer:
    """A layer as a manifest names it; `size` is in bytes, compressed."""

    digest: str
    media_type: str
    size: int


@dataclass(frozen=True)
class Document:
    """A JSON document as the bytes that the registry has."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        """The digest of the bytes."""
        return digest_of(self.content)


def config_document(config: Mapping[str, Any], layers: Iterable[Layer]) -> Document:
    """Return the configuration of an image with such layers, in their family of media types."""
    kind = f"{_OCI}config.v1+json" if any_oci(layers) else f"{_DOCKER}container.image.v1+json"
    return _document(kind, config)


def manifest_document(config: Document, layers: Iterable[Layer]) -> Document:
    """Return the manifest of an image, in the family of media types of its configuration."""
    kind = _manifest_type(config.media_type.startswith(_OCI))
    content = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": config.media_type, "size": len(config.content), "digest": config.digest},
        "layers": [{"mediaType": each.media_type, "size": each.size, "digest": each.digest} for each in layers],
    }
    return _document(kind, content)


def list_of(manifests: Mapping[Arch, Document]) -> Document:
    """Return the document for a name of several architectures: the one manifest, or a list with one for each."""
    if len(manifests) == 1:
        return next(iter(manifests.values()))
    oci = any(each.media_type == _manifest_type(oci=True) for each in manifests.values())
    kind = f"{_OCI}index.v1+json" if oci else f"{_DOCKER}distribution.manifest.list.v2+json"
    entries = [
        {
            "mediaType": each.media_type,
            "size": len(each.content),
            "digest": each.digest,
            "platform": {"architecture": GO_ARCH[arch], "os": "linux"},
        }
        for arch, each in manifests.items()
    ]
    return _document(kind, {"schemaVersion": 2, "mediaType": kind, "manifests": entries})


def any_oci(layers: Iterable[Layer]) -> bool:
    """Return whether one of the layers has a media type of OCI's."""
    return any(not layer.media_type.startswith(_DOCKER_LAYER) for layer in layers)


def as_oci(layer: Layer) -> Layer:
    """Return the same blob under the media type that it has in OCI's family."""
    if not layer.media_type.startswith(_DOCKER_LAYER):
        return layer
    suffix = layer.media_type.removeprefix(_DOCKER_LAYER).replace(".gzip", "+gzip")
    return Layer(layer.digest, f"{_OCI}layer.v1.tar{suffix}", layer.size)


def _manifest_type(oci: bool) -> str:
    return f"{_OCI}manifest.v1+json" if oci else f"{_DOCKER}distribution.manifest.v2+json"


def _document(media_type: str, content: Mapping[str, Any]) -> Document:
    return Document(media_type, json_bytes(content))


def json_bytes(content: object) -> bytes:
    """Return the one spelling of JSON content: equal content has equal bytes."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
