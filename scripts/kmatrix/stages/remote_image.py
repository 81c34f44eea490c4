"""verify --remote: read the signatures and attestations of an image from its registry, and verify them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kmatrix.decide.remote_report import SIGNATURE, Document, ImageDocuments
from kmatrix.decide.simple_signing import MalformedPayloadError
from kmatrix.decide.simple_signing import check as check_payload
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.image_signatures import signatures
from kmatrix.effects.registry.referrers import Attached, attached
from kmatrix.effects.signing.bundles import UnverifiedError, verified_statement
from kmatrix.effects.signing.image_keys import PublicKey
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import ImageRef

Say = Callable[[str], None]


def remote_documents(
    registry: Registry, ref: ImageRef, keys: Mapping[str, PublicKey], say: Say
) -> tuple[ImageRef, tuple[ImageDocuments, ...]]:
    """Return an image by digest, and its documents; those of a list are followed by those of each image in it.

    Args:
        registry: has the image.
        ref: its name.
        keys: the public keys to accept, by name.
        say: is given a line that names a document which cannot be read.

    Raises:
        ProtocolError: the registry has no such image, or its answer is malformed.
        UnreachableError, CredentialError: the registry could not be queried. That is no absence.
    """
    named = registry.named(ref)
    if named is None:
        raise ProtocolError(f"{ref}: the registry has no such image", "Check the name and the tag.")
    # Only what a list names is known by a digest of its own.
    listed = {
        arch: each.ref.digest for arch, each in named.manifests.items() if each.ref.digest not in ("", named.digest)
    }
    found = [
        ImageDocuments(digest, arch, _documents(registry, ref, digest, keys, say))
        for arch, digest in (("", named.digest), *listed.items())
    ]
    return ref.with_digest(named.digest), tuple(found)


def _documents(
    registry: Registry, ref: ImageRef, digest: str, keys: Mapping[str, PublicKey], say: Say
) -> tuple[Document, ...]:
    signed = [_signature(pair, ref, digest, keys) for pair in signatures(registry, ref, digest, say)]
    stated = [_attestation(each, digest, keys) for each in attached(registry, ref, digest, say)]
    return (*signed, *sorted(stated, key=lambda each: each.kind))


def _signature(pair: tuple[bytes, bytes], ref: ImageRef, digest: str, keys: Mapping[str, PublicKey]) -> Document:
    payload, signature = pair
    name = next((name for name, key in keys.items() if key.verify(signature, payload)), "")
    if not name:
        return Document(SIGNATURE, "", "none of the public keys verifies it")
    try:
        check_payload(payload, ref.repository, digest)
    except MalformedPayloadError as error:
        return Document(SIGNATURE, name, str(error))
    return Document(SIGNATURE, name)


def _attestation(found: Attached, digest: str, keys: Mapping[str, PublicKey]) -> Document:
    reason = ""
    for name, key in keys.items():
        try:
            statement = verified_statement(found.content, [key], digest)
        except UnverifiedError as error:
            reason = reason or error.reason
        else:
            return Document(statement.predicate_type, name, statement=statement)
    return Document(found.predicate_type, "", reason)
