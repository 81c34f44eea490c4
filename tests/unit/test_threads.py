"""Threads of a run: outcomes in order, the first exception at once, and no wait for a thread that never ends."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial

import pytest

from kmatrix.stages.concurrency import map_threads, run_side_by_side

FAR = 60.0


def test_outcomes_come_in_the_order_of_the_items() -> None:
    first_may_end = threading.Event()

    def call(item: int) -> int:
        if item == 0:
            assert first_may_end.wait(10)
        else:
            first_may_end.set()
        return item * 10

    assert map_threads(call, [0, 1, 2], 3) == [0, 10, 20]


def test_an_exception_does_not_wait_for_the_others() -> None:
    released = threading.Event()

    def call(item: int) -> int:
        if item == 0:
            raise ValueError("first")
        released.wait(60)
        return item

    try:
        with pytest.raises(ValueError, match="first"):
            map_threads(call, [0, 1], 2)
    finally:
        released.set()


def test_the_program_ends_although_a_thread_still_waits() -> None:
    code = (
        "import threading\nfrom kmatrix.stages.concurrency import map_threads\n"
        "def call(item):\n    if item: threading.Event().wait()\n    raise SystemExit(7)\n"
        "map_threads(call, [0, 1], 2)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 7


def two_calls(told: threading.Event) -> list[Callable[[], int]]:
    """Two calls that begin together: the first raises, the second returns once it is told to stop."""
    begun = threading.Barrier(2)

    def call(number: int) -> int:
        begun.wait(FAR)
        if number == 0:
            raise ValueError("first")
        assert told.wait(FAR)
        return number

    return [partial(call, number) for number in range(2)]


def test_calls_side_by_side_keep_each_outcome_in_the_callers_thread() -> None:
    kept: dict[int, int] = {}
    stopped: list[str] = []

    def keep(outcome: int) -> None:
        kept[outcome] = threading.get_ident()

    run_side_by_side([partial(int, number) for number in range(5)], 2, keep, lambda: stopped.append("stopped"))
    assert kept == dict.fromkeys(range(5), threading.get_ident())
    assert stopped == []


def test_an_exception_stops_the_other_calls_and_keeps_their_outcomes() -> None:
    told, kept = threading.Event(), list[int]()
    with pytest.raises(ValueError, match="first"):
        run_side_by_side(two_calls(told), 2, kept.append, told.set)
    assert kept == [1]


def test_an_outcome_that_cannot_be_kept_while_the_calls_end_is_reported_and_hides_no_reason() -> None:
    told, lost = threading.Event(), list[tuple[int, str]]()

    def keep(_: int) -> None:
        raise OSError("no space left")

    with pytest.raises(ValueError, match="first"):
        run_side_by_side(two_calls(told), 2, keep, told.set, lambda item, error: lost.append((item, str(error))))
    assert lost == [(1, "no space left")]
