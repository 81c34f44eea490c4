"""What many cells need is made once, whoever asks first, and its fault is everybody's."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kmatrix.stages.once import Once


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


def test_a_fault_is_everybodys_and_is_not_tried_again() -> None:
    once: Once[str] = Once()
    tried = []

    def fail() -> str:
        tried.append(1)
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            once.get("key", fail)
    assert len(tried) == 1
    assert once.values() == []


def test_each_key_has_its_own() -> None:
    once: Once[str] = Once()
    assert [once.get(key, lambda key=key: key.upper()) for key in "abab"] == ["A", "B", "A", "B"]  # type: ignore[misc]
    assert once.values() == ["A", "B"]
