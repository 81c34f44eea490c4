"""Threads that never hold up the end of the program, and work that is done once for all who need it.

After Ctrl-C nobody waits for a server that does not answer.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Generic, TypeVar

from kmatrix.values.errors import BuildError, KmatrixError, UnreachableError

T = TypeVar("T")
R = TypeVar("R")
# So often a fault may be met before it is everybody's; each attempt can take as long as a time-out.
_ATTEMPTS = 3


class DaemonPool(Generic[R]):
    """Runs calls in `threads` daemon threads, which the interpreter does not wait for when it ends."""

    def __init__(self, threads: int) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[R], Callable[[], R]] | None] = queue.SimpleQueue()
        self._threads = threads
        for _ in range(threads):
            threading.Thread(target=self._work, daemon=True).start()

    def submit(self, call: Callable[[], R]) -> Future[R]:
        """Have `call` run; its outcome is the future's."""
        future: Future[R] = Future()
        self._calls.put((future, call))
        return future

    def close(self) -> None:
        """Let the threads end when nothing is left to do; waits for none."""
        for _ in range(self._threads):
            self._calls.put(None)

    def _work(self) -> None:
        while (entry := self._calls.get()) is not None:
            future, call = entry
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)


def map_threads(call: Callable[[T], R], items: Iterable[T], threads: int) -> list[R]:
    """Return the outcome of `call` for each item, in order; the first exception ends the wait for the others."""
    pool: DaemonPool[R] = DaemonPool(threads)

    def bound(item: T) -> Callable[[], R]:
        return lambda: call(item)

    futures = [pool.submit(bound(item)) for item in items]
    try:
        return [future.result() for future in futures]
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    finally:
        pool.close()


class Once(Generic[T]):
    """Keeps one value per key for the life of a run, and the faults that do not pass: the first asks, the others wait.

    What failed is tried again by the next that needs it, as most faults pass: only a bad product stays bad.

    A `BuildError` is kept at once and an `UnreachableError` never: that says nothing about the thing itself. Any other
    exception is kept from the third attempt on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: dict[str, Future[T]] = {}
        self._failed: dict[str, int] = {}

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the value for `key`, made by the first caller's `make`; the others wait for it.

        Who waited for a fault that may pass makes it anew; for one that is kept, or for somebody who could not be
        reached after several attempts, shares it.
        """
        while True:
            with self._lock:
                future = self._futures.get(key)
                first = future is None
                if future is None:
                    future = self._futures[key] = Future()
            if first:
                self._make(key, future, make)
                return future.result()
            try:
                return future.result()
            except KmatrixError as error:
                with self._lock:
                    kept = self._futures.get(key) is future
                if kept or isinstance(error, UnreachableError):
                    raise

    def _make(self, key: str, future: Future[T], make: Callable[[], T]) -> None:
        try:
            future.set_result(make())
        except BaseException as error:
            with self._lock:
                if not self._is_kept(key, error):
                    del self._futures[key]
            future.set_exception(error)

    def _is_kept(self, key: str, error: BaseException) -> bool:
        if isinstance(error, BuildError | UnreachableError):
            return isinstance(error, BuildError)
        self._failed[key] = self._failed.get(key, 0) + 1
        return self._failed[key] >= _ATTEMPTS

    def values(self) -> list[T]:
        """The values made so far."""
        with self._lock:
            return [f.result() for f in self._futures.values() if f.done() and f.exception() is None]
