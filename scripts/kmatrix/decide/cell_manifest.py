"""The manifest of a cell's image: always of one kind, whatever kind the container engine would have written."""

from __future__ import annotations

import json
from collections.abc import Iterable

from kmatrix.decide.image_documents import Document, Layer

# Docker's image manifest, version 2, schema 2: every registry takes it, and no engine's mixture of two kinds.
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def cell_manifest(config: bytes, layers: Iterable[Layer]) -> Document:
    """Return the manifest of an image.

    Args:
        config: its configuration, byte for byte.
        layers: from the lowest to the topmost, each compressed by gzip.
    """
    described = Document(CONFIG, config)
    content = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": len(config), "digest": described.digest},
        "layers": [{"mediaType": each.media_type, "size": each.size, "digest": each.digest} for each in layers],
    }
    return Document(MANIFEST, json.dumps(content, separators=(",", ":")).encode())
