"""Read a published bundle's kernels, and restore the image of a kernel's cell if that is lost.

A bundle has one layer for each kernel above the layers that all its kernels share, and its history names the cell's
image that each layer came from (`compose` writes it). A cell's image has nothing else of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kmatrix.decide.bundle import CellImage
from kmatrix.decide.image_documents import Document, Layer, config_document, manifest_document
from kmatrix.values import labels
from kmatrix.values.cells import Cell
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import Arch

_FROM = re.compile(r"kmatrix bundle: module layer of (\S+) \((sha256:[0-9a-f]{64})\)")
_OF_THE_BUNDLE = (labels.KERNELS, labels.BUNDLE_KEY, labels.TITLE)


@dataclass(frozen=True)
class PublishedKernel:
    """A kernel of a published bundle: its layer, and the id and the digest of the cell's image of that layer."""

    kernel: str
    cell: str
    origin: str
    layer: Layer


@dataclass(frozen=True)
class PublishedBundle:
    """The bundle of one architecture as the registry has it; `shared` are the layers below those of its kernels."""

    arch: Arch
    kernels: tuple[PublishedKernel, ...]
    shared: tuple[Layer, ...]
    config: Mapping[str, Any]


def read_published(arch: Arch, layers: tuple[Layer, ...], config: Mapping[str, Any], name: str) -> PublishedBundle:
    """Return a published bundle's kernels, oldest first; an image without the label of a bundle has none.

    Args:
        arch: its architecture.
        layers: the layers of its manifest, from the lowest up.
        config: its configuration.
        name: its name, for messages.

    Raises:
        ProtocolError: label, history and layers do not fit together.
    """
    try:
        named = labels.kernels_of_label((config["config"].get("Labels") or {}).get(labels.KERNELS, ""))
        if not named:
            return PublishedBundle(arch, (), layers, config)
        origins = [_FROM.fullmatch(entry.get("created_by", "")) for entry in config["history"][-len(named) :]]
        found = tuple(
            PublishedKernel(kernel, match[1], match[2], layer)
            for kernel, match, layer in zip(named, origins, layers[-len(named) :], strict=True)
            if match and match[1].endswith(f"-{kernel}")
        )
        made = sum(not entry.get("empty_layer") for entry in config["history"])
        sound = len(found) == len(named) and made == len(layers) == len(config["rootfs"]["diff_ids"]) > len(named)
    except (KeyError, TypeError, ValueError, AttributeError):
        sound = False
    if not sound:
        raise ProtocolError(
            f"{name}: its label of kernels, its history and its layers do not fit together",
            "The kernels that a new bundle would lose are unknown, so this one stays. If it is no bundle of this "
            f"project, or no longer needed, remove the tag {name.rpartition(':')[2]} from the registry, then run "
            "`nox -s bundle`.",
        )
    return PublishedBundle(arch, found, layers[: -len(named)], config)


def restored(bundle: PublishedBundle, kernel: PublishedKernel, cell: Cell, bootable: bool) -> CellImage:
    """Return a cell's image, composed of its module in a published bundle and the bundle's shared layers.

    `origin` keeps the digest of the image that the module came from, so that a bundle with the restored image has the
    same bytes as before.
    """
    count = len(bundle.kernels)
    index = bundle.kernels.index(kernel)
    published = bundle.config
    own = published["history"][-count:][index]
    kept_labels = {name: text for name, text in published["config"]["Labels"].items() if name not in _OF_THE_BUNDLE}
    diff_ids = published["rootfs"]["diff_ids"]
    config = {
        **{name: published[name] for name in ("architecture", "os", "variant") if name in published},
        "created": own["created"],
        "config": {
            **published["config"],
            "Labels": {**kept_labels, labels.VERSION: cell.id, labels.KERNEL: cell.kernel, labels.ARCH: cell.arch},
        },
        "history": [*published["history"][:-count], own],
        "rootfs": {"type": "layers", "diff_ids": [*diff_ids[:-count], diff_ids[-count:][index]]},
    }
    layers = (*bundle.shared, kernel.layer)
    manifest = manifest_document(config_document(config, layers), layers)
    return CellImage(cell, manifest, layers, config, current=False, origin=kernel.origin, bootable=bootable)


def restored_config(image: CellImage) -> Document:
    """Return the configuration of a restored image, which has the digest that its manifest names."""
    document = config_document(image.config, image.layers)
    named = json.loads(image.manifest.content)["config"]["digest"]
    if document.digest != named:
        raise AssertionError(f"{image.cell.id}: {document.digest} is not the configuration {named}")
    return document
