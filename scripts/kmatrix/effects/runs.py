"""Marks every run of a checkout while it lives, so that the next one can clear up after one that was killed."""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kmatrix.values.errors import InputError


@contextmanager
def marked_run(folder: Path) -> Iterator[str]:
    """Mark a run for as long as it lives, however it ends; yields its id.

    Args:
        folder: where this checkout's runs are marked.

    Raises:
        InputError: the place cannot be written.
    """
    run_id = secrets.token_hex(6)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marker = (folder / run_id).open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {folder / run_id}: {error.strerror or error}") from error
    with marker:
        # The kernel gives the lock back even when the process is killed.
        fcntl.flock(marker, fcntl.LOCK_EX)
        yield run_id


def clear_ended_runs(folder: Path, clear: Callable[[str], None]) -> None:
    """Call `clear` with the id of every run that is over, and forget it.

    Args:
        folder: where this checkout's runs are marked.
        clear: removes what a run left; where it fails, the run is remembered.
    """
    for path in sorted(folder.iterdir()):
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
            clear(path.name)
            path.unlink(missing_ok=True)
