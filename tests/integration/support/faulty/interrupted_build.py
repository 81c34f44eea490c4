"""A build in a process of its own that is sent a signal while a cell's compiler is at work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.integration.support.project.site import Site

# Reports when the compiler of the cell that its first argument names is running.
_RUN = """
import sys
import pytest
from tests.integration.support.faulty.trigger import at_line, at_stage
from bench import without_boot
with pytest.MonkeyPatch.context() as patch:
    compiling = lambda: print("COMPILING", file=sys.stderr, flush=True)
    at_stage(patch, "build", sys.argv[1], lambda: at_line(patch, r"CC \\[M\\] ", compiling))
    sys.exit(without_boot.main(sys.argv[2:]))
"""
# A bound for a busy machine: a run ends its stages, it does not wait for them.
_SOON_SECONDS = 30


@dataclass(frozen=True)
class Interrupted:
    """The end of an interrupted run: its exit code, and its lines on standard error."""

    code: int
    said: list[str]


def interrupt_while_compiling(site: Site, cell: str, number: signal.Signals = signal.SIGINT) -> Interrupted:
    """Build a project, one cell at a time; send a signal as soon as a cell compiles, and wait for the end."""
    # With one cell at a time make has more jobs, so the engine's cache has nothing of it.
    arguments = ["build", "--jobs", "1", "--root", str(site.root)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[4])])}
    command = [sys.executable, "-c", _RUN, cell, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as run:
        try:
            assert run.stderr
            said = []
            for line in run.stderr:
                said.append(line)
                if line == "COMPILING\n":
                    break
            run.send_signal(number)
            said += run.communicate(timeout=_SOON_SECONDS)[1].splitlines(keepends=True)
        finally:
            run.kill()
    return Interrupted(run.returncode, said)
