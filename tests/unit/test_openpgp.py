"""Key files as gpg reads them (tests/data/openpgp was made with gpg 2.2), and which keys may vouch for packages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kmatrix.decide.formats.openpgp import check_key, public_keys
from kmatrix.values.errors import ProtocolError
from tests.unit.support.openpgp_keys import Gpg, gpg_home, needs_gpg

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


def fingerprints(content: bytes, name: str = "key") -> tuple[str, ...]:
    return tuple(found.fingerprint for found in public_keys(content, name))


# The primary key's packet is each file's first, in the old format with a length of two octets, or of one.
FIRST_LENGTH = int.from_bytes(key("first.gpg")[1:3], "big")
FIRST_BODY, FIRST_REST = key("first.gpg")[3 : 3 + FIRST_LENGTH], key("first.gpg")[3 + FIRST_LENGTH :]
SECOND_LENGTH = key("second.gpg")[1]
SECOND_BODY, SECOND_REST = key("second.gpg")[2 : 2 + SECOND_LENGTH], key("second.gpg")[2 + SECOND_LENGTH :]
ASC = key("first.asc")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (ASC, (FIRST,)),
        (key("first.gpg"), (FIRST,)),
        (key("second.gpg"), (SECOND,)),
        (key("both.asc"), (FIRST, SECOND)),
        (key("first.gpg") + key("second.gpg"), (FIRST, SECOND)),
        (ASC + b"\n" + key("both.asc"), (FIRST, SECOND)),
        (b"A page about the key:\n\n" + ASC + b"the end\n", (FIRST,)),
        (b"\xef\xbb\xbf" + ASC, (FIRST,)),
        (ASC.replace(b"\n", b"\r\n"), (FIRST,)),
        (ASC.replace(b"\n", b" \t\n"), (FIRST,)),
        (ASC.replace(b"\n\n", b"\n \n", 1), (FIRST,)),
        (ASC.replace(b"\n\n", b"\n", 1), (FIRST,)),
        (ASC.replace(b"BLOCK-----\n", b"BLOCK-----\nVersion: x\nComment: y\n", 1), (FIRST,)),
        (ASC.replace(b"BLOCK-----\n\n", b"BLOCK-----\nVersion: x\n", 1), (FIRST,)),
        (new_format(FIRST_BODY, 2) + FIRST_REST, (FIRST,)),
        (new_format(FIRST_BODY, 5) + FIRST_REST, (FIRST,)),
        (new_format(SECOND_BODY, 1) + SECOND_REST, (SECOND,)),
    ],
)
def test_every_primary_key_is_found_once(content: bytes, expected: tuple[str, ...]) -> None:
    assert fingerprints(content) == expected


def test_armor_without_a_checksum_is_whole() -> None:
    lines = [line for line in ASC.splitlines(keepends=True) if not line.startswith(b"=")]
    assert fingerprints(b"".join(lines)) == (FIRST,)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<html>404 Not Found</html>", "not readable as an OpenPGP public key"),
        (b"-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP MESSAGE-----\n", "holds no public key block"),
        (
            b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----\n",
            "holds no public key",
        ),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n" * 1000, "holds no public key block"),
        (ASC[:-40], "holds no public key block"),
        (ASC.replace(b"M", b"*", 1), "armor is damaged"),
        (key("first.gpg")[:-5], "not readable as an OpenPGP public key"),
        (key("first.gpg")[:2], "not readable as an OpenPGP public key"),
        (b"\x99", "not readable as an OpenPGP public key"),
        (b"\xc6", "not readable as an OpenPGP public key"),
        (b"\xc6\xe0" + b"x" * 50, "not readable as an OpenPGP public key"),
        # Lengths no key has: the first is more than a version 4 fingerprint can say.
        (new_format(b"\x04" + b"x" * 69999, 5), "has 70006 bytes, too many"),
        (b"\xc6\xff\xff\xff\xff\xff\x04abc", "not readable as an OpenPGP public key"),
        (b"\xc6\xff\x00\x01", "not readable as an OpenPGP public key"),
    ],
)
def test_what_is_no_key_file_is_told(content: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=f"^the-key: .*{why}") as caught:
        public_keys(content, "the-key")
    assert "\n" not in caught.value.message
    assert "--packages" in caught.value.hint


@pytest.mark.parametrize("version", [b"\x03", b"\x06"])
def test_a_key_of_another_version_is_not_the_wanted_one(version: bytes) -> None:
    with pytest.raises(ProtocolError, match="the-key"):
        check_key(new_format(version + FIRST_BODY[1:], 5) + FIRST_REST, FIRST, "the-key")


def test_nothing_holds_no_key() -> None:
    assert public_keys(b"", "key") == ()
    with pytest.raises(ProtocolError, match=f"^the-key holds no key, the matrix names {FIRST}") as caught:
        check_key(b"", FIRST, "the-key")
    assert "matrix.yaml" in caught.value.hint


def test_the_wanted_key_beside_others_passes() -> None:
    check_key(key("both.asc"), SECOND, "key")
    check_key(ASC + ASC, FIRST, "key")


def test_other_keys_than_the_wanted_are_named() -> None:
    with pytest.raises(ProtocolError, match=f"^the-key holds the key {FIRST}, the matrix names {SECOND}") as caught:
        check_key(ASC, SECOND, "the-key")
    assert "through an independent channel" in caught.value.hint


@pytest.fixture
def gpg(tmp_path: Path) -> Iterator[Gpg]:
    with gpg_home(tmp_path / "g") as home:
        yield home


@needs_gpg
def test_a_revoked_key_is_refused_and_one_beside_it_is_not(gpg: Gpg) -> None:
    revoked, good = gpg.key("revoked"), gpg.key("good")
    before = gpg.export(revoked)
    check_key(before, revoked, "key")
    gpg.revoke(revoked)
    with pytest.raises(ProtocolError, match=f"the-key: its owner has revoked the key {revoked}") as caught:
        check_key(gpg.export(revoked), revoked, "the-key")
    assert "Ask the vendor for the new key" in caught.value.hint
    check_key(gpg.export(revoked, good), good, "key")
    # An older copy beside the revoked one does not help.
    with pytest.raises(ProtocolError, match="revoked"):
        check_key(gpg.export(revoked) + before, revoked, "key")


@needs_gpg
def test_a_revocation_that_another_key_signed_revokes_nothing(gpg: Gpg) -> None:
    good, other = gpg.key("good"), gpg.key("other")
    foreign = (gpg.home / "openpgp-revocs.d" / f"{other}.rev").read_bytes().partition(b":-----BEGIN")[2]
    certificate = gpg.run("--dearmor", given=b"-----BEGIN" + foreign)
    plain = gpg.run("--export", good)
    length = int.from_bytes(plain[1:3], "big")
    check_key(plain[: 3 + length] + certificate + plain[3 + length :], good, "key")


@needs_gpg
def test_an_expired_key_passes(gpg: Gpg) -> None:
    expired = gpg.key("expired", "--faked-system-time", "20200101T000000", expires="1y")
    assert gpg.run("--with-colons", "--list-keys", expired).decode().splitlines()[1].startswith("pub:e:")
    check_key(gpg.export(expired), expired, "key")
