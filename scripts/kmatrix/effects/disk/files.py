"""Files: read with a clear error, written atomically."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import tempfile
from pathlib import Path

from kmatrix.values.errors import InputError

# Part of a name that no editor or person uses: such files belong to a process that was killed while it wrote.
_UNFINISHED = ".kmatrix-"
_WRITE_HINTS = {
    errno.ENOSPC: "Make room on that disk, and run the same command again.",
    errno.EDQUOT: "Make room in your quota on that disk, and run the same command again.",
    errno.EACCES: "Give your user the right to write there, and run the same command again.",
    errno.EPERM: "Give your user the right to write there, and run the same command again.",
    errno.EROFS: "Use a checkout on a disk that can be written.",
    errno.EEXIST: "Move away the file that has that name, or that of a folder above it; kmatrix did not create it.",
    errno.ENOTDIR: "Move away the file that has the name of a folder above that path; kmatrix did not create it.",
    errno.EISDIR: "Move away the folder that has this name; kmatrix did not create it.",
    errno.ENOTEMPTY: "Another program writes to that folder: end it, and run the same command again.",
}
_READ_HINTS = {
    errno.EACCES: "Give your user the right to read it, and run the same command again.",
    errno.EISDIR: "Move away the folder that has this name.",
    errno.ENOTDIR: "Move away the file that has the name of a folder above it.",
}


def cannot_write(path: Path, error: OSError) -> InputError:
    """Return the error for a path that cannot be written, with the reason and the next step."""
    hint = _WRITE_HINTS.get(error.errno or 0, "Check that its disk works, and run the same command again.")
    return InputError(f"cannot write {path}: {error.strerror or error}", hint)


def cannot_read(path: Path, what: str, error: OSError, hint: str = "") -> InputError:
    """Return the error for a file that cannot be read, with the reason and the next step."""
    other = hint or "Check that it exists and that its disk works, and run the same command again."
    return InputError(f"{what} {path}: {error.strerror or error}", _READ_HINTS.get(error.errno or 0, other))


def remove_unfinished(path: Path) -> None:
    """Remove the temporary files that a killed `write_atomically` left; no other process may write the file meanwhile.

    Raises:
        InputError: one cannot be removed.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}{_UNFINISHED}*"):
        try:
            left.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(left, error) from error


def read_text(path: Path, what: str, hint: str = "") -> str:
    """Return the text of a file that a person maintains.

    Args:
        path: the file.
        what: its kind, for the error ("matrix file").
        hint: the next step if it cannot be read.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise cannot_read(path, what, error, hint) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{what} {path}: not UTF-8 at byte {error.start}", "Save the file as UTF-8.") from error


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as `sha256:<hex>`.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise cannot_read(path, "file", error) from error


def write_atomically(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write a file so that readers see either the old or the new content, complete.

    Raises:
        InputError: the path cannot be written.
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
