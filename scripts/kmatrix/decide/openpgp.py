"""Reads the fingerprint of an OpenPGP public key file (RFC 4880, sections 4.2, 5.5.2, 6.2 and 12.2)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

from kmatrix.values.errors import ProtocolError

_PUBLIC_KEY = 6
_ARMOR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n]+\r?\n)*?\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)


def key_fingerprints(key_file: bytes, name: str) -> tuple[str, ...]:
    """Return the v4 fingerprints (40 capital hexadecimal digits) of all primary keys in a key file.

    Args:
        key_file: armored or binary content.
        name: where it comes from, for errors.

    Raises:
        ProtocolError: it is not a public key file, or a key is not of version 4.
    """
    found = []
    for packet in _packets(_dearmored(key_file, name), name):
        if packet[:1] != b"\x04":
            raise ProtocolError(f"{name}: holds an OpenPGP key that is not of version 4")
        # A fingerprint is over the packet as if written with a two-octet length (section 12.2).
        found.append(hashlib.sha1(b"\x99" + len(packet).to_bytes(2, "big") + packet, usedforsecurity=False).hexdigest())
    return tuple(fingerprint.upper() for fingerprint in found)


def _dearmored(key_file: bytes, name: str) -> bytes:
    if b"-----BEGIN PGP" not in key_file:
        return key_file
    parts = []
    for block in _ARMOR.finditer(key_file):
        # The last line may be a checksum, which begins with an equals sign; newer programs leave it out.
        lines = [line.strip() for line in block[1].splitlines()]
        try:
            parts.append(base64.b64decode(b"".join(line for line in lines if not line.startswith(b"=")), validate=True))
        except binascii.Error as error:
            raise ProtocolError(f"{name}: its ASCII armor is damaged: {error}") from error
    if not parts:
        raise ProtocolError(f"{name}: holds no public key block")
    return b"".join(parts)


def _packets(data: bytes, name: str) -> Iterator[bytes]:
    """Yield the bodies of the primary public key packets."""
    position = 0
    while position < len(data):
        header = data[position]
        if not header & 0x80:
            raise ProtocolError(f"{name}: not an OpenPGP public key (octet {position} is no packet header)")
        try:
            if header & 0x40:
                tag = header & 0x3F
                length, start = _new_length(data, position + 1, name)
            else:
                tag = (header >> 2) & 0x0F
                width = (1, 2, 4, 0)[header & 0x03]
                length = int.from_bytes(data[position + 1 : position + 1 + width], "big") if width else len(data)
                start = position + 1 + width
        except IndexError as error:
            raise ProtocolError(f"{name}: ends in the middle of an OpenPGP packet") from error
        if start + length > len(data):
            raise ProtocolError(f"{name}: ends in the middle of an OpenPGP packet")
        if tag == _PUBLIC_KEY:
            yield data[start : start + length]
        position = start + length


def _new_length(data: bytes, position: int, name: str) -> tuple[int, int]:
    first = data[position]
    if first < 192:
        return first, position + 1
    if first < 224:
        return ((first - 192) << 8) + data[position + 1] + 192, position + 2
    if first == 255:
        return int.from_bytes(data[position + 1 : position + 5], "big"), position + 5
    raise ProtocolError(f"{name}: a key packet of unknown length is not supported")
