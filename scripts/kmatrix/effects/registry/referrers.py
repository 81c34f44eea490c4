"""Attestations in a registry: attached to the digest that they are about.

Each is an OCI artifact with the image as its subject. Registries that list the artifacts of a subject are asked for the
list; in others an index under the tag `sha256-<hex>` has it, which the writer keeps (opencontainers/distribution-spec,
spec.md, "Listing Referrers" and "Referrers Tag Schema"). cosign finds them in both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kmatrix.decide.image_documents import Document
from kmatrix.decide.referrers import (
    EMPTY_CONFIG,
    BundleLayer,
    MalformedReferrerError,
    Referrer,
    bundle_layer,
    bundle_manifest,
    bundle_referrers,
    descriptors_in,
    entries_of,
    extended_index,
    index_entry,
    referrers_tag,
)
from kmatrix.effects.net.encodings import DOCUMENT_BYTES, TooLargeError
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.shared_tag import Extension, extend_tag, read_tag
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.values.errors import InterruptedRunError, ProtocolError
from kmatrix.values.names import ImageRef, digest_of

# A bill of materials of a thousand packages is a tenth of this.
_MOST_BUNDLE_BYTES = 8 << 20
# A cell has three, and one more for each later run of a gate.
_MOST_BUNDLES = 100


@dataclass(frozen=True)
class Attached:
    """An attestation that a registry has, as anybody who may push could have written it.

    Attributes:
        predicate_type: what it says its statement is about; empty if it says nothing.
        digest: of the manifest that holds it.
        content: the bundle.
    """

    predicate_type: str
    digest: str
    content: bytes


def attach(
    registry: RegistryWriter,
    ref: ImageRef,
    digest: str,
    bundles: Sequence[tuple[str, bytes]],
    stopping: Callable[[], bool],
) -> None:
    """Attach bundles to a digest, beside those that it has; a bundle that is there stays there once.

    Args:
        registry: has the image.
        ref: a name in the image's repository.
        digest: of the image's manifest or list, which need not have a tag.
        bundles: predicate type and bundle of each.
        stopping: whether the run was told to stop.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried, or refuses.
        ToolError: it keeps something else under the tag of the list of attestations.
        InterruptedRunError: the run was told to stop.
    """
    if not bundles:
        return
    repository = ref.with_tag("")
    image = registry.raw_manifest(repository.with_digest(digest))
    if image is None:
        raise ProtocolError(
            f"{repository.with_digest(digest)}: the registry has no such image to attach an attestation to",
            "Push the image again, or ask whoever runs the registry whether a clean-up removed it.",
        )
    subject = Document(image.media_type, image.content)
    registry.put_blob(repository, EMPTY_CONFIG)
    unlisted = []
    for predicate_type, bundle in bundles:
        if stopping():
            raise InterruptedRunError
        registry.put_blob(repository, bundle)
        manifest = bundle_manifest(subject, bundle, predicate_type)
        if not registry.put_referrer(repository, manifest.content, manifest.media_type, digest):
            unlisted.append(index_entry(manifest, predicate_type))
    if not unlisted:
        return

    def extend(there: bytes | None, gone: frozenset[str]) -> Extension | None:
        entries = [each for each in _entries(there) if f"manifests/{each['digest']}" not in gone]
        listed = {each["digest"] for each in entries}
        if all(each["digest"] in listed for each in unlisted):
            return None
        kept = tuple(f"manifests/{each['digest']}" for each in entries)
        return Extension(extended_index(entries, unlisted), taken_over=kept)

    extend_tag(registry, repository.with_tag(referrers_tag(digest)), extend, stopping, f"the attestations of {digest}")


def attached(
    registry: Registry,
    ref: ImageRef,
    digest: str,
    say: Callable[[str], None] = lambda _: None,
    wanted: Collection[str] | None = None,
) -> tuple[Attached, ...]:
    """Return the bundles that are attached to a digest; none if the registry says there are none.

    Args:
        registry: has the image.
        ref: a name in the image's repository.
        digest: of the image's manifest or list.
        say: is given a line that names an attachment which cannot be read.
        wanted: the types of predicates that are read; None for all. One that does not say its type is read, too.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried. That is no absence.
    """
    repository = ref.with_tag("")
    try:
        listed = _listed(registry, repository, digest)
    except (TooLargeError, MalformedReferrerError) as error:
        say(f"note: the list of attestations of {repository}@{digest} is not read: {error}")
        return ()
    referrers = bundle_referrers(listed, wanted)
    if len(referrers) > _MOST_BUNDLES:
        say(
            f"note: {repository}@{digest} has {len(referrers)} attestations; the last {_MOST_BUNDLES} of its list are "
            "read"
        )
    found = []
    for referrer in referrers[-_MOST_BUNDLES:]:
        try:
            bundle = _bundle(registry, repository, referrer)
        except (TooLargeError, MalformedReferrerError) as error:
            say(f"note: {repository}@{referrer.digest} is not read as an attestation: {error}")
            continue
        if bundle is not None:
            found.append(bundle)
    return tuple(found)


def _listed(registry: Registry, repository: ImageRef, digest: str) -> tuple[Mapping[str, Any], ...]:
    listed = registry.referrer_entries(repository.with_digest(digest))
    if listed is not None:
        return descriptors_in(listed)
    index = read_tag(registry, repository.with_tag(referrers_tag(digest)))
    return entries_of(index) if index is not None else ()


def _entries(index: bytes | None) -> tuple[Mapping[str, Any], ...]:
    try:
        return entries_of(index) if index is not None else ()
    except MalformedReferrerError:
        # No client could have listed anything in it.
        return ()


def _bundle(registry: Registry, repository: ImageRef, referrer: Referrer) -> Attached | None:
    manifest = _content(registry, repository, f"manifests/{referrer.digest}", referrer.digest, DOCUMENT_BYTES)
    layer = bundle_layer(manifest)
    if layer is None:
        return None
    return Attached(
        layer.predicate_type or referrer.predicate_type, referrer.digest, _blob(registry, repository, layer)
    )


def _blob(registry: Registry, repository: ImageRef, layer: BundleLayer) -> bytes:
    if layer.size > _MOST_BUNDLE_BYTES:
        raise MalformedReferrerError(
            f"its bundle has {layer.size:.3g} bytes, and at most {_MOST_BUNDLE_BYTES} bytes are read"
        )
    return _content(registry, repository, f"blobs/{layer.digest}", layer.digest, _MOST_BUNDLE_BYTES)


def _content(registry: Registry, repository: ImageRef, path: str, digest: str, limit: int) -> bytes:
    content = registry.content(repository, path, digest, limit)
    if content is None:
        raise MalformedReferrerError(f"the registry does not have {path}")
    if digest_of(content) != digest:
        raise MalformedReferrerError(f"the registry sent {digest_of(content)} for {path}")
    return content
