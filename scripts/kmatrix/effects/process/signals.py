"""Signals that end a run: each interrupts the main thread, except while a finished result is being saved.

Ctrl-C, a cancelled job (SIGTERM) and a closed terminal (SIGHUP) are treated alike. A signal that was ignored when the
program started (nohup, a shell's background job) stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType

from kmatrix.values.errors import Exit

_ENDING = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
# So many signals during one hold mean that the user does not want to wait any longer.
_LAST_HELD = 3
_SHOW_CURSOR = b"\x1b[?25h"
_LAST_MESSAGE = b"interrupted a third time; the process ends at once, and the result that it was saving may be lost\n"


@dataclass
class Hold:
    """The number of signals that arrived during a hold."""

    signals: int = 0


@dataclass
class _Run:
    taken: tuple[signal.Signals, ...] = ()
    holds: list[Hold] = field(default_factory=list)
    interrupted: bool = False
    asked: bool = False


# At most one, which gets the signals: a process has one set of handlers.
_runs: list[_Run] = []
_asking = threading.Lock()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt in the main thread for every signal that ends a run.

    Nested, or outside the main thread, it has no effect.
    """
    if _runs or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    taken = tuple(number for number, handler in before.items() if handler not in (None, signal.SIG_IGN))
    _runs.append(_Run(taken))
    try:
        for number in taken:
            signal.signal(number, _on_signal)
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
        _runs.clear()


@contextlib.contextmanager
def held() -> Iterator[Hold]:
    """Defer signals: one that arrived raises KeyboardInterrupt at the end; the third in one hold ends the process.

    An error that ends the hold becomes the interruption's cause.
    Outside `interruptible`, and in other threads than the main one, nothing is deferred.
    """
    hold, run = Hold(), _run()
    if run is None or threading.current_thread() is not threading.main_thread():
        yield hold
        return
    run.holds.append(hold)
    broken: BaseException | None = None
    try:
        yield hold
    except BaseException as error:
        broken = error
        raise
    finally:
        run.holds.pop()
        if run.holds:
            run.holds[-1].signals += hold.signals
        elif hold.signals:
            raise KeyboardInterrupt from broken


def interrupt() -> None:
    """Interrupt the main thread as a signal does, from any thread, unless the run is interrupted already."""
    with _asking:
        run = _run()
        if run is None or run.interrupted or run.asked or not run.taken:
            return
        run.asked = True
    main = threading.main_thread().ident
    assert main is not None
    # A real signal: nothing else makes the main thread leave a wait for a lock.
    signal.pthread_kill(main, run.taken[0])


def _run() -> _Run | None:
    return _runs[0] if _runs else None


def _on_signal(number: int, _: FrameType | None) -> None:
    run = _run()
    if run is None:
        raise KeyboardInterrupt
    again, run.interrupted = run.interrupted, True
    if again and number == signal.SIGHUP:
        # A terminal that closes sends several, and its shell sends more: they do not mean a repeated request.
        return
    if not run.holds:
        raise KeyboardInterrupt
    run.holds[-1].signals += 1
    if run.holds[-1].signals >= _LAST_HELD:
        _leave()


def _leave() -> None:
    with contextlib.suppress(OSError):
        if os.isatty(2):
            os.write(2, _SHOW_CURSOR)
        os.write(2, _LAST_MESSAGE)
    os._exit(Exit.INTERRUPTED)
