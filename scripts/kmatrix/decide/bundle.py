"""Compose a client's bundle from its published cells: their order, and the exact bytes of configuration and manifest.

The same cells give the same bytes. Nothing here is compressed, copied or uploaded: a bundle is a new list of layers
that the registry has already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kmatrix.decide.bundle_bounds import Bounds
from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.decide.image_documents import (
    Document,
    Layer,
    any_oci,
    as_oci,
    config_document,
    json_bytes,
    list_of,
    manifest_document,
)
from kmatrix.values import labels
from kmatrix.values.cells import Cell
from kmatrix.values.command_lines import command
from kmatrix.values.errors import ProtocolError, ToolError
from kmatrix.values.names import ARCHES, GO_ARCH, Arch, ClientVersion, digest_of

# Labels that are about one cell alone.
_OF_ONE_CELL = (labels.VERSION, labels.KERNEL, labels.CELL_KEY, labels.TITLE)
# The fields of a configuration that decide how a container of the image runs.
_RUN = ("Entrypoint", "Cmd", "Env", "User", "WorkingDir", "ExposedPorts", "Volumes", "StopSignal", "Healthcheck")
# Docker's store (moby's layer.maxLayerDepth) takes 125; two are left for images that are built on a bundle.
_MOST_LAYERS = 123


@dataclass(frozen=True)
class CellImage:
    """The published image of a cell: its manifest, its layers from the lowest up, its configuration.

    `current` is whether it was built from the current inputs; a bundle takes only the module of one that was not.
    `origin` is the digest of the image that its module came from, if that image is gone and this one replaces it.
    `bootable` is whether the toolkit of its kernel is known; if not, `cell.toolkit` is the published bundle,
    in which the kernel was booted before.
    """

    cell: Cell
    manifest: Document
    layers: tuple[Layer, ...]
    config: Mapping[str, Any]
    current: bool = True
    origin: str = ""
    bootable: bool = True

    @property
    def digest(self) -> str:
        """The digest of its manifest, or of the manifest that it had when it was published."""
        return self.origin or self.manifest.digest

    @property
    def module(self) -> Layer:
        """The topmost layer: the module and its index files alone, the same bytes for the same module."""
        return self.layers[-1]


@dataclass(frozen=True)
class PublishedCells:
    """The registry's answers about the cells of a plan.

    `images` passed every gate, by this project's own records, and were built from current inputs or earlier ones;
    `unread` are the cells whose image the registry could not show, by id, each with the reason; `lacking` are the cells
    that are published although a record does not show every gate passed, each with the missing part and the next step.
    """

    images: Iterable[CellImage] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """The planned bundle of a client: its published cells, oldest kernel first, and the ids of unpublished ones.

    `unread` and `lacking` are those of `PublishedCells`; `bounds` say which kernels of the published bundle may be left
    out. `profile_name` and `places`, the options of each command that say where everything is, are for messages.
    """

    client: ClientVersion
    images: tuple[CellImage, ...]
    missing: tuple[str, ...]
    unread: Mapping[str, str] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    bounds: Bounds = field(default_factory=Bounds)
    profile_name: str = ""
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def next(self, name: str, *arguments: str) -> str:
        """Return a command for a next step in backquotes, which acts on the same profile and places as this run."""
        return command(name, self.profile_name, *self.places.get(name, ()), *arguments)

    @property
    def arches(self) -> tuple[Arch, ...]:
        """The architectures of its cells."""
        return tuple(arch for arch in ARCHES if any(image.cell.arch == arch for image in self.images))

    def of(self, arch: Arch) -> tuple[CellImage, ...]:
        """Return the cells of one architecture."""
        return tuple(image for image in self.images if image.cell.arch == arch)


@dataclass(frozen=True)
class Composed:
    """The bundle of one architecture: manifest and configuration, and each kernel's own layer, newest last."""

    arch: Arch
    manifest: Document
    config: Document
    layers: tuple[Layer, ...]
    kernels: Mapping[str, Layer]

    @property
    def size(self) -> int:
        """Compressed bytes of all layers."""
        return sum(layer.size for layer in self.layers)


def wanted_bundles(
    cells: Iterable[Cell],
    published: PublishedCells,
    bounds: Mapping[ClientVersion, Bounds] | None = None,
) -> tuple[Wanted, ...]:
    """Decide which cells each client's bundle has.

    Args:
        cells: the cells of the plan.
        published: the registry's answers about them.
        bounds: the bounds of each client's bundle.
    """
    cells = tuple(cells)
    images = {image.cell: image for image in published.images}
    faulty = {*published.unread, *published.lacking}
    bundles = []
    for client in sorted({cell.client for cell in cells}):
        own = sorted((cell for cell in cells if cell.client == client), key=lambda cell: natural(cell.kernel))
        there = tuple(images[cell] for cell in own if cell in images)
        missing = tuple(cell.id for cell in own if cell not in images and cell.id not in faulty)
        unread, lacking = (
            {cell.id: reasons[cell.id] for cell in own if cell.id in reasons}
            for reasons in (published.unread, published.lacking)
        )
        bundles.append(Wanted(client, there, missing, unread, lacking, (bounds or {}).get(client, Bounds())))
    return tuple(bundles)


