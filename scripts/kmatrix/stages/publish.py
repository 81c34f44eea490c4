"""push: gives the tested image its name in the registry, and asks what is published already."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from kmatrix.effects.authorization import refused
from kmatrix.effects.credentials import Credentials
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine_errors import RegistryRefusalError
from kmatrix.effects.registry import Registry
from kmatrix.values import labels
from kmatrix.values.cells import Cell
from kmatrix.values.errors import ToolError, UnreachableError
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe

IMAGE = "beegfs-client"
_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.5
T = TypeVar("T")


def image_of(target: str, cell: Cell) -> ImageRef:
    """The name of a cell's image in the registry."""
    return ImageRef.parse(f"{target}/{IMAGE}:{cell.tag}")


def published_digest(registry: Registry, ref: ImageRef, recipe: Recipe) -> str | None:
    """Return the digest of a cell's published image if it was made from the same inputs, for these gates, else None.

    What is published has passed every gate: nothing else is ever pushed.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not tell.
    """
    manifest = registry.manifest(ref, recipe.cell.arch)
    if manifest is None:
        return None
    return manifest.digest if registry.labels(manifest).get(labels.CELL_KEY) in recipe.satisfying_keys else None


def push_image(
    engine: Engine, registry: Registry, credentials: Credentials, image: str, ref: ImageRef, cell: Cell
) -> str:
    """Push exactly `image` as `ref` and return the digest under which the registry has it.

    Args:
        engine: has the image.
        registry: is asked afterwards what it got.
        credentials: for the engine.
        image: the id of the tested image.
        ref: the name.
        cell: whose image it is.

    Raises:
        UnreachableError: transient faults that did not end.
        CredentialError: the registry refuses, or there is no credential.
        ToolError: it refuses for another reason, or has something else than what was tested.
    """
    engine.tag(image, ref.repository, ref.tag)
    auth = credentials.for_engine(ref)
    try:
        digest = _retried(lambda: engine.push(ref.repository, ref.tag, auth), registry, ref, engine)
    except RegistryRefusalError as error:
        raise refused(ref, credentials) from error
    manifest = registry.manifest(ref.with_digest(digest), cell.arch)
    # An image's id is its configuration's digest, or, with containerd's image store, its manifest's.
    if manifest is None or image not in (manifest.config, manifest.digest):
        raise ToolError(
            f"{ref}: the registry has {manifest.config if manifest else 'nothing'} there, tested was {image}",
            "Something else writes to this repository; give this project one of its own.",
        )
    return digest


def _retried(push: Callable[[], T], registry: Registry, ref: ImageRef, engine: Engine) -> T:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return push()
        except UnreachableError:
            if attempt == _ATTEMPTS or engine.stopping:
                raise
            time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
            # The engine hides the Retry-After of a 429; asked directly, the registry tells it and it is obeyed.
            registry.tags(ref)
    raise AssertionError("the loop returns or raises")
