"""Files: read with a clear error, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import tempfile
from pathlib import Path

from kmatrix.values.errors import InputError

# A name that no editor or person gives: files of it are of a process that was killed while it wrote.
_UNFINISHED = ".kmatrix-"
_WRITE_HINTS = {
    errno.ENOSPC: "Make room on that disk, and run the same command again.",
    errno.EDQUOT: "Make room in your quota on that disk, and run the same command again.",
    errno.EACCES: "Give your user the right to write there, and run the same command again.",
    errno.EPERM: "Give your user the right to write there, and run the same command again.",
    errno.EROFS: "Use a checkout on a disk that can be written.",
    errno.EEXIST: "Move away what has that name, or that of a folder above it; it does not belong to this program.",
    errno.ENOTDIR: "Move away what has the name of a folder above that path; it does not belong to this program.",
    errno.EISDIR: "Move away the folder that has this name; it does not belong to this program.",
    errno.ENOTEMPTY: "Something else writes to that folder: end it, and run the same command again.",
}
_READ_HINTS = {
    errno.EACCES: "Give your user the right to read it, and run the same command again.",
    errno.EISDIR: "Move away the folder that has this name.",
    errno.ENOTDIR: "Move away what has the name of a folder above it.",
}


def cannot_write(path: Path, error: OSError) -> InputError:
    """The error that says a place cannot be written, why, and what to do about it."""
    hint = _WRITE_HINTS.get(error.errno or 0, "Look whether its disk is in order, and run the same command again.")
    return InputError(f"cannot write {path}: {error.strerror or error}", hint)


def cannot_read(path: Path, what: str, error: OSError, hint: str = "") -> InputError:
    """The error that says a file cannot be read, why, and what to do about it."""
    other = hint or "Look whether it is there and its disk is in order, and run the same command again."
    return InputError(f"{what} {path}: {error.strerror or error}", _READ_HINTS.get(error.errno or 0, other))


def remove_unfinished(path: Path) -> None:
    """Remove what `write_atomically` leaves beside a file where it is killed; nobody else may write it meanwhile.

    Raises:
        InputError: it cannot be removed.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}{_UNFINISHED}*"):
        try:
            left.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(left, error) from error


def read_text(path: Path, what: str, hint: str = "") -> str:
    """Return the text of a file a person is responsible for.

    Args:
        path: the file.
        what: what it is, for the error ("matrix file").
        hint: what to do when it is not there.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise cannot_read(path, what, error, hint) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{what} {path}: not UTF-8 at byte {error.start}", "Save the file as UTF-8.") from error


def write_atomically(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write a file so that readers see the old or the new content, never a part.

    Raises:
        InputError: the place cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}{_UNFINISHED}")
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise
