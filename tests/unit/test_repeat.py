"""The command that repeats a cell does so: no plan leaves the cell out, no query of the registry skips it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from rich.console import Console

from kmatrix.cli.parser import parse
from kmatrix.commands.ending import Ending
from kmatrix.commands.invocation import Invocation
from kmatrix.stages.tables import repeat_command
from kmatrix.values.cells import CellResult, Verdict
from kmatrix.values.recipe import Recipe
from tests.unit.support.fake_registry import digest
from tests.unit.support.gate_records import put_record, record_of
from tests.unit.test_split_published import PATH, Bench, bench

__all__ = ["bench"]

pytestmark = pytest.mark.usefixtures("two_gates", "slept")
RESULT = CellResult("8.1.0-k", "8.1.0", "k", (), "failed", "no such field")


def words_of(command: str) -> list[str]:
    """Return the words that a shell makes of a command for kmatrix."""
    words = shlex.split(command.strip("`"))
    assert words[:2] == ["nox", "-s"]
    return [words[2], *words[4:]]


def built(bench: Bench, command: str) -> list[str]:
    """Return the cells that a command takes through gates again, by the decisions of `build`."""
    options = parse(words_of(command))
    assert options.command == "build"
    globs = [glob for given in options.only for glob in given.split()]
    chosen = [recipe for recipe in bench.recipes if any(fnmatchcase(recipe.cell.id, glob) for glob in globs)]
    bench.recipes = chosen
    return [recipe.cell.id for recipe in chosen] if options.force else bench.split()


def result_of(recipe: Recipe, verdict: Verdict, digest: str = "") -> CellResult:
    return replace(RESULT, cell=recipe.cell.id, verdict=verdict, digest=digest)


def test_the_bench_skips_a_published_cell(bench: Bench) -> None:
    """The negative control."""
    published = bench.recipes[0].cell.id
    assert built(bench, f"`nox -s build -- --only {published}`") == []


def test_a_report_repeats_a_cell_that_failed_although_it_is_published(bench: Bench) -> None:
    published = bench.recipes[0]
    command = repeat_command(result_of(published, "failed", "sha256:1"), "site", "report", ())
    assert built(bench, command) == [published.cell.id]


@pytest.mark.parametrize("session", ["report", "build", "watch"])
@pytest.mark.parametrize("verdict", ["failed", "errored"])
def test_a_cell_that_is_not_published_is_repeated_without_force(bench: Bench, session: str, verdict: Verdict) -> None:
    absent = bench.recipes[2]
    command = repeat_command(result_of(absent, verdict), "site", session, ())
    assert "--force" not in command
    assert built(bench, command) == [absent.cell.id]


def test_a_run_repeats_the_gate_that_a_published_image_lacks_and_builds_nothing(bench: Bench) -> None:
    recipe = bench.recipes[0]
    found = digest(bench.server.manifests[f"/v2/{PATH}/manifests/{recipe.cell.tag}"])
    put_record(bench.server, PATH, record_of(found, recipe.cell.id, recipe.cell_key, ("static",)))
    command = repeat_command(result_of(recipe, "failed", found), "site", "build", ())
    assert built(bench, command) == [recipe.cell.id]
    assert list(bench.run.ungated) == [recipe.cell.id]


def test_a_run_by_force_is_repeated_by_force(bench: Bench) -> None:
    published = bench.recipes[0]
    command = repeat_command(result_of(published, "failed", "sha256:1"), "site", "build", ("--force",))
    assert built(bench, command) == [published.cell.id]


def test_a_push_that_left_something_undone_is_repeated_by_a_build(bench: Bench) -> None:
    """`push` takes no cell that has a digest; `build` completes it."""
    published = bench.recipes[0]
    withheld = repeat_command(result_of(published, "errored"), "site", "push", ("--jobs", "2"))
    assert withheld == f"`nox -s push -- --profile site --jobs 2 --only {published.cell.id}`"
    done = repeat_command(result_of(published, "errored", "sha256:1"), "site", "push", ("--jobs", "2"))
    assert built(bench, done) == []
    assert bench.kept[published.cell.id].verdict == "skipped", "and so it has its tags and signatures"


@pytest.mark.parametrize(
    "cell", ["8.1.0-5.14.0-427.el9.x86_64+rt", "8.1.0-6.1.0~rc1^20260101+64k", "8.1.0-~root", "8.1.0-a_b"]
)
@pytest.mark.parametrize("session", ["build", "verify", "push", "report", "watch"])
def test_a_shell_leaves_the_cell_as_it_is_and_nothing_else_is_selected(cell: str, session: str) -> None:
    command = repeat_command(replace(RESULT, cell=cell), "site", session, ())
    options = parse(words_of(command))
    assert options.only == [cell]
    others = [cell + "x", cell[:-1], cell.replace("+", "_"), cell.replace("^", "x")]
    assert [each for each in {cell, *others} if fnmatchcase(each, cell)] == [cell]


@pytest.mark.parametrize(
    ("profile", "command", "kept"),
    [("site", "watch", False), ("lab", "watch", True), ("lab", "build", True)],
)
def test_a_cell_of_a_watch_is_repeated_without_an_option_that_a_build_refuses(
    tmp_path: Path, profile: str, command: str, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ("--graph", "https://graph.invalid", "--jobs", "2")
    call = Invocation(tmp_path, Console(stderr=True, width=240), command=command, typed=typed)
    Ending(call, profile, ("static",), [RESULT], ()).show()
    graph = "--graph https://graph.invalid " if kept else ""
    again = f"Repeat this cell: `nox -s build -- --profile {profile} {graph}--jobs 2 --only {RESULT.cell}`"
    assert again in capsys.readouterr().err
