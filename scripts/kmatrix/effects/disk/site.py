"""A folder of many files that is written beside the one it replaces, so that readers find one of the two, complete."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kmatrix.effects.disk.exchange import replace_with
from kmatrix.effects.disk.files import cannot_write
from kmatrix.effects.disk.folders import MARK
from kmatrix.values.errors import InputError

# Part of a name that no person uses: such folders belong to a process that was killed while it wrote.
_UNFINISHED = ".kmatrix-"


def replace_site(folder: Path, files: Iterable[tuple[str, str]]) -> int:
    """Replace the content of a folder with these files, all at once.

    Leftovers of a process that was killed while it wrote are removed. A second process waits for the first.

    Args:
        folder: the folder; one that this program did not write is refused.
        files: path below it, and text; the first is asked for when no other process writes the folder.

    Returns:
        how many bytes they have.

    Raises:
        InputError: the folder is not this program's, or cannot be written; it is as it was.
    """
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"refusing to overwrite {folder}: kmatrix did not create it", "Move it away.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{folder.name}{_UNFINISHED}"
        with _alone(folder.parent) as alone:
            if alone:
                for left in folder.parent.glob(f"{glob.escape(prefix)}*"):
                    shutil.rmtree(left)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=prefix) as temporary:
                new = Path(temporary) / "new"
                size = _write(new, files)
                replace_with(new, folder, Path(temporary) / "old")
    except OSError as error:
        raise cannot_write(folder, error) from error
    return size


def _write(folder: Path, files: Iterable[tuple[str, str]]) -> int:
    folder.mkdir(mode=0o755)
    (folder / MARK).touch()
    made, size = {folder}, 0
    for path, text in files:
        target = folder / path
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        content = text.encode()
        target.write_bytes(content)
        size += len(content)
    return size


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Wait until no other process writes a site in a folder; false where the file system has no such locks (NFS).

    The lock is the folder's own, so that no file of it is left.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        locked = False
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            locked = True
        yield locked
    finally:
        os.close(descriptor)
