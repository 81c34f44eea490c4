"""manifests: ask the registry which public keys verify the signatures of the images that nodes are to pull."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from kmatrix.decide.simple_signing import is_about
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.image_signatures import signatures
from kmatrix.effects.signing.image_keys import PublicKey
from kmatrix.stages.concurrency import map_threads
from kmatrix.values.errors import CredentialError, KmatrixError, UnreachableError
from kmatrix.values.names import ImageRef

Say = Callable[[str], None]
# The names of the keys that verify an image, or why that is not known.
Answer = frozenset[str] | KmatrixError


def verifying_keys(
    registry: Registry, images: Iterable[ImageRef], keys: Mapping[str, PublicKey], say: Say
) -> dict[ImageRef, Answer]:
    """Return for each image the keys that verify a signature of it, as a node with a policy looks for one.

    A host that does not answer for one image is not asked for the next: each of these requests is repeated for seconds.

    Args:
        registry: reads every registry.
        images: each with its digest.
        keys: the public keys to try, by name.
        say: is given a line that names a signature which cannot be read.
    """
    answers: dict[ImageRef, Answer] = {}
    by_host: dict[str, list[ImageRef]] = {}
    for ref in dict.fromkeys(images):
        by_host.setdefault(ref.host, []).append(ref)
    for first, *others in by_host.values():
        answers[first] = answer = _answer(registry, keys, say, first)
        if isinstance(answer, UnreachableError | CredentialError):
            answers |= dict.fromkeys(others, answer)
        else:
            answers |= zip(others, map_threads(partial(_answer, registry, keys, say), others), strict=True)
    return answers


def _answer(registry: Registry, keys: Mapping[str, PublicKey], say: Say, ref: ImageRef) -> Answer:
    try:
        found = [
            pair for pair in signatures(registry, ref, ref.digest, say) if is_about(pair[0], ref.repository, ref.digest)
        ]
    except KmatrixError as error:
        return error
    return frozenset(
        name for name, key in keys.items() if any(key.verify(signature, payload) for payload, signature in found)
    )
