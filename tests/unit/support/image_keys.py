"""Keys of image signatures for tests: made once, as making an RSA key takes time."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from kmatrix.effects.signing.image_keys import ImageSigner, load_image_signer
from kmatrix.values.matrix import ImageSigning

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey


_KEYS: dict[tuple[str, int], PrivateKey] = {}


def private_key(kind: str = "p256", which: int = 0) -> PrivateKey:
    """Return the private key with this number, of a kind."""
    if (kind, which) not in _KEYS:
        _KEYS[kind, which] = _new_key(kind)
    return _KEYS[kind, which]


def _new_key(kind: str) -> PrivateKey:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "rsa-short":
        return rsa.generate_private_key(65537, 1024)
    if kind == "dsa":
        return dsa.generate_private_key(2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP384R1() if kind == "p384" else ec.SECP256R1())


def private_pem(key: PrivateKey, password: str = "", traditional: bool = False) -> bytes:
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    form = PrivateFormat.TraditionalOpenSSL if traditional else PrivateFormat.PKCS8
    return key.private_bytes(Encoding.PEM, form, encryption)


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write_keys(root: Path, key: PrivateKey, password: str = "", traditional: bool = False) -> ImageSigning:
    """Write a key pair below a folder, and return the part of a profile that names it."""
    (root / "images.key").write_bytes(private_pem(key, password, traditional))
    (root / "images.pub").write_bytes(public_pem(key))
    return ImageSigning(key="file:images.key", public_keys=("images.pub",))


def image_signer(root: Path, kind: str = "p256", which: int = 0) -> ImageSigner:
    """Return a signer, whose key lies below the folder."""
    folder = root / f"{kind}-{which}"
    folder.mkdir(exist_ok=True)
    return load_image_signer(write_keys(folder, private_key(kind, which)), folder, {})
