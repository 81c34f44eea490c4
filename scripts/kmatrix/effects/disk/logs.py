"""A log that is written line by line: one that cannot be written never breaks off the work that it is about."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import IO, Literal, Self

from kmatrix.values.errors import ToolError
from kmatrix.values.text import plain

_HINT = "Free the place or the disk that the log is on, and run the same command again."


class Log:
    """A log file under way; use as a context manager.

    Attributes:
        path: of the file.
        error: why a line is missing, None as long as none is.
    """

    def __init__(self, path: Path, file: IO[str]) -> None:
        self.path = path
        self.error: ToolError | None = None
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A line that did not fit is tried once more here; that it is missing was noted.
        with contextlib.suppress(OSError):
            self._file.close()

    def line(self, text: str) -> None:
        """Add a line, and have it on the disk; if that fails, note why.

        It does not raise: the work may be shared with others, whose logs can be written.
        """
        if self.error is not None:
            return
        try:
            self._file.write(plain(text) + "\n")
            self._file.flush()
        except OSError as error:
            self.error = _error(self.path, error)

    def check(self) -> None:
        """Raise what was noted.

        Raises:
            ToolError: a line is missing.
        """
        if self.error is not None:
            raise self.error


def open_log(path: Path, mode: Literal["w", "a"] = "w") -> Log:
    """Open a log, and make its folder.

    Args:
        path: of the log.
        mode: `w` begins it anew, `a` adds to it.

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
