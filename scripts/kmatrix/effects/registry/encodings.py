"""Bodies that come in an encoding which nobody asked for: what has the digest is the content."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable

import requests

from kmatrix.decide.formats.compression import DamagedError, decompressed, form_of


def _from_gzip(raw: bytes) -> bytes:
    if form_of(raw) != "gzip":
        raise DamagedError("its encoding is gzip and its content is not")
    return b"".join(decompressed((raw,)))


_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _from_gzip,
    "x-gzip": _from_gzip,
    "deflate": zlib.decompress,
}


def content_of(response: requests.Response, sha256: str) -> bytes:
    """The whole body that has a SHA-256, to give to `whole`; that of another body where none has it."""
    return content_that(response, lambda content: hashlib.sha256(content).hexdigest() == sha256)


def content_that(response: requests.Response, fits: Callable[[bytes], bool] | None = None) -> bytes:
    """The whole body that fits, to give to `whole`; another body where none does.

    A server may send a file in an encoding that nobody asked for, or call a file's own compression an encoding (as
    `AddEncoding x-gzip .gz` does, apache/httpd, docs/conf/httpd.conf.in): both what came and what it decodes to are
    compared.

    Args:
        response: the answer, whose body is still to be read.
        fits: whether a body is the one that was meant; None if nothing is known of it, and the encoding is believed.
    """
    raw: bytes = response.raw.read(decode_content=False)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity") or (fits is not None and fits(raw)):
        return raw
    decoder = _DECODERS.get(encoding)
    try:
        return decoder(raw) if decoder else raw
    except (DamagedError, zlib.error):
        return raw
