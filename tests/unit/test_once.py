"""A value that many cells need is made once, by the first caller; only a lasting fault is shared by all."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kmatrix.stages.concurrency import Once
from kmatrix.values.errors import BuildError, ToolError, UnreachableError


def test_many_ask_and_one_makes() -> None:
    once: Once[object] = Once()
    everybody = threading.Barrier(8)
    made = []

    def make() -> object:
        made.append(threading.get_ident())
        return object()

    def ask(_: int) -> object:
        everybody.wait(timeout=10)
        return once.get("key", make)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert len(made) == 1
    assert len(set(map(id, found))) == 1


def test_others_wait_until_it_is_made() -> None:
    once: Once[str] = Once()
    under_way, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        under_way.set()
        assert go_on.wait(timeout=10)
        return "slow"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(once.get, "key", slow)
        assert under_way.wait(timeout=10)
        second = pool.submit(once.get, "key", lambda: "fast")
        assert once.values() == []
        go_on.set()
        assert (first.result(timeout=10), second.result(timeout=10)) == ("slow", "slow")


class Failing:
    """Makes nothing, and counts how often it was asked to."""

    def __init__(self, *errors: Exception) -> None:
        self.left = list(errors)
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if self.left:
            raise self.left.pop(0)
        return "made"


def test_a_bad_product_is_shared_and_not_tried_again() -> None:
    once: Once[str] = Once()
    make = Failing(BuildError("no"))
    for _ in range(3):
        with pytest.raises(BuildError, match="no"):
            once.get("key", make)
    assert make.asked == 1
    assert once.values() == []


def test_a_passing_fault_is_not_shared_with_the_next_cell() -> None:
    once: Once[str] = Once()
    make = Failing(ToolError("a container did not end", "Is the machine busy?"))
    with pytest.raises(ToolError):
        once.get("key", make)
    assert [once.get("key", make) for _ in range(2)] == ["made", "made"]
    assert make.asked == 2


def test_a_caller_that_waited_for_a_passing_fault_makes_its_own_attempt() -> None:
    once: Once[str] = Once()
    under_way, go_on = threading.Event(), threading.Event()

    def fail() -> str:
        under_way.set()
        assert go_on.wait(timeout=10)
        raise ToolError("a container did not end", "Is the machine busy?")

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(once.get, "key", fail)
        assert under_way.wait(timeout=10)
        others = [pool.submit(once.get, "key", lambda: "made") for _ in range(2)]
        go_on.set()
        with pytest.raises(ToolError):
            first.result(timeout=10)
        assert [other.result(timeout=10) for other in others] == ["made", "made"]


def test_a_lasting_fault_is_met_three_times_and_not_once_for_every_cell() -> None:
    once: Once[str] = Once()
    make = Failing(*(ToolError("a container did not end", "Is the machine busy?") for _ in range(9)))
    for _ in range(5):
        with pytest.raises(ToolError):
            once.get("key", make)
    assert make.asked == 3


def test_an_unreachable_service_is_queried_again_by_every_cell() -> None:
    once: Once[str] = Once()
    make = Failing(*(UnreachableError("registry", "r", "gone") for _ in range(5)))
    for _ in range(5):
        with pytest.raises(UnreachableError):
            once.get("key", make)
    assert once.get("key", make) == "made"


def test_each_key_has_its_own() -> None:
    once: Once[str] = Once()
    assert [once.get(key, lambda key=key: key.upper()) for key in "abab"] == ["A", "B", "A", "B"]  # type: ignore[misc]
    assert once.values() == ["A", "B"]
