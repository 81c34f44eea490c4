"""Find what the bundles of a repository need: the cells, layers and images that they were composed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kmatrix.decide.repository import Repository, kind_of
from kmatrix.values import labels
from kmatrix.values.names import ARCHES, Arch


@dataclass(frozen=True)
class Needs:
    """The content of bundles: each cell and layer with the tag of a bundle that has it, and digests that must stay."""

    cells: Mapping[tuple[str, Arch, str], str]
    layers: Mapping[str, str]
    digests: Mapping[str, str]


def needs_of(repository: Repository, named: Mapping[str, str] | None = None) -> Needs:
    """Return the needs of every bundle of a repository.

    Args:
        repository: of cells and bundles.
        named: further digests that must stay, each with the reason.
    """
    cells: dict[tuple[str, Arch, str], str] = {}
    layers: dict[str, str] = {}
    digests: dict[str, str] = dict(named or {})
    for tag in repository.tags:
        kind, images = kind_of(repository, tag)
        if kind != "bundle":
            continue
        for image in images:
            client, own = image.labels.get(labels.CLIENT, ""), image.labels.get(labels.ARCH)
            layers.update(dict.fromkeys(image.layers, tag))
            digests.update(dict.fromkeys(image.origins, f"bundle {tag} has its module"))
            arches = [arch for arch in ARCHES if own in (arch, None)]
            cells.update({(client, arch, kernel): tag for kernel in image.kernels for arch in arches})
    return Needs(cells, layers, digests)
