"""Takes over the kernels that the published bundle has and the next one would lack, unless a rule lets them go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from kmatrix.decide.bundle import CellImage, Wanted
from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.decide.image_documents import Document, Layer
from kmatrix.decide.kept_kernels import PublishedBundle, PublishedKernel, read_published, restored, restored_config
from kmatrix.effects.registry.client import Named
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.values import labels
from kmatrix.values.cells import Cell
from kmatrix.values.command_lines import command
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import Arch, ImageRef


@dataclass(frozen=True)
class Bounded:
    """A bundle that lacks no kernel of the published one except those that may go.

    `wanted` has the kernels taken over among its images; `kept` says of each why; `dropped` are those that go.
    """

    wanted: Wanted
    kept: dict[str, str]
    dropped: tuple[str, ...]


def keep_kernels(
    registry: RegistryWriter, ref: ImageRef, wanted: Wanted, before: Named | None, say: Callable[[str], None]
) -> Bounded:
    """Add to a bundle what the published one has and must not be lost.

    Args:
        registry: has the published bundle.
        ref: the bundle's name.
        wanted: the bundle that the plan's published cells make.
        before: what the name stands for now, if anything.
        say: is given a line for each kernel that is kept or goes.

    Raises:
        UnreachableError, CredentialError, ProtocolError: it could not be told what the published bundle has.
    """
    images = list(wanted.images)
    kept: dict[str, str] = {}
    dropped = []
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
            image = _taken_over(registry, ref, manifest.digest, wanted, bundle, kernel)
            images.append(image)
            kept[kernel.kernel] = _why(wanted, arch, image)
            say(f"{wanted.client}: {kernel.kernel} is kept as the published bundle has it: {kept[kernel.kernel]}")
    images.sort(key=lambda image: natural(image.cell.kernel))
    taken = {image.cell.id for image in images}
    missing = tuple(cell for cell in wanted.missing if cell not in taken)
    return Bounded(replace(wanted, images=tuple(images), missing=missing), kept, tuple(dropped))


def put_restored(registry: RegistryWriter, ref: ImageRef, wanted: Wanted) -> None:
    """Have the images that stand in for those of cells in the registry, by their digests alone.

    Raises:
        UnreachableError, CredentialError, ProtocolError: one was not written.
    """
    for image in wanted.images:
        if image.origin:
            registry.put_blob(ref, restored_config(image).content)
            registry.put_manifest(ref.with_tag(""), image.manifest.content, image.manifest.media_type)


def _taken_over(
    registry: RegistryWriter,
    ref: ImageRef,
    published: str,
    wanted: Wanted,
    bundle: PublishedBundle,
    kernel: PublishedKernel,
) -> CellImage:
    """Return the image of the cell whose module the published bundle has: that very one, or one that stands in."""
    pinned = wanted.bounds.cells.get((bundle.arch, kernel.kernel))
    in_place_of_toolkit = ref.with_tag("").with_digest(published)
    cell = pinned or Cell(wanted.client, kernel.kernel, bundle.arch, "standard", "", in_place_of_toolkit, ())
    stand_in = restored(bundle, kernel, cell, bootable=pinned is not None)
    try:
        manifest = registry.manifest(ref.with_tag("").with_digest(kernel.origin), bundle.arch)
        config = registry.config(manifest) if manifest else {}
        told = registry.labels(manifest) if manifest else {}
    except ProtocolError:
        # Nothing is lost by that: the bundle has the module, byte for byte.
        return stand_in
    if manifest is None or not manifest.layers or told.get(labels.VERSION) != cell.id:
        return stand_in
    layers = tuple(Layer(*layer) for layer in manifest.layers)
    if layers[-1].digest != kernel.layer.digest:
        return stand_in
    document = Document(manifest.media_type, manifest.content)
    return replace(stand_in, manifest=document, layers=layers, config=config, origin="")


def _why(wanted: Wanted, arch: Arch, image: CellImage) -> str:
    if (arch, image.cell.kernel) not in wanted.bounds.cells:
        lets = f"{command('discover', wanted.profile_name, '--forget', image.cell.kernel)} lets it go"
        return f"no release of the lock has it, so it is not booted again either ({lets})"
    if image.cell.id in wanted.unread:
        return f"its cell's image could not be read: {wanted.unread[image.cell.id]}"
    if image.cell.id in wanted.missing:
        again = command("build", wanted.profile_name, "--only", image.cell.id)
        return f"its cell is planned, but is not published any more ({again} makes it again)"
    return f"the plan has no packages of client {wanted.client} for it any more"
