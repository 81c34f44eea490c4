"""Reads complete response bodies, up to a limit, and decodes a content encoding that was not requested.

A checksum, where one is known, decides which form is meant. The limits keep a server, or whoever damages its answers,
from filling the memory of this machine; those of manifests, configurations, tokens and errors are the ones of
containers/image, internal/iolimits/iolimits.go.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator

import requests

from kmatrix.decide.formats.compression import DamagedError, decompressed, form_of
from kmatrix.values.errors import ProtocolError

TOKEN_BYTES = ERROR_BYTES = 1 << 20
DOCUMENT_BYTES = 4 << 20
# A graph of 100 releases has 175 kB: this one would have more than 30,000.
GRAPH_BYTES = 64 << 20
# Packages and their metadata.
FILE_BYTES = 1 << 30
_CHUNK = 1 << 16


class TooLargeError(ProtocolError):
    """A body is longer than its kind of answer may be."""


def _from_gzip(raw: bytes) -> Iterator[bytes]:
    if form_of(raw) != "gzip":
        raise DamagedError("its encoding is gzip and its content is not")
    return decompressed((raw,))


def _from_deflate(raw: bytes) -> Iterator[bytes]:
    decoder = zlib.decompressobj()
    left = raw
    while left:
        yield decoder.decompress(left, _CHUNK)
        left = decoder.unconsumed_tail
    if not decoder.eof:
        raise DamagedError("its deflate data breaks off")


_DECODERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _from_gzip,
    "x-gzip": _from_gzip,
    "deflate": _from_deflate,
}


def content_of(response: requests.Response, sha256: str, limit: int = FILE_BYTES) -> bytes:
    """Return the complete body in the form that has a SHA-256 (some other form if neither has it), for `read_body`.

    Raises:
        TooLargeError: it is longer than `limit` bytes.
    """
    return content_that(response, lambda content: hashlib.sha256(content).hexdigest() == sha256, limit)


def content_that(
    response: requests.Response, fits: Callable[[bytes], bool] | None = None, limit: int = FILE_BYTES
) -> bytes:
    """Return the complete body in the form that fits (some other form if neither does), for `read_body`.

    A server may send a file in an encoding that was not requested, or call a file's own compression an encoding (as
    `AddEncoding x-gzip .gz` does, apache/httpd, docs/conf/httpd.conf.in): both the body as received and the decoded
    body are compared.

    Args:
        response: the response, whose body has not been read yet.
        fits: whether a body is the expected one; None if nothing is known of it: then the encoding is believed.
        limit: the largest number of bytes that either form may have.

    Raises:
        TooLargeError: it is longer.
    """
    raw = _at_most(limit, iter(lambda: response.raw.read(_CHUNK, decode_content=False), b""), response.url)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity") or (fits is not None and fits(raw)):
        return raw
    decoder = _DECODERS.get(encoding)
    try:
        return _at_most(limit, decoder(raw), response.url) if decoder else raw
    except (DamagedError, zlib.error):
        return raw


def _at_most(limit: int, pieces: Iterable[bytes], url: str) -> bytes:
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) > limit:
            raise TooLargeError(
                f"{url} sends more than the {limit >> 20} MiB that its kind of answer may have",
                "Fetch that address with curl: if a proxy or another service answers, set the address of the service "
                "itself.",
            )
    return bytes(found)
