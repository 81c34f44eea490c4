"""Tries again what may pass by itself: an engine or a registry that cannot be reached, an image somebody removed.

So does every stage that needs an image in the engine: it has it held, and a refusal told as a registry's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.errors import RegistryRefusalError, TakenAwayError
from kmatrix.effects.registry.auth import refused
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.values.errors import UnreachableError
from kmatrix.values.names import ImageRef

T = TypeVar("T")
_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.5


def patiently(do: Callable[[], T], engine: Engine) -> T:
    """Do something with the engine; after a fault that passes again, at most four times in all.

    Raises:
        UnreachableError, TakenAwayError: the fault of the last attempt.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return do()
        except (UnreachableError, TakenAwayError):
            if attempt == _ATTEMPTS or engine.stopping:
                raise
            time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
    raise AssertionError("the loop returns or raises")


def held(engine: Engine, credentials: Credentials, image: ImageRef) -> None:
    """Have an image in the engine, by digest, for as long as the run needs it (see `Engine.hold`).

    Raises:
        UnreachableError: the registry cannot be asked.
        CredentialError: it refuses the credential, or there is none.
        ToolError: it has no such image.
    """
    login = credentials.for_engine(image)
    try:
        patiently(lambda: engine.hold(image.pinned, login), engine)
    except RegistryRefusalError as error:
        raise refused(image, credentials) from error
