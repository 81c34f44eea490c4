"""An image as the engine saves it: every part compared with the wanted image, layers ready to be sent.

An engine's own push goes by a name, which anybody may move meanwhile, and engines differ in the digests they report
then. A saved image can be checked here before a registry has any of it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kmatrix.decide.formats.compression import decompressed
from kmatrix.effects.engine.archives import ChunkReader, entries
from kmatrix.effects.engine.errors import archive_errors
from kmatrix.effects.engine.protocol import Engine
from kmatrix.values.errors import InputError, ToolError
from kmatrix.values.names import digest_of

_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
_LEVEL = 6
_AGAIN = (
    "Run the command again; if that does not help, the engine's storage is damaged: `docker system prune`, rebuild."
)


@dataclass(frozen=True)
class SavedLayer:
    """A layer: the digest of its tar archive (its diff id), and the file that holds it.

    `compressed` is whether that file is one of gzip already; it may also be a plain archive, or one of zstd, as
    containerd's store keeps pulled layers.
    """

    diff_id: str
    file: IO[bytes]
    compressed: bool


@dataclass(frozen=True)
class SavedImage:
    """An image: its configuration, byte for byte, and its layers from the lowest to the topmost."""

    config: bytes
    layers: tuple[SavedLayer, ...]


@contextmanager
def saved_image(engine: Engine, image: str, folder: Path) -> Iterator[SavedImage]:
    """Save an image for as long as the context lasts; its files have no name, so that none is left behind.

    Docker's image store hands out its own layout with plain layers, containerd's an OCI layout with compressed ones
    (moby: image/tarexport/save.go, daemon/containerd/image_exporter.go). An image's id is its configuration's digest
    with the former, its manifest's with the latter.

    Args:
        engine: has the image.
        image: its id.
        folder: on the disk that may be filled.

    Raises:
        UnreachableError: the engine went away.
        ToolError: it has no such image, or saves something else.
        InputError: the disk is full, or cannot be written.
    """
    with ExitStack() as stack:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        files, links = _unpacked(engine, image, folder, stack)
        yield _checked(image, files, links)


@contextmanager
def compressed(layer: SavedLayer, folder: Path) -> Iterator[IO[bytes]]:
    """Yield a layer as a file compressed by gzip, at its beginning; the same layer always gives the same bytes.

    Raises:
        InputError: the disk is full, or cannot be written.
    """
    layer.file.seek(0)
    if layer.compressed:
        yield layer.file
        return
    with _new_file(folder) as file:
        with _writing(folder):
            # Neither a name nor a time: they would differ from run to run.
            with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
                for block in decompressed(_blocks(layer.file)):
                    packed.write(block)
            file.seek(0)
        yield file


@contextmanager
def _new_file(folder: Path) -> Iterator[IO[bytes]]:
    """Open a file without a name for as long as the context lasts."""
    with ExitStack() as stack:
        with _writing(folder):
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        yield file


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror or error}", "Make room there, or correct its permissions."
        ) from error


def digest_and_size(file: IO[bytes]) -> tuple[str, int]:
    """Return the digest and the size in bytes of a complete file, and rewind it."""
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while block := file.read(_BLOCK):
        digest.update(block)
        size += len(block)
    file.seek(0)
    return f"sha256:{digest.hexdigest()}", size


def _unpacked(
    engine: Engine, image: str, folder: Path, stack: ExitStack
) -> tuple[dict[str, IO[bytes]], dict[str, str]]:
    """Unpack the saved archive; return its files by path, and the paths that are links to others."""
    files: dict[str, IO[bytes]] = {}
    links: dict[str, str] = {}
    with archive_errors("save an image"):
        for member, archive in entries(ChunkReader(engine.save(image)), ends_with_zeros=True):
            engine.raise_if_stopping()
            if member.issym():
                # Docker's store saves a layer once; further ones with the same content lead to it.
                links[member.name] = os.path.normpath(os.path.join(os.path.dirname(member.name), member.linkname))
            source = archive.extractfile(member) if member.isreg() else None
            if source is not None:
                files[member.name] = file = stack.enter_context(_new_file(folder))
                while block := source.read(_BLOCK):
                    with _writing(folder):
                        file.write(block)
                with _writing(folder):
                    file.flush()
    return files, links


def _checked(image: str, files: dict[str, IO[bytes]], links: dict[str, str]) -> SavedImage:
    try:
        (listed,) = _json(files, "manifest.json")
        config = _read(files, listed["Config"])
        if image not in _names(files, config):
            raise ToolError(f"the engine was asked for the image {image} and saved {digest_of(config)}", _AGAIN)
        diff_ids = json.loads(config)["rootfs"]["diff_ids"]
        named = [files[links.get(path, path)] for path in listed["Layers"]]
        layers = tuple(_layer(file, diff_id) for file, diff_id in zip(named, diff_ids, strict=True))
    except (KeyError, TypeError, ValueError, AttributeError, OSError, EOFError) as error:
        raise ToolError(f"the engine saved {image} in a form that is no image's: {error!r}", _AGAIN) from error
    return SavedImage(config, layers)


def _names(files: dict[str, IO[bytes]], config: bytes) -> set[str]:
    """Return the ids that engines give an image of a configuration: its digest, and that of the manifest naming it."""
    names = {digest_of(config)}
    if "index.json" in files:
        for entry in _json(files, "index.json")["manifests"]:
            manifest = _read(files, "blobs/" + entry["digest"].replace(":", "/"))
            if json.loads(manifest)["config"]["digest"] == digest_of(config):
                names.add(digest_of(manifest))
    return names


def _layer(file: IO[bytes], diff_id: str) -> SavedLayer:
    digest = hashlib.sha256()
    for block in decompressed(_blocks(file)):
        digest.update(block)
    found = "sha256:" + digest.hexdigest()
    if found != diff_id:
        raise ToolError(f"the engine saved the layer {found}, the image's configuration says {diff_id}", _AGAIN)
    file.seek(0)
    is_gzip = file.read(len(_GZIP)) == _GZIP
    return SavedLayer(diff_id, file, is_gzip)


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(_BLOCK):
        yield block


def _json(files: dict[str, IO[bytes]], path: str) -> Any:
    return json.loads(_read(files, path))


def _read(files: dict[str, IO[bytes]], path: str) -> bytes:
    files[path].seek(0)
    return files[path].read()
