"""Attestations in a registry: attached to the digest that they are about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.values.names import ImageRef


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
    """Attach bundles to a digest, beside those that it has.

    Args:
        registry: has the image.
        ref: a name in the image's repository.
        digest: of the image's manifest or list, which need not have a tag.
        bundles: predicate type and bundle of each.
        stopping: whether the run was told to stop.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried, or refuses.
        ToolError: it keeps something else under the name of the list of attestations.
        InterruptedRunError: the run was told to stop.
    """
    raise NotImplementedError


def attached(
    registry: Registry, ref: ImageRef, digest: str, say: Callable[[str], None] = lambda _: None
) -> tuple[Attached, ...]:
    """Return the bundles that are attached to a digest; none if the registry says there are none.

    Args:
        registry: has the image.
        ref: a name in the image's repository.
        digest: of the image's manifest or list.
        say: is given a line that names an attachment which cannot be read.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried. That is no absence.
    """
    raise NotImplementedError
