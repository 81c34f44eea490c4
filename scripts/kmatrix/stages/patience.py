"""Tries again what may pass by itself: an engine or a registry that cannot be reached, an image somebody removed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine_errors import TakenAwayError
from kmatrix.values.errors import UnreachableError

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
