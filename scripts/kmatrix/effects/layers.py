"""Reads files out of an image layer while it comes in, and holds it to its digest."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Set
from typing import IO, Any, Literal, cast

import zstandard

from kmatrix.values.errors import ProtocolError

_CHUNK = 1 << 20


def files_of_layer(raw: Any, media_type: str, wanted: Set[str], name: str, digest: str) -> dict[str, bytes]:
    """Return the files of a layer that are wanted (paths without a leading slash), by path.

    Args:
        raw: the stream of the blob.
        media_type: of the blob; tells how it is compressed.
        wanted: paths.
        name: of the layer, for messages.
        digest: what the whole stream must have.

    Raises:
        ProtocolError: it has another digest, or is no archive.
    """
    stream = _Hashed(raw)
    problem: Exception | None = None
    found: dict[str, bytes] = {}
    try:
        found = _files(stream, media_type, wanted)
    except (tarfile.TarError, zstandard.ZstdError) as error:
        problem = error
    while stream.read(_CHUNK):
        pass
    if stream.digest != digest:
        raise ProtocolError(f"{name}: the registry sent other content, of digest {stream.digest}")
    if problem is not None:
        raise ProtocolError(f"{name}: the layer is not a readable archive: {problem}") from problem
    return found


def _files(stream: _Hashed, media_type: str, wanted: Set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    source: Any = stream
    mode: Literal["r|", "r|gz"] = "r|" if media_type.endswith((".tar", "zstd")) else "r|gz"
    if media_type.endswith("zstd"):
        source = zstandard.ZstdDecompressor().stream_reader(source)
    with tarfile.open(fileobj=cast("IO[bytes]", source), mode=mode) as archive:
        for member in archive:
            path = member.name.removeprefix("./").removeprefix("/")
            if path in wanted and member.isfile():
                file = archive.extractfile(member)
                found[path] = file.read() if file else b""
                if len(found) == len(wanted):
                    break
    return found


class _Hashed:
    """A stream that is hashed as it is read."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._raw.read(size if size >= 0 else None)
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()
