"""Sessions show where they are, what is slow and what failed: in place on a terminal, as plain lines elsewhere."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.cells import cell_len
from rich.console import Console

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.showing import showing
from kmatrix.decide.slow_stages import slow_after, usual_of, usual_seconds
from kmatrix.effects.engine import Engine
from kmatrix.lab.images import ensure_image
from kmatrix.lab.layout import Layout
from kmatrix.stages.columns import wide_console
from kmatrix.stages.gate_records import PlainRecords
from kmatrix.stages.progress import (
    LiveProgress,
    PlainProgress,
    QuietProgress,
    counting,
    in_place,
    line_of,
    narrating,
    stepping,
)
from kmatrix.stages.run_context import RunContext, reason_of
from kmatrix.stages.running import Row, Running
from kmatrix.values.cells import CellResult, Finding
from tests.unit.support.stand_in_engine import StandInEngine
from tests.unit.test_tables import RESULTS, on

FAILED = replace(
    RESULTS[0],
    verdict="failed",
    reason="compile-error: super.c:12: error: too few arguments",
    findings=(Finding("build", "compile-error", "super.c:12: error: too few arguments"),),
    log="build/logs/lab/x.log",
)


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def said(console: Console) -> list[str]:
    return cast("io.StringIO", console.file).getvalue().splitlines()


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=240)


def test_usual_seconds_are_the_median_of_stages_that_were_finished() -> None:
    passed = [replace(RESULTS[0], stages={"build": seconds, "boot": 7.0}) for seconds in (10.0, 12.0, 90.0)]
    failed = replace(FAILED, stages={"build": 11.0, "static": 0.1})
    assert usual_seconds([*passed, failed]) == {"build": 11.5, "boot": 7.0}
    assert usual_seconds([]) == {}


def test_this_run_counts_more_than_earlier_ones_and_a_short_stage_is_not_slow_by_a_few_seconds() -> None:
    assert usual_of("build", {"build": [4.0, 6.0]}, {"build": 90.0}) == 5.0
    assert usual_of("build", {"build": []}, {"build": 90.0}) == 90.0
    assert usual_of("build", {}, {}) is None
    assert [slow_after(usual) for usual in (1.0, 100.0, None)] == [21.0, 200.0, 60.0]


def test_a_cell_is_slow_once_its_stage_takes_much_longer_than_others_took() -> None:
    clock = Clock()
    running = Running({"build": 30.0}, clock)
    running.enter("a", "build")
    running.enter("b", "push")
    clock.now = 59
    assert [(row.subject, row.slow) for row in running.rows()] == [("a", False), ("b", False)]
    clock.now = 95
    assert running.rows() == [Row("a", "build", 95, 30.0), Row("b", "push", 95)]
    assert (running.rows()[0].time, running.rows()[0].remark) == ("95 s slow", "usually 30 s")
    assert (running.rows()[1].time, running.rows()[1].remark) == ("95 s", "")


def test_what_takes_long_is_mentioned_once_and_again_after_twice_the_time() -> None:
    clock = Clock()
    running = Running({"build": 30.0}, clock)
    assert running.due() == ([], None)
    running.enter("a", "build")
    assert running.due() == ([], 60.0)
    clock.now = 61
    rows, wait = running.due()
    assert [str(row) for row in rows] == ["a: build: still running after 61 s (usually 30 s)"]
    assert wait == 61
    clock.now = 121
    assert running.due() == ([], 1.0)
    clock.now = 122
    assert [row.seconds for row in running.due()[0]] == [122]


def test_a_stage_that_other_cells_turn_out_to_take_long_for_is_not_mentioned() -> None:
    clock = Clock()
    running = Running({"build": 1.0}, clock)
    for cell in ("a", "b"):
        running.enter(cell, "build")
    clock.now = 20
    running.leave("a")
    clock.now = 30
    assert running.due() == ([], 10.0), "it sleeps until the stage is slow by what is known now"


def test_a_cell_that_failed_in_a_stage_does_not_show_how_long_it_takes() -> None:
    clock = Clock()
    running = Running({}, clock)
    running.enter("a", "build")
    clock.now = 1
    running.leave("a", finished=False)
    running.enter("b", "build")
    assert running.rows() == [Row("b", "build", 0.0, None)]


def test_lines_have_a_line_for_a_stage_that_takes_long_without_being_asked() -> None:
    printed = threading.Event()

    class Noticing(io.StringIO):
        def write(self, text: str) -> int:
            if "still running" in text:
                printed.set()
            return super().write(text)

    console, clock = Console(file=Noticing(), width=240), Clock()
    progress = PlainProgress(console, 1, {"build": 5.0})
    progress.running._clock = clock
    with progress:
        progress.stage("a", "build")
        clock.now = 1000
        progress.step("another")
        assert printed.wait(60)
    assert said(console)[:1] == ["a: build"]
    assert any(line.startswith("a: build: still running after ") for line in said(console))


def test_the_watch_ends_with_the_session() -> None:
    before = threading.active_count()
    with PlainProgress(plain_console(), 1) as progress:
        progress.stage("a", "build")
        (thread,) = [each for each in threading.enumerate() if each.daemon and "watch" in each.name]
    thread.join(60)
    assert threading.active_count() <= before


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_table_of_what_runs_fits_and_marks_what_is_slow(width: int) -> None:
    clock = Clock()

    def show(console: Console) -> None:
        progress = LiveProgress(console, 3, {"build": 30.0})
        progress.running._clock = clock
        clock.now = 0
        progress.stage(RESULTS[0].cell, "build")
        clock.now = 100
        progress.stage(RESULTS[2].cell, "build")
        progress.done(replace(FAILED, cell="other"))
        console.print(progress._render())

    lines = on(width, show)
    at = next(at for at, line in enumerate(lines) if line.startswith("1/3 cells"))
    head, *rows = lines[at:]
    assert head.split() == ["1/3", "cells", "1", "failed"]
    assert all(cell_len(line.rstrip()) <= width for line in lines[at:])
    # The slow one stands first; where there is no room beside it, what is known of it stands below.
    stacked = width == 40
    assert len(rows) == (4 if stacked else 2)
    first = " ".join(rows[: 1 + stacked]).split()
    whole = [RESULTS[0].cell, "build", "100", "s", "slow", "usually", "30", "s"]
    assert first == (whole[:5] if width == 60 else whole)


def test_a_failure_is_shown_at_once_with_its_cause_and_its_log() -> None:
    console = plain_console()
    with PlainProgress(console, 2) as progress:
        progress.stage(FAILED.cell, "build")
        progress.done(FAILED)
        lines = said(console)
    assert lines[1].startswith(f"[1/2] {FAILED.cell} failed in ")
    assert lines[1].endswith(": compile-error: super.c:12: error: too few arguments")
    assert lines[-1].split() == ["log:", "build/logs/lab/x.log"]


def test_a_finding_that_the_reason_ends_with_is_not_shown_again() -> None:
    line = line_of(FAILED, 1, 1).plain
    (finding,) = FAILED.findings
    assert line.count(finding.message) == 1
    assert f"{finding.code}: {finding.message}" in line_of(replace(FAILED, reason="it failed"), 1, 1).plain


@pytest.mark.parametrize("kind", [PlainProgress, LiveProgress])
def test_the_output_of_programs_is_shown_with_its_cell_if_it_is_wanted(
    kind: Callable[..., PlainProgress | LiveProgress],
) -> None:
    for verbose, shown in ((False, []), (True, ["c | a red [line]", "c | b"])):
        console = plain_console()
        kind(console, 1, verbose=verbose).output("c", "a \x1b[31mred [line]\rb")
        assert said(console) == shown


def test_a_count_is_shown_while_it_runs_and_is_gone_after_that() -> None:
    progress = PlainProgress(plain_console(), 0)
    seen = []
    with counting(progress, "query", 3) as counted:
        call = counted(lambda item: seen.append((item, progress.running.rows()[0].detail)))
        for item in "abc":
            call(item)
    assert seen == [("a", "0 of 3"), ("b", "1 of 3"), ("c", "2 of 3")]
    assert progress.running.rows() == []
    assert said(progress.console) == []


def test_a_step_that_fails_is_over_too() -> None:
    progress = PlainProgress(plain_console(), 0)

    def fail() -> None:
        with stepping(progress, "lab"):
            narrating(progress, "lab")("image toolkit: building")
            (row,) = progress.running.rows()
            assert (row.subject, row.detail) == ("lab", "image toolkit: building")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert progress.running.rows() == []
    assert said(progress.console) == ["lab: image toolkit: building"]


def test_the_builds_of_the_lab_show_their_output_if_it_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")

    def build(_: bytes, *, on_line: Callable[[str], None], **__: object) -> str:
        on_line("Step 1/1 : FROM scratch")
        return "sha256:1"

    engine, layout = SimpleNamespace(image=lambda _: None, build=build), SimpleNamespace(images=lambda _: tmp_path)
    for verbose, shown in ((False, []), (True, ["lab: toolkit | Step 1/1 : FROM scratch"])):
        progress = PlainProgress(plain_console(), 0, verbose=verbose)
        ensure_image(cast("Engine", engine), cast("Layout", layout), "toolkit", "base", narrating(progress, "lab"))
        assert said(progress.console) == ["lab: image toolkit: building", *shown]


@pytest.mark.parametrize(
    ("environment", "terminal", "expected"),
    [
        ({"TERM": "xterm"}, True, LiveProgress),
        ({"TERM": "dumb"}, True, PlainProgress),
        ({"TERM": "xterm"}, False, PlainProgress),
        ({"TERM": "xterm", "FORCE_COLOR": "1"}, False, PlainProgress),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, LiveProgress),
    ],
)
def test_a_table_is_drawn_in_place_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    environment: dict[str, str],
    terminal: bool,
    expected: type[object],
) -> None:
    for name in ("TERM", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr", Terminal() if terminal else io.StringIO())
    console = wide_console(stderr=True)
    assert in_place(console) == (expected is LiveProgress)
    with showing(Invocation(tmp_path, console)) as progress:
        assert type(progress) is expected
    with showing(Invocation(tmp_path, console, quiet=True)) as progress:
        assert type(progress) is QuietProgress


@pytest.mark.parametrize(
    ("environment", "terminal", "coloured"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({}, False, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colours_follow_the_terminal_and_the_usual_variables(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], terminal: bool, coloured: bool
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    console = wide_console(stderr=True)
    PlainProgress(console, 1).done(CellResult("c", "1", "k", (), "failed", "x"))
    assert ("\x1b[31m" in stream.getvalue()) == coloured
    assert terminal or console.width == 240


def test_what_is_said_in_a_quiet_session_is_the_summary_alone(tmp_path: Path) -> None:
    console = plain_console()
    call = Invocation(tmp_path, console, quiet=True)
    call.say("a line")
    call.conclude("the summary")
    with showing(call, 1) as progress:
        progress.say("a line")
        progress.stage("c", "build")
        progress.output("c", "a line")
        progress.done(FAILED)
        with stepping(progress, "lab"):
            pass
        progress.warn("could not save the result of c: no space left")
    assert said(console) == ["the summary", "could not save the result of c: no space left"]


class Warned(QuietProgress):
    """Collects what is printed with --quiet too."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)


def test_a_quiet_session_names_the_evidence_that_it_does_not_believe_and_shows_its_own_bugs() -> None:
    progress = Warned()
    nothing: Any = None
    run = RunContext(StandInEngine(), nothing, nothing, nothing, progress, nothing)
    records = run.records
    assert isinstance(records, PlainRecords)
    records.say("note: r@sha256:1 is not believed as a record of passed gates: it is of another image")
    assert "Report the traceback in the output" in reason_of(run, ZeroDivisionError("oh"))
    note, trace = progress.lines
    assert note.endswith("it is of another image")
    assert "ZeroDivisionError: oh" in trace
