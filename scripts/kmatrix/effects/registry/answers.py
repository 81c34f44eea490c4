"""Keeps the content that registries gave for digests, on disk, so that a later discovery need not ask again.

Content that a digest names never changes. An entry begins with the digest of the rest: a damaged one counts as absent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path

from kmatrix.effects.disk.files import write_atomically
from kmatrix.values.errors import InputError

_DIGEST_BYTES = 32


class Answers:
    """A folder of answers; safe to share between threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def content(self, kind: str, digest: str) -> bytes | None:
        """Return the bytes that were kept, or None.

        Args:
            kind: of the answer, e.g. `manifest`: a word for a file's name.
            digest: of the manifest or blob that was asked for.
        """
        try:
            stored = self._path(kind, digest).read_bytes()
            content = zlib.decompress(stored[_DIGEST_BYTES:])
        except (OSError, zlib.error):
            return None
        return content if hashlib.sha256(content).digest() == stored[:_DIGEST_BYTES] else None

    def keep(self, kind: str, digest: str, content: bytes) -> None:
        """Keep the bytes of an answer; without room for them the next run asks again."""
        try:
            write_atomically(self._path(kind, digest), hashlib.sha256(content).digest() + zlib.compress(content))
        except InputError:
            return

    def files(self, digest: str, key: str) -> dict[str, bytes] | None:
        """Return the files that were found in an image, or None.

        Args:
            digest: of the image's manifest.
            key: the question: names and number of layers.
        """
        content = self.content("files", _of_question(digest, key))
        try:
            return {name: base64.b64decode(text) for name, text in json.loads(content).items()} if content else None
        except (ValueError, AttributeError, TypeError, binascii.Error):
            return None

    def keep_files(self, digest: str, key: str, files: Mapping[str, bytes]) -> None:
        """Keep the files that were found in an image."""
        text = json.dumps({name: base64.b64encode(content).decode() for name, content in files.items()})
        self.keep("files", _of_question(digest, key), text.encode())

    def _path(self, kind: str, digest: str) -> Path:
        name = digest.replace(":", "-")
        return self._folder / name[:9] / f"{name}.{kind}"


def _of_question(digest: str, key: str) -> str:
    return "sha256:" + hashlib.sha256(f"{digest}\0{key}".encode()).hexdigest()
