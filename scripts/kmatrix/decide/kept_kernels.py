"""Reads a published bundle's kernels, and makes the image of a kernel's cell again if that is gone.

A bundle has, above the layers that all its kernels share, one layer for each kernel, and its history says of which
cell's image each is (`compose` writes it so). That is all a cell's image has of its own.
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
    """A kernel of a published bundle: its layer, and the id and the digest of the cell's image that this came from."""

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
        layers: of its manifest, from the lowest up.
        config: its configuration.
        name: for messages.

    Raises:
        ProtocolError: label, history and layers do not fit together.
    """
    try:
        named = labels.kernels_of_label((config["config"].get("Labels") or {}).get(labels.KERNELS, ""))
        if not named:
            return PublishedBundle(arch, (), layers, config)
        told = [_FROM.fullmatch(entry.get("created_by", "")) for entry in config["history"][-len(named) :]]
        found = tuple(
            PublishedKernel(kernel, match[1], match[2], layer)
            for kernel, match, layer in zip(named, told, layers[-len(named) :], strict=True)
            if match and match[1].endswith(f"-{kernel}")
        )
        made = sum(not entry.get("empty_layer") for entry in config["history"])
        sound = len(found) == len(named) and made == len(layers) == len(config["rootfs"]["diff_ids"]) > len(named)
    except (KeyError, TypeError, ValueError, AttributeError):
        sound = False
    if not sound:
        raise ProtocolError(
            f"{name}: its label of kernels, its history and its layers do not fit together",
            "It cannot be told which kernels would be lost, so it stays. If it is no bundle of this project, or is "
            f"given up, remove the tag {name.rpartition(':')[2]} from the registry, then run `nox -s bundle`.",
        )
    return PublishedBundle(arch, found, layers[: -len(named)], config)


def restored(bundle: PublishedBundle, kernel: PublishedKernel, cell: Cell, bootable: bool) -> CellImage:
    """Return a cell's image made of what a published bundle has of it.

    It has the layers of the bundle below its module and nothing in it says so; `origin` keeps the digest of the
    image that the module came from, so that a bundle with it has the very bytes that it had before.
    """
    count = len(bundle.kernels)
    index = bundle.kernels.index(kernel)
    whole = bundle.config
    own = whole["history"][-count:][index]
    told = {name: text for name, text in whole["config"]["Labels"].items() if name not in _OF_THE_BUNDLE}
    diff_ids = whole["rootfs"]["diff_ids"]
    config = {
        **{name: whole[name] for name in ("architecture", "os", "variant") if name in whole},
        "created": own["created"],
        "config": {
            **whole["config"],
            "Labels": {**told, labels.VERSION: cell.id, labels.KERNEL: cell.kernel, labels.ARCH: cell.arch},
        },
        "history": [*whole["history"][:-count], own],
        "rootfs": {"type": "layers", "diff_ids": [*diff_ids[:-count], diff_ids[-count:][index]]},
    }
    layers = (*bundle.shared, kernel.layer)
    manifest = manifest_document(config_document(config, layers), layers)
    return CellImage(cell, manifest, layers, config, current=False, origin=kernel.origin, bootable=bootable)


def restored_config(image: CellImage) -> Document:
    """Return the configuration of a restored image as its manifest names it."""
    document = config_document(image.config, image.layers)
    named = json.loads(image.manifest.content)["config"]["digest"]
    if document.digest != named:
        raise AssertionError(f"{image.cell.id}: {document.digest} is not the configuration {named}")
    return document
