"""The bounded retry: which faults are met by another attempt, how many there are, and how long the pauses grow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kmatrix.effects.retry import retried


class PassingError(Exception):
    """Passes by itself."""


class LastingError(Exception):
    """Does not."""


def failing(events: list[str], *errors: Exception) -> Callable[[], str]:
    left = list(errors)

    def call() -> str:
        events.append("call")
        if left:
            raise left.pop(0)
        return "value"

    return call


def test_a_passing_fault_is_met_by_another_attempt_after_a_pause_that_doubles(slept: list[float]) -> None:
    events: list[str] = []
    call = failing(events, *(PassingError() for _ in range(3)))
    found = retried(call, (PassingError,), first_pause_seconds=0.25, before_retry=lambda: events.append("before"))
    assert found == "value"
    assert events == ["call", "before", "call", "before", "call", "before", "call"]
    assert slept == [0.5, 1.0, 2.0]


def test_the_fault_of_the_fourth_attempt_is_raised(slept: list[float]) -> None:
    events: list[str] = []
    with pytest.raises(PassingError, match="fourth"):
        retried(failing(events, *map(PassingError, ("first", "second", "third", "fourth", "fifth"))), (PassingError,))
    assert (len(events), len(slept)) == (4, 3)


def test_another_fault_is_raised_at_once(slept: list[float]) -> None:
    events: list[str] = []
    with pytest.raises(LastingError):
        retried(failing(events, LastingError()), (PassingError,))
    assert (events, slept) == (["call"], [])


def test_a_caller_that_gives_up_gets_the_fault_without_a_pause(slept: list[float]) -> None:
    events: list[str] = []
    with pytest.raises(PassingError):
        retried(failing(events, PassingError()), (PassingError,), give_up=lambda: True)
    assert (events, slept) == (["call"], [])