def compose(client: ClientVersion, images: tuple[CellImage, ...], profile_name: str = "") -> Composed:
    """Return the bundle of cells of one architecture.

    Args:
        client: its version.
        images: at least one, oldest kernel first.
        profile_name: their profile, for messages.

    Raises:
        ToolError: their containers would not run alike, or there are more cells than an image may have layers.
        ProtocolError: a configuration is malformed.
    """
    for image in images:
        _well_formed(image, profile_name)
    first = _first_made(images)
    for image in images:
        if image.current:
            _run_alike(client, first, image, profile_name)
    room = _MOST_LAYERS - (len(first.layers) - 1)
    if len(images) > room:
        raise ToolError(
            f"a bundle of {client} for {first.cell.arch} would have {len(images)} kernels; engines take {room}",
            "Narrow the plan: `newest` of its channels, arches, or an exclude. "
            f"{command('plan', profile_name)} lists the cells, and "
            f"{command('discover', profile_name, '--forget', 'KERNEL')} removes a kernel that no release has any more.",
        )
    modules = {image.cell.kernel: image.module for image in images}
    below = (*first.layers[:-1], *modules.values())
    oci = any_oci(layer for image in images for layer in image.layers)
    layers = tuple(as_oci(layer) if oci else layer for layer in below)
    config = config_document(_config(client, images), layers)
    return Composed(first.cell.arch, manifest_document(config, layers), config, layers, modules)


def manifest_list(bundles: Iterable[Composed]) -> Document:
    """Return the document for a bundle's name: the one manifest, or a list with one for each architecture."""
    return list_of({each.arch: each.manifest for each in bundles})


def _config(client: ClientVersion, images: tuple[CellImage, ...]) -> dict[str, Any]:
    first = _first_made(images).config
    below = first["rootfs"]["diff_ids"][:-1]
    history = _below_the_module(first["history"])
    for image in images:
        history.append(
            {
                "created": image.config["created"],
                "created_by": f"kmatrix bundle: module layer of {image.cell.id} ({image.digest})",
            }
        )
    run = {name: first["config"][name] for name in _RUN if first["config"].get(name)}
    return {
        "architecture": first["architecture"],
        "os": first["os"],
        **({"variant": first["variant"]} if first.get("variant") else {}),
        "created": max(image.config["created"] for image in images),
        "config": {**run, "Labels": _labels(client, images)},
        "history": history,
        "rootfs": {
            "type": "layers",
            "diff_ids": [*below, *(image.config["rootfs"]["diff_ids"][-1] for image in images)],
        },
    }


def _labels(client: ClientVersion, images: tuple[CellImage, ...]) -> dict[str, str]:
    """Return the labels that all cells have alike, except those about one cell, and the bundle's own labels."""
    alike = set.intersection(*(set((image.config["config"].get("Labels") or {}).items()) for image in images))
    identity = [[image.cell.arch, image.cell.id, image.digest] for image in images]
    return {
        **{name: value for name, value in alike if name not in _OF_ONE_CELL},
        labels.VERSION: str(client),
        labels.CLIENT: str(client),
        labels.ARCH: images[-1].cell.arch,
        labels.KERNELS: labels.kernels_label(image.cell.kernel for image in images),
        labels.BUNDLE_KEY: digest_of(json_bytes(identity)),
        labels.TITLE: f"BeeGFS client {client} for {len(images)} kernel{'s' if len(images) != 1 else ''}",
    }


def _below_the_module(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a cell's history up to the entry of its module, the last one that created a layer."""
    last = max(index for index, entry in enumerate(history) if not entry.get("empty_layer"))
    return history[:last]


def _well_formed(image: CellImage, profile_name: str) -> None:
    config = image.config
    try:
        made = sum(not entry.get("empty_layer") for entry in config["history"])
        counts = {len(image.layers), len(config["rootfs"]["diff_ids"]), made}
        sound = (
            len(counts) == 1
            and len(image.layers) > 1
            and isinstance(config["created"], str)
            and isinstance(config["config"], dict)
            and (config["architecture"], config["os"]) == (GO_ARCH[image.cell.arch], "linux")
        )
    except (KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise ProtocolError(
            f"the published image of {image.cell.id} has layers, history or platform that do not fit together",
            f"Build it again: {command('build', profile_name, '--force', '--only', image.cell.id)}.",
        )


def _first_made(images: tuple[CellImage, ...]) -> CellImage:
    """Return the cell whose layers below the module the bundle has.

    All current cells have the same inputs for these layers (as their keys show), but the base's packages, installed on
    another day or machine, give other bytes. With the first cell's layers, nodes keep theirs when a kernel is added.
    """
    current = [image for image in images if image.current]
    return min(current or images, key=lambda image: str(image.config["created"]))


def _run_alike(client: ClientVersion, first: CellImage, image: CellImage, profile_name: str) -> None:
    other = [
        name
        for name in _RUN
        if (image.config["config"].get(name) or None) != (first.config["config"].get(name) or None)
    ]
    if other:
        raise ToolError(
            f"{image.cell.id} differs from {first.cell.id} in {', '.join(other)}",
            f"Build them again: {command('build', profile_name, '--force', '--only', f'{client}-*')}.",
        )
