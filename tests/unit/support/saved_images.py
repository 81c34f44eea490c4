"""Archives of images as engines save them, from Docker's image store and from containerd's.

Both as `docker save` writes them: moby's image/tarexport/save.go (20.10) and daemon/containerd/image_exporter.go.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import zstandard

from tests.unit.support.fake_registry import digest

STORES = ("docker", "containerd", "containerd with zstd")


def archive(name: str, content: bytes) -> bytes:
    """Return a layer of one file."""
    return _tar({name: content})


@dataclass
class Saved:
    """An image of layers (tar archives), as a store saves it; `links` are added to its archive."""

    store: str
    layers: Sequence[bytes]
    diff_ids: Sequence[str] = ()
    links: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> bytes:
        """Its configuration."""
        diff_ids = list(self.diff_ids) or [digest(layer) for layer in self.layers]
        return json.dumps({"architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()

    @property
    def id(self) -> str:
        """Its id with that store."""
        return digest(self.config if self.store == "docker" else self._manifest)

    def content(self) -> bytes:
        """The archive."""
        if self.store == "docker":
            name = f"{self.id.removeprefix('sha256:')}.json"
            paths = [f"{number}/layer.tar" for number in range(len(self.layers))]
            files = {name: self.config, **dict(zip(paths, self.layers, strict=True))}
            files = {path: content for path, content in files.items() if path not in self.links}
            return _tar(
                {**files, "manifest.json": _json([{"Config": name, "RepoTags": None, "Layers": paths}])}, self.links
            )
        blobs = [self.config, self._manifest, *map(self._packed, self.layers)]
        files = {_path(blob): blob for blob in blobs}
        listed = [_path(self._packed(layer)) for layer in self.layers]
        files["manifest.json"] = _json([{"Config": _path(self.config), "RepoTags": None, "Layers": listed}])
        files["index.json"] = _json({"schemaVersion": 2, "manifests": [{"digest": digest(self._manifest)}]})
        return _tar(files)

    def _packed(self, layer: bytes) -> bytes:
        return zstandard.compress(layer) if "zstd" in self.store else gzip.compress(layer, mtime=0)

    @property
    def _manifest(self) -> bytes:
        layers = [{"digest": digest(self._packed(layer))} for layer in self.layers]
        return _json({"schemaVersion": 2, "config": {"digest": digest(self.config)}, "layers": layers})


class SavingEngine:
    """An engine that can save its images, and nothing else."""

    stopping = False

    def __init__(self, *images: Saved) -> None:
        self.saved = {image.id: image.content() for image in images}

    def save(self, image: str) -> Iterator[bytes]:
        """Yield an image's archive in pieces."""
        data = self.saved[image]
        return (data[at : at + 700] for at in range(0, len(data), 700))

    def raise_if_stopping(self) -> None:
        """Nothing stops it."""


def _path(blob: bytes) -> str:
    return "blobs/" + digest(blob).replace(":", "/")


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()


def _tar(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return buffer.getvalue()
