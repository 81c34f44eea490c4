"""The payload of an image signature, "simple signing", and the image that a registry keeps signatures in.

The payload is cosign's (sigstore/sigstore, pkg/signature/payload/payload.go), as CRI-O reads it, which refuses further
fields (containers/container-libs, image/signature/internal/sigstore_payload.go). The image is cosign's classic one: a
layer for each signature, under a tag of its own (sigstore/cosign, specs/SIGNATURE_SPEC.md). Signatures by key have no
certificate that could expire, and no entry in a transparency log.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kmatrix.decide.formats.strict_json import strict_json
from kmatrix.decide.image_documents import Document, json_bytes
from kmatrix.values.names import ImageRef, digest_of
from kmatrix.values.names import digest as checked_digest

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_TYPE = "cosign container image signature"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
# cosign refuses an image of more (sigstore/cosign, pkg/oci/remote/signatures.go, maxLayers), and registries a manifest
# of more than 4 MiB.
_MOST_LAYERS = 1000
_MOST_BYTES = 2 << 20
# The time that cosign writes for none.
_NEVER = "0001-01-01T00:00:00Z"


class MalformedPayloadError(ValueError):
    """The bytes are no payload of a signature of that image; the message has the reason."""


class MalformedSignaturesError(ValueError):
    """The content under the tag of signatures is not that of signatures; the message has the reason."""


@dataclass(frozen=True)
class SignatureLayer:
    """A signature as the manifest of signatures has it: `digest` is that of the payload, `size` its bytes."""

    digest: str
    size: int
    signature: bytes


@dataclass(frozen=True)
class SignatureImage:
    """Signatures as an image: its configuration and its manifest. The layers are payloads."""

    config: bytes
    manifest: Document


def signature_tag(digest: str) -> str:
    """Return the tag of the signatures of a digest: `sha256-<hex>.sig`."""
    return f"{digest.replace(':', '-')}.sig"


def payload(reference: str, digest: str) -> bytes:
    """Return the payload that says: the image with this digest has this name.

    Args:
        reference: the repository that nodes pull the image from, as HOST/PATH.
        digest: of the image's manifest or list.
    """
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": digest},
        "type": _TYPE,
    }
    return json_bytes({"critical": critical, "optional": None})


def check(signed: bytes, reference: str, digest: str) -> None:
    """Refuse a payload that is about another image or another repository.

    Repositories are compared as CRI-O compares them (containers/image, signature/policy_reference_match.go,
    prmMatchRepository): cosign writes `index.docker.io` for `docker.io` (google/go-containerregistry,
    pkg/name/registry.go), which is the same repository.

    Raises:
        MalformedPayloadError: it is.
    """
    try:
        critical = strict_json(signed)["critical"]
        kind, named = critical["type"], critical["image"]["docker-manifest-digest"]
        found = critical["identity"]["docker-reference"]
        repository = ImageRef.parse(found).normalized
    except Exception as error:
        # Whoever may push can write any bytes there, and they must not end a run.
        raise MalformedPayloadError(f"it is no payload of an image signature ({error!r:.200})") from error
    if kind != _TYPE:
        raise MalformedPayloadError(f"it has the type {kind!r:.80} instead of {_TYPE!r}")
    if named != digest:
        raise MalformedPayloadError(f"it is about {named!r:.80}, another image")
    if repository != ImageRef.parse(reference).normalized:
        raise MalformedPayloadError(f"it names {repository:.200} instead of {reference}")


def is_about(signed: bytes, reference: str, digest: str) -> bool:
    """Return whether a payload is about this image of this repository; see `check`."""
    try:
        check(signed, reference, digest)
    except MalformedPayloadError:
        return False
    return True


def layers_of(manifest: bytes) -> tuple[Mapping[str, Any], ...]:
    """Return the layers of a manifest of signatures, as it describes them.

    Raises:
        MalformedSignaturesError: it is no such manifest.
    """
    try:
        content = json.loads(manifest)
        if content.get("mediaType", _MANIFEST) != _MANIFEST:
            raise MalformedSignaturesError(f"it is of the type {content['mediaType']!r:.80} instead of {_MANIFEST}")
        return tuple(each for each in content["layers"] if _is_descriptor(each))
    except MalformedSignaturesError:
        raise
    except Exception as error:
        raise MalformedSignaturesError(f"its manifest is not that of signatures ({error!r:.200})") from error


def signature_layers(manifest: bytes) -> tuple[SignatureLayer, ...]:
    """Return the signatures in a manifest; other layers are left out.

    Raises:
        MalformedSignaturesError: it is no manifest of signatures.
    """
    found = []
    for layer in layers_of(manifest):
        annotations = layer.get("annotations")
        encoded = annotations.get(_SIGNATURE) if isinstance(annotations, dict) else None
        if layer["mediaType"] != PAYLOAD or not isinstance(encoded, str):
            continue
        try:
            signature = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue
        found.append(SignatureLayer(layer["digest"], layer["size"], signature))
    return tuple(found)


def signature_image(layers: Iterable[Mapping[str, Any]], signed: bytes, signature: bytes) -> SignatureImage:
    """Return the image with these layers and one more signature.

    The oldest layers are left out of an image that verifiers or registries would refuse for its size.

    Args:
        layers: those that are there, which stay as they are.
        signed: the payload of the new one.
        signature: of the payload.
    """
    layer = {
        "mediaType": PAYLOAD,
        "size": len(signed),
        "digest": digest_of(signed),
        "annotations": {_SIGNATURE: base64.b64encode(signature).decode()},
    }
    described: list[Mapping[str, Any]] = []
    size = 0
    for each in reversed([*layers, layer]):
        size += len(json_bytes(each)) + 1
        if size > _MOST_BYTES or len(described) == _MOST_LAYERS:
            break
        described.insert(0, each)
    config = json_bytes(
        {
            "architecture": "",
            "os": "",
            "created": _NEVER,
            "config": {},
            # The layers are not compressed.
            "rootfs": {"type": "layers", "diff_ids": [each["digest"] for each in described]},
            "history": [{"created": _NEVER} for _ in described],
        }
    )
    content = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "size": len(config), "digest": digest_of(config)},
        "layers": described,
    }
    return SignatureImage(config, Document(_MANIFEST, json_bytes(content)))


def _is_descriptor(value: Any) -> bool:
    """Return whether a layer has what every registry demands of one: one damaged layer must not cost the others."""
    try:
        checked_digest(value["digest"])
        json_bytes(value)
        return isinstance(value["mediaType"], str) and type(value["size"]) is int and value["size"] >= 0
    except Exception:
        return False
