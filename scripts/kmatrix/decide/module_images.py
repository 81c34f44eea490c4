"""Module images of a bundle: one for each kernel and all architectures, and when a published one may stay.

Kernel Module Management (KMM) takes a kernel's module from its module image; the word is KMM's own
(ModuleImagesConfig). Two behaviours of rh-ecosystem-edge/kernel-module-management shape these images:

- Before any node gets a module, a pod of its image has to run to its end on a node that the scheduler picks, of
  whatever architecture (internal/pod/imagepuller.go). If it fails there, KMM waits for ever: GetPullPodStatus calls
  that unexpected, and updateStatusByPullPods of internal/controllers/mic_reconciler.go does nothing then.
- A node's module is exchanged whenever the name of its image changes (ProcessModuleSpec of
  internal/controllers/nmc_reconciler.go compares the complete configuration), on all nodes of one kernel and version
  at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from kmatrix.decide.bundle import CellImage, Wanted
from kmatrix.decide.image_documents import Document, list_of
from kmatrix.values.errors import ProtocolError, ToolError
from kmatrix.values.names import Arch, image_tag, without_arch


@dataclass(frozen=True)
class ModuleImage:
    """The module image of a kernel, as it would be composed now.

    `cells` are the kernel's cells, one for each architecture that has it; `arches` are all architectures of the image.
    `manifest` is the document for its tag: for a bundle of one architecture the cell's own manifest, else a list of
    cells' manifests.
    """

    tag: str
    cells: tuple[CellImage, ...]
    arches: tuple[Arch, ...]
    manifest: Document


@dataclass(frozen=True)
class Holding:
    """An image of a published module image that passed every gate: its record's cell, its kernel, its topmost layer."""

    cell: str
    kernel: str
    module: str


def module_images(wanted: Wanted) -> tuple[ModuleImage, ...]:
    """Return the module images of a bundle's cells, oldest kernel first.

    An image lists published cells of the bundle, by their digests, one for every architecture of the bundle, so that
    KMM's pod of it succeeds wherever it runs. For an architecture that lacks the kernel (`+rt` exists on x86_64 alone)
    it lists the cell of that architecture's newest kernel: no node takes a module from it, as no node of that
    architecture has this kernel, and nodes have its layers already, since the bundle has them too.

    Raises:
        ToolError: two kernels would have one tag, or one the tag of a cell.
        ProtocolError: the registry does not report the media type of a cell's manifest.
    """
    groups: dict[str, list[CellImage]] = {}
    for image in wanted.images:
        groups.setdefault(_tag(image), []).append(image)
    others = (*wanted.missing, *wanted.unread, *wanted.lacking)
    cell_tags = {image.cell.tag for image in wanted.images} | {image_tag(cell) for cell in others}
    for tag, images in groups.items():
        twice = [arch for arch, count in Counter(image.cell.arch for image in images).items() if count > 1]
        if twice or tag in cell_tags:
            kernels = ", ".join(image.cell.kernel for image in images)
            fault = f"these are several of {twice[0]}" if twice else "a cell has that name"
            raise ToolError(
                f"the image of client {wanted.client} and kernel {kernels} for Kernel Module Management cannot be "
                f"called {tag}: {fault}",
                "Exclude one of the kernels of this name in matrix.yaml.",
            )
    return tuple(_module_image(wanted, tag, tuple(images)) for tag, images in groups.items())


def may_stay(image: ModuleImage, there: Mapping[Arch, Holding]) -> bool:
    """Return whether the published image is as good as the new one, so that KMM does not exchange equal modules.

    It is if it has, for every architecture of the kernel, an image of the same cell and kernel whose topmost layer has
    the digest of the new cell's. That layer holds the module alone, so the module is the same, byte for byte, that
    passed all gates in the new cell: a module that failed is never kept. The image must also have an entry for each
    other architecture of the bundle, for the pod that KMM runs first. Entries of architectures that are no longer
    planned do no harm.

    Args:
        image: the module image as it would be composed now.
        there: the content of the tag's image, by architecture; empty if records do not vouch for all of it.
    """
    same = all(
        there.get(each.cell.arch) == Holding(each.cell.id, each.cell.kernel, each.module.digest) for each in image.cells
    )
    return same and set(image.arches) <= set(there)


def _tag(image: CellImage) -> str:
    return image_tag(f"{image.cell.client}-{without_arch(image.cell.kernel, image.cell.arch)}")


def _module_image(wanted: Wanted, tag: str, images: tuple[CellImage, ...]) -> ModuleImage:
    own = {image.cell.arch: image for image in images}
    listed = {arch: own.get(arch) or wanted.of(arch)[-1] for arch in wanted.arches}
    for image in listed.values():
        if not image.manifest.media_type:
            raise ProtocolError(
                f"the registry does not report the media type of the manifest of {image.cell.id}",
                f"Build it again: {wanted.next('build', '--force', '--only', image.cell.id)}.",
            )
    return ModuleImage(tag, images, wanted.arches, list_of({arch: each.manifest for arch, each in listed.items()}))
