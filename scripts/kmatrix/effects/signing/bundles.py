"""Attestations as Sigstore bundles: a signed DSSE envelope, and which key to verify it with.

The form is version 0.3 (sigstore/protobuf-specs, protos/sigstore_bundle.proto, as JSON of protobuf), with the fields
that cosign writes for a key (sigstore/cosign, pkg/cosign/bundle/protobundle.go). A signature by key has no certificate
that could expire, and no entry in a transparency log: it is valid for as long as somebody trusts the key.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signature

from kmatrix.decide.attestation import PAYLOAD_TYPE, MalformedStatementError, read_statement, statement_bytes
from kmatrix.decide.formats.strict_json import strict_json
from kmatrix.decide.image_documents import json_bytes
from kmatrix.decide.referrers import BUNDLE
from kmatrix.effects.signing.image_keys import ImageSigner, PublicKey
from kmatrix.values.attestation import Statement

# sigstore/sigstore-go, pkg/bundle/bundle.go, MediaTypeString: the second form was used before the first.
_BUNDLES = (BUNDLE, "application/vnd.dev.sigstore.bundle+json;version=0.3")


class UnverifiedError(ValueError):
    """A bundle is not believed; the message has the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def sign_statement(statement: Statement, signer: ImageSigner) -> bytes:
    """Return the bundle of a signed statement.

    Raises:
        UnreachableError: the service that keeps the key does not sign.
    """
    envelope = Envelope(statement_bytes(statement), PAYLOAD_TYPE, {})
    # sigstore-go compares a key's id, if there is one, with that of its own key, which has none.
    envelope.signatures[""] = Signature("", signer.sign(envelope.pae()).hex())
    content = {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": signer.public.hint}},
        "dsseEnvelope": envelope.to_dict(),
    }
    return json_bytes(content)


def verified_statement(bundle: bytes, keys: Iterable[PublicKey], digest: str) -> Statement:
    """Return the statement in a bundle, which somebody else may have written.

    The keys decide: which key the bundle names does not matter. Bundles of an identity instead of a key (keyless) have
    a certificate, and are not verified here.

    Raises:
        UnverifiedError: none of the keys signed it, or it is no statement about that digest.
    """
    try:
        envelope, keyless = _envelope(bundle)
    except UnverifiedError:
        raise
    except Exception as error:
        # Whoever may push can write any bytes there, and they must not end a run.
        raise UnverifiedError(f"it is no Sigstore bundle ({error!r:.200})") from error
    (signature,) = envelope.signatures.values()
    signed = envelope.pae()
    if not any(key.verify(bytes.fromhex(signature.signature), signed) for key in keys):
        raise UnverifiedError(
            "it is signed with the identity in a certificate, not with a key"
            if keyless
            else "none of the public keys verifies its signature"
        )
    if envelope.payload_type != PAYLOAD_TYPE:
        raise UnverifiedError(f"its payload is of the type {envelope.payload_type!r:.80} instead of {PAYLOAD_TYPE}")
    try:
        return read_statement(envelope.payload, digest)
    except MalformedStatementError as error:
        raise UnverifiedError(str(error)) from error


def _envelope(bundle: bytes) -> tuple[Envelope, bool]:
    content: dict[str, Any] = strict_json(bundle)
    if content["mediaType"] not in _BUNDLES:
        raise UnverifiedError(f"it is of the type {content['mediaType']!r:.80} instead of {BUNDLE}")
    if "dsseEnvelope" not in content:
        raise UnverifiedError("it has no signed statement")
    described = content["dsseEnvelope"]
    signatures = described["signatures"]
    if len(signatures) != 1:
        # sigstore-go, pkg/bundle/signature_content.go, takes exactly one, too.
        raise UnverifiedError(f"it has {len(signatures)} signatures instead of one")
    if not isinstance(described["payloadType"], str):
        raise TypeError("payloadType is no text")
    # JSON of protobuf leaves empty fields out, and the key's id is empty.
    envelope = Envelope.from_dict({**described, "signatures": [{"keyid": "", "sig": signatures[0]["sig"]}]})
    return envelope, "publicKey" not in content.get("verificationMaterial", {})
