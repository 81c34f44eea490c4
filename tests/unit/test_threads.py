"""Threads of a run: outcomes in order, the first exception at once, and no wait for what does not answer."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from kmatrix.stages.concurrency import map_threads


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
