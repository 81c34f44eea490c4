"""New keys: a pair for images, and a pair with a certificate for kernel modules.

An image key is ECDSA on P-256, as `cosign generate-key-pair` makes one (sigstore/cosign: pkg/cosign/keys.go).

A module key is RSA: every kernel with signed modules verifies RSA, by PKCS#1 v1.5, and equal input gives equal
signatures. Kernels take 2048, 3072 and 4096 bits, in FIPS mode too (linux: crypto/rsa.c, rsa_check_key_length); 4096
are the default of the kernel's own module key (linux: certs/default_x509.genkey).

The certificate is like that one, and like those of `efikeygen --module` (rhboot/pesign: src/efikeygen.c): no authority,
for digital signatures, code signing, and kernel modules alone. With that last purpose shim verifies no boot loader and
no kernel by it, be it in `db` or a machine owner's key (rhboot/shim: shim.c, verify_eku). The kernel takes it all the
same: from `db` into its platform keyring, and a machine owner's key there too where its machine keyring refuses it
(linux: security/integrity/platform_certs/load_uefi.c, machine_keyring.c). No kernel compares its validity with a clock
(linux: crypto/asymmetric_keys/pkcs7_verify.c); openssl and people do.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kmatrix.effects.signing.key_files import (
    DEFAULT_YEARS,
    IMAGE_KEY,
    IMAGE_PUBLIC_KEY,
    MODULE_CERTIFICATE,
    MODULE_CERTIFICATE_DER,
    MODULE_KEY,
    KeyFile,
)

MODULE_KEY_BITS = 4096
_DAYS_PER_YEAR = 365.25
_MODULES_ALONE = x509.ObjectIdentifier("1.3.6.1.4.1.2312.16.1.2")


def new_image_key(password: str = "") -> tuple[KeyFile, KeyFile]:
    """Return a new private key (PEM, PKCS#8) and its public key (PEM, SubjectPublicKeyInfo).

    Args:
        password: encrypts the private key, unless it is empty.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return _private(IMAGE_KEY, key, password), KeyFile(IMAGE_PUBLIC_KEY, public)


def new_module_key(
    name: str, now: datetime, years: int = DEFAULT_YEARS, password: str = "", bits: int = MODULE_KEY_BITS
) -> tuple[KeyFile, KeyFile, KeyFile]:
    """Return a new private key (PEM, PKCS#8) and its self-signed certificate, as DER and as PEM.

    Args:
        name: the certificate's common name, of at most 64 characters: what people see in firmware and in /proc/keys.
        now: the present, with its time zone; the certificate is valid from an hour before, for clocks that differ.
        years: for how long it is valid.
        password: encrypts the private key, unless it is empty.
        bits: the size of the key.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING, _MODULES_ALONE])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=int(years * _DAYS_PER_YEAR)))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_digital_signature(), critical=True)
        .add_extension(purposes, critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(authority, critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        _private(MODULE_KEY, key, password),
        KeyFile(MODULE_CERTIFICATE_DER, certificate.public_bytes(Encoding.DER)),
        KeyFile(MODULE_CERTIFICATE, certificate.public_bytes(Encoding.PEM)),
    )


def _private(name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: str) -> KeyFile:
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return KeyFile(name, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), private=True)


def _digital_signature() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
