"""Searches data for private keys and passwords, in every form in which a program could have written them down."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

# A part this long is in no other data by chance.
_PART = 24
_GZIP = b"\x1f\x8b"
_PEM_LINE = re.compile(rb"[A-Za-z0-9+/]{64}")

Forms = Mapping[str, frozenset[bytes]]


def forms_of_key(name: str, pem: bytes, password: str) -> dict[str, frozenset[bytes]]:
    """Return the forms of a private key: as its file has it, and decrypted in each way.

    Args:
        name: what findings call it.
        pem: the file's content.
        password: opens it; empty for a key that is not encrypted.
    """
    key = load_pem_private_key(pem, password.encode() or None)
    forms = {*_PEM_LINE.findall(pem)} if password else set()
    for kind in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        opened = key.private_bytes(Encoding.PEM, kind, NoEncryption())
        # The first lines name the algorithm; the last one may be short, and is covered by the numbers below.
        forms |= {*_PEM_LINE.findall(opened)[1:]}
    if isinstance(key, RSAPrivateKey):
        numbers = key.private_numbers()
        # The public half is no secret, and a PEM of the private key has lines of it alone.
        public = key.public_key().public_numbers().n.to_bytes(key.key_size // 8)
        forms = {line for line in forms if base64.b64decode(line) not in public}
        for number in (numbers.d, numbers.p, numbers.q):
            forms |= _forms(number.to_bytes((number.bit_length() + 7) // 8)[8 : 8 + _PART])
    elif isinstance(key, EllipticCurvePrivateKey):
        forms |= _forms(key.private_numbers().private_value.to_bytes(32)[:_PART])
    return {name: frozenset(forms)}


def forms_of_text(name: str, text: str) -> dict[str, frozenset[bytes]]:
    """Return the forms of a password, or of another text that is in no other data."""
    return {name: frozenset(_forms(text.encode()))}


def forms_of_data(name: str, data: bytes) -> dict[str, frozenset[bytes]]:
    """Return the forms of data that is no secret, to show that a search finds what is there."""
    return {name: frozenset(_forms(data[64 : 64 + _PART]))}


def found_in(data: bytes, forms: Forms) -> set[str]:
    """Return the names of what some data has, also in the compressed files of an archive, and compressed itself."""
    return {name for part in _parts(data) for name, each in forms.items() if any(form in part for form in each)}


def found_below(folder: Path, forms: Forms, without: Iterable[Path] = ()) -> dict[str, set[str]]:
    """Return what the files below a folder have, and their names, by path.

    Args:
        folder: the folder.
        forms: what to look for.
        without: files that may have it.
    """
    left_out = set(without)
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path in left_out or path.is_symlink() or not path.is_file():
            continue
        names = found_in(path.read_bytes(), forms) | found_in(path.name.encode(), forms)
        if names:
            found[path.relative_to(folder).as_posix()] = names
    return found


def _forms(secret: bytes) -> set[bytes]:
    texts = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for before in range(3):
        # Without the characters that depend on what stands around it.
        encoded = base64.b64encode(b"\0" * before + secret)
        texts.add(encoded[4 if before else 0 : -4])
    if secret.isascii():
        texts.add(json.dumps(secret.decode())[1:-1].encode())
    return texts | {text.replace(b"+", b"-").replace(b"/", b"_") for text in texts if text != secret}


def _parts(data: bytes) -> Iterator[bytes]:
    yield data
    if data.startswith(_GZIP):
        try:
            yield from _parts(gzip.decompress(data))
        except (OSError, EOFError, zlib.error):
            return
    elif len(data) > 262 and data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                content = file.read() if file else b""
                if content.startswith(_GZIP):
                    yield from _parts(content)
                elif content[257:262] == b"ustar":
                    # A layer that is not compressed: the archive itself was searched, and its own files may be.
                    yield from _compressed(content)


def _compressed(archive: bytes) -> Iterator[bytes]:
    parts = _parts(archive)
    next(parts)
    yield from parts
