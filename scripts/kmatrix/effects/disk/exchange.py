"""Exchanges two folders in one step, where the system can."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

# include/uapi/linux/fcntl.h, include/uapi/linux/fs.h
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
# fs/namei.c, do_renameat2: EINVAL from a file system that has no such operation (NFS); ENOSYS from an old kernel.
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def replace_with(new: Path, folder: Path, old: Path) -> None:
    """Put a new folder in the place of another, which may not be there, and keep that as `old`.

    Where the system can exchange names, a reader finds one of the two at any moment, and so does the next run after
    this one was killed. Elsewhere there is none for the moment between two renames.

    Args:
        new: the new folder.
        folder: the place.
        old: a name that is free, on the same file system.

    Raises:
        OSError: it could not be done; `folder` is as it was.
    """
    if not folder.exists():
        new.rename(folder)
    elif _exchanged(new, folder):
        new.rename(old)
    else:
        folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            old.rename(folder)
            raise


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange two names with renameat2(2); return whether the system can.

    Raises:
        OSError: it can, and refused.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    paths = (os.fsencode(first), os.fsencode(second))
    if renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(second))
