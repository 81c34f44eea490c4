"""Runs a program to its end and measures it: exit code, wall time, peak memory, output; no process is left behind."""

from __future__ import annotations

import contextlib
import os
import select
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
_READING_MS = 20
_HINT = "Run ./scripts/bootstrap, which installs the programs that are needed."


@dataclass(frozen=True)
class Ended:
    """A program that ended: exit code (negative: the signal), wall seconds, its own peak memory in MB, output.

    The peak is 0 if the program ended before it could be read.
    """

    status: int
    seconds: float
    peak_rss_mb: float
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
            peak = _peak_until_end(process)
        except BaseException:
            _end(process)
            raise
        seconds = time.monotonic() - start
    text = log.read_text(encoding="utf-8", errors="replace")
    return Ended(process.wait(), seconds, peak, text)


def peak_rss_mb(process: int) -> float:
    """Return the peak of a process's resident memory in MB since its program began; 0 if it has ended.

    It is VmHWM of /proc/PID/status (Linux, Documentation/filesystems/proc.rst).
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), "0")
    return round(int(found) * 1024 / 1e6, 1)


def _peak_until_end(process: subprocess.Popen[bytes]) -> float:
    """Wait for a program's end, and return its peak of memory.

    Not ru_maxrss of wait4: the kernel counts the memory of the process that started the program into it
    (fs/exec.c, exec_mmap), and that of the program's largest child.
    """
    peak = 0.0
    ended = os.pidfd_open(process.pid)
    try:
        waiting = select.poll()
        waiting.register(ended, select.POLLIN)
        while True:
            # What a wrapper of the program used before its exec does not count: the last value is the program's.
            peak = peak_rss_mb(process.pid) or peak
            if waiting.poll(_READING_MS):
                return peak
    finally:
        os.close(ended)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(_LONGEST_CLEAN_UP_SECONDS)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
