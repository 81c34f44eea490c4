"""Publishes a tested image: first its content, which has no name yet, and last its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmatrix.decide.cell_manifest import LAYER, cell_manifest
from kmatrix.decide.image_documents import Document, Layer
from kmatrix.effects.engine.saved_image import SavedLayer, compressed, digest_and_size, saved_image
from kmatrix.effects.registry.client import Manifest
from kmatrix.effects.retry import retried
from kmatrix.stages.gate_records import OTHER_WRITER
from kmatrix.stages.run_context import RunContext
from kmatrix.values.cells import Cell
from kmatrix.values.errors import NotReadableError, ToolError
from kmatrix.values.names import ImageRef

IMAGE = "beegfs-client"


def image_of(target: str, cell: Cell) -> ImageRef:
    """Return the name of a cell's image in the registry."""
    return ImageRef.parse(f"{target}/{IMAGE}:{cell.tag}")


@dataclass(frozen=True)
class SentImage:
    """An image that the registry has under its digest: the name that it is to get, and its manifest."""

    ref: ImageRef
    manifest: Document

    @property
    def digest(self) -> str:
        """The digest under which the registry has it."""
        return self.manifest.digest


def send_image(run: RunContext, image: str, ref: ImageRef, cell: Cell) -> SentImage:
    """Send exactly `image` to the registry by its digest, under no name that a node could pull.

    The registry's answer is compared with the tested image. Whatever speaks for the image is written next, and only
    after that `name_image` gives it its name: no image has a name of this project's without a record.

    Args:
        run: the run.
        image: the container engine's id of the tested image.
        ref: the name that it is to get.
        cell: the cell that the image is for.

    Raises:
        UnreachableError: transient faults that did not end.
        CredentialError: the registry refuses, or there is no credential.
        ToolError: the container engine or the registry has another image than the tested one.
        InterruptedRunError: the run was told to stop.
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
        raise ToolError(f"{untagged}@{digest}: the registry has {found} there, tested was {config}", OTHER_WRITER)
    run.engine.raise_if_stopping()
    return SentImage(ref, document)


def name_image(run: RunContext, sent: SentImage) -> None:
    """Give an image its name, after everything that speaks for it was written.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the name was not written.
        ToolError: the name leads to something else afterwards.
        InterruptedRunError: the run was told to stop.
    """
    run.engine.raise_if_stopping()
    run.registry.put_manifest(sent.ref, sent.manifest.content, sent.manifest.media_type)
    named = run.registry.digest_of(sent.ref)
    if named != sent.digest:
        raise ToolError(f"{sent.ref} was written to name {sent.digest} and names {named or 'nothing'}", OTHER_WRITER)


class _AbsentError(Exception):
    """The registry reports that it has no such manifest."""


def _settled(run: RunContext, ref: ImageRef, cell: Cell) -> Manifest | None:
    """Return the manifest that the registry has under a digest that was just written.

    A registry of many servers may answer for a moment that it is not there (helm/helm#31348, of Quay).
    """

    def read() -> Manifest:
        there = run.registry.manifest(ref, cell.arch)
        if there is None:
            raise _AbsentError
        return there

    try:
        # Some registries refuse to read a manifest instead of reporting it absent.
        return retried(read, (_AbsentError, NotReadableError), give_up=lambda: run.engine.stopping)
    except _AbsentError:
        return None


def note_layers(run: RunContext, manifest: Manifest, config: Mapping[str, Any]) -> None:
    """Note the layers of a published image, so that another image that has them names the same files."""
    rootfs = config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if isinstance(diff_ids, list) and len(diff_ids) == len(manifest.layers):
        for diff_id, (digest, media_type, size) in zip(diff_ids, manifest.layers, strict=True):
            if media_type == LAYER:
                run.blobs.setdefault(str(diff_id), Layer(digest, media_type, size))


def _sent(run: RunContext, ref: ImageRef, layer: SavedLayer, folder: Path) -> Layer:
    """Bring a layer into the registry, once for all images of a run that share it."""

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
