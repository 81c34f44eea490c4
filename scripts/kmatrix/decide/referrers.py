"""Attestations as OCI artifacts: the manifest that holds a bundle, and the index that lists those of a digest.

The manifest has the image as its subject (opencontainers/image-spec, manifest.md). Where a registry does not list the
manifests of a subject, an index under a tag does (opencontainers/distribution-spec, spec.md, "Referrers Tag Schema").
Types and annotations are cosign's (sigstore/cosign, pkg/oci/remote/write.go, WriteAttestationNewBundleFormat).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kmatrix.decide.image_documents import Document, json_bytes
from kmatrix.values.names import digest as checked_digest
from kmatrix.values.names import digest_of

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
EMPTY_CONFIG = b"{}"
INDEX = "application/vnd.oci.image.index.v1+json"
_BUNDLES = "application/vnd.dev.sigstore.bundle"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_EMPTY = "application/vnd.oci.empty.v1+json"
_PREDICATE_TYPE = "dev.sigstore.bundle.predicateType"
# Registries refuse larger manifests than 4 MiB (distribution/distribution, registry/handlers/manifests.go). The image
# of a cell has three attestations, of about 500 bytes each in an index.
_MOST_INDEX_BYTES = 2 << 20
_MOST_ENTRIES = 1000


class MalformedReferrerError(ValueError):
    """A manifest or an index is not as it should be; the message has the reason."""


@dataclass(frozen=True)
class Referrer:
    """A manifest that has an image as its subject; `predicate_type` is empty where the list does not say it."""

    digest: str
    predicate_type: str


@dataclass(frozen=True)
class BundleLayer:
    """The bundle that a manifest holds; `size` is in bytes."""

    digest: str
    size: int
    predicate_type: str


def referrers_tag(digest: str) -> str:
    """Return the tag of the index of a digest's referrers: `sha256-<hex>`."""
    return digest.replace(":", "-")


def bundle_manifest(subject: Document, bundle: bytes, predicate_type: str) -> Document:
    """Return the manifest that attaches a bundle to an image; equal arguments give equal bytes.

    Without the time of its creation, so that it is attached once, however often that is tried.
    """
    content = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "artifactType": BUNDLE,
        "config": {"mediaType": _EMPTY, "size": len(EMPTY_CONFIG), "digest": digest_of(EMPTY_CONFIG)},
        "layers": [{"mediaType": BUNDLE, "size": len(bundle), "digest": digest_of(bundle)}],
        "subject": {"mediaType": subject.media_type, "size": len(subject.content), "digest": subject.digest},
        "annotations": _annotations(predicate_type),
    }
    return Document(_MANIFEST, json_bytes(content))


def index_entry(manifest: Document, predicate_type: str) -> Mapping[str, Any]:
    """Return the entry of the index for such a manifest."""
    return {
        "mediaType": manifest.media_type,
        "artifactType": BUNDLE,
        "size": len(manifest.content),
        "digest": manifest.digest,
        "annotations": _annotations(predicate_type),
    }


def entries_of(index: bytes) -> tuple[Mapping[str, Any], ...]:
    """Return the entries of an index, without malformed ones: one of those must not cost the others.

    Raises:
        MalformedReferrerError: it is no index.
    """
    try:
        return descriptors_in(json.loads(index)["manifests"] or ())
    except Exception as error:
        # Whoever may push can write any bytes there, and they must not end a run.
        raise MalformedReferrerError(f"it is no image index ({error!r:.200})") from error


def descriptors_in(entries: Iterable[Any]) -> tuple[Mapping[str, Any], ...]:
    """Return those entries of a list of referrers that are descriptors."""
    return tuple(each for each in entries if _is_descriptor(each))


def extended_index(there: Sequence[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]) -> Document:
    """Return the index with the entries that are there, and those new ones that are not.

    The oldest entries are left out of an index that would be larger than registries take.
    """
    listed = {each["digest"] for each in there}
    kept: list[Mapping[str, Any]] = []
    size = 0
    for entry in reversed([*there, *(each for each in new if each["digest"] not in listed)]):
        size += len(json_bytes(entry)) + 1
        if size > _MOST_INDEX_BYTES or len(kept) == _MOST_ENTRIES:
            break
        kept.append(entry)
    return Document(INDEX, json_bytes({"schemaVersion": 2, "mediaType": INDEX, "manifests": kept[::-1]}))


def bundle_referrers(entries: Iterable[Mapping[str, Any]], wanted: Collection[str] | None) -> tuple[Referrer, ...]:
    """Return those entries of a list of referrers that may be bundles.

    Args:
        entries: from an index, or from a registry's own list.
        wanted: types of predicates; None for all. An entry that does not say its type is kept.
    """
    found = []
    for entry in entries:
        kind = entry.get("artifactType")
        # Versions of cosign write the type of the configuration there (2.5), and others none.
        if isinstance(kind, str) and kind not in ("", _EMPTY) and not kind.startswith(_BUNDLES):
            continue
        named = _predicate_type(entry)
        if wanted is None or not named or named in wanted:
            found.append(Referrer(entry["digest"], named))
    return tuple({each.digest: each for each in found}.values())


def bundle_layer(manifest: bytes) -> BundleLayer | None:
    """Return the bundle that a manifest holds, or None for a manifest of something else.

    Raises:
        MalformedReferrerError: it is no manifest.
    """
    try:
        content = json.loads(manifest)
        layers = content["layers"]
        kinds = [each["mediaType"] for each in layers]
        if len(kinds) != 1 or not kinds[0].startswith(_BUNDLES):
            return None
        size = layers[0]["size"]
        if type(size) is not int:
            raise TypeError(f"{size!r:.40} is no size")
        return BundleLayer(checked_digest(layers[0]["digest"]), size, _predicate_type(content))
    except Exception as error:
        raise MalformedReferrerError(f"its manifest is not that of an attestation ({error!r:.200})") from error


def _annotations(predicate_type: str) -> dict[str, str]:
    return {"dev.sigstore.bundle.content": "dsse-envelope", _PREDICATE_TYPE: predicate_type}


def _predicate_type(described: Mapping[str, Any]) -> str:
    annotations = described.get("annotations")
    named = annotations.get(_PREDICATE_TYPE) if isinstance(annotations, dict) else None
    return named if isinstance(named, str) else ""


def _is_descriptor(value: Any) -> bool:
    try:
        checked_digest(value["digest"])
        json_bytes(value)
        return isinstance(value.get("mediaType", ""), str)
    except Exception:
        return False
