"""Reads files from an image layer while it is received, and compares the layer with its digest."""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from collections.abc import Iterator, Set
from itertools import chain
from typing import Any

from kmatrix.decide.formats.compression import DamagedError, decompressed
from kmatrix.decide.formats.image_paths import Entry, LayerView, clean_path, with_parents
from kmatrix.effects.engine.archives import ChunkReader, entries
from kmatrix.values.errors import ProtocolError

_CHUNK = 1 << 20
# A release's image-references has 120 kB, a node image's list of packages less than 1 MB.
_LARGEST_FILE = 64 << 20
# Unpacked, and only read past: a limit of time. No layer of a toolkit or a node image is nearly as large.
_LARGEST_LAYER = 16 << 30
_DAMAGED_COPY = (
    "Run the command again; if this persists, the registry, a mirror or a proxy in front of it has a damaged copy: "
    "mirror the image again, or bypass the proxy."
)
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_ALGORITHMS = ("sha256", "sha512")


def read_layer(raw: Any, wanted: Set[str], name: str, digest: str, size: int | None = None) -> LayerView:
    """Return a layer's entries at some paths and at the folders above them, with the content of files.

    The content decides how the layer is unpacked: registries hold plain archives that are called gzip, and vice versa.

    Args:
        raw: the stream of the blob.
        wanted: paths without a leading slash.
        name: of the layer, for messages.
        digest: the expected digest of the complete stream.
        size: the expected number of bytes of the stream; None if it is not known.

    Raises:
        ProtocolError: it has another digest or size, is not an archive that can be read to its end, or would fill the
            memory or keep the processor busy without end.
    """
    algorithm = digest.partition(":")[0]
    if algorithm not in _ALGORITHMS:
        raise ProtocolError(
            f"{name}: its digest is not {' or '.join(_ALGORITHMS)}",
            "Publish or mirror the image again with a container engine that writes such digests.",
        )
    found = hashlib.new(algorithm)
    chunks = _hashed(raw, found, name, size)
    problem: Exception | None = None
    view = LayerView()
    try:
        view = _view(_bounded(decompressed(chunks)), wanted)
    except (tarfile.TarError, DamagedError) as error:
        problem = error
    for _ in chunks:
        continue
    if f"{algorithm}:{found.hexdigest()}" != digest:
        raise ProtocolError(
            f"{name}: the registry sent other content, of digest {algorithm}:{found.hexdigest()}",
            _DAMAGED_COPY,
        )
    if problem is not None:
        raise ProtocolError(
            f"{name}: the layer is not a readable archive: {problem}",
            "The image was published in this state, and no container engine can pull it: publish or mirror it again.",
        ) from problem
    return view


def _view(content: Iterator[bytes], wanted: Set[str]) -> LayerView:
    watched = frozenset(part for path in wanted for part in with_parents(path))
    found: dict[str, Entry] = {}
    removed, emptied = set[str](), set[str]()
    first = next(content, None)
    if first is None:
        # Container engines accept an empty blob as a layer without files (moby/go-archive, compression/compression.go).
        return LayerView()
    for member, archive in entries(ChunkReader(chain((first,), content))):
        path = clean_path(member.name)
        folder, base = posixpath.split(path)
        if base == _OPAQUE:
            emptied.add(folder)
        elif base.startswith(_WHITEOUT):
            removed.add(posixpath.join(folder, base.removeprefix(_WHITEOUT)))
        elif path in watched:
            found[path] = _entry(member, archive, path in wanted)
    # A container engine reads past the archive's end too, and only the complete stream can be checked.
    for _ in content:
        continue
    return LayerView(found, removed & watched, emptied & watched)


def _entry(member: tarfile.TarInfo, archive: tarfile.TarFile, wanted: bool) -> Entry:
    if member.isdir():
        return Entry("folder")
    if member.issym():
        return Entry("symlink", target=member.linkname)
    if member.islnk():
        return Entry("hard link", target=member.linkname)
    if not member.isfile():
        return Entry("other")
    if wanted and member.size > _LARGEST_FILE:
        raise DamagedError(f"{member.name} has {member.size} bytes, more than any file that is read has")
    file = archive.extractfile(member) if wanted else None
    return Entry("file", file.read() if file else b"")


def _bounded(content: Iterator[bytes]) -> Iterator[bytes]:
    left = _LARGEST_LAYER
    for piece in content:
        left -= len(piece)
        if left < 0:
            raise DamagedError(f"it unpacks to more than {_LARGEST_LAYER} bytes")
        yield piece


def _hashed(raw: Any, hash_: Any, name: str, size: int | None) -> Iterator[bytes]:
    received = 0
    while data := raw.read(_CHUNK):
        received += len(data)
        if size is not None and received > size:
            raise ProtocolError(f"{name}: the registry sent other content, of more than {size} bytes", _DAMAGED_COPY)
        hash_.update(data)
        yield data
