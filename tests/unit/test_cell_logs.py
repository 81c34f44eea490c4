"""A cell's log that cannot be written is that cell's matter: it is not published, and the others go on.

write(2) on /dev/full gives ENOSPC, as a full disk does (drivers/char/mem.c of Linux); a folder in the log's place
gives EISDIR.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest

from kmatrix.decide.boot import Booted
from kmatrix.effects.disk.logs import open_log
from kmatrix.stages.concurrency import Once
from kmatrix.stages.gates import boot as boot_gate
from kmatrix.stages.gates import gate as gate_module
from kmatrix.stages.gates.gate import ImageUnderTest, Outcome
from kmatrix.stages.progress import QuietProgress
from kmatrix.stages.run_context import CellContext, Options, RunContext, cell_result
from kmatrix.stages.subject import Subject
from kmatrix.stages.verdict import to_verdict
from kmatrix.values.boot import BootReport
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import ToolError
from kmatrix.values.recipe import Recipe
from tests.unit.support.bundle_bench import Bench
from tests.unit.support.commanded_site import BUILD, Site, make_site
from tests.unit.support.one_recipe import CELL, RECIPE

FULL = Path("/dev/full")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


@pytest.fixture
def run_context(tmp_path: Path) -> Any:
    (tmp_path / "logs").mkdir()
    return SimpleNamespace(
        logs=tmp_path / "logs",
        boot_folder=tmp_path / "boot",
        options=Options(tmp_path, "site", cast("Any", None), "registry.invalid/team"),
        engine=SimpleNamespace(stopping=False),
        machines=None,
        progress=QuietProgress(),
        shared=Once[str](),
    )


def test_two_logs_that_cannot_be_written_touch_no_third_cell(site: Site) -> None:
    logs = site.root / "build" / "logs" / "site"
    logs.mkdir(parents=True)
    first, second, third = sorted(json.loads(planned(site))["cells"], key=lambda cell: str(cell["cell"]))
    (logs / f"{first['cell']}.log").mkdir()
    (logs / f"{second['cell']}.log").symlink_to(FULL)
    done = site.ended(site.command("ends ends ends", *BUILD), stderr=-1)
    assert done.returncode == 3, done.stderr
    results = json.loads((site.root / "build" / "results.json").read_text())["cells"]
    found = {cell["cell"]: (cell["verdict"], cell["reason"]) for cell in results}
    folder, full = (
        f"{logs}/{first['cell']}.log: Is a directory",
        f"{logs}/{second['cell']}.log: No space left on device",
    )
    assert found == {
        first["cell"]: ("errored", f"cannot write the log {folder}"),
        second["cell"]: ("passed", f"every check passed; cannot write the log {full}"),
        third["cell"]: ("passed", "every check passed"),
    }
    options = f"--profile site --root {site.root} --target registry.invalid/team --no-boot --jobs 3"
    assert f"Repeat this cell: `nox -s build -- {options} --only {first['cell']}`" in done.stderr


def planned(site: Site) -> str:
    return site.ended(site.command("", "plan", "--json", "--only", "7.4.6-*"), stdout=-1).stdout


def test_a_cell_whose_log_is_incomplete_reaches_no_other_stage(run_context: Any) -> None:
    (run_context.logs / f"{CELL.id}.log").symlink_to(FULL)
    reached = []

    def work(run: CellContext) -> CellResult:
        with run.stage("build"):
            run.line("a line")
            reached.append("build")
        with run.stage("push"):
            reached.append("push")
        return cell_result(RECIPE, "passed", "good")

    result = to_verdict(run_context, RECIPE, work)
    assert (result.verdict, reached) == ("errored", ["build"])
    assert result.reason == f"cannot write the log {run_context.logs}/{CELL.id}.log: No space left on device"


def test_profiles_with_a_cell_of_one_name_keep_a_log_each(tmp_path: Path) -> None:
    anything = cast("Any", SimpleNamespace(stopping=False))
    for name in ("okd", "ocp"):
        options = Options(tmp_path, name, anything, "registry.invalid/team")
        run_context = RunContext(anything, anything, anything, options, QuietProgress(), anything)

        def work(run: CellContext, words: str = name) -> CellResult:
            run.line(words)
            return cell_result(RECIPE, "passed", "good")

        result = to_verdict(run_context, RECIPE, work)
        assert result.log == f"build/logs/{name}/{CELL.id}.log"
    first, second = (tmp_path / "build" / "logs" / name / f"{CELL.id}.log" for name in ("okd", "ocp"))
    assert (first.read_text().split()[0], second.read_text().split()[0]) == ("okd", "ocp")


def test_a_shared_step_is_not_lost_to_others_by_the_log_of_the_first(run_context: Any) -> None:
    (run_context.logs / f"{CELL.id}.log").symlink_to(FULL)
    made = []

    def work(run: CellContext) -> CellResult:
        def make() -> str:
            run.line("the shared step's output")
            made.append(run.recipe.cell.id)
            return "image"

        with run.stage("prepare"):
            run_context.shared.get("group", make)
        with run.stage("build"):
            return cell_result(run.recipe, "passed", "good")

    other = cast("Recipe", SimpleNamespace(cell=SimpleNamespace(**{**CELL.__dict__, "id": "other"})))
    assert to_verdict(run_context, RECIPE, work).verdict == "errored"
    assert to_verdict(run_context, other, work).verdict == "passed"
    assert made == [CELL.id]


def booted(
    run_context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: BootReport, has_name: bool = True
) -> Outcome:
    def boot_guest(*arguments: Any) -> Any:
        arguments[-1]("a line of the console")
        return SimpleNamespace(transcript=None, end="powered-off")

    monkeypatch.setattr(gate_module, "boot_guest", boot_guest)
    monkeypatch.setattr(boot_gate, "judge_boot", lambda *_: report)
    with open_log(tmp_path / "cell.log") as log:
        cell = CellContext(cast("RunContext", run_context), RECIPE, log)
        image = ImageUnderTest(cell, "sha256:1", gates=["static", "boot"], has_name=has_name)
        image.subject = Subject(CELL.id, "sha256:1", "t@d", "x86_64", Booted("k", "1.1.1", "A"), ())
        return boot_gate.boot_module(image)


@pytest.mark.parametrize("place", ["folder", "full"])
def test_a_boot_that_passed_without_its_console_is_no_verdict(
    run_context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    serial = run_context.logs / f"{CELL.id}.serial.log"
    serial.mkdir() if place == "folder" else serial.symlink_to(FULL)
    words = "Is a directory" if place == "folder" else "No space left on device"
    with pytest.raises(ToolError, match=rf"cannot write the log .*\.serial\.log: {words}") as caught:
        booted(run_context, tmp_path, monkeypatch, BootReport("passed", "booted", "good"))
    assert "make room on its disk" in caught.value.hint


def test_a_boot_that_failed_has_failed_without_its_console_too(
    run_context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_context.logs / f"{CELL.id}.serial.log").symlink_to(FULL)
    assert booted(run_context, tmp_path, monkeypatch, BootReport("failed", "oops", "bad")).verdict == "failed"


@pytest.mark.parametrize("verdict", ["failed", "errored"])
def test_a_cell_that_the_boot_gate_ended_has_a_next_step(
    run_context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: Literal["failed", "errored"]
) -> None:
    told = booted(run_context, tmp_path, monkeypatch, BootReport(verdict, "oops", "bad"))
    assert told.serial
    assert told.serial in told.next_step


@pytest.mark.parametrize("rebuild", ["", "a text"])
def test_the_next_step_of_a_failed_boot_leads_to_the_image_that_failed(
    run_context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rebuild: str
) -> None:
    """An image that was just built is removed, so `boot` alone would find none, or boot the published one."""
    places = {"build": ("--target", "r.example"), "boot": ("--target", "r.example")}
    run_context.options = replace(run_context.options, rebuild=rebuild, places=places)
    report = BootReport("failed", "oops", "bad")
    shell = f"`nox -s boot -- --profile site --target r.example {CELL.id} --shell` boots the image with a prompt."
    named = booted(run_context, tmp_path, monkeypatch, report)
    assert named.next_step == f"Read the kernel's messages in {named.serial}; {shell}"
    built = booted(run_context, tmp_path, monkeypatch, report, has_name=False)
    how = "--force --no-push" if rebuild else "--no-push"
    keep = f"`nox -s build -- --profile site --target r.example {how} --no-boot --only {CELL.id}`"
    assert f"{keep} builds the image again and keeps it in the container engine, and {shell}" in built.next_step


def test_a_bundle_whose_console_cannot_be_kept_is_errored(bench: Bench, tmp_path: Path) -> None:
    image = bench.image("6.1.0-1-amd64")
    (tmp_path / "build" / "logs" / "lab" / f"bundle-{image.cell.id}.serial.log").mkdir(parents=True)
    made = bench.make(image)
    assert (made.verdict, "Is a directory" in made.reason) == ("errored", True)
    assert bench.booted == []


def test_a_log_s_lines_are_plain_and_on_the_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log"
    with open_log(path) as log:
        log.line("\x1b[31mred\x1b[0m\x00")
        assert path.read_text() == "red\n"
    with open_log(path, "a") as log:
        log.line("more")
    assert path.read_text() == "red\nmore\n"
