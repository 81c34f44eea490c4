"""The content of a repository as values, and what each of its tags is: a cell, a bundle, a record or something else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from kmatrix.values import labels
from kmatrix.values.names import ARCHES, Arch, ClientVersion, image_tag, without_arch

Kind = Literal["cell", "module image", "kernel tag", "bundle", "record", "unknown"]
# cosign's signatures, attestations and documents about content (sigstore/cosign, pkg/oci/remote/remote.go), and the
# tag without a suffix of the OCI distribution specification ("Referrers Tag Schema").
GATES = ".gates"
_ATTACHED = re.compile(r"sha256-([0-9a-f]{64})(?:\.(?:gates|sig|att|sbom))?")


@dataclass(frozen=True)
class Image:
    """The manifest of one image: its labels, its layers from the lowest up, and the digests that its history names."""

    digest: str
    labels: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    @property
    def cell(self) -> tuple[str, Arch, str] | None:
        """Client, architecture and kernel that its labels name; None if they name no cell."""
        client, kernel = self.labels.get(labels.CLIENT, ""), self.labels.get(labels.KERNEL, "")
        arch: Arch | None = next((each for each in ARCHES if each == self.labels.get(labels.ARCH)), None)
        return (client, arch, kernel) if is_client(client) and kernel and arch and not self.kernels else None

    @property
    def kernels(self) -> tuple[str, ...]:
        """The kernels of a bundle; none of any other image."""
        return labels.kernels_of_label(self.labels.get(labels.KERNELS, ""))


@dataclass(frozen=True)
class Repository:
    """The content of a repository.

    Attributes:
        name: HOST/PATH.
        tags: the digest that each tag names; empty for one that names nothing.
        lists: the digests of the manifests that each list of manifests has.
        images: the manifests of images by digest, but not those of records.
        records: for digests without a tag, the cell or bundle that the record of its gates names.
        gone: digests without a manifest that tags are attached to.
        client: whose images it has by kernel; empty for the repository of cells and bundles.
    """

    name: str
    tags: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)
    records: Mapping[str, str] = field(default_factory=dict)
    client: str = ""
    gone: frozenset[str] = frozenset()

    def names(self) -> dict[str, tuple[str, ...]]:
        """Return the tags of every digest that has any."""
        found: dict[str, list[str]] = {}
        for tag, digest in self.tags.items():
            found.setdefault(digest, []).append(tag)
        return {digest: tuple(tags) for digest, tags in found.items()}

    @property
    def orphans(self) -> frozenset[str]:
        """The digests without a manifest that only signatures and attestations are attached to.

        A record of gates says which cell its image was, so it is decided on by that.
        """
        recorded = {subject_of(tag) for tag in self.tags if tag.endswith(GATES)}
        return self.gone - recorded

    def closure(self, digests: Iterable[str]) -> frozenset[str]:
        """Return digests with everything that they list, however deep."""
        found = set[str]()
        left = [digest for digest in digests if digest]
        while left:
            digest = left.pop()
            if digest not in found:
                found.add(digest)
                left += self.lists.get(digest, ())
        return frozenset(found)

    def images_of(self, digest: str) -> tuple[Image, ...]:
        """Return the image with a digest, or the images of the list with it."""
        return tuple(self.images[each] for each in (digest, *self.lists.get(digest, ())) if each in self.images)


def is_client(text: str) -> bool:
    """Return whether a text is a client version as this project writes it: a label may hold anything."""
    try:
        return str(ClientVersion.parse(text)) == text
    except ValueError:
        return False


def subject_of(tag: str) -> str:
    """Return the digest of the image that a tag is attached to; empty for any other tag."""
    match = _ATTACHED.fullmatch(tag)
    return f"sha256:{match[1]}" if match else ""


def kind_of(repository: Repository, tag: str) -> tuple[Kind, tuple[Image, ...]]:
    """Return what a tag is, and the images that make it so: of a module image, those of its own kernel.

    A tag is this project's only if its name and the labels agree: labels alone are inherited by images of others.
    """
    if subject_of(tag):
        return "record", ()
    images = repository.images_of(repository.tags[tag])
    if any(image.kernels for image in images):
        return "bundle", images
    if repository.client:
        own = tuple(each for each in images if each.cell and _is_kernel_tag(tag, repository.client, each.cell))
        return ("kernel tag", own) if own else ("unknown", images)
    if repository.tags[tag] not in repository.lists:
        own = tuple(each for each in images if each.cell and tag == _tag(f"{each.cell[0]}-{each.cell[2]}"))
        if own:
            return "cell", own
    own = tuple(each for each in images if each.cell and tag == _module_tag(each.cell))
    return ("module image", own) if own else ("unknown", images)


def _is_kernel_tag(tag: str, client: str, cell: tuple[str, Arch, str]) -> bool:
    return cell[0] == client and tag == _tag(cell[2])


def _module_tag(cell: tuple[str, Arch, str]) -> str:
    client, arch, kernel = cell
    return _tag(f"{client}-{without_arch(kernel, arch)}")


def _tag(name: str) -> str:
    try:
        return image_tag(name)
    except ValueError:
        # A label may hold anything.
        return ""
