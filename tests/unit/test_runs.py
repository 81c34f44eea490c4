"""One run at a time; the next one notices a killed run, and leaves a live one alone."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.runs import clear_ended_runs, marked_run, only_run
from kmatrix.values.errors import Exit, InputError, UnreachableError

ALONE = """
import subprocess, sys
from pathlib import Path
from kmatrix.effects.runs import only_run
with only_run(Path(sys.argv[1]), "build"):
    child = subprocess.Popen(["cat"], stdin=sys.stdin, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    child.wait()
"""
RACING = """
import sys
from pathlib import Path
from kmatrix.effects.runs import only_run
from kmatrix.values.errors import InputError
sys.stdin.readline()
try:
    with only_run(Path(sys.argv[1]), "build"):
        print("in", flush=True)
        sys.stdin.read()
except InputError as error:
    print(error.message, flush=True)
"""
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


def refusal(path: Path) -> InputError:
    with pytest.raises(InputError) as caught, only_run(path, "verify"):
        pass
    assert caught.value.exit_code is Exit.USAGE
    assert caught.value.hint
    return caught.value


def test_a_second_run_is_told_who_runs_and_since_when(tmp_path: Path) -> None:
    path = tmp_path / "build" / "run.lock"
    with only_run(path, "build"):
        told = refusal(path)
        holder = json.loads(path.read_text())
        assert refusal(path).message == told.message, "who was refused left the mark as it was"
    who = f"`kmatrix build`, process {os.getpid()} on {socket.gethostname()}, since {holder['since']}"
    assert who in told.message
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", holder["since"])
    assert "Ctrl-C" in told.hint
    with only_run(path, "verify"):
        assert json.loads(path.read_text())["command"] == "verify"
    assert path.read_text() == ""


def test_a_run_that_ends_with_an_error_lets_the_next_one_in(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), only_run(tmp_path / "lock", "build"):
        raise KeyboardInterrupt
    with only_run(tmp_path / "lock", "build"):
        pass


def test_a_killed_run_blocks_nobody_even_while_a_program_it_started_lives(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    command = [sys.executable, "-c", ALONE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        child = int(run.stdout.readline())
        assert f"process {run.pid} " in refusal(path).message
        run.kill()
        run.wait(timeout=10)
        assert json.loads(path.read_text())["pid"] == run.pid, "its words are still there"
        os.kill(child, 0)
        with only_run(path, "verify"):
            assert json.loads(path.read_text())["pid"] == os.getpid()
        # The child's input ends, and so does the child.


def test_of_many_runs_that_start_at_once_one_runs_and_each_other_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACING, str(tmp_path / "run.lock")]
    with ExitStack() as stack:
        runs = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(4)
        ]
        for run in runs:
            assert run.stdin
            run.stdin.write("go\n")
            run.stdin.flush()
        said = sorted(run.stdout.readline().strip() for run in runs if run.stdout)
    assert said[-1] == "in"
    winners = [run.pid for run in runs if f"process {run.pid} on" in "".join(said)]
    assert len(winners) <= 1
    for words in said[:-1]:
        assert words.startswith("another run "), words


def ended_process() -> int:
    with subprocess.Popen(["true"]) as done:
        pass
    return done.pid


@pytest.mark.parametrize("words", ["", "{", "7", '{"pid": 1}', "of a run that is over"])
def test_a_lock_without_words_of_its_holder_is_told_as_that(tmp_path: Path, words: str) -> None:
    """Between taking the lock and writing its holder, the file may still name a dead run."""
    path = tmp_path / "run.lock"
    if words.startswith("of"):
        host = socket.gethostname()
        words = json.dumps({"command": "build", "pid": ended_process(), "host": host, "since": "2026-01-01T00:00:00Z"})
    path.write_text(words)
    with path.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        told = refusal(path)
    assert "has just begun" in told.message
    assert "2026" not in told.message
    assert path.read_text() == words


def test_a_run_on_another_machine_is_told_though_its_process_is_not_here(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    words = {"command": "build", "pid": ended_process(), "host": "elsewhere", "since": "2026-01-01T00:00:00Z"}
    path.write_text(json.dumps(words))
    with path.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert f"process {words['pid']} on elsewhere, since 2026-01-01T00:00:00Z" in refusal(path).message


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_that_cannot_lock_is_told_and_never_taken_for_a_free_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    for context in (only_run(tmp_path / "lock", "build"), marked_run(tmp_path / "runs", "build")):
        with pytest.raises(InputError, match="cannot lock") as caught, context:
            pass
        assert caught.value.hint


def test_a_marker_that_was_taken_for_a_dead_runs_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleared: list[str] = []
    flock, first = fcntl.flock, [True]

    def late(file: Any, how: int) -> None:
        if first and first.pop():
            clear_ended_runs(tmp_path, cleared.append)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with marked_run(tmp_path, "boot") as run_id:
        assert len(cleared) == 1
        assert run_id not in cleared
        assert json.loads((tmp_path / run_id).read_text())["command"] == "boot"
        clear_ended_runs(tmp_path, cleared.append)
    assert run_id not in cleared
    clear_ended_runs(tmp_path, cleared.append)
    assert cleared[1:] == [run_id]


def test_where_nothing_was_ever_marked_there_is_nothing_to_clear(tmp_path: Path) -> None:
    clear_ended_runs(tmp_path / "runs", pytest.fail)
