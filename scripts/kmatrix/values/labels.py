"""The OCI labels of cell images and bundles, spelled once for building, checking and querying the registry."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

from kmatrix.values.cells import Cell

VERSION = "org.opencontainers.image.version"
TITLE = "org.opencontainers.image.title"
REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"
CLIENT = "io.github.beegfs-kmatrix.client"
KERNEL = "io.github.beegfs-kmatrix.kernel"
ARCH = "io.github.beegfs-kmatrix.arch"
CELL_KEY = "io.github.beegfs-kmatrix.cell-key"
# The certificate of the module's signature: its DER form in base64.
MODULE_CERTIFICATE = "io.github.beegfs-kmatrix.module-certificate"
# Of a bundle: its kernels, and a digest over the cells it was composed from.
KERNELS = "io.github.beegfs-kmatrix.kernels"
BUNDLE_KEY = "io.github.beegfs-kmatrix.bundle-key"
# Those that results have begin with one of these: a base image brings twenty of its own, the same in every cell.
_REPORTED = ("org.opencontainers.image.", "io.github.beegfs-kmatrix.")
# Of one label's value, in characters: the registry's content is not this project's alone.
_LONGEST = 300


def cell_labels(cell: Cell, cell_key: str) -> dict[str, str]:
    """Return the labels that bind an image to its cell and to the inputs that it was built from.

    Args:
        cell: the cell the image is for.
        cell_key: digest over everything that decides the image.
    """
    return {
        VERSION: cell.id,
        CLIENT: str(cell.client),
        KERNEL: cell.kernel,
        ARCH: cell.arch,
        CELL_KEY: cell_key,
    }


def certificate_label(certificate: bytes) -> dict[str, str]:
    """Return the label with the certificate of an image's module.

    Args:
        certificate: in DER.
    """
    return {MODULE_CERTIFICATE: base64.b64encode(certificate).decode()}


def reported_labels(labels: Mapping[str, object]) -> dict[str, str]:
    """Return those of an image's labels that its result has: OCI's and this project's, but no certificate.

    The certificate has a thousand characters, and the report of thousands of cells would have each of them.
    """
    return {
        name: str(value)[:_LONGEST]
        for name, value in sorted(labels.items())
        if name.startswith(_REPORTED) and name != MODULE_CERTIFICATE
    }


def kernels_label(kernels: Iterable[str]) -> str:
    """Return the value of the label that lists a bundle's kernels."""
    return ",".join(kernels)


def kernels_of_label(value: str) -> tuple[str, ...]:
    """Return the kernels that such a label lists."""
    return tuple(kernel for kernel in value.split(",") if kernel)
