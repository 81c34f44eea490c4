"""Read compressed data, recognised by its first bytes and not by its name, through all of its members.

A gzip file may have any number of members (RFC 1952, 2.2), a zstd file any number of frames (RFC 8878, 3.1), skippable
ones among them: eStargz, bgzip, pzstd and zstd:chunked write such files. Standard tools read them all.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Protocol

import zstandard

# A decoder returns at once everything that a piece stands for: of gzip up to 1,000 times its size, of xz 7,000 times,
# of zstd 32,000 times (a block of 128 KiB in four bytes; RFC 8878, 3.1.1.2.2).
_PIECE = 1 << 12
_PIECE_OF_ZSTD = 1 << 8
_SKIPPABLE = tuple(bytes((0x50 + number, 0x2A, 0x4D, 0x18)) for number in range(16))


class DamagedError(ValueError):
    """Compressed data that cannot be read to its end."""


class Unpacker(Protocol):
    """A decoder of one member, as zlib, bz2, lzma and zstandard have it."""

    @property
    def eof(self) -> bool:
        """Whether the member has ended."""

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the member."""

    def decompress(self, data: bytes, /) -> bytes:
        """Return the content of a further piece of the member."""


# The forms that container engines know (moby/go-archive, compression/compression.go), in the order of their age.
_FORMS: tuple[tuple[str, tuple[bytes, ...], Callable[[], Unpacker]], ...] = (
    ("gzip", (b"\x1f\x8b",), lambda: zlib.decompressobj(wbits=31)),
    ("bzip2", (b"BZh",), bz2.BZ2Decompressor),
    ("xz", (b"\xfd7zXZ\0",), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ)),
    ("zstd", (b"\x28\xb5\x2f\xfd", *_SKIPPABLE), lambda: zstandard.ZstdDecompressor().decompressobj()),
)
_LONGEST = max(len(start) for _, starts, _ in _FORMS for start in starts)


def form_of(start: bytes) -> str | None:
    """Return the compression of data by its first bytes: gzip, bzip2, xz or zstd; None if it is none of them."""
    return next((name for name, starts, _ in _FORMS if start.startswith(starts)), None)


def decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the content of a stream in pieces; data of no known compression is passed through.

    Args:
        chunks: the stream, in chunks of any size; its own exceptions pass.

    Raises:
        DamagedError: a member is incomplete or damaged, or something else follows one; the message has the format.
    """
    source = _pieces(chunks)
    start = b""
    for piece in source:
        start += piece
        if len(start) >= _LONGEST:
            break
    name = form_of(start)
    whole: Iterable[bytes] = chain((start,), source)
    if name == "zstd":
        whole = _pieces(whole, _PIECE_OF_ZSTD)
    if name is None:
        yield from (piece for piece in whole if piece)
        return
    make = next(make for each, _, make in _FORMS if each == name)
    member: Unpacker | None = None
    for data in whole:
        left = data
        while left:
            if member is None:
                # Tapes and block devices are padded with zeros; gzip and xz skip these between members.
                left = left.lstrip(b"\0")
                if not left:
                    break
                member = make()
            try:
                content = member.decompress(left)
            except (OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
                raise DamagedError(f"its {name} data is wrong: {error}") from error
            left = b""
            if member.eof:
                left, member = member.unused_data, None
            if content:
                yield content
    if member is not None:
        raise DamagedError(f"its {name} data breaks off")


def _pieces(chunks: Iterable[bytes], size: int = _PIECE) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), size):
            yield chunk[start : start + size]
