"""Image signatures in a registry, in cosign's classic form: an image with a layer for each, under `sha256-<hex>.sig`.

CRI-O, podman and skopeo read this form alone (containers/container-libs, image/docker/docker_image_src.go,
appendSignaturesFromSigstoreAttachments).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from kmatrix.decide.simple_signing import (
    MalformedSignaturesError,
    layers_of,
    payload,
    signature_image,
    signature_layers,
    signature_tag,
)
from kmatrix.effects.net.encodings import TooLargeError
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.shared_tag import Extension, extend_tag, read_tag
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.values.names import ImageRef, digest_of

# It takes 12 MB of memory, which a run without keys need not spend.
if TYPE_CHECKING:
    from kmatrix.effects.signing.image_keys import ImageSigner

# A payload has about 250 bytes, and more where its signer adds annotations.
_MOST_PAYLOAD_BYTES = 64 << 10
# A signature for each key that was ever used, and for each name that the image was published under.
_MOST_SIGNATURES = 100


def add_signature(
    registry: RegistryWriter,
    ref: ImageRef,
    digest: str,
    signer: ImageSigner,
    reference: str,
    stopping: Callable[[], bool],
) -> None:
    """Sign an image, beside the signatures that it has; one that the same key made for the same name is kept.

    Args:
        registry: has the image.
        ref: a name in the image's repository.
        digest: of the image's manifest or list.
        signer: the key.
        reference: the repository that nodes pull the image from, as HOST/PATH.
        stopping: whether the run was told to stop.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry or the key's service could not be queried, or
            refuses.
        ToolError: the registry keeps something else under the tag of the signatures.
        InterruptedRunError: the run was told to stop.
    """
    signed = payload(reference, digest)
    # Once: a key service may take its time, and ECDSA gives another signature each time.
    signature = cache(lambda: signer.sign(signed))

    def extend(there: bytes | None, gone: frozenset[str]) -> Extension | None:
        if there is not None and _has(there, signed, signer):
            return None
        layers = [each for each in _layers(there) if f"blobs/{each['digest']}" not in gone]
        image = signature_image(layers, signed, signature())
        kept = tuple(dict.fromkeys(f"blobs/{each['digest']}" for each in layers))
        return Extension(image.manifest, (signed, image.config), kept)

    name = ref.with_tag(signature_tag(digest))
    extend_tag(registry, name, extend, stopping, f"the signature of {digest}")


def signatures(
    registry: Registry, ref: ImageRef, digest: str, say: Callable[[str], None] = lambda _: None
) -> tuple[tuple[bytes, bytes], ...]:
    """Return the signatures of an image, as payload and signature; none if the registry says there are none.

    They are not verified: anybody who may push could have written them.

    Args:
        registry: has the image.
        ref: a name in the image's repository.
        digest: of the image's manifest or list.
        say: is given a line that names a signature which cannot be read.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried. That is no absence.
    """
    name = ref.with_tag(signature_tag(digest))
    try:
        manifest = read_tag(registry, name)
        layers = signature_layers(manifest) if manifest is not None else ()
    except (TooLargeError, MalformedSignaturesError) as error:
        say(f"note: {name} is not read as signatures: {error}")
        return ()
    if len(layers) > _MOST_SIGNATURES:
        say(f"note: {name} has {len(layers)} signatures; the last {_MOST_SIGNATURES} are read")
    found = []
    # Every key signs the same payload.
    payloads: dict[str, bytes | None] = {}
    for layer in layers[-_MOST_SIGNATURES:]:
        if layer.digest not in payloads:
            payloads[layer.digest] = _payload(registry, name, layer.digest, say)
        signed = payloads[layer.digest]
        if signed is not None:
            found.append((signed, layer.signature))
    return tuple(found)


def _payload(registry: Registry, name: ImageRef, digest: str, say: Callable[[str], None]) -> bytes | None:
    try:
        content = registry.content(name, f"blobs/{digest}", digest, _MOST_PAYLOAD_BYTES)
    except TooLargeError as error:
        say(f"note: {name}: the payload {digest} of a signature is not read: {error}")
        return None
    if content is None or digest_of(content) != digest:
        say(f"note: {name}: the registry does not have the payload {digest} of a signature")
        return None
    return content


def _has(manifest: bytes, signed: bytes, signer: ImageSigner) -> bool:
    try:
        layers = signature_layers(manifest)
    except MalformedSignaturesError:
        return False
    wanted = digest_of(signed)
    return any(each.digest == wanted and signer.public.verify(each.signature, signed) for each in layers)


def _layers(manifest: bytes | None) -> tuple[Mapping[str, Any], ...]:
    try:
        return layers_of(manifest) if manifest is not None else ()
    except MalformedSignaturesError:
        # No verifier could have read a signature there.
        return ()
