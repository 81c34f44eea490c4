"""Work that many cells need and that is done once: the first asks, the others wait for its outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from kmatrix.values.errors import UnreachableError

T = TypeVar("T")


class Once(Generic[T]):
    """Keeps one outcome, value or exception, per key for the life of a run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: dict[str, Future[T]] = {}

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the outcome for `key`, made by the first caller's `make`; who waits shares its exception."""
        with self._lock:
            future = self._futures.get(key)
            first = future is None
            if future is None:
                future = self._futures[key] = Future()
        if first:
            try:
                future.set_result(make())
            except BaseException as error:
                if isinstance(error, UnreachableError):
                    # It says nothing about the thing itself: the next cell asks again.
                    with self._lock:
                        del self._futures[key]
                future.set_exception(error)
        return future.result()

    def values(self) -> list[T]:
        """The values made so far."""
        with self._lock:
            return [f.result() for f in self._futures.values() if f.done() and f.exception() is None]
