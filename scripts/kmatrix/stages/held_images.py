"""Images of a registry in the container engine: pulled by digest, and held for as long as a run needs them."""

from __future__ import annotations

from kmatrix.effects.engine.docker import Engine
from kmatrix.effects.engine.errors import RegistryRefusalError
from kmatrix.effects.registry.auth import refused
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.stages.patience import patiently
from kmatrix.values.names import ImageRef


def hold_image(engine: Engine, credentials: Credentials, image: ImageRef) -> None:
    """Have an image in the engine, by digest, for as long as the run needs it (see `Engine.hold`).

    Raises:
        UnreachableError: the registry is unreachable.
        CredentialError: it refuses the credential, or there is none.
        ToolError: it has no such image.
    """
    auth = credentials.for_engine(image)
    try:
        patiently(lambda: engine.hold(image.pinned, auth), engine)
    except RegistryRefusalError as error:
        raise refused(image, credentials) from error
