"""Runs a program to its end and measures it: exit code, wall time, peak memory, output; no process is left behind."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kmatrix.effects.process.orphans import ending_with_us
from kmatrix.values.errors import InputError, ToolError

_LONGEST_CLEAN_UP_SECONDS = 120
_HINT = "Run ./scripts/bootstrap, which installs the programs that are needed."


@dataclass(frozen=True)
class Ended:
    """A program that ended: exit code (negative: the signal), wall seconds, peak memory in MB, output.

    The kernel counts the memory of the starting process into the program's peak, so `peak_rss_mb` is never below
    `starter_rss_mb`: if the two are equal, the program needed at most that.
    """

    status: int
    seconds: float
    peak_rss_mb: float
    starter_rss_mb: float
    output: str


def run_program(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Ended:
    """Run a program and wait for its end.

    Args:
        command: program and arguments.
        folder: its working directory.
        environment: its complete environment.
        log: file for its standard output and standard error.

    Raises:
        ToolError: it cannot be started.
        InputError: its log cannot be written.
        KeyboardInterrupt: after the program and its children got the same signal and ended.
    """
    if shutil.which(command[0], path=environment.get("PATH", os.defpath)) is None:
        raise ToolError(f"{command[0]} cannot be started: it is not installed", _HINT)
    own = _megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        opened = log.open("wb")
    except OSError as error:
        raise InputError(
            f"cannot write {log}: {error.strerror or error}", "Make that path writable, and run the command again."
        ) from error
    with opened as file:
        start = time.monotonic()
        try:
            # A session of its own: Ctrl-C on the terminal then reaches it only once, through `_end`.
            process = subprocess.Popen(
                ending_with_us(command, signal.SIGTERM),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        except OSError as error:
            raise ToolError(f"{command[0]} cannot be started: {error.strerror or error}", _HINT) from error
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            _end(process)
            raise
        seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(encoding="utf-8", errors="replace")
    return Ended(process.returncode, seconds, _megabytes(usage.ru_maxrss), own, text)


def _megabytes(kibibytes: int) -> float:
    return round(kibibytes * 1024 / 1e6, 1)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(_LONGEST_CLEAN_UP_SECONDS)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
