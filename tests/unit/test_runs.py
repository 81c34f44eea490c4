"""A run that was killed is noticed by the next one; a run that lives is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kmatrix.effects.runs import clear_ended_runs, marked_run
from kmatrix.values.errors import InputError, UnreachableError

SCRIPT = """
import sys
from pathlib import Path
from kmatrix.effects.runs import marked_run
with marked_run(Path(sys.argv[1])) as run_id:
    print(run_id, flush=True)
    sys.stdin.read()
"""


def test_a_run_that_lives_is_left_alone_and_one_that_is_over_is_cleared_once(tmp_path: Path) -> None:
    cleared: list[str] = []
    with marked_run(tmp_path / "runs") as first:
        with marked_run(tmp_path / "runs") as second:
            clear_ended_runs(tmp_path / "runs", cleared.append)
        assert cleared == []
        clear_ended_runs(tmp_path / "runs", cleared.append)
    assert cleared == [second]
    clear_ended_runs(tmp_path / "runs", cleared.append)
    clear_ended_runs(tmp_path / "runs", cleared.append)
    assert cleared == [second, first]


def test_a_killed_run_is_cleared(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        run_id = run.stdout.readline().strip()
        cleared: list[str] = []
        clear_ended_runs(tmp_path, cleared.append)
        assert cleared == []
        os.kill(run.pid, signal.SIGKILL)
        run.wait(timeout=10)
    clear_ended_runs(tmp_path, cleared.append)
    assert cleared == [run_id]


def test_a_run_that_could_not_be_cleared_is_remembered(tmp_path: Path) -> None:
    with marked_run(tmp_path) as run_id:
        pass

    def fail(_: str) -> None:
        raise UnreachableError("container engine", "x", "gone")

    with pytest.raises(UnreachableError):
        clear_ended_runs(tmp_path, fail)
    cleared: list[str] = []
    clear_ended_runs(tmp_path, cleared.append)
    assert cleared == [run_id]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "build").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .*build/runs"), marked_run(tmp_path / "build" / "runs"):
        pass
