"""Signals and readers that go away end a run as an interruption, and finished cells are kept.

bash's `hangup_all_jobs` (jobs.c) sends SIGHUP to every job beside the kernel's own on a closed terminal; signal(7) and
write(2) have the rest: EPIPE of a pipe without a reader, EIO of a terminal that hung up, ENOSPC of /dev/full.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import pytest

from kmatrix.effects.process.signals import held, interruptible
from kmatrix.stages.run import run_cells
from kmatrix.stages.run_context import RunContext
from kmatrix.values.cells import CellResult
from kmatrix.values.recipe import Recipe
from tests.unit.support.commanded_site import BUILD, FAR, SOON, Site, make_site
from tests.unit.support.saying import Saying


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def read_until(stream: IO[str] | None, *marks: str) -> list[str]:
    """Read lines until each mark was in one of them."""
    assert stream is not None
    lines, wanted = [], set(marks)
    for line in stream:
        lines.append(line)
        wanted = {mark for mark in wanted if mark not in line}
        if not wanted:
            return lines
    raise AssertionError(f"{wanted} not in: {''.join(lines)}")


def under_way(run: subprocess.Popen[str]) -> None:
    """Wait until the first cell is finished and all three were begun."""
    said = read_until(run.stderr, "[1/3]")
    begun = sum(line.rstrip().endswith(": build") for line in said)
    while begun < 3:
        begun += read_until(run.stderr, ": build") != []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_interruption_and_keeps_the_cells_that_end_by_then(site: Site, number: signal.Signals) -> None:
    with site.started(site.command("ends held listens", *BUILD), stderr=subprocess.PIPE) as run:
        under_way(run)
        run.send_signal(number)
        read_until(run.stderr, "STOPPING")
        site.go()
        said = run.communicate(timeout=FAR)[1]
    assert run.returncode == 130, said
    assert "Interrupted. Finished cells are saved" in said
    assert "Traceback" not in said
    assert site.verdicts == ["passed", "passed"]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGHUP])
def test_a_second_signal_ends_the_wait_and_loses_no_cell_that_ended(site: Site, first: signal.Signals) -> None:
    with site.started(site.command("ends held stuck", *BUILD), stderr=subprocess.PIPE) as run:
        under_way(run)
        run.send_signal(first)
        read_until(run.stderr, "STOPPING")
        site.go()
        read_until(run.stderr, "[2/3]")
        run.send_signal(signal.SIGTERM)
        said = run.communicate(timeout=SOON)[1]
    assert run.returncode == 130, said
    assert "Traceback" not in said
    assert site.verdicts == ["passed", "passed"]


def test_a_hang_up_that_comes_again_is_no_impatience(site: Site) -> None:
    with site.started(site.command("ends held listens", *BUILD), stderr=subprocess.PIPE) as run:
        under_way(run)
        run.send_signal(signal.SIGHUP)
        read_until(run.stderr, "STOPPING")
        run.send_signal(signal.SIGHUP)
        site.go()
        said = run.communicate(timeout=FAR)[1]
    assert run.returncode == 130, said
    assert site.verdicts == ["passed", "passed"]


def test_under_nohup_a_hang_up_ends_nothing(site: Site) -> None:
    command = ["nohup", *site.command("ends held ends", *BUILD)]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with site.started(command, **streams) as run:
        under_way(run)
        run.send_signal(signal.SIGHUP)
        site.go()
        said = run.communicate(timeout=FAR)[1]
    assert run.returncode == 0, said
    assert site.verdicts == ["passed"] * 3


def cells(count: int) -> list[Recipe]:
    return cast("list[Recipe]", [SimpleNamespace(number=number) for number in range(count)])


def run_context(stop: Callable[[], None], said: list[str], jobs: int) -> RunContext:
    engine = SimpleNamespace(remove_leftovers=lambda: None)
    progress = Saying(said.append)
    return cast(
        "RunContext",
        SimpleNamespace(stop=stop, engine=engine, progress=progress, options=SimpleNamespace(jobs=jobs)),
    )


def test_signals_that_come_while_a_cell_is_kept_lose_none() -> None:
    told, kept, begun = threading.Event(), list[int](), threading.Barrier(2)

    def work(_: RunContext, cell: Any) -> CellResult:
        begun.wait(FAR)
        if cell.number:
            assert told.wait(FAR)
        return cast("CellResult", cell)

    def keep(result: Any) -> None:
        # The handler runs before this returns.
        os.kill(os.getpid(), signal.SIGINT)
        kept.append(result.number)

    with pytest.raises(KeyboardInterrupt):
        run_cells(run_context(told.set, [], 2), work, cells(2), keep)
    assert kept == [0, 1]


def test_a_cell_that_cannot_be_kept_loses_no_other() -> None:
    told, kept, said, begun = threading.Event(), list[int](), list[str](), threading.Barrier(3)

    def work(_: RunContext, cell: Any) -> CellResult:
        begun.wait(FAR)
        if cell.number:
            assert told.wait(FAR)
        return cast("CellResult", SimpleNamespace(cell=str(cell.number), number=cell.number))

    def keep(result: Any) -> None:
        if result.number < 2:
            raise OSError("no space left")
        kept.append(result.number)

    with pytest.raises(OSError, match="no space left"):
        run_cells(run_context(told.set, said, 3), work, cells(3), keep)
    assert (kept, said) == ([2], ["could not save the result of 1: no space left"])


def test_the_third_signal_that_is_held_back_ends_the_process() -> None:
    code = (
        "import os, signal\nfrom kmatrix.effects.process.signals import held, interruptible\n"
        "with interruptible(), held() as hold:\n"
        "    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):\n"
        "        os.kill(os.getpid(), number)\n        print(hold.signals, flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=FAR, check=False)
    assert (done.returncode, done.stdout) == (130, "1\n2\n")
    (line,) = done.stderr.splitlines()
    assert "interrupted a third time" in line


def test_holds_within_holds_raise_at_the_end_of_the_outermost() -> None:
    done = []

    def hold_twice() -> None:
        with interruptible(), held() as outer:
            with held():
                os.kill(os.getpid(), signal.SIGINT)
                done.append("inner")
            done.append("outer")
            assert outer.signals == 1

    with pytest.raises(KeyboardInterrupt):
        hold_twice()
    assert done == ["inner", "outer"]


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with interruptible():
        assert signal.getsignal(signal.SIGHUP) != before[2]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


# Outputs that break


@pytest.fixture
def unread() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def test_a_reader_of_messages_that_goes_away_changes_no_verdict(site: Site) -> None:
    with site.started(site.command("ends held listens", *BUILD), stderr=subprocess.PIPE) as run:
        under_way(run)
        assert run.stderr
        run.stderr.close()
        site.go()
        assert run.wait(FAR) == 130
    assert site.verdicts == ["passed", "passed"]
    assert not [path for path in (site.root / "build" / "logs" / "site").iterdir() if "fault" in path.read_text()]


def test_a_reader_that_is_gone_before_the_first_message(site: Site, unread: int) -> None:
    assert site.ended(site.command("listens listens listens", *BUILD), stderr=unread).returncode == 130


def test_a_terminal_that_closes_is_an_interruption(site: Site) -> None:
    ours, theirs = pty.openpty()
    with site.started(site.command("ends held listens", *BUILD), stderr=theirs, stdin=subprocess.DEVNULL) as run:
        os.close(theirs)
        seen = b""
        while b"[1/3]" not in seen:
            seen += os.read(ours, 65536)
        os.close(ours)
        site.go()
        assert run.wait(FAR) == 130
    assert set(site.verdicts) == {"passed"}


@pytest.mark.parametrize("arguments", [["plan", "--json"], ["plan"], ["--help"]], ids=" ".join)
def test_results_that_nobody_reads_are_an_interruption(site: Site, unread: int, arguments: list[str]) -> None:
    done = site.ended(site.command("", *arguments), stdout=unread, stderr=subprocess.PIPE)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_results_that_no_disk_takes_are_an_error(site: Site) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = site.ended(site.command("", "plan", "--json"), stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2, done.stderr
    assert "error: cannot write standard output: No space left on device\n       Redirect it" in done.stderr
    assert "Exception ignored" not in done.stderr


def test_messages_that_no_disk_takes_are_lost_and_nothing_else(site: Site) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        assert site.ended(site.command("ends ends ends", *BUILD), stderr=full).returncode == 0
        assert site.verdicts == ["passed"] * 3
        done = site.ended(site.command("", "plan", "--json"), stdout=subprocess.PIPE, stderr=full)
    assert done.returncode == 0
    assert len(json.loads(done.stdout)["cells"]) == 6


def test_a_closed_standard_error_takes_no_message_into_a_file(site: Site) -> None:
    command = ["sh", "-c", 'exec "$@" 0<&- 2>&-', "sh", *site.command("ends ends ends", *BUILD)]
    assert site.ended(command).returncode == 0
    assert site.verdicts == ["passed"] * 3
    logs = [path.read_text(encoding="utf-8") for path in (site.root / "build" / "logs" / "site").iterdir()]
    assert sorted(len(text.splitlines()) for text in logs) == [2, 2, 2]


def test_a_closed_standard_output_is_no_success(site: Site) -> None:
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *site.command("", "plan", "--json")]
    done = site.ended(command, stderr=subprocess.PIPE)
    assert done.returncode == 2, done.stderr
    assert "cannot write standard output: Bad file descriptor" in done.stderr
