"""Published cells to a client's bundle: which cells, in which order, and the very bytes of configuration and manifest.

The same cells give the same bytes. Nothing here is compressed, copied or uploaded: a bundle is a new list of layers
that the registry has already.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kmatrix.decide.bundle_bounds import Bounds
from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.values import labels
from kmatrix.values.cells import Cell
from kmatrix.values.command_lines import command
from kmatrix.values.errors import ProtocolError, ToolError
from kmatrix.values.names import ARCHES, GO_ARCH, Arch, ClientVersion

# What a label of a cell says of that cell alone.
_OF_ONE_CELL = (labels.VERSION, labels.KERNEL, labels.CELL_KEY, labels.TITLE)
# What of a configuration decides how a container of the image runs.
_RUN = ("Entrypoint", "Cmd", "Env", "User", "WorkingDir", "ExposedPorts", "Volumes", "StopSignal", "Healthcheck")
# Docker's store (moby's layer.maxLayerDepth) takes 125; two are left for what somebody builds on a bundle.
_MOST_LAYERS = 123
_OCI = "application/vnd.oci.image."
_DOCKER = "application/vnd.docker."
_DOCKER_LAYER = f"{_DOCKER}image.rootfs.diff.tar"


@dataclass(frozen=True)
class Layer:
    """A layer as a manifest names it; `size` is compressed."""

    digest: str
    media_type: str
    size: int


@dataclass(frozen=True)
class Document:
    """A JSON document of the registry as the bytes it has there."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        """Its digest."""
        return "sha256:" + hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class CellImage:
    """The published image of a cell: its manifest, its layers from the lowest up, its configuration.

    `current` is whether it was made from the inputs of now; of another one a bundle takes the module alone.
    `origin` is the digest of the image that its module came from, where that image is gone and this one stands in.
    `bootable` is whether the toolkit of its kernel is known; where it is not, `cell.toolkit` is the published bundle,
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
        """The digest of the manifest that it has, or had when it was published."""
        return self.origin or self.manifest.digest

    @property
    def module(self) -> Layer:
        """The topmost layer: nothing but the module and what belongs to it, the same bytes for the same module."""
        return self.layers[-1]


@dataclass(frozen=True)
class Wanted:
    """A client's bundle: the cells that go in, oldest kernel first, and those that are not published at all.

    `unread` are the cells of which the registry could not tell, each with the reason; `bounds` say which kernels of
    the published bundle may be left out. `profile_name` is for messages.
    """

    client: ClientVersion
    images: tuple[CellImage, ...]
    missing: tuple[str, ...]
    unread: Mapping[str, str] = field(default_factory=dict)
    bounds: Bounds = field(default_factory=Bounds)
    profile_name: str = ""

    @property
    def arches(self) -> tuple[Arch, ...]:
        """The architectures of its cells."""
        return tuple(arch for arch in ARCHES if any(image.cell.arch == arch for image in self.images))

    def of(self, arch: Arch) -> tuple[CellImage, ...]:
        """The cells of one architecture."""
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
    published: Iterable[CellImage],
    unread: Mapping[str, str] | None = None,
    bounds: Mapping[ClientVersion, Bounds] | None = None,
) -> tuple[Wanted, ...]:
    """Decide which cells go into which bundle.

    Args:
        cells: of the plan.
        published: those of them that passed every gate and are in the registry, whatever inputs they were made from.
        unread: the cells of which the registry could not tell, by id, each with the reason.
        bounds: for each client what its published bundle may lose.
    """
    cells = tuple(cells)
    images = {image.cell: image for image in published}
    unread = unread or {}
    bundles = []
    for client in sorted({cell.client for cell in cells}):
        own = sorted((cell for cell in cells if cell.client == client), key=lambda cell: natural(cell.kernel))
        there = tuple(images[cell] for cell in own if cell in images)
        missing = tuple(cell.id for cell in own if cell not in images and cell.id not in unread)
        lost = {cell.id: unread[cell.id] for cell in own if cell.id in unread}
        bundles.append(Wanted(client, there, missing, lost, (bounds or {}).get(client, Bounds())))
    return tuple(bundles)


