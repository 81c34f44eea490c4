"""Fingerprints of key files, as gpg itself tells them (tests/data/openpgp was made with gpg 2.2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmatrix.decide.openpgp import key_fingerprints
from kmatrix.values.errors import ProtocolError

DATA = Path(__file__).parents[1] / "data" / "openpgp"
# By `gpg --show-keys --with-colons`; the first key is RSA with a subkey, the second Ed25519.
FIRST = "DBA356439DFC359097A2046769093DE9EFFCD428"
SECOND = "9B53E8699E5F60CE4E2B94ACA95B3FF2F98F91CE"


def key(name: str) -> bytes:
    return (DATA / name).read_bytes()


def new_format(body: bytes, width: int) -> bytes:
    """A public key packet with a length of one, two or five octets."""
    length = len(body)
    if width == 2:
        octets = bytes([192 + ((length - 192) >> 8), (length - 192) & 0xFF])
    else:
        octets = bytes([length]) if width == 1 else b"\xff" + length.to_bytes(4, "big")
    return bytes([0xC0 | 6]) + octets + body


# The primary key's packet is each file's first, in the old format with a length of two octets, or of one.
FIRST_BODY = key("first.gpg")[3 : 3 + int.from_bytes(key("first.gpg")[1:3], "big")]
SECOND_BODY = key("second.gpg")[2 : 2 + key("second.gpg")[1]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (key("first.asc"), (FIRST,)),
        (key("first.gpg"), (FIRST,)),
        (key("second.gpg"), (SECOND,)),
        (key("both.asc"), (FIRST, SECOND)),
        (key("first.asc") + b"\n" + key("both.asc"), (FIRST, FIRST, SECOND)),
        (b"A page about the key:\n\n" + key("first.asc") + b"the end\n", (FIRST,)),
        (key("first.asc").replace(b"\n", b"\r\n"), (FIRST,)),
        (key("first.asc").replace(b"BLOCK-----\n", b"BLOCK-----\nVersion: x\nComment: y\n", 1), (FIRST,)),
        (new_format(FIRST_BODY, 2), (FIRST,)),
        (new_format(FIRST_BODY, 5), (FIRST,)),
        (new_format(SECOND_BODY, 1), (SECOND,)),
    ],
)
def test_every_primary_key_is_found(content: bytes, expected: tuple[str, ...]) -> None:
    assert key_fingerprints(content, "key") == expected


def test_armor_without_a_checksum_is_whole() -> None:
    lines = [line for line in key("first.asc").splitlines(keepends=True) if not line.startswith(b"=")]
    assert key_fingerprints(b"".join(lines), "key") == (FIRST,)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<html>404 Not Found</html>", "not an OpenPGP public key"),
        (b"-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP MESSAGE-----\n", "holds no public key block"),
        (key("first.asc")[:-40], "holds no public key block"),
        (key("first.asc").replace(b"M", b"*", 1), "holds no|armor is damaged"),
        (key("first.gpg")[:-5], "ends in the middle"),
        (key("first.gpg")[:2], "ends in the middle"),
        (b"\x99", "ends in the middle"),
        (b"\xc6", "ends in the middle"),
        (b"\xc6\xe0" + b"x" * 50, "unknown length"),
        (new_format(b"\x03" + FIRST_BODY[1:], 5), "not of version 4"),
        (new_format(b"\x06" + FIRST_BODY[1:], 5), "not of version 4"),
    ],
)
def test_what_is_no_key_file_is_told(content: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=f"the-key: .*({why})"):
        key_fingerprints(content, "the-key")


def test_nothing_holds_no_key() -> None:
    assert key_fingerprints(b"", "key") == ()
