"""Judge the signature of a module against the certificate that it must be signed with (rule 8).

The form is that of the kernel's scripts/sign-file.c: a PKCS#7 message after the module, then `struct module_signature`
(include/linux/module_signature.h) and a line that marks it. Linux reads no more of the message than is judged here
(crypto/asymmetric_keys/pkcs7_parser.c, pkcs7_verify.c).
"""

from __future__ import annotations

import hashlib
from typing import Any

from asn1crypto import cms
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from kmatrix.decide.formats.elf_form import split_signature
from kmatrix.values import labels
from kmatrix.values.cells import Finding
from kmatrix.values.module import Expectation, ImageFacts, certificate_path

_HASH = "sha256"
# rsaEncryption, the one name of RSA that the kernel knows in a message (pkcs7_sig_note_pkey_algo).
_RSA = "1.2.840.113549.1.1.1"


def check_signature(module: bytes, image: ImageFacts, expectation: Expectation) -> list[Finding]:
    """Check rule 8: the module has the expected signature, is unchanged since, and has the certificate beside it.

    Args:
        module: the module's file; its ELF part is sound.
        image: the facts read from its image.
        expectation: has the certificate; a module of one without need not be signed, and is not checked here.
    """
    return [*_check_message(module, expectation.certificate), *_check_certificate(image, expectation)]


def _check_message(module: bytes, certificate: bytes) -> list[Finding]:
    body, message = split_signature(module)
    if not message:
        text = "the module is not signed: a kernel under Secure Boot refuses it"
        return [_finding("signature-missing", text, f"signed by {_named(certificate)}", "no signature")]
    try:
        signer = _signer_of(message)
        issuer, serial = signer["sid"].chosen["issuer"].dump(), signer["sid"].chosen["serial_number"].native
        used = signer["digest_algorithm"]["algorithm"].native
        has_attributes = bool(signer["signed_attrs"])
        value = signer["signature"].native
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        text = f"the module's signature is no PKCS#7 message as the kernel's sign-file writes it ({error!r:.120})"
        return [_finding("signature-malformed", text, "one signer, by issuer and serial number", "")]
    wanted = x509.load_der_x509_certificate(certificate)
    if (issuer, serial) != (wanted.issuer.public_bytes(), wanted.serial_number):
        text = "the module is signed with another certificate than the profile's"
        return [
            _finding("signature-signer", text, f"serial number {wanted.serial_number:x}", f"serial number {serial:x}")
        ]
    if used != _HASH or has_attributes:
        text = "the module's signature has another form than this project makes: equal modules would differ"
        form = f"{used}, {'with' if has_attributes else 'without'} signed attributes"
        return [_finding("signature-form", text, f"{_HASH}, without signed attributes", form)]
    public = wanted.public_key()
    try:
        if not isinstance(public, RSAPublicKey):
            raise InvalidSignature
        public.verify(value, body, PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        text = "the module's signature does not verify: the file was changed after it was signed"
        return [_finding("signature-invalid", text, "a signature over the module's bytes", "of other bytes")]
    return []


def _signer_of(message: bytes) -> Any:
    content_info: Any = cms.ContentInfo
    content = content_info.load(message, strict=True)
    if content["content_type"].native != "signed_data":
        raise ValueError(f"its type is {content['content_type'].native}")
    about = content["content"]["encap_content_info"]
    if about["content_type"].native != "data" or about["content"].native is not None:
        raise ValueError(f"it holds {about['content_type'].native} instead of being about the bytes before it")
    (signer,) = content["content"]["signer_infos"]
    if (algorithm := signer["signature_algorithm"]["algorithm"].dotted) != _RSA:
        raise ValueError(f"its algorithm is {algorithm}")
    if signer["sid"].name != "issuer_and_serial_number":
        raise ValueError(f"its signer is named by {signer['sid'].name}")
    return signer


def _check_certificate(image: ImageFacts, expectation: Expectation) -> list[Finding]:
    """Check that file and label have the certificate: admins enrol it, and nodes tell by it whether they know it."""
    wanted, path = expectation.certificate, certificate_path(expectation.cell.kernel)
    found = []
    if image.certificate != wanted:
        actual = "no such file" if image.certificate is None else _fingerprint(image.certificate)
        found.append(
            _finding("certificate-mismatch", f"{path} is not the module's certificate", _named(wanted), actual)
        )
    for label, value in labels.certificate_label(wanted).items():
        if image.labels.get(label) != value:
            text = f"label {label} is not the module's certificate"
            actual = "no such label" if label not in image.labels else "another certificate"
            found.append(_finding("certificate-mismatch", text, _named(wanted), actual))
    return found


def _named(certificate: bytes) -> str:
    subject = x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
    return f"{subject} ({_fingerprint(certificate)})"


def _fingerprint(certificate: bytes) -> str:
    return f"sha256:{hashlib.sha256(certificate).hexdigest()}"


def _finding(code: str, message: str, expected: str, actual: str) -> Finding:
    return Finding("signature", code, message, expected=expected, actual=actual)
