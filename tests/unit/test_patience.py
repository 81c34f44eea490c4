"""Passing faults of the engine are met by another attempt, with a bound; any other is raised at once."""

from __future__ import annotations

from typing import Any

import pytest

from kmatrix.effects.engine.errors import TakenAwayError
from kmatrix.stages.patience import patiently
from kmatrix.values.errors import BuildError, ToolError, UnreachableError


class Running:
    """An engine whose run is told to stop, or not."""

    stopping = False


def failing(asked: list[int], *errors: Exception) -> Any:
    left = list(errors)

    def do() -> str:
        asked.append(1)
        if left:
            raise left.pop(0)
        return "done"

    return do


@pytest.mark.parametrize(
    "error", [UnreachableError("container engine", "here", "gone"), TakenAwayError("gone", "Run again.")]
)
def test_a_passing_fault_is_met_by_another_attempt(slept: list[float], error: Exception) -> None:
    asked: list[int] = []
    engine: Any = Running()
    assert patiently(failing(asked, error, error, error), engine) == "done"
    assert len(asked) == 4
    assert slept == sorted(slept)
    assert len(slept) == 3


def test_a_lasting_fault_is_raised_after_the_fourth_attempt(slept: list[float]) -> None:
    asked: list[int] = []
    engine: Any = Running()
    gone = UnreachableError("container engine", "here", "gone")
    with pytest.raises(UnreachableError):
        patiently(failing(asked, *[gone] * 9), engine)
    assert len(asked) == 4
    assert slept


@pytest.mark.parametrize("error", [BuildError("no"), ToolError("no", "Mend it.")])
def test_any_other_fault_is_raised_at_once(slept: list[float], error: Exception) -> None:
    asked: list[int] = []
    engine: Any = Running()
    with pytest.raises(type(error)):
        patiently(failing(asked, error), engine)
    assert (len(asked), slept) == (1, [])


def test_a_stopped_run_makes_no_further_attempt(slept: list[float]) -> None:
    asked: list[int] = []
    engine: Any = Running()
    engine.stopping = True
    with pytest.raises(UnreachableError):
        patiently(failing(asked, UnreachableError("container engine", "here", "gone")), engine)
    assert (len(asked), slept) == (1, [])
