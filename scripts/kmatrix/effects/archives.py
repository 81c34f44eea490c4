"""Tar archives as the engine streams them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator


def drain(stream: Iterator[bytes]) -> None:
    """Read a stream to its end, so that its connection can serve again."""
    for _ in stream:
        continue


def regular_files(data: bytes) -> dict[str, bytes]:
    """Return every regular file of an archive by its path there."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = ((member.name, archive.extractfile(member)) for member in archive if member.isfile())
        return {name: file.read() for name, file in found if file}


class ChunkReader(io.RawIOBase):
    """A stream of chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts = [self._rest]
        length = len(self._rest)
        while size < 0 or length < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            parts.append(chunk)
            length += len(chunk)
        data = b"".join(parts)
        if size < 0:
            self._rest = b""
            return data
        self._rest = data[size:]
        return data[:size]
