"""Tar archives as engines and registries send them: read to their end, or refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

from kmatrix.decide.formats.compression import DamagedError

# Extensions of a header are read into memory; the limit is that of Go's archive/tar (src/archive/tar/format.go), and so
# of engines.
_LARGEST_EXTENSION = 1 << 20
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def drain(stream: Iterator[bytes]) -> None:
    """Read a stream to its end, so that its connection can serve again."""
    for _ in stream:
        continue


def regular_files(data: bytes) -> dict[str, bytes]:
    """Return every regular file of an archive by its path there, each under all of its names (hard links).

    Raises:
        tarfile.TarError: the archive breaks off or is damaged, or a hard link names no file of it.
    """
    found: dict[str, bytes] = {}
    for member, archive in entries(io.BytesIO(data), ends_with_zeros=True):
        if member.islnk():
            if member.linkname not in found:
                raise tarfile.ReadError(f"{member.name} is a hard link to {member.linkname}, which is not before it")
            found[member.name] = found[member.linkname]
        elif member.isfile():
            file = archive.extractfile(member)
            found[member.name] = file.read() if file else b""
    return found


def entries(file: Any, *, ends_with_zeros: bool = False) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Yield every entry of an archive with the archive to read it from, in one pass.

    `tarfile` takes whatever is no header for the archive's end, and one that is damaged or breaks off for a shorter
    one. Here only zeros are an end, or that nothing follows an entry, as for Go's archive/tar and so for engines.

    Args:
        file: has `read`; an archive that is not compressed.
        ends_with_zeros: refuse an archive without the zeros: a program that writes a stream to its end writes them.

    Raises:
        tarfile.ReadError: the archive breaks off or is damaged.
    """
    block = b""

    class Strict(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Strict:
            nonlocal block
            block = bytes(buf)
            header = super().frombuf(buf, encoding, errors)
            if header.type in _EXTENSIONS and header.size > _LARGEST_EXTENSION:
                raise tarfile.HeaderError(f"its extension has {header.size} bytes")
            return header

        @classmethod
        def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Strict:
            try:
                return super().fromtarfile(tarfile_)
            except tarfile.HeaderError as error:
                if not any(block) and len(block) in (0, tarfile.BLOCKSIZE):
                    raise
                raise tarfile.ReadError(f"an entry's header is malformed: {error}") from error
            except DamagedError:
                # The stream's own fault.
                raise
            except ValueError as error:
                # `tarfile` parses the numbers of sparse files without a check.
                raise tarfile.ReadError(f"an entry's extended header is malformed: {error}") from error

    with tarfile.open(fileobj=cast("IO[bytes]", file), mode="r|", tarinfo=Strict) as archive:
        for member in archive:
            yield member, archive
    if ends_with_zeros and not block:
        raise tarfile.ReadError("the archive breaks off before its end")


class ChunkReader(io.RawIOBase):
    """A stream of chunks as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, less only at the end; all that is left by default."""
        parts = []
        missing = size
        while size < 0 or missing > 0:
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._rest = memoryview(chunk)
            part = self._rest if size < 0 else self._rest[:missing]
            parts.append(part)
            self._rest = self._rest[len(part) :]
            missing -= len(part)
        return b"".join(parts)
