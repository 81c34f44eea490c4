"""Retry requests to the container engine that fail for a transient reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.errors import TakenAwayError
from kmatrix.effects.retry import retried
from kmatrix.values.errors import UnreachableError

T = TypeVar("T")


def patiently(do: Callable[[], T], engine: Engine) -> T:
    """Return the value of `do`, which is retried if the engine or a registry is unreachable, or an image was removed.

    There is no further attempt once the run was told to stop.

    Raises:
        UnreachableError, TakenAwayError: the fault of the last attempt.
    """
    return retried(do, (UnreachableError, TakenAwayError), give_up=lambda: engine.stopping)
