"""push: gives the tested image its name in the registry, and asks what is published already."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmatrix.decide.bundle import Layer
from kmatrix.decide.cell_manifest import LAYER, cell_manifest
from kmatrix.effects.engine.saved_image import SavedLayer, compressed, digest_and_size, saved_image
from kmatrix.effects.registry.client import Manifest, labels_of
from kmatrix.stages.run_context import RunContext
from kmatrix.values import labels
from kmatrix.values.cells import Cell
from kmatrix.values.errors import NotReadableError, ToolError
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe

IMAGE = "beegfs-client"
_READS = 4
_FIRST_PAUSE_SECONDS = 0.5
_OTHERS = "Something else writes to this repository; give this project one of its own."


def image_of(target: str, cell: Cell) -> ImageRef:
    """The name of a cell's image in the registry."""
    return ImageRef.parse(f"{target}/{IMAGE}:{cell.tag}")


def published_digest(run: RunContext, ref: ImageRef, recipe: Recipe) -> str | None:
    """Return the digest of a cell's published image if it was made from the same inputs, for these gates, else None.

    What is published has passed every gate: nothing else is ever pushed.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not tell.
    """
    manifest = run.registry.manifest(ref, recipe.cell.arch)
    if manifest is None:
        return None
    config = run.registry.config(manifest)
    note_layers(run, manifest, config)
    return manifest.digest if labels_of(config).get(labels.CELL_KEY) in recipe.satisfying_keys else None


def push_image(run: RunContext, image: str, ref: ImageRef, cell: Cell) -> str:
    """Publish exactly `image` as `ref` and return the digest under which the registry has it.

    It is sent by digest, under no name that a node could pull; what the registry then has is compared with what was
    tested, and only after that it gets its name.

    Args:
        run: the run.
        image: the id of the tested image.
        ref: the name.
        cell: whose image it is.

    Raises:
        UnreachableError: transient faults that did not end.
        CredentialError: the registry refuses, or there is no credential.
        ToolError: the engine or the registry has something else than what was tested.
        ProtocolError: the registry does not keep to its protocol.
    """
    untagged, folder = ref.with_tag(""), run.options.root / "build"
    with saved_image(run.engine, image, folder) as saved:
        layers = tuple(_sent(run, untagged, layer, folder) for layer in saved.layers)
        config = run.registry.put_blob(untagged, saved.config)
        document = cell_manifest(saved.config, layers)
    digest = run.registry.put_manifest(untagged, document.content, document.media_type)
    there = _settled(run, untagged.with_digest(digest), cell)
    if there is None or there.config != config:
        found = there.config if there else "nothing"
        raise ToolError(f"{untagged}@{digest}: the registry has {found} there, tested was {config}", _OTHERS)
    run.engine.raise_if_stopping()
    run.registry.put_manifest(ref, document.content, document.media_type)
    named = run.registry.digest_of(ref)
    if named != digest:
        raise ToolError(f"{ref} was made to name {digest} and names {named or 'nothing'}", _OTHERS)
    return digest


def _settled(run: RunContext, ref: ImageRef, cell: Cell) -> Manifest | None:
    """Return what the registry has under a digest that it was just given.

    A registry of many servers may say for a moment that it is not there (helm/helm#31348, of Quay).
    """
    for attempt in range(1, _READS + 1):
        try:
            there = run.registry.manifest(ref, cell.arch)
        except NotReadableError:
            # Some say so instead of what is not there.
            if attempt == _READS or run.engine.stopping:
                raise
            there = None
        if there is not None or attempt == _READS or run.engine.stopping:
            return there
        time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
    raise AssertionError("the loop returns")


def note_layers(run: RunContext, manifest: Manifest, config: Mapping[str, Any]) -> None:
    """Remember the layers of a published image: another one that has them is to name the same files."""
    rootfs = config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if isinstance(diff_ids, list) and len(diff_ids) == len(manifest.layers):
        for diff_id, (digest, media_type, size) in zip(diff_ids, manifest.layers, strict=True):
            if media_type == LAYER:
                run.blobs.setdefault(str(diff_id), Layer(digest, media_type, size))


def _sent(run: RunContext, ref: ImageRef, layer: SavedLayer, folder: Path) -> Layer:
    """Have a layer in the registry, once for all images of a run that share it."""

    def send() -> Layer:
        run.engine.raise_if_stopping()
        known = run.blobs.get(layer.diff_id)
        if known is not None and run.registry.holds_layer(ref, known.digest, layer.diff_id):
            return known
        with compressed(layer, folder) as file:
            digest, size = digest_and_size(file)
            run.registry.put_file(ref, file, digest)
        return Layer(digest, LAYER, size)

    return run.sent.get(layer.diff_id, send)
