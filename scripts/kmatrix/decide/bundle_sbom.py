"""The bill of materials (SBOM) of a bundle: the union of those of its cells, as far as the bundle has their layers.

A bundle has the layers below the module of one cell, and the module of every cell. So it has the packages of that one
cell, and of each other cell its module with the toolkit, the sources and the certificate that belong to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kmatrix.decide.bundle import CellImage, Composed
from kmatrix.decide.formats.purl import image_purl, purl
from kmatrix.decide.spdx import (
    IMAGE,
    Element,
    Relationship,
    document,
    element,
    element_id,
    relationships_of,
    to_seconds,
)
from kmatrix.values.attestation import SPDX, Statement
from kmatrix.values.module import MODULE_NAME, module_path
from kmatrix.values.names import ImageRef

_MODULE = "SPDXRef-Module-"
_CERTIFICATE = "SPDXRef-Certificate-"


@dataclass(frozen=True)
class BundlePart:
    """The bundle of one architecture, its cells, and what is known of their contents.

    `sboms` has the predicate of each cell's bill of materials by the digest of its image; a cell that is not there
    has none that can be believed.
    """

    bundle: Composed
    images: Sequence[CellImage]
    sboms: Mapping[str, Mapping[str, Any]]


def bundle_sbom(name: str, digest: str, client: str, parts: Sequence[BundlePart], tool: str) -> Statement:
    """Return the bill of materials of a bundle as a statement.

    Args:
        name: repository of the bundle.
        digest: of the bundle: the manifest of the one part, or the list of all parts' manifests.
        client: its version.
        parts: at least one.
        tool: name and version of this program, as `kmatrix-0.1.0`.
    """
    arch = parts[0].bundle.arch if len(parts) == 1 else None
    own = element(
        IMAGE,
        name,
        client,
        purl=image_purl(ImageRef.parse(name).with_digest(digest), arch),
        sha256=digest.removeprefix("sha256:"),
        purpose="CONTAINER",
    )
    elements: list[Element] = []
    relationships: set[Relationship] = set()
    unknown: list[str] = []
    for part in parts:
        below = _below(part)
        for image in part.images:
            content = part.sboms.get(image.digest)
            if content is None:
                module = _unknown_module(image)
                elements.append(module)
                relationships.add((IMAGE, "CONTAINS", module["SPDXID"]))
                unknown.append(image.cell.id)
                continue
            found = relationships_of(content) if image is below else _of_module(content)
            relationships |= found
            named = {spdx_id for one, _, other in found for spdx_id in (one, other)} - {IMAGE}
            elements += [each for each in content["packages"] if each["SPDXID"] in named]
        if below is None or below.digest not in part.sboms:
            unknown.append(f"the packages below the modules for {part.bundle.arch}")
    if unknown:
        own["comment"] = f"not complete, as there is no bill of materials of: {', '.join(unknown)}"
    created = max(to_seconds(json.loads(part.bundle.config.content)["created"]) for part in parts)
    content = document(name, digest, created, tool, [*elements, own], relationships)
    return Statement(SPDX, name, digest, content)


def _below(part: BundlePart) -> CellImage | None:
    """Return the cell whose layers below the module the bundle has."""
    digests = [layer.digest for layer in part.bundle.layers]
    for image in part.images:
        lower = [layer.digest for layer in image.layers[:-1]]
        if lower == digests[: len(lower)] and image.digest in part.sboms:
            return image
    return None


def _of_module(content: Mapping[str, Any]) -> set[Relationship]:
    """Return the relationships of a cell's module: of the image to it, and of it to what it was made with."""
    own = (_MODULE, _CERTIFICATE)
    return {pair for pair in relationships_of(content) if pair[0].startswith(own) or pair[2].startswith(own)}


def _unknown_module(image: CellImage) -> Element:
    kernel, version = image.cell.kernel, str(image.cell.client)
    return element(
        element_id("Module", kernel, image.module.digest),
        MODULE_NAME,
        version,
        purl=purl("generic", (MODULE_NAME,), version, {"kernel": kernel, "arch": image.cell.arch}),
        purpose="FILE",
        packageFileName=module_path(kernel),
        comment=f"kernel module for {kernel}; its cell's image has no bill of materials",
    )
