"""One run at a time writes to a checkout, and every run is marked while it lives, so that the next clears up after it.

Both are locks of flock(2), which the kernel releases however a process ends; the content of the files is informative.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from kmatrix.effects.clock import utc_now
from kmatrix.effects.disk.files import cannot_write
from kmatrix.values.errors import InputError


@dataclass(frozen=True)
class Holder:
    """The holder of a lock: command, process, machine, and start (UTC, ISO 8601)."""

    command: str
    pid: int
    host: str
    since: str


@contextmanager
def only_run(path: Path, command: str) -> Iterator[None]:
    """Lock a checkout against other runs that write, for as long as the context lasts.

    Args:
        path: the file that is locked. It stays: a lock on a file that others remove protects nothing.
        command: the command of this run, shown to a second one.

    Raises:
        InputError: another run, which the message names, holds it; or the file cannot be written or locked.
    """
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(path, file) from None
        except OSError as error:
            raise _cannot_lock(path, error) from error
        _write_holder(path, file, command)
        try:
            yield
        finally:
            # While the lock is held, so that no message names a run that is over.
            os.ftruncate(file.fileno(), 0)


@contextmanager
def marked_run(folder: Path, command: str = "") -> Iterator[str]:
    """Mark a run for as long as the context lasts, however it ends, and yield its id.

    Args:
        folder: where this checkout's runs are marked, each by a locked file of its id's name.
        command: the command of this run, informative.

    Raises:
        InputError: the marker cannot be written or locked.
    """
    while True:
        run_id = secrets.token_hex(6)
        path = folder / run_id
        with _opened(path) as marker:
            try:
                fcntl.flock(marker, fcntl.LOCK_EX)
            except OSError as error:
                raise _cannot_lock(path, error) from error
            if not _is_at(marker, path):
                # Another run saw the marker before it was locked, and took it for one of a run that is over.
                continue
            _write_holder(path, marker, command)
            yield run_id
            return


def clear_ended_runs(folder: Path, clear: Callable[[str], None]) -> None:
    """Call `clear` with the id of every run that is over, and forget it.

    Args:
        folder: where this checkout's runs are marked.
        clear: removes the leftovers of a run; if it fails, the run is remembered.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            marker = path.open("r+", encoding="utf-8")
        except OSError:
            # Another run was quicker.
            continue
        with marker:
            try:
                fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if _is_at(marker, path):
                clear(path.name)
                path.unlink(missing_ok=True)


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Neither emptied nor replaced: its content is the holder's, which may still run.
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        there = path.stat()
    except OSError:
        return False
    return os.path.samestat(os.fstat(file.fileno()), there)


def _write_holder(path: Path, file: IO[str], command: str) -> None:
    since = utc_now()
    holder = Holder(command, os.getpid(), socket.gethostname(), since)
    try:
        os.ftruncate(file.fileno(), 0)
        # Not through the file's buffer, which would be written once more when it is closed.
        os.pwrite(file.fileno(), json.dumps(asdict(holder)).encode() + b"\n", 0)
    except OSError as error:
        raise cannot_write(path, error) from error


def _held(path: Path, file: IO[str]) -> InputError:
    holder = _read_holder(file)
    if holder is None:
        return InputError(
            f"another run in this checkout has just begun; it has not yet written its command and process to {path}",
            "Run the same command again in a moment: it then names that run, or resumes where it ended.",
        )
    who = f"`kmatrix {holder.command}`, process {holder.pid} on {holder.host}, since {holder.since}"
    return InputError(
        f"another run is under way in this checkout: {who} (as {path} says)",
        "Wait until it ends, or stop it with Ctrl-C where it runs; then run the same command again. "
        "A second checkout can run beside this one.",
    )


def _read_holder(file: IO[str]) -> Holder | None:
    """Return the holder that the file names; None if it names none yet, or a run that is over, not overwritten yet."""
    try:
        holder = Holder(**json.loads(file.read()))
        if holder.host == socket.gethostname():
            os.kill(holder.pid, 0)
    except (ValueError, TypeError, ProcessLookupError):
        return None
    except PermissionError:
        # That run lives, and belongs to another user.
        pass
    return holder


def _cannot_lock(path: Path, error: OSError) -> InputError:
    hint = "Put the checkout on a local disk, or on a file system whose server offers locks."
    if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF):
        hint = "Check its file system, and run the same command again."
    return InputError(f"cannot lock {path}: {error.strerror or error}", hint)
