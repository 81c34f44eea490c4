"""The key and certificate that kernel modules are signed with: read, and checked to belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kmatrix.effects.signing.environment import MODULE_KEY_PASSWORD
from kmatrix.effects.signing.private_keys import read_private_key
from kmatrix.values.errors import InputError
from kmatrix.values.matrix import ModuleSigning

_LEAST_BITS = 2048


@dataclass(frozen=True)
class ModuleSigner:
    """A module key (PKCS#8, PEM, not encrypted), which no message may show, and its certificate (DER)."""

    key: bytes
    certificate: bytes

    def __repr__(self) -> str:
        """Return a text without the key."""
        return "ModuleSigner(…)"


def load_certificate(signing: ModuleSigning, root: Path) -> bytes:
    """Return the certificate of a profile's modules in DER.

    Raises:
        InputError: it is not there, is no certificate, or not one of an RSA key: only the signatures of those are the
            same for the same module (PKCS#1 v1.5), and every kernel knows them.
    """
    path = root / signing.certificate
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{signing.certificate}: there is no such file, and module_signing names it as the certificate",
            "Put it there; `nox -s keys -- new FOLDER` creates one with its key.",
        ) from None
    except OSError as error:
        raise InputError(
            f"{signing.certificate}: cannot read the certificate: {error.strerror}", "Check its permissions."
        ) from error
    try:
        pem = b"-----BEGIN CERTIFICATE" in content
        certificate = x509.load_pem_x509_certificate(content) if pem else x509.load_der_x509_certificate(content)
        public = certificate.public_key()
    except ValueError as error:
        raise InputError(
            f"{signing.certificate} is no X.509 certificate in PEM or DER", "Name the certificate of the module key."
        ) from error
    if not isinstance(public, RSAPublicKey) or public.key_size < _LEAST_BITS:
        raise InputError(
            f"{signing.certificate} is not the certificate of an RSA key of {_LEAST_BITS} bits or more",
            "Create one with `nox -s keys -- new FOLDER`: RSA signatures of a module are reproducible.",
        )
    return certificate.public_bytes(Encoding.DER)


def load_module_signer(
    signing: ModuleSigning, root: Path, environment: Mapping[str, str], say: Callable[[str], None] = lambda _: None
) -> ModuleSigner:
    """Return the key of a profile's modules with its certificate.

    Args:
        signing: names both.
        root: the project's folder.
        environment: the variables with keys and passwords (see `take_keys`).
        say: see `read_private_key`.

    Raises:
        InputError: one cannot be read, git tracks the key, or they do not belong together.
    """
    certificate = load_certificate(signing, root)
    key = read_private_key(signing.key, MODULE_KEY_PASSWORD, root, environment, say)
    if (
        not isinstance(key, RSAPrivateKey)
        or key.public_key() != x509.load_der_x509_certificate(certificate).public_key()
    ):
        raise InputError(
            f"the module key ({signing.key}) is not the key of the certificate {signing.certificate}",
            "Name the certificate that belongs to the key.",
        )
    return ModuleSigner(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), certificate)
