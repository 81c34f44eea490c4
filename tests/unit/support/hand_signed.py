"""Signatures and attestations as cosign 2.5 and 3 write them, made without the code under test."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.support.fake_registry import INDEX, MANIFEST, digest
from tests.unit.support.image_registry import ImageRegistry

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
IN_TOTO = "application/vnd.in-toto+json"


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new private key."""
    return ec.generate_private_key(ec.SECP256R1())


def write_public(key: ec.EllipticCurvePrivateKey, path: Path) -> Path:
    """Write the public half of a key as PEM."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return path


def signature(key: ec.EllipticCurvePrivateKey, content: bytes) -> str:
    """Return the signature of bytes, in base64."""
    return base64.b64encode(key.sign(content, ec.ECDSA(hashes.SHA256()))).decode()


def put_signature(
    server: ImageRegistry, name: str, about: str, *signed: tuple[ec.EllipticCurvePrivateKey, str]
) -> None:
    """Have signatures beside an image: of each key, for a digest that need not be the image's."""
    layers = []
    for key, claimed in signed:
        critical = {
            "identity": {"docker-reference": f"{server.web.address}/{name}"},
            "image": {"docker-manifest-digest": claimed},
            "type": "cosign container image signature",
        }
        payload = json.dumps({"critical": critical, "optional": None}).encode()
        layers.append(
            {
                **_entry(server, name, payload, SIMPLE_SIGNING),
                "annotations": {"dev.cosignproject.cosign/signature": signature(key, payload)},
            }
        )
    rootfs = {"type": "layers", "diff_ids": [each["digest"] for each in layers]}
    config = json.dumps({"architecture": "", "os": "", "config": {}, "rootfs": rootfs}).encode()
    entry = _entry(server, name, config, "application/vnd.oci.image.config.v1+json")
    content = {"schemaVersion": 2, "mediaType": MANIFEST, "config": entry, "layers": layers}
    server.put(name, f"{about.replace(':', '-')}.sig", json.dumps(content).encode())


def bundle(key: ec.EllipticCurvePrivateKey, about: str, kind: str, predicate: Any) -> bytes:
    """Return a statement about a digest as a bundle."""
    subject = {"name": "any", "digest": {"sha256": about.removeprefix("sha256:")}}
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [subject]}
    payload = json.dumps({**statement, "predicateType": kind, "predicate": predicate}).encode()
    # Pre-authentication encoding: secure-systems-lab/dsse, protocol.md.
    encoded = b"DSSEv1 %d %s %d %s" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    der = key.public_key().public_bytes(serialization.Encoding.DER, form)
    return json.dumps(
        {
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": base64.b64encode(hashlib.sha256(der).digest()).decode()}},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": IN_TOTO,
                "signatures": [{"sig": signature(key, encoded)}],
            },
        }
    ).encode()


def put_bundles(server: ImageRegistry, name: str, about: str, *bundles: tuple[str, bytes]) -> None:
    """Attach bundles to a digest, by the fallback tag; each with the type that it says it has."""
    entries = []
    empty = _entry(server, name, b"{}", "application/vnd.oci.empty.v1+json")
    for kind, content in bundles:
        notes = {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": kind}
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": BUNDLE,
                "config": empty,
                "layers": [_entry(server, name, content, BUNDLE)],
                "subject": {"mediaType": MANIFEST, "digest": about, "size": 1},
                "annotations": notes,
            }
        ).encode()
        made = server.put(name, "", manifest)
        entries.append({"mediaType": MANIFEST, "digest": made, "size": len(manifest), "artifactType": BUNDLE})
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    server.put(name, about.replace(":", "-"), json.dumps(index).encode(), INDEX)


def _entry(server: ImageRegistry, name: str, content: bytes, media_type: str) -> dict[str, Any]:
    server.repository(name).blobs[digest(content)] = content
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}
