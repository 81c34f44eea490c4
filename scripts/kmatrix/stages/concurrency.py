"""Threads that never delay the end of the program, and work that is done once for all callers that need it.

After Ctrl-C nothing waits for a server that does not answer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Generic, TypeVar

from kmatrix.effects.process.signals import Hold, held, interruptible
from kmatrix.values.errors import BuildError, KmatrixError, UnreachableError

T = TypeVar("T")
R = TypeVar("R")
# Requests to a registry at a time.
ASKING_THREADS = 8
# A fault is shared by all callers from this attempt on: each attempt can take as long as a time-out.
_ATTEMPTS = 3
_ENDING_SECONDS = 15
# The longest time until a signal is noticed that was held back.
_NOTICING_SECONDS = 0.2


class DaemonPool(Generic[R]):
    """Run calls in `threads` daemon threads, for which the interpreter does not wait when it ends."""

    def __init__(self, threads: int) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[R], Callable[[], R]] | None] = queue.SimpleQueue()
        self._threads = threads
        for _ in range(threads):
            threading.Thread(target=self._work, daemon=True).start()

    def submit(self, call: Callable[[], R]) -> Future[R]:
        """Run `call` in one of the threads; the future gets its outcome."""
        future: Future[R] = Future()
        self._calls.put((future, call))
        return future

    def close(self) -> None:
        """Let the threads end when no call is left; do not wait for them."""
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


def map_threads(call: Callable[[T], R], items: Iterable[T], threads: int = ASKING_THREADS) -> list[R]:
    """Return the outcome of `call` for each item, in order.

    Raises:
        Exception: the first one of a call, in the order of the items; it ends the wait for the others.
    """
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


def run_side_by_side(
    calls: Iterable[Callable[[], R]],
    threads: int,
    keep: Callable[[R], None],
    stop: Callable[[], None],
    lost: Callable[[R, Exception], None] = lambda *_: None,
) -> None:
    """Run calls, `threads` at a time, and give each outcome to `keep` in this thread as soon as it is there.

    An exception of a call or of `keep`, or a signal, ends the others: calls that have not begun are cancelled, and
    `stop` is called. Outcomes of the next 15 s are still kept; another signal ends that wait.

    Args:
        calls: the calls.
        threads: how many run at a time.
        keep: is given each outcome.
        stop: ends the calls that are under way; it runs in a thread of its own.
        lost: is given an outcome that `keep` refused while the others ended, and the reason.

    Raises:
        KeyboardInterrupt: a signal ended the calls.
        Exception: the first one of a call or of `keep`.
    """
    pool: DaemonPool[R] = DaemonPool(threads)
    try:
        # A signal that raised here or there would lose outcomes that are just being kept.
        with interruptible(), held() as hold:
            left = {pool.submit(call) for call in calls}
            try:
                while left and not hold.signals:
                    for future in wait(left, timeout=_NOTICING_SECONDS, return_when=FIRST_COMPLETED).done:
                        left.discard(future)
                        keep(future.result())
            finally:
                if left:
                    _end(left, keep, stop, lost, hold)
    finally:
        pool.close()


def _end(
    left: set[Future[R]],
    keep: Callable[[R], None],
    stop: Callable[[], None],
    lost: Callable[[R, Exception], None],
    hold: Hold,
) -> None:
    """End the calls that are under way, and keep every outcome that arrives in time; another signal ends the wait."""
    left = {future for future in left if not future.cancel()}
    # An engine that does not answer must not delay the calls that are about to end.
    ending: DaemonPool[None] = DaemonPool(1)
    waiting: set[Future[Any]] = {ending.submit(stop), *left}
    ending.close()
    until, signals = time.monotonic() + _ENDING_SECONDS, hold.signals
    while waiting:
        # Looked at once more when the wait is over: an outcome that has arrived by then is kept.
        over = hold.signals > signals or time.monotonic() >= until
        seconds = 0 if over else _NOTICING_SECONDS
        done, waiting = wait(waiting, timeout=seconds, return_when=FIRST_COMPLETED)
        for future in left & done:
            _keep_ended(future, keep, lost)
        if over:
            return


def _keep_ended(future: Future[R], keep: Callable[[R], None], lost: Callable[[R, Exception], None]) -> None:
    if future.cancelled() or future.exception() is not None:
        return
    try:
        keep(future.result())
    except Exception as error:
        # The calls end for another reason, and the next outcome may be kept all the same.
        lost(future.result(), error)


class Once(Generic[T]):
    """One value per key for the life of a run, and lasting faults: the first caller makes it, the others wait.

    A failed attempt is repeated by the next caller that needs the value, as most faults pass. Only a bad product stays
    bad: a `BuildError` is kept at once. An `UnreachableError` is never kept, as it says nothing about the value. Any
    other exception is kept from the third attempt on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: dict[str, Future[T]] = {}
        self._failed: dict[str, int] = {}

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the value for `key`, made by the first caller's `make`; the others wait for it.

        Raises:
            KmatrixError: `make` failed. A caller that waited for another's `make` shares a fault that is kept and an
                `UnreachableError`; after any other fault it calls its own `make`.
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
        """Return the values made so far."""
        with self._lock:
            return [f.result() for f in self._futures.values() if f.done() and f.exception() is None]
