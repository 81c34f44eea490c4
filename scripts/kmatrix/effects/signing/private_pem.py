"""Read the PEM of a private key from where a profile says it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kmatrix.values.errors import InputError

_FILE = "file:"
_ENV = "env:"
# sigstore/cosign, pkg/cosign/keys.go: its own encryption, which no other program reads.
_OF_COSIGN = (b"BEGIN ENCRYPTED SIGSTORE PRIVATE KEY", b"BEGIN ENCRYPTED COSIGN PRIVATE KEY")
# Longer than any key with its certificates.
_MOST_BYTES = 1 << 20


def read_private_pem(key: str, place: str, root: Path, environment: Mapping[str, str]) -> bytes:
    """Return the PEM of a private key.

    Args:
        key: the key of matrix.yaml that names the place, for messages.
        place: `file:PATH` or `env:VARIABLE`.
        root: the folder at which PATH starts.
        environment: has VARIABLE.

    Raises:
        InputError: the file or the variable is missing or empty, or is no PEM of a private key that other programs
            than cosign read. No message has any of its content.
    """
    if place.startswith(_ENV):
        name = place.removeprefix(_ENV)
        content = environment.get(name, "").encode()
        if not content.strip():
            raise InputError(
                f"{key}: the environment variable {name} is {'empty' if name in environment else 'not set'}",
                f"Set {name} to the PEM of the private key; in CI, from a secret.",
            )
    else:
        path = root / place.removeprefix(_FILE)
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_BYTES)
        except OSError as error:
            raise InputError(
                f"{key}: {path} cannot be read: {error.strerror}",
                "Put the PEM of the private key there, readable by you alone, or name an environment variable with "
                "env:VARIABLE.",
            ) from error
        if not content.strip():
            raise InputError(f"{key}: {path} is empty", "Put the PEM of the private key there.")
    if any(mark in content for mark in _OF_COSIGN):
        raise InputError(
            f"{key}: {place} is in the encrypted form of cosign's own, which other programs cannot read",
            "Create a key pair in PEM with `nox -s keys -- new`, and list the public key of the old one beside the new "
            "one in public_keys. cosign verifies signatures of both.",
        )
    if b"PRIVATE KEY-----" not in content:
        raise InputError(
            f"{key}: {place} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)",
            "Create a key pair with `nox -s keys -- new`, or convert the key with `openssl pkey -in KEY`.",
        )
    if b"BEGIN OPENSSH PRIVATE KEY" in content:
        raise InputError(
            f"{key}: {place} is a key of OpenSSH's form",
            "Create a key pair with `nox -s keys -- new`, or convert a copy with `ssh-keygen -p -m PKCS8 -f COPY`.",
        )
    return content
