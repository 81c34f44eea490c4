"""Keep the kernels that the published bundle has and the next one would lack, unless a rule removes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kmatrix.decide.bundle import CellImage, Wanted
from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.decide.image_documents import Document, Layer
from kmatrix.decide.kept_kernels import PublishedBundle, PublishedKernel, read_published, restored, restored_config
from kmatrix.effects.registry.client import Named
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages.gate_records import Records
from kmatrix.stages.published import lacking_in
from kmatrix.values import labels
from kmatrix.values.cells import Cell
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import Arch, ImageRef


@dataclass(frozen=True)
class Bounded:
    """A bundle that lacks no kernel of the published one except those that a rule removes.

    `wanted` has the kept kernels among its images; `kept` has the reason for each; `dropped` are the removed kernels.
    `lacking` are the cells of kept kernels that are published without every gate passed, by id, each with the missing
    part of the record; `held` are those of their kernels whose module in the published bundle is of no other image that
    passed every gate either, so that no new bundle may have it.
    """

    wanted: Wanted
    kept: dict[str, str]
    dropped: tuple[str, ...]
    lacking: dict[str, str]
    held: tuple[str, ...]


def keep_kernels(
    registry: RegistryWriter,
    records: Records,
    ref: ImageRef,
    wanted: Wanted,
    before: Named | None,
    gates: Sequence[str],
    say: Callable[[str], None],
) -> Bounded:
    """Add to a bundle the kernels of the published one that no rule removes.

    Args:
        registry: has the published bundle.
        records: those of its images' gates.
        ref: the bundle's name.
        wanted: the bundle of the plan's published cells.
        before: the manifests that the name has now; None if there is no such name.
        gates: the names of the gates that a cell's image must have passed.
        say: is given a line for each kernel that is kept or removed.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry does not show which kernels the published bundle
            has.
    """
    images = list(wanted.images)
    kept: dict[str, str] = {}
    dropped = []
    held = []
    for arch, manifest in before.manifests.items() if before else ():
        layers = tuple(Layer(*layer) for layer in manifest.layers)
        bundle = read_published(arch, layers, registry.config(manifest), str(ref))
        own = {image.cell.kernel for image in wanted.of(arch)}
        for kernel in bundle.kernels:
            if kernel.kernel in own:
                continue
            rule = wanted.bounds.leaving.get((arch, kernel.kernel))
            if rule is not None:
                dropped.append(kernel.kernel)
                say(f"{wanted.client}: {kernel.kernel} leaves the bundle: {rule}")
                continue
            image = _kept_image(registry, ref, manifest.digest, wanted, bundle, kernel)
            images.append(image)
            kept[kernel.kernel] = _why(wanted, arch, image)
            if image.cell.id in wanted.lacking:
                # The tag of the cell may name another image than the one that this module came from.
                record = records.find(ref, kernel.origin)
                if lacking_in(record, image.cell.id, gates):
                    held.append(kernel.kernel)
            say(f"{wanted.client}: {kernel.kernel} is kept from the published bundle: {kept[kernel.kernel]}")
    images.sort(key=lambda image: natural(image.cell.kernel))
    taken = {image.cell.id for image in images}
    missing = tuple(cell for cell in wanted.missing if cell not in taken)
    outside = {cell: why for cell, why in wanted.lacking.items() if cell not in taken}
    inside = {cell: why for cell, why in wanted.lacking.items() if cell in taken}
    bundle_wanted = replace(wanted, images=tuple(images), missing=missing, lacking=outside)
    return Bounded(bundle_wanted, kept, tuple(dropped), inside, tuple(held))


def put_restored(registry: RegistryWriter, ref: ImageRef, wanted: Wanted) -> None:
    """Put the images that replace lost images of cells into the registry, without a tag.

    Raises:
        UnreachableError, CredentialError, ProtocolError: one was not written.
    """
    for image in wanted.images:
        if image.origin:
            registry.put_blob(ref, restored_config(image).content)
            registry.put_manifest(ref.with_tag(""), image.manifest.content, image.manifest.media_type)


def _kept_image(
    registry: RegistryWriter,
    ref: ImageRef,
    published: str,
    wanted: Wanted,
    bundle: PublishedBundle,
    kernel: PublishedKernel,
) -> CellImage:
    """Return the image of the cell whose module the published bundle has, or a replacement if that image is lost."""
    pinned = wanted.bounds.cells.get((bundle.arch, kernel.kernel))
    instead_of_toolkit = ref.with_tag("").with_digest(published)
    cell = pinned or Cell(wanted.client, kernel.kernel, bundle.arch, "standard", "", instead_of_toolkit, ())
    replacement = restored(bundle, kernel, cell, bootable=pinned is not None)
    try:
        manifest = registry.manifest(ref.with_tag("").with_digest(kernel.origin), bundle.arch)
        config = registry.config(manifest) if manifest else {}
        found = registry.labels(manifest) if manifest else {}
    except ProtocolError:
        # The bundle has the same module, byte for byte.
        return replacement
    if manifest is None or not manifest.layers or found.get(labels.VERSION) != cell.id:
        return replacement
    layers = tuple(Layer(*layer) for layer in manifest.layers)
    if layers[-1].digest != kernel.layer.digest:
        return replacement
    document = Document(manifest.media_type, manifest.content)
    return replace(replacement, manifest=document, layers=layers, config=config, origin="")


def _why(wanted: Wanted, arch: Arch, image: CellImage) -> str:
    if (arch, image.cell.kernel) not in wanted.bounds.cells:
        forget = f"{wanted.next('discover', '--forget', image.cell.kernel)} removes it"
        return f"no release of the lock has it, so it is not booted again either ({forget})"
    if image.cell.id in wanted.unread:
        return f"its cell's image could not be read: {wanted.unread[image.cell.id]}"
    if image.cell.id in wanted.lacking:
        return wanted.lacking[image.cell.id]
    if image.cell.id in wanted.missing:
        again = wanted.next("build", "--only", image.cell.id)
        return f"its cell is planned, but no longer published ({again} builds it again)"
    return f"the plan no longer has packages of client {wanted.client} for it"
