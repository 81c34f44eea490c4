"""Module keys and certificates, made once for all tests of a process, and modules signed with them."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from cryptography.x509.oid import NameOID

_OPTIONS = [PKCS7Options.DetachedSignature, PKCS7Options.Binary, PKCS7Options.NoCerts]
_START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class ModuleKey:
    """An RSA key and its certificate."""

    key: RSAPrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@lru_cache(maxsize=8)
def module_key(name: str = "module key", bits: int = 2048, identified: bool = False) -> ModuleKey:
    """Return the key pair of that name; the same for every call. `identified` adds a subject key identifier."""
    key = generate_private_key(65537, bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(_START)
    builder = builder.not_valid_after(_START + datetime.timedelta(days=3650))
    if identified:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return ModuleKey(key, builder.sign(key, hashes.SHA256()))


def signed(
    module: bytes, by: ModuleKey, digest: hashes.SHA256 | hashes.SHA512 | None = None, attributes: bool = False
) -> bytes:
    """Return a module with a signature as the kernel's sign-file appends one."""
    options = [*_OPTIONS, PKCS7Options.NoCapabilities if attributes else PKCS7Options.NoAttributes]
    builder = PKCS7SignatureBuilder().set_data(module).add_signer(by.certificate, by.key, digest or hashes.SHA256())
    return with_message(module, builder.sign(Encoding.DER, options))


def with_message(module: bytes, message: bytes) -> bytes:
    """Return a module with that message as its signature."""
    info = bytes([0, 0, 2, 0, 0, 0, 0, 0]) + len(message).to_bytes(4, "big")
    return module + message + info + b"~Module signature appended~\n"
