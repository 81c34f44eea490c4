"""A bounded retry with growing pauses: the one loop for faults that usually pass by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
ATTEMPTS = 4


def retried(
    call: Callable[[], T],
    faults: tuple[type[Exception], ...],
    *,
    first_pause_seconds: float = 0.5,
    give_up: Callable[[], bool] = lambda: False,
    before_retry: Callable[[], None] = lambda: None,
) -> T:
    """Return the value of `call`, which is called at most `ATTEMPTS` times.

    Args:
        call: the attempt.
        faults: the exceptions after which another attempt makes sense; any other is raised at once.
        first_pause_seconds: half of the first pause; each further pause doubles.
        give_up: queried after a fault; if it returns true, the fault is raised without another attempt.
        before_retry: called after each pause.

    Raises:
        Exception: the fault of the last attempt, or an exception that is not among `faults`.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return call()
        except faults:
            if give_up():
                raise
        time.sleep(first_pause_seconds * 2**attempt)
        before_retry()
    return call()
