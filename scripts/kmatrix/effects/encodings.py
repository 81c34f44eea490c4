"""Bodies that come in an encoding which nobody asked for: what has the digest is the content."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable

import requests

from kmatrix.decide.compression import DamagedError, decompressed, form_of


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
    """The whole body that has a SHA-256, to give to `whole`; that of another body where none has it.

    A server may send a file in an encoding that nobody asked for, or call a file's own compression an encoding: both
    what came and what it decodes to are compared.
    """
    raw: bytes = response.raw.read(decode_content=False)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity") or hashlib.sha256(raw).hexdigest() == sha256:
        return raw
    decoder = _DECODERS.get(encoding)
    try:
        return decoder(raw) if decoder else raw
    except (DamagedError, zlib.error):
        return raw