def compose(client: ClientVersion, images: tuple[CellImage, ...], profile_name: str = "") -> Composed:
    """Return the bundle of cells of one architecture.

    Args:
        client: its version.
        images: at least one, oldest kernel first.
        profile_name: whose they are, for messages.

    Raises:
        ToolError: they are not run alike, or are more than an image has room for.
        ProtocolError: a configuration is not of the form.
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
            f"{command('discover', profile_name, '--forget', 'KERNEL')} lets a kernel go that no release has any more.",
        )
    modules = {image.cell.kernel: image.module for image in images}
    below = (*first.layers[:-1], *modules.values())
    oci = _any_oci(layer for image in images for layer in image.layers)
    layers = tuple(_typed(layer, oci) for layer in below)
    config = _config_document(_config(client, images), oci)
    return Composed(first.cell.arch, manifest_document(config, layers), config, layers, modules)


def config_document(config: Mapping[str, Any], layers: Iterable[Layer]) -> Document:
    """Return the configuration of an image with such layers, of the family of media types that these are of."""
    return _config_document(config, _any_oci(layers))


def manifest_document(config: Document, layers: Iterable[Layer]) -> Document:
    """Return the manifest of an image, of the family of media types that its configuration is of."""
    kind = _manifest_type(config.media_type.startswith(_OCI))
    content = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": config.media_type, "size": len(config.content), "digest": config.digest},
        "layers": [{"mediaType": each.media_type, "size": each.size, "digest": each.digest} for each in layers],
    }
    return _document(kind, content)


def manifest_list(bundles: Iterable[Composed]) -> Document:
    """Return what a bundle's name stands for: the one manifest, or a list with one for each architecture."""
    return list_of({each.arch: each.manifest for each in bundles})


def list_of(manifests: Mapping[Arch, Document]) -> Document:
    """Return what a name for several architectures stands for: the one manifest, or a list with one for each."""
    if len(manifests) == 1:
        return next(iter(manifests.values()))
    oci = any(each.media_type == _manifest_type(oci=True) for each in manifests.values())
    kind = f"{_OCI}index.v1+json" if oci else f"{_DOCKER}distribution.manifest.list.v2+json"
    entries = [
        {
            "mediaType": each.media_type,
            "size": len(each.content),
            "digest": each.digest,
            "platform": {"architecture": GO_ARCH[arch], "os": "linux"},
        }
        for arch, each in manifests.items()
    ]
    return _document(kind, {"schemaVersion": 2, "mediaType": kind, "manifests": entries})


def kernels_label(kernels: Iterable[str]) -> str:
    """The value of the label that lists a bundle's kernels."""
    return ",".join(kernels)


def kernels_of_label(value: str) -> tuple[str, ...]:
    """The kernels that such a label lists."""
    return tuple(kernel for kernel in value.split(",") if kernel)


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
    """What all cells say alike, except what is about one of them; then what is true of the bundle."""
    alike = set.intersection(*(set((image.config["config"].get("Labels") or {}).items()) for image in images))
    identity = [[image.cell.arch, image.cell.id, image.digest] for image in images]
    return {
        **{name: value for name, value in alike if name not in _OF_ONE_CELL},
        labels.VERSION: str(client),
        labels.CLIENT: str(client),
        labels.ARCH: images[-1].cell.arch,
        labels.KERNELS: kernels_label(image.cell.kernel for image in images),
        labels.BUNDLE_KEY: "sha256:" + hashlib.sha256(_bytes(identity)).hexdigest(),
        labels.TITLE: f"BeeGFS client {client} for {len(images)} kernel{'s' if len(images) != 1 else ''}",
    }


def _below_the_module(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A cell's history up to where its module was added: the last entry that made a layer."""
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
    """The cell whose layers below the module a bundle has.

    All current cells are made from the same inputs there (their keys say so), but installing the base's packages on
    another day or machine gives other bytes. The first one's keep the layers that nodes have when a kernel is added.
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
            f"{image.cell.id} has other {', '.join(other)} than {first.cell.id}",
            f"Build them again: {command('build', profile_name, '--force', '--only', f'{client}-*')}.",
        )


def _any_oci(layers: Iterable[Layer]) -> bool:
    return any(not layer.media_type.startswith(_DOCKER_LAYER) for layer in layers)


def _config_document(config: Mapping[str, Any], oci: bool) -> Document:
    return _document(f"{_OCI}config.v1+json" if oci else f"{_DOCKER}container.image.v1+json", config)


def _typed(layer: Layer, oci: bool) -> Layer:
    """The same blob under the name that the other family of media types has for it."""
    if not oci or not layer.media_type.startswith(_DOCKER_LAYER):
        return layer
    suffix = layer.media_type.removeprefix(_DOCKER_LAYER).replace(".gzip", "+gzip")
    return Layer(layer.digest, f"{_OCI}layer.v1.tar{suffix}", layer.size)


def _manifest_type(oci: bool) -> str:
    return f"{_OCI}manifest.v1+json" if oci else f"{_DOCKER}distribution.manifest.v2+json"


def _document(media_type: str, content: Mapping[str, Any]) -> Document:
    return Document(media_type, _bytes(content))


def _bytes(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
