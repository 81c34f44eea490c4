"""The signals that end a run: each interrupts the main thread, except where it would lose what is finished.

Ctrl-C, a cancelled job (SIGTERM) and a closed terminal (SIGHUP) are one to us. A signal that was ignored when the
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
# Whoever asks this often while one thing is held has no patience with it any more.
_LAST_HELD = 3
_SHOW_CURSOR = b"\x1b[?25h"
_LAST_WORDS = b"interrupted a third time; the process ends at once, and what it was keeping may be lost\n"


@dataclass
class Hold:
    """How many signals came while this was held."""

    signals: int = 0


@dataclass
class _Run:
    taken: tuple[signal.Signals, ...] = ()
    holds: list[Hold] = field(default_factory=list)
    interrupted: bool = False
    asked: bool = False


# The one that signals reach, while there is one: a process has one set of handlers.
_runs: list[_Run] = []
_asking = threading.Lock()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Have every signal that ends a run raise KeyboardInterrupt in the main thread.

    Nested, or in another thread than the main one, it changes nothing.
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
    """Hold signals back; one that came raises KeyboardInterrupt at the end. The third in one hold ends the process.

    An error that ends the hold then is the interruption's cause.
    Where `interruptible` is not in force, in other threads too, nothing is held.
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
    # A real one: the main thread leaves a wait for a lock for nothing else.
    signal.pthread_kill(main, run.taken[0])


def _run() -> _Run | None:
    return _runs[0] if _runs else None


def _on_signal(number: int, _: FrameType | None) -> None:
    run = _run()
    if run is None:
        raise KeyboardInterrupt
    again, run.interrupted = run.interrupted, True
    if again and number == signal.SIGHUP:
        # A terminal that closes sends several, and its shell sends more: that is no impatience.
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
        os.write(2, _LAST_WORDS)
    os._exit(Exit.INTERRUPTED)
