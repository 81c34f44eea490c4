"""Standard output and standard error that may break: a failed write never becomes a cell's verdict.

A reader that goes away (`| head`, a closed terminal) interrupts the run. A full disk behind standard error only loses
messages; behind standard output it loses results, which the command has to report at its end.
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
# The next file that is opened would get a closed descriptor's number, and messages would be written into that file.
# Standard output is replaced by a read-only descriptor: the loss of results must not go unnoticed.
_STAND_INS = {0: os.O_RDONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}


@dataclass
class Outputs:
    """The write errors of the two streams, by descriptor; a stream without an entry could be written so far."""

    lost: dict[int, OSError] = field(default_factory=dict)

    @property
    def reader_gone(self) -> bool:
        """Whether the reader of one of the streams went away."""
        return any(error.errno in _READER_GONE for error in self.lost.values())

    @property
    def results_lost(self) -> OSError | None:
        """The error that standard output could not be written with, or None."""
        return self.lost.get(1)

    def flush(self) -> None:
        """Write buffered output; note a stream that cannot be written."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()


class _Watched:
    """A text stream whose writes never raise OSError; the first such error is reported, later output is dropped."""

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
        """Redirect the stream to /dev/null: the interpreter's own last flush would otherwise decide the exit code."""
        with contextlib.suppress(OSError, ValueError):
            number = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


@contextlib.contextmanager
def watched_outputs() -> Iterator[Outputs]:
    """Watch standard output and standard error; yield their write errors."""
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
            # `open` uses the lowest free descriptor, which is this one.
            os.open(os.devnull, mode)


def _opened(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", closefd=False)
