"""Rule 8: a module is signed with the profile's certificate, unchanged since, and its image carries the certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from asn1crypto import cms
from cryptography.hazmat.primitives import hashes

from kmatrix.values.cells import Finding
from kmatrix.values.labels import MODULE_CERTIFICATE, cell_labels, certificate_label
from tests.unit.support.check_case import CELL, KO, Case
from tests.unit.support.module_keys import module_key, signed, with_message

OURS, OTHER = module_key("ours"), module_key("other")
PLAIN = KO.build()
CONTENT_INFO: Any = cms.ContentInfo


def message_of(ko: bytes) -> Any:
    return CONTENT_INFO.load(ko[len(PLAIN) : -40])


def without_signers() -> bytes:
    message = message_of(signed(PLAIN, OURS))
    message["content"]["signer_infos"] = []
    return bytes(message.dump(force=True))


def with_content(content_type: str, content: bytes | None = None) -> bytes:
    message = message_of(signed(PLAIN, OURS))
    held = {"content_type": content_type, **({} if content is None else {"content": content})}
    message["content"]["encap_content_info"] = held
    return bytes(message.dump(force=True))


def with_algorithm(name: str) -> bytes:
    message = message_of(signed(PLAIN, OURS))
    message["content"]["signer_infos"][0]["signature_algorithm"] = {"algorithm": name}
    return bytes(message.dump(force=True))


def codes(ko: bytes, certificate: bytes = OURS.der, image: Mapping[str, object] | None = None) -> list[str]:
    return [finding.code for finding in found(ko, certificate, image or {})]


def found(ko: bytes, certificate: bytes, image: Mapping[str, object]) -> tuple[Finding, ...]:
    labels = {**cell_labels(CELL, "sha256:key"), **certificate_label(OURS.der)}
    facts = {"ko": ko, "certificate": OURS.der, "labels": labels, **image}
    return Case(image=facts, certificate=certificate).check().findings


def test_a_module_that_is_signed_with_the_certificate_passes() -> None:
    assert codes(signed(PLAIN, OURS)) == []


def test_a_module_need_not_be_signed_where_no_certificate_is_configured() -> None:
    assert codes(PLAIN, certificate=b"") == []


def test_a_module_may_be_signed_by_anyone_where_no_certificate_is_configured() -> None:
    assert codes(signed(PLAIN, OTHER), certificate=b"") == []


def test_a_module_without_a_signature_is_refused() -> None:
    assert codes(PLAIN) == ["signature-missing"]


def test_a_module_that_another_key_signed_is_refused() -> None:
    assert codes(signed(PLAIN, OTHER)) == ["signature-signer"]


def test_a_module_that_was_changed_after_it_was_signed_is_refused() -> None:
    changed = replace(KO, modinfo=(*KO.modinfo, ("parm", "changed"))).build()
    message = signed(PLAIN, OURS)[len(PLAIN) :]
    assert codes(changed + message) == ["signature-invalid"]


def test_a_signature_of_another_key_under_the_name_of_the_certificate_is_refused() -> None:
    ours, forged = (message_of(signed(PLAIN, each)) for each in (OURS, OTHER))
    forged["content"]["signer_infos"][0]["sid"] = ours["content"]["signer_infos"][0]["sid"]
    assert codes(with_message(PLAIN, forged.dump(force=True))) == ["signature-invalid"]


@pytest.mark.parametrize(
    "ko",
    [signed(PLAIN, OURS, hashes.SHA512()), signed(PLAIN, OURS, attributes=True)],
    ids=["other digest", "signed attributes"],
)
def test_a_signature_of_another_form_is_refused(ko: bytes) -> None:
    assert codes(ko) == ["signature-form"]


@pytest.mark.parametrize(
    "message",
    [b"\0", b"no DER", without_signers(), CONTENT_INFO({"content_type": "data", "content": b"x"}).dump()],
    ids=["zero", "text", "no signer", "other type"],
)
def test_a_message_that_is_no_signature_is_a_finding(message: bytes) -> None:
    assert codes(with_message(PLAIN, message)) == ["signature-malformed"]


@pytest.mark.parametrize(
    "message",
    [
        with_content("data", PLAIN),
        with_content("data", b""),
        with_content("digested_data"),
        with_algorithm("sha256_rsa"),
        with_algorithm("sha256_ecdsa"),
    ],
    ids=["own content", "empty content", "other content", "digest and RSA", "ECDSA"],
)
def test_a_signature_that_verifies_in_a_message_that_no_kernel_takes_is_a_finding(message: bytes) -> None:
    """Linux: crypto/asymmetric_keys/pkcs7_parser.c and pkcs7_verify.c, certs/system_keyring.c."""
    assert codes(with_message(PLAIN, message)) == ["signature-malformed"]


def test_a_message_that_breaks_off_is_a_finding() -> None:
    message = signed(PLAIN, OURS)[len(PLAIN) : -40]
    found = {tuple(codes(with_message(PLAIN, message[:length]))) for length in range(1, len(message))}
    assert found == {("signature-malformed",)}


@pytest.mark.parametrize(
    "image",
    [
        {"certificate": None},
        {"certificate": OTHER.der},
        {"labels": cell_labels(CELL, "sha256:key")},
        {"labels": {**cell_labels(CELL, "sha256:key"), **certificate_label(OTHER.der)}},
    ],
    ids=["no file", "other file", "no label", "other label"],
)
def test_the_image_carries_the_certificate_in_a_file_and_in_a_label(image: dict[str, object]) -> None:
    assert codes(signed(PLAIN, OURS), image=image) == ["certificate-mismatch"]


def test_a_finding_names_the_certificate_that_was_expected() -> None:
    (finding,) = found(PLAIN, OURS.der, {})
    assert finding.expected.startswith("signed by CN=ours (sha256:")


def test_the_label_has_the_certificate_in_base64() -> None:
    assert certificate_label(b"\0\1") == {MODULE_CERTIFICATE: "AAE="}
