"""A log that is written line by line; a failure to write it never interrupts the logged work."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import IO, Literal, Self

from kmatrix.values.errors import ToolError
from kmatrix.values.text import plain

_HINT = "Remove whatever blocks the path, or make room on its disk, and run the same command again."


class Log:
    """A log file under way; use as a context manager.

    Attributes:
        path: the path of the file.
        error: the reason why a line is missing; None if the log is complete.
    """

    def __init__(self, path: Path, file: IO[str]) -> None:
        self.path = path
        self.error: ToolError | None = None
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Closing writes a line that did not fit once more; `error` says already that it is missing.
        with contextlib.suppress(OSError):
            self._file.close()

    def line(self, text: str) -> None:
        """Write a line to the disk; if that fails, keep the reason in `error`.

        It does not raise: the logged work may be shared with cells whose logs can be written.
        """
        if self.error is not None:
            return
        try:
            self._file.write(plain(text) + "\n")
            self._file.flush()
        except OSError as error:
            self.error = _error(self.path, error)

    def check(self) -> None:
        """Raise `error`, if there is one.

        Raises:
            ToolError: a line is missing.
        """
        if self.error is not None:
            raise self.error


def open_log(path: Path, mode: Literal["w", "a"] = "w") -> Log:
    """Open a log, and create its folder.

    Args:
        path: the path of the log.
        mode: `w` replaces the log, `a` appends to it.

    Raises:
        ToolError: it cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Log(path, path.open(mode, encoding="utf-8"))
    except OSError as error:
        raise _error(path, error) from error


def _error(path: Path, error: OSError) -> ToolError:
    return ToolError(f"cannot write the log {path}: {error.strerror or error}", _HINT)
