"""Decodes response bodies with a content encoding that was not requested; a checksum decides which form is meant."""

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
    """Return the complete body in the form that has a SHA-256 (some other form if neither has it), for `read_body`."""
    return content_that(response, lambda content: hashlib.sha256(content).hexdigest() == sha256)


def content_that(response: requests.Response, fits: Callable[[bytes], bool] | None = None) -> bytes:
    """Return the complete body in the form that fits (some other form if neither does), for `read_body`.

    A server may send a file in an encoding that was not requested, or call a file's own compression an encoding (as
    `AddEncoding x-gzip .gz` does, apache/httpd, docs/conf/httpd.conf.in): both the body as received and the decoded
    body are compared.

    Args:
        response: the response, whose body has not been read yet.
        fits: whether a body is the expected one; None if nothing is known of it: then the encoding is believed.
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
