"""Image signatures in a registry, in cosign's classic form."""

from __future__ import annotations

from collections.abc import Callable

from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.effects.signing.image_keys import ImageSigner
from kmatrix.values.names import ImageRef


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
        ToolError: the registry keeps something else under the name of the signatures.
        InterruptedRunError: the run was told to stop.
    """
    raise NotImplementedError


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
    raise NotImplementedError
