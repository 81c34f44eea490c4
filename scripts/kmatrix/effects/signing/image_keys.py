"""The keys of image signatures and attestations: read from files, variables and services, and never shown.

A signature is ECDSA on P-256 with SHA-256, RSA (PKCS#1 v1.5) with SHA-256, or Ed25519. cosign and CRI-O verify each of
them with nothing but the public key (sigstore/sigstore, pkg/signature/verifier.go, LoadVerifier with SHA-256).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from kmatrix.effects.signing.environment import IMAGE_KEY_PASSWORD, NEXT_IMAGE_KEY_PASSWORD
from kmatrix.effects.signing.key_services import signed_by_service
from kmatrix.effects.signing.private_keys import read_private_key
from kmatrix.values.errors import InputError
from kmatrix.values.matrix import ENV, FILE, ImageSigning

_KINDS = "ECDSA on the curve P-256, RSA of 2048 bits or more, or Ed25519"
_LEAST_RSA_BITS = 2048
_NEW_KEY = "Create a key pair with `nox -s keys -- new FOLDER`."
_PROBE = b"kmatrix asks a key service which public key is that of its private key"
_Public = EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey


@dataclass(frozen=True)
class PublicKey:
    """A public key; `pem` is its SubjectPublicKeyInfo, in the one spelling that equal keys have."""

    pem: str

    @classmethod
    def parse(cls, pem: bytes) -> PublicKey:
        """Return the public key in a PEM.

        Raises:
            ValueError: there is none, or it is of a kind that no image is signed with.
        """
        try:
            found = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError("it holds no public key in PEM (-----BEGIN PUBLIC KEY-----)") from error
        return cls(_pem_of(_supported(found)))

    @property
    def hint(self) -> str:
        """The base64 of the SHA-256 over its DER form, as cosign names a key in a bundle."""
        der = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(hashlib.sha256(der).digest()).decode()

    def verify(self, signature: bytes, payload: bytes) -> bool:
        """Return whether this key signed the payload."""
        key = self.key
        try:
            if isinstance(key, EllipticCurvePublicKey):
                key.verify(signature, payload, ECDSA(SHA256()))
            elif isinstance(key, RSAPublicKey):
                key.verify(signature, payload, PKCS1v15(), SHA256())
            else:
                key.verify(signature, payload)
        except InvalidSignature:
            return False
        return True

    @cached_property
    def key(self) -> _Public:
        """The key as `cryptography` has it."""
        return _supported(load_pem_public_key(self.pem.encode()))


@dataclass(frozen=True)
class ImageSigner:
    """A private key, or the service that keeps one; safe to share between threads.

    `public` is its public half.
    """

    public: PublicKey
    _sign: Callable[[bytes], bytes] = field(repr=False)

    def sign(self, payload: bytes) -> bytes:
        """Return a signature of the payload: DER for ECDSA, whose signatures differ each time.

        Raises:
            UnreachableError: the service that keeps the key does not sign.
        """
        return self._sign(payload)


def load_public_keys(signing: ImageSigning, root: Path) -> tuple[PublicKey, ...]:
    """Return the public keys whose signatures a profile accepts, each once.

    Raises:
        InputError: a file is missing or holds no public key.
    """
    return tuple(dict.fromkeys(named_public_keys(signing, root).values()))


def named_public_keys(signing: ImageSigning, root: Path) -> dict[str, PublicKey]:
    """Return the same by the path that the profile has; two files may hold one key.

    Raises:
        InputError: a file is missing or holds no public key.
    """
    return {path: _public_key(root / path) for path in signing.public_keys}


def load_image_signer(
    signing: ImageSigning, root: Path, environment: Mapping[str, str], say: Callable[[str], None] = lambda _: None
) -> ImageSigner:
    """Return the key that a profile signs images with, `next_key` not counted.

    Args:
        signing: of the profile.
        root: the project's folder, at which paths start.
        environment: has the key, if the profile names a variable, and its password or PIN, if it needs one.
        say: see `read_private_key`.

    Raises:
        InputError: the profile has no key; the file or variable is missing or empty, holds no private key in PEM, or
            needs another password; git tracks the file; a package for the key's service is not installed; or the public
            half is not among the profile's public keys.
        UnreachableError: the service that keeps the key does not sign.
    """
    place = signing.key
    if place is None:
        raise InputError("image_signing: key is missing, so nothing can be signed", "Add it to the profile.")
    return _signer(signing, place, IMAGE_KEY_PASSWORD, root, environment, say)


def load_image_signers(
    signing: ImageSigning, root: Path, environment: Mapping[str, str], say: Callable[[str], None] = lambda _: None
) -> tuple[ImageSigner, ...]:
    """Return all keys that a profile signs images with, each once: the key, and the one that is to replace it.

    The arguments and what is raised are those of `load_image_signer`.
    """
    signer = load_image_signer(signing, root, environment, say)
    if signing.next_key is None:
        return (signer,)
    following = _signer(signing, signing.next_key, NEXT_IMAGE_KEY_PASSWORD, root, environment, say)
    # The secrets of a CI may be exchanged before the profile is.
    return (signer,) if following.public == signer.public else (signer, following)


def _signer(
    signing: ImageSigning,
    place: str,
    password: str,
    root: Path,
    environment: Mapping[str, str],
    say: Callable[[str], None],
) -> ImageSigner:
    """Return a key by its place; `password` is the variable that has its password or PIN."""
    known = load_public_keys(signing, root)
    if not place.startswith((FILE, ENV)):
        return _of_service(place, known, environment.get(password, ""), password)
    signer = _of_key(read_private_key(place, password, root, environment, say), place)
    if signer.public not in known:
        raise InputError(
            f"image_signing: the public half of key ({place}) is not among public_keys: "
            f"{', '.join(signing.public_keys)}",
            "Nobody could verify its signatures. Write it with `openssl pkey -in KEY -pubout -out PUB`, and name PUB "
            "in public_keys.",
        )
    return signer


def _public_key(path: Path) -> PublicKey:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"image_signing: public_keys: {path} cannot be read: {error.strerror}",
            f"Put the PEM of the public key there. {_NEW_KEY}",
        ) from error
    if b"PRIVATE KEY-----" in content:
        raise InputError(
            f"image_signing: public_keys: {path} holds a private key",
            "Remove it from there, and replace it if it was ever committed or shared. Write its public half with "
            "`openssl pkey -in KEY -pubout`.",
        )
    try:
        return PublicKey.parse(content)
    except ValueError as error:
        raise InputError(f"image_signing: public_keys: {path}: {error}", _NEW_KEY) from error


def _of_key(key: PrivateKeyTypes, place: str) -> ImageSigner:
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        elliptic = key
        return ImageSigner(_half(elliptic.public_key()), lambda payload: elliptic.sign(payload, ECDSA(SHA256())))
    if isinstance(key, RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
        rsa = key
        return ImageSigner(_half(rsa.public_key()), lambda payload: rsa.sign(payload, PKCS1v15(), SHA256()))
    if isinstance(key, Ed25519PrivateKey):
        return ImageSigner(_half(key.public_key()), key.sign)
    raise InputError(f"image_signing: key ({place}) is of another kind than {_KINDS}", _NEW_KEY)


def _of_service(address: str, known: tuple[PublicKey, ...], secret: str, variable: str) -> ImageSigner:
    """Return the signer of a key service: the public key is the one that verifies what the service signs."""
    refusal: InputError | None = None
    for public in known:
        try:
            sign = signed_by_service(address, public.key, secret, variable)
        except InputError as error:
            # A token of ECDSA keys refuses an RSA key, which the next one need not be.
            refusal = refusal or error
            continue
        # An error of the service itself is not tried again: a token locks itself after a few wrong PINs.
        if public.verify(sign(_PROBE), _PROBE):
            return ImageSigner(public, sign)
    raise refusal or InputError(
        f"image_signing: none of public_keys verifies what the key at {address} signs",
        "Export the public key from the service, and name its file in public_keys.",
    )


def _supported(key: object) -> _Public:
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    if isinstance(key, RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS:
        return key
    if isinstance(key, Ed25519PublicKey):
        return key
    raise ValueError(f"it holds a public key of another kind than {_KINDS}")


def _half(key: _Public) -> PublicKey:
    return PublicKey(_pem_of(key))


def _pem_of(key: _Public) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
