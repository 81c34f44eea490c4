"""Made-up published cells, as a registry describes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kmatrix.decide.bundle import CellImage
from kmatrix.decide.image_documents import Document, Layer
from kmatrix.values.cells import Cell
from kmatrix.values.names import GO_ARCH, Arch, ClientVersion, ImageRef

TOOLKITS = "registry.example"
CLIENT = ClientVersion.parse("8.98.1")
DOCKER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI = "application/vnd.oci.image.layer.v1.tar+gzip"
KERNELS = ("5.14.0-427.9.1.el9_4", "5.14.0-427.10.1.el9_4", "6.12.0-1.el10")


def digest(text: str) -> str:
    return "sha256:" + text.encode().hex().rjust(64, "0")[-64:]


def cell(kernel: str, client: ClientVersion = CLIENT, arch: Arch = "x86_64") -> Cell:
    toolkit = ImageRef.parse(f"{TOOLKITS}/toolkit@{digest(kernel)}")
    return Cell(client, f"{kernel}.{arch}", arch, "standard", "el9", toolkit, ("4.16.1",))


def image(kernel: str, media_type: str = DOCKER, arch: Arch = "x86_64", **labels: str) -> CellImage:
    own = cell(kernel, arch=arch)
    layers = tuple(
        Layer(digest(name), media_type, size) for name, size in (("base", 100), ("userland", 10), (kernel, 1))
    )
    config: dict[str, Any] = {
        "architecture": GO_ARCH[arch],
        "os": "linux",
        "created": f"2026-01-0{len(kernel) % 9}T00:00:00Z",
        "container": f"made of {kernel}",
        "config": {
            "Entrypoint": ["/serve"],
            "Env": ["A=b"],
            "Cmd": None,
            "Hostname": kernel,
            "Labels": {
                "io.github.beegfs-kmatrix.kernel": own.kernel,
                "io.github.beegfs-kmatrix.cell-key": digest(f"key {kernel}"),
                "org.opencontainers.image.version": own.id,
                "org.opencontainers.image.title": f"for {kernel}",
                **labels,
            },
        },
        "history": [
            {"created_by": "base"},
            {"created_by": "userland"},
            {"created_by": "entry point", "empty_layer": True},
            {"created_by": "module"},
            {"created_by": "label", "empty_layer": True},
        ],
        "rootfs": {"type": "layers", "diff_ids": [digest("base u"), digest("userland u"), digest(f"{kernel} u")]},
    }
    return with_manifest(CellImage(own, Document("", b""), layers, config))


def config_of(image: CellImage) -> bytes:
    """Return the configuration of a made-up cell as a registry has it."""
    return json.dumps(image.config, sort_keys=True).encode()


def with_manifest(image: CellImage) -> CellImage:
    """Return the image with the manifest that its layers and its configuration need."""
    config = config_of(image)
    oci = image.layers[-1].media_type == OCI
    kind = "application/vnd.oci.image." if oci else "application/vnd.docker."
    content: Mapping[str, Any] = {
        "schemaVersion": 2,
        "mediaType": f"{kind}{'manifest.v1' if oci else 'distribution.manifest.v2'}+json",
        "config": {
            "mediaType": f"{kind}{'config' if oci else 'container.image'}.v1+json",
            "size": len(config),
            "digest": "sha256:" + hashlib.sha256(config).hexdigest(),
        },
        "layers": [{"mediaType": e.media_type, "size": e.size, "digest": e.digest} for e in image.layers],
    }
    return replace(image, manifest=Document(str(content["mediaType"]), json.dumps(content, sort_keys=True).encode()))


def rebuilt(image: CellImage, module: str | None = None) -> CellImage:
    """Return the cell built again with another entry point, and with another module if one is given."""
    layers = [*image.layers]
    ids = [*image.config["rootfs"]["diff_ids"]]
    layers[1], ids[1] = Layer(digest("other userland"), layers[1].media_type, 11), digest("other userland u")
    if module is not None:
        layers[-1], ids[-1] = replace(layers[-1], digest=digest(module)), digest(f"{module} u")
    config = {**image.config, "rootfs": {"type": "layers", "diff_ids": ids}}
    return with_manifest(replace(image, layers=tuple(layers), config=config))
