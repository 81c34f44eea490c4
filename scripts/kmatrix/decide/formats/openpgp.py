"""Check whether an OpenPGP key file holds the key that must have signed the packages, and whether it is revoked.

pysequoia, the Python binding of Sequoia-PGP, reads packets, fingerprints and revocations: it is maintained (a release
every few months, wheels for x86_64 and aarch64, Apache-2.0, typed), and RHEL 10's rpm verifies with the same library.
PGPy had its last release in 2022. `gpg` and `rpmkeys` judge again in the container, where `unpack-packages` verifies
the packages; `discover` must not need them, as it starts no container. Armor is removed here (RFC 9580, section 6.2),
since gpg and rpm accept looser forms than the library does: trailing blanks, no blank line after the headers.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from pysequoia import Cert

from kmatrix.values.errors import ProtocolError

# A length beyond two octets cannot be a version 4 key's, and makes the library panic.
_LARGEST = 0xFFFF
_ARMOR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)
_NOT_A_KEY = (
    "Look at the file: it must be an OpenPGP public key of at most 64 KiB, binary or with armor. If a proxy or a"
    " sign-in page answers in its place, check packages in matrix.yaml (--packages, KMATRIX_PACKAGES)."
)


@dataclass(frozen=True)
class PublicKey:
    """A primary key of a key file: its fingerprint in capital hexadecimal digits, and whether it is revoked."""

    fingerprint: str
    revoked: bool


def public_keys(key_file: bytes, name: str) -> tuple[PublicKey, ...]:
    """Return the primary keys of a key file, each once, in the file's order.

    Args:
        key_file: armored or binary content; several blocks, and text around them, are read as gpg does.
        name: where it comes from, for errors.

    Raises:
        ProtocolError: it is not a public key file.
    """
    if len(key_file) > _LARGEST:
        raise ProtocolError(f"{name}: has {len(key_file)} bytes, too many for a public key file", _NOT_A_KEY)
    found: dict[str, bool] = {}
    for certificate in _certificates(_dearmored(key_file, name), name):
        fingerprint = certificate.fingerprint.upper()
        # Of a key that is there twice, one copy may lack the revocation.
        found[fingerprint] = found.get(fingerprint, False) or certificate.is_revoked
    return tuple(PublicKey(fingerprint, revoked) for fingerprint, revoked in found.items())


def check_key(key_file: bytes, wanted: str, name: str) -> None:
    """Refuse a key file that does not hold the wanted key, or holds it revoked.

    Other keys beside it do no harm, as `unpack-packages` imports the wanted one alone. An expired key passes: the
    vendor did sign the packages from before its expiry, and rpm judges a key at the time of the signature, too
    (rpm-software-management/rpm-sequoia, src/lib.rs, pgp_verify_signature).

    Args:
        key_file: the file's content.
        wanted: the fingerprint that the matrix names, in capital hexadecimal digits.
        name: where the file comes from, for errors.

    Raises:
        ProtocolError: the key is missing or revoked, or the file is not a key file.
    """
    keys = {key.fingerprint: key for key in public_keys(key_file, name)}
    if wanted not in keys:
        held = f"holds the key {', '.join(keys)}" if keys else "holds no key"
        raise ProtocolError(
            f"{name} {held}, the matrix names {wanted}",
            "If the vendor has a new key, verify the new fingerprint through an independent channel, then update"
            " matrix.yaml.",
        )
    if keys[wanted].revoked:
        raise ProtocolError(
            f"{name}: its owner has revoked the key {wanted}, so it vouches for no package any more",
            "Ask the vendor for the new key, verify its fingerprint through an independent channel, and put it into"
            " matrix.yaml as key_fingerprint; do not install packages that only the revoked key has signed.",
        )


def _dearmored(key_file: bytes, name: str) -> bytes:
    if b"-----BEGIN PGP" not in key_file:
        return key_file
    parts = []
    for block in _ARMOR.finditer(key_file):
        lines = [line.strip() for line in block[1].splitlines()]
        while lines and (not lines[0] or b":" in lines[0]):
            del lines[0]
        # The last line may be a checksum, which begins with an equals sign; newer programs leave it out.
        try:
            parts.append(base64.b64decode(b"".join(line for line in lines if not line.startswith(b"=")), validate=True))
        except binascii.Error as error:
            raise ProtocolError(f"{name}: its ASCII armor is damaged: {error}", _NOT_A_KEY) from error
    if not parts:
        raise ProtocolError(f"{name}: holds no public key block", _NOT_A_KEY)
    return b"".join(parts)


def _certificates(packets: bytes, name: str) -> list[Cert]:
    try:
        return Cert.split_bytes(packets)
    except RuntimeError as error:
        # The library may add a stack trace to its first line.
        reason = str(error).partition("\n")[0]
        raise ProtocolError(f"{name}: not readable as an OpenPGP public key: {reason}", _NOT_A_KEY) from error
