"""A run that an error or a signal ends tells what it reached, what it did not reach, and which command goes on."""

from __future__ import annotations

import shlex
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kmatrix.commands.ending import cut_short
from kmatrix.commands.invocation import Invocation
from kmatrix.decide.cut_run import CutRun
from kmatrix.values.errors import InputError, InterruptedRunError, UnreachableError
from kmatrix.values.shard import Shard
from tests.unit.support.commanded_site import FAR, Site, make_site

BUILD = ("build", "--only", "7.4.6-*", "--jobs", "1", "--target", "registry.invalid/team")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A project with three cells."""
    return make_site(tmp_path)


def resume(site: Site) -> str:
    """Return the command that the run should name."""
    given = ["--root", str(site.root), "--target", "registry.invalid/team"]
    words = ["nox", "-s", "build", "--", "--profile", "site", *given, "--jobs", "1", "--only", "7.4.6-*"]
    return f"`{shlex.join(words)}`"


def interrupted(site: Site, command: list[str]) -> list[str]:
    """Interrupt a run once its last cell is under way; return what it printed after that."""
    with site.started(command, stderr=subprocess.PIPE) as run:
        assert run.stderr is not None
        begun = 0
        while begun < 3:
            begun += run.stderr.readline().rstrip().endswith(": build")
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=FAR)[1]
    assert run.returncode == 130, said
    return str(said).splitlines()


def test_an_interrupted_run_has_its_table_its_failures_and_what_it_did_not_reach(site: Site) -> None:
    said = interrupted(site, site.command("ends fails listens", *BUILD))
    at = next(at for at, line in enumerate(said) if line.startswith("cell "))
    rows = [line.split()[:2] for line in said[at + 1 : at + 3]]
    assert sorted(verdict for _, verdict in rows) == ["failed", "passed"]
    (failed,) = (cell for cell, verdict in rows if verdict == "failed")
    assert said[at + 3 : at + 6] == [
        f"{failed}: compile-error: no such field",
        f"       Log: build/logs/site/{failed}.log",
        f"       Repeat this cell: {resume(site).replace('7.4.6-*', failed).replace(chr(39), '')}",
    ]
    assert said[at + 6] == "1 passed, 1 failed"
    assert said[at + 7].startswith("1 of 3 cells was not reached: 7.4.6-")
    assert said[at + 8 :] == [f"Interrupted. Finished cells are saved; {resume(site)} goes on with the other cells."]


@pytest.mark.parametrize("option", ["--no-push", "--force", "--no-boot"])
def test_a_run_whose_cells_are_not_published_begins_again(site: Site, option: str) -> None:
    said = interrupted(site, site.command("ends ends listens", *BUILD, option))
    assert said[-1].endswith(f"{option} --jobs 1 --only '7.4.6-*'` begins again with every cell.")


def test_a_quiet_run_says_how_far_it_was(site: Site) -> None:
    done = site.ended(site.command("spoils listens listens", *BUILD, "--quiet"), stderr=subprocess.PIPE)
    said = [line for line in done.stderr.splitlines() if line != "STOPPING" and not line.startswith("note: ")]
    assert said[0] == "1 passed"
    assert said[1].startswith("2 of 3 cells were not reached: ")
    assert said[2].startswith("error: ")


@pytest.mark.parametrize("on_github", [False, True])
def test_a_run_whose_results_cannot_be_saved_shows_them_before_the_error(site: Site, on_github: bool) -> None:
    summary = site.root / "summary"
    github = ["env", "GITHUB_ACTIONS=true", f"GITHUB_STEP_SUMMARY={summary}"] if on_github else []
    done = site.ended([*github, *site.command("fails spoils listens", *BUILD)], stderr=subprocess.PIPE)
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("::")]
    at = next(at for at, line in enumerate(said) if line.startswith("cell "))
    assert sorted(line.split()[1] for line in said[at + 1 : at + 3]) == ["failed", "passed"]
    (error,) = (at for at, line in enumerate(said) if line.startswith("error: "))
    assert said[error - 1].startswith("1 of 3 cells was not reached: 7.4.6-")
    assert "results.json" in said[error]
    assert said[-1] == f"       {resume(site)} goes on with the other cells."
    annotations = [line for line in done.stderr.splitlines() if line.startswith("::error")]
    assert len(annotations) == 2 * on_github
    if on_github:
        assert "results.json" in annotations[0]
        assert "1 of 3 cells was not reached" in annotations[0]
        assert "no such field" in annotations[1]
        text = summary.read_text(encoding="utf-8")
        assert "✓ 1 passed, ✗ 1 failed" in text
        assert "<p>✗ The run was cut short: " in text
        assert "1 of 3 cells was not reached" in text
        assert "compile-error: no such field" in text


@pytest.mark.parametrize(
    ("total", "left", "told"),
    [
        (3, 1, "1 of 3 cells was not reached: c0"),
        (3, 2, "2 of 3 cells were not reached: c0, c1"),
        (1, 1, "1 of 1 cell was not reached: c0"),
        (40, 12, "12 of 40 cells were not reached: c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 2 more"),
        (2, 0, "each of 2 cells has a verdict"),
    ],
)
def test_what_was_not_reached_is_counted_and_named(total: int, left: int, told: str) -> None:
    assert str(CutRun("cell", total, tuple(f"c{at}" for at in range(left)), "x", "y")) == told


@dataclass
class Given:
    """Options of a command line, and whether its run leaves out what has a verdict."""

    options: dict[str, Any]
    goes_on: bool


@pytest.mark.parametrize(
    "given",
    [
        Given({"command": "build"}, True),
        Given({"command": "push"}, True),
        Given({"command": "bundle"}, True),
        Given({"command": "verify"}, False),
        Given({"command": "build", "force": True}, False),
        Given({"command": "build", "push": False}, False),
        Given({"command": "build", "boot": None}, False),
    ],
)
def test_only_what_is_published_need_not_be_done_again(given: Given, tmp_path: Path) -> None:
    call = Invocation(tmp_path, Console(), only=("8.1-*", "8.2-*"), shard=Shard(2, 5), **given.options)
    error = UnreachableError("registry", "r", "gone")
    cut = cut_short(call, "ocp", error, "cell", ["a", "b"], {"a": 1})
    command = f"`nox -s {given.options['command']} -- --profile ocp --only '8.1-*' --only '8.2-*' --shard 2/5`"
    assert cut.resume.startswith(command)
    assert ("goes on" in cut.resume) is given.goes_on
    assert error.__notes__ == [cut.resume]
    assert (cut.unreached, cut.reason) == (("b",), error.message)


def test_a_run_that_was_cut_behind_its_last_cell_does_not_speak_of_others(tmp_path: Path) -> None:
    call = Invocation(tmp_path, Console(), command="build")
    cut = cut_short(call, "ocp", InputError("x is full", "Make room."), "cell", ["a"], {"a": 1})
    assert (cut.unreached, cut.resume) == ((), "`nox -s build -- --profile ocp` does what is left")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (InterruptedRunError(), "interrupted"),
        (InputError("x is full", "Make room."), "x is full"),
        (ZeroDivisionError("at user:s3cret@host/x"), "internal error: ZeroDivisionError: at ***@host/x"),
    ],
)
def test_the_reason_of_a_cut_is_one_line(error: BaseException, reason: str, tmp_path: Path) -> None:
    assert cut_short(Invocation(tmp_path, Console(), command="build"), "p", error, "cell", [], []).reason == reason
