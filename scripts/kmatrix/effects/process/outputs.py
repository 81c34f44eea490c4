"""Standard output and standard error that may break: what cannot be written never ends up in a cell's verdict.

A reader that goes away (`| head`, a closed terminal) interrupts the run. A full disk behind standard error loses
messages alone; behind standard output it loses results, which the end of the command has to say.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO, cast

from kmatrix.effects.process.signals import interrupt

_READER_GONE = (errno.EPIPE, errno.EIO)
# A closed descriptor would be given to the next file that is opened, and messages would go into that. Standard output
# gets one that refuses to be written: who asked for results must not take silence for them.
_STAND_INS = {0: os.O_RDONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}


@dataclass
class Outputs:
    """What became of the two streams, by descriptor; a stream that is not in there could be written so far."""

    lost: dict[int, OSError] = field(default_factory=dict)

    @property
    def reader_gone(self) -> bool:
        """Whether whoever read one of the two went away."""
        return any(error.errno in _READER_GONE for error in self.lost.values())

    @property
    def results_lost(self) -> OSError | None:
        """Why standard output could not be written, if it could not."""
        return self.lost.get(1)

    def flush(self) -> None:
        """Write what is buffered; a stream that cannot be written is noted."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()


class _Watched:
    """A text stream whose writes never raise OSError; the first such error is told, and the rest is dropped."""

    def __init__(self, stream: TextIO, lost: Callable[[OSError], None]) -> None:
        self._stream = stream
        self._lost = lost
        self._gone = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, call: Callable[..., object], *arguments: str) -> None:
        if self._gone:
            return
        try:
            call(*arguments)
        except OSError as error:
            self._gone = True
            self._drop()
            self._lost(error)

    def _drop(self) -> None:
        """Have the interpreter's own last flush succeed, which would otherwise decide the exit code."""
        with contextlib.suppress(OSError, ValueError):
            number = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


@contextlib.contextmanager
def watched_outputs() -> Iterator[Outputs]:
    """Watch standard output and standard error; yields what becomes of them."""
    outputs, before = Outputs(), (sys.stdout, sys.stderr)
    _fill_closed()

    def lose(number: int) -> Callable[[OSError], None]:
        def lost(error: OSError) -> None:
            outputs.lost[number] = error
            if error.errno in _READER_GONE:
                interrupt()

        return lost

    sys.stdout = cast("TextIO", _Watched(sys.stdout or _opened(1), lose(1)))
    sys.stderr = cast("TextIO", _Watched(sys.stderr or _opened(2), lose(2)))
    try:
        yield outputs
    finally:
        outputs.flush()
        sys.stdout, sys.stderr = before


def _fill_closed() -> None:
    for number, mode in _STAND_INS.items():
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, so this one.
            os.open(os.devnull, mode)


def _opened(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", closefd=False)
