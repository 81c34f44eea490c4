"""Images that the engine loads from an archive, for another architecture than its own.

An engine's import gives every image the engine's own architecture (moby/moby 20.10, daemon/images/image_import.go), so
the image is written in the form that `docker save` has had since 1.10 (moby/moby, image/spec/v1.2.md).
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import IO

from kmatrix.values.names import GO_ARCH, Arch

_BLOCK = 1 << 20


def write_loadable(root: Path, name: str, arch: Arch, target: IO[bytes]) -> None:
    """Write an image of one layer.

    Args:
        root: the tar archive of its root file system.
        name: the NAME:TAG that the engine gives it.
        arch: its architecture.
        target: an empty file.
    """
    found = hashlib.sha256()
    with root.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    layer, size = found.hexdigest(), root.stat().st_size
    config = json.dumps(
        {
            "architecture": GO_ARCH[arch],
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"]},
            "history": [{"created_by": "kmatrix"}],
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
        }
    ).encode()
    names = f"{hashlib.sha256(config).hexdigest()}.json", f"{layer}/layer.tar"
    manifest = json.dumps([{"Config": names[0], "RepoTags": [name], "Layers": [names[1]]}]).encode()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive, root.open("rb") as file:
        for member, content, length in (
            (names[0], io.BytesIO(config), len(config)),
            (names[1], file, size),
            ("manifest.json", io.BytesIO(manifest), len(manifest)),
        ):
            header = tarfile.TarInfo(member)
            header.size = length
            archive.addfile(header, content)
