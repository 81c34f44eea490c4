"""Published cells, made up: what a registry tells of them."""

from __future__ import annotations

from typing import Any

from kmatrix.decide.bundles import CellImage, Layer
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
                "io.github.beegfs-kmatrix.gates": "static,boot",
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
    return CellImage(own, digest(f"manifest of {kernel}"), layers, config)
