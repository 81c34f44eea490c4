"""Statements and their bundles: what is signed comes back, and nothing else is believed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kmatrix.decide.attestation import PAYLOAD_TYPE, MalformedStatementError, read_statement, statement_bytes
from kmatrix.decide.referrers import BUNDLE
from kmatrix.effects.signing.bundles import UnverifiedError, sign_statement, verified_statement
from kmatrix.effects.signing.image_keys import ImageSigner
from kmatrix.values.attestation import TEST_RESULT, Statement
from tests.unit.support.image_keys import image_signer

IMAGE = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
STATEMENT = Statement(TEST_RESULT, "quay.io/team/image", IMAGE, {"result": "PASSED", "passedTests": ["boot", "ü"]})


@pytest.fixture
def signer(tmp_path: Path) -> ImageSigner:
    return image_signer(tmp_path)


@pytest.fixture
def content(signer: ImageSigner) -> dict[str, Any]:
    """A bundle that verifies, as JSON."""
    made: dict[str, Any] = json.loads(sign_statement(STATEMENT, signer))
    return made


def pae(payload: bytes, kind: str = PAYLOAD_TYPE) -> bytes:
    """Return what a DSSE signature is over (secure-systems-lab/dsse, protocol.md)."""
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)


def with_payload(content: dict[str, Any], signer: ImageSigner, payload: bytes, kind: str = PAYLOAD_TYPE) -> bytes:
    """Return the bundle with another payload, signed by the key."""
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"sig": base64.b64encode(signer.sign(pae(payload, kind))).decode()}],
    }
    return json.dumps({**content, "dsseEnvelope": envelope}).encode()


def test_a_statement_is_an_in_toto_statement_about_the_image() -> None:
    payload = statement_bytes(STATEMENT)
    assert json.loads(payload) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "quay.io/team/image", "digest": {"sha256": "a" * 64}}],
        "predicateType": TEST_RESULT,
        "predicate": {"result": "PASSED", "passedTests": ["boot", "ü"]},
    }
    turned = Statement(TEST_RESULT, STATEMENT.name, IMAGE, dict(reversed(list(STATEMENT.predicate.items()))))
    assert statement_bytes(turned) == payload
    assert read_statement(payload, IMAGE) == STATEMENT


def test_the_bundle_has_the_fields_that_cosign_writes_for_a_key(content: dict[str, Any], signer: ImageSigner) -> None:
    (signature,) = content["dsseEnvelope"].pop("signatures")
    assert content == {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": signer.public.hint}},
        "dsseEnvelope": {
            "payloadType": "application/vnd.in-toto+json",
            "payload": base64.b64encode(statement_bytes(STATEMENT)).decode(),
        },
    }
    # sigstore-go refuses a signature whose key has an id.
    assert not signature.get("keyid")
    assert signer.public.verify(base64.b64decode(signature["sig"]), pae(statement_bytes(STATEMENT)))


@pytest.mark.parametrize("kind", ["p256", "rsa", "ed25519"])
def test_a_signed_statement_comes_back_with_its_key_among_others(tmp_path: Path, kind: str) -> None:
    signer, other = image_signer(tmp_path, kind), image_signer(tmp_path, "ed25519", 1)
    bundle = sign_statement(STATEMENT, signer)
    assert verified_statement(bundle, (other.public, signer.public), IMAGE) == STATEMENT


def test_another_key_another_digest_and_no_key_are_refused(tmp_path: Path, signer: ImageSigner) -> None:
    bundle = sign_statement(STATEMENT, signer)
    for keys in ((), (image_signer(tmp_path, which=1).public,), (image_signer(tmp_path, "rsa").public,)):
        with pytest.raises(UnverifiedError, match="none of the public keys verifies its signature"):
            verified_statement(bundle, keys, IMAGE)
    with pytest.raises(UnverifiedError, match=f"it is about {IMAGE}, another image") as caught:
        verified_statement(bundle, (signer.public,), OTHER)
    assert caught.value.reason == str(caught.value)


def test_a_changed_payload_and_a_changed_type_of_it_are_refused(content: dict[str, Any], signer: ImageSigner) -> None:
    envelope = content["dsseEnvelope"]
    other = statement_bytes(Statement(TEST_RESULT, STATEMENT.name, IMAGE, {"result": "PASSED"}))
    for change in ({"payload": base64.b64encode(other).decode()}, {"payloadType": "application/vnd.in-toto+jsoN"}):
        bundle = json.dumps({**content, "dsseEnvelope": {**envelope, **change}}).encode()
        with pytest.raises(UnverifiedError, match="none of the public keys"):
            verified_statement(bundle, (signer.public,), IMAGE)


def test_bundles_of_other_programs_are_read(content: dict[str, Any], signer: ImageSigner) -> None:
    """JSON of protobuf leaves empty fields out; cosign adds entries of a log, and another hint may be there."""
    (signature,) = content["dsseEnvelope"]["signatures"]
    signature.pop("keyid", None)
    content["verificationMaterial"] = {"publicKey": {"hint": "mine"}, "tlogEntries": [{"logIndex": "7"}]}
    assert verified_statement(json.dumps(content).encode(), (signer.public,), IMAGE) == STATEMENT
    signature["keyid"] = "of another program"
    content["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.3"
    assert verified_statement(json.dumps(content).encode(), (signer.public,), IMAGE) == STATEMENT


def test_a_statement_about_several_images_is_one_about_each(content: dict[str, Any], signer: ImageSigner) -> None:
    payload = json.loads(statement_bytes(STATEMENT))
    payload["subject"].insert(0, {"digest": {"sha256": "b" * 64, "sha512": "0"}})
    bundle = with_payload(content, signer, json.dumps(payload).encode())
    assert verified_statement(bundle, (signer.public,), IMAGE) == STATEMENT
    assert verified_statement(bundle, (signer.public,), OTHER).name == ""


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda payload: payload.pop(name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("_type"), "no in-toto statement"),
        (lambda payload: payload.update(_type="https://in-toto.io/Statement/v2"), "it has the type"),
        (lambda payload: payload.update(_type=[]), "it has the type"),
        (without("subject"), "no in-toto statement"),
        (lambda payload: payload.update(subject=[]), "about nothing, another image"),
        (lambda payload: payload.update(subject="image"), "no in-toto statement"),
        (lambda payload: payload.update(subject=[{"name": "x"}]), "no in-toto statement"),
        (lambda payload: payload.update(subject=[{"digest": {"sha512": "a" * 64}}]), "another image"),
        (lambda payload: payload.update(subject=[{"digest": {"sha256": "b" * 64}}]), "another image"),
        (lambda payload: payload["subject"][0].update(name=7), "no in-toto statement"),
        (without("predicateType"), "no in-toto statement"),
        (lambda payload: payload.update(predicateType=None), "no in-toto statement"),
        (without("predicate"), "no in-toto statement"),
        (lambda payload: payload.update(predicate=[]), "no in-toto statement"),
        (lambda payload: payload.update(predicate={"\ud800": 1}), "no in-toto statement"),
    ],
)
def test_a_signed_payload_that_is_no_statement_about_the_image_is_refused(
    content: dict[str, Any], signer: ImageSigner, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    payload = json.loads(statement_bytes(STATEMENT))
    change(payload)
    with pytest.raises(UnverifiedError, match=words):
        verified_statement(with_payload(content, signer, json.dumps(payload).encode()), (signer.public,), IMAGE)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"7", b"null", b"\xff", b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}"],
    ids=lambda payload: repr(payload[:8]),
)
def test_signed_bytes_that_are_no_statement_are_refused(
    content: dict[str, Any], signer: ImageSigner, payload: bytes
) -> None:
    with pytest.raises(UnverifiedError, match="no in-toto statement"):
        verified_statement(with_payload(content, signer, payload), (signer.public,), IMAGE)
    with pytest.raises(MalformedStatementError):
        read_statement(payload, IMAGE)


def test_a_statement_with_a_name_twice_is_refused_as_readers_take_one_or_the_other() -> None:
    text = statement_bytes(STATEMENT).replace(b'"predicate":', b'"predicate":{"result":"FAILED"},"predicate":')
    with pytest.raises(MalformedStatementError, match="one name twice"):
        read_statement(text, IMAGE)


def test_a_signed_payload_of_another_type_is_refused(content: dict[str, Any], signer: ImageSigner) -> None:
    bundle = with_payload(content, signer, statement_bytes(STATEMENT), "application/json")
    with pytest.raises(UnverifiedError, match="payload is of the type 'application/json'"):
        verified_statement(bundle, (signer.public,), IMAGE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.update(mediaType="application/vnd.dev.sigstore.bundle.v0.4+json"), "of the type"),
        (lambda content: content.update(mediaType=None), "of the type"),
        (lambda content: content.pop("mediaType"), "no Sigstore bundle"),
        (lambda content: content.pop("dsseEnvelope"), "no signed statement"),
        (lambda content: content.update(dsseEnvelope=None), "no Sigstore bundle"),
        (lambda content: content.update(dsseEnvelope=[]), "no Sigstore bundle"),
        (lambda content: content.update(verificationMaterial=7), "no Sigstore bundle"),
        (lambda content: content["dsseEnvelope"].update(signatures=[]), "0 signatures instead of one"),
        (lambda content: content["dsseEnvelope"].update(signatures={"0": {}}), "no Sigstore bundle"),
        (lambda content: content["dsseEnvelope"].update(signatures=[7]), "no Sigstore bundle"),
        (lambda content: content["dsseEnvelope"]["signatures"].append({}), "2 signatures instead of one"),
        (lambda content: content["dsseEnvelope"]["signatures"][0].update(sig=7), "no Sigstore bundle"),
        (lambda content: content["dsseEnvelope"]["signatures"][0].update(sig="ü"), "no Sigstore bundle"),
        (lambda content: content["dsseEnvelope"]["signatures"][0].update(sig=""), "none of the public keys"),
        (lambda content: content["dsseEnvelope"].update(payload=None), "no Sigstore bundle"),
        (lambda content: content["dsseEnvelope"].update(payload="*"), "no Sigstore bundle|none of the public keys"),
        (lambda content: content["dsseEnvelope"].update(payloadType=None), "no Sigstore bundle"),
        (lambda content: content["dsseEnvelope"].update(payloadType="\ud800"), "no Sigstore bundle"),
    ],
)
def test_a_malformed_bundle_is_refused(
    content: dict[str, Any], signer: ImageSigner, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    change(content)
    with pytest.raises(UnverifiedError, match=words):
        verified_statement(json.dumps(content).encode(), (signer.public,), IMAGE)


def test_a_bundle_of_an_identity_is_told_from_one_of_another_key(content: dict[str, Any], tmp_path: Path) -> None:
    content["verificationMaterial"] = {"certificate": {"rawBytes": "AAAA"}, "tlogEntries": []}
    with pytest.raises(UnverifiedError, match="identity in a certificate, not with a key"):
        verified_statement(json.dumps(content).encode(), (image_signer(tmp_path, which=1).public,), IMAGE)


def test_no_damage_of_a_bundle_ends_a_run_or_is_believed(signer: ImageSigner) -> None:
    bundle = sign_statement(STATEMENT, signer)
    random = Random(13)
    for _ in range(500):
        damaged = bytearray(bundle)
        for _ in range(random.randint(1, 3)):
            place = random.randrange(len(damaged))
            damaged[place : place + random.randint(0, 2)] = random.randbytes(random.randint(0, 2))
        try:
            found = verified_statement(bytes(damaged), (signer.public,), IMAGE)
        except UnverifiedError:
            continue
        # The key's id and hint are not signed, and base64 has several spellings.
        assert found == STATEMENT


def test_the_type_of_a_bundle_is_that_of_its_layer(content: dict[str, Any]) -> None:
    assert content["mediaType"] == BUNDLE
