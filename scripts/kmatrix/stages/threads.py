"""Threads that never hold up the end of the program: after Ctrl-C nobody waits for a server that does not answer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


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
