"""The keys of image signatures and attestations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kmatrix.values.matrix import ImageSigning

# The environment variable with the password of the private key, or with the PIN of the token that keeps it.
PASSWORD = "KMATRIX_IMAGE_KEY_PASSWORD"


@dataclass(frozen=True)
class PublicKey:
    """A public key; `pem` is its SubjectPublicKeyInfo."""

    pem: str

    @property
    def hint(self) -> str:
        """The base64 of the SHA-256 over its DER form, as cosign names a key in a bundle."""
        raise NotImplementedError

    def verify(self, signature: bytes, payload: bytes) -> bool:
        """Return whether this key signed the payload."""
        raise NotImplementedError


@dataclass(frozen=True)
class ImageSigner:
    """A private key, or the service that keeps one; safe to share between threads.

    `public` is its public half.
    """

    public: PublicKey
    _sign: Callable[[bytes], bytes] = field(repr=False)

    def sign(self, payload: bytes) -> bytes:
        """Return a signature of the payload.

        It is ECDSA P-256 with SHA-256 (DER), RSA PKCS#1 v1.5 with SHA-256, or Ed25519, as the key is.

        Raises:
            UnreachableError: the service that keeps the key does not sign.
        """
        raise NotImplementedError


def load_public_keys(signing: ImageSigning, root: Path) -> tuple[PublicKey, ...]:
    """Return the public keys whose signatures a profile accepts.

    Raises:
        InputError: a file is missing or holds no public key.
    """
    raise NotImplementedError


def load_image_signer(signing: ImageSigning, root: Path, environment: Mapping[str, str]) -> ImageSigner:
    """Return the key that a profile signs images with.

    Raises:
        InputError: the file or variable is missing or empty, holds no private key in PEM or needs another password, or
            the public half is not among the profile's public keys.
        UnreachableError: the service that keeps the key does not sign.
    """
    raise NotImplementedError
