"""Commands that write are alone in a checkout; those that read, or write files of their own alone, run beside them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from test_cli import MATRIX, ROOT
from test_render import lock, profile

from kmatrix.cli import main
from kmatrix.commands import invocation
from kmatrix.commands.cells import _as_tested, _Book, _is_kept_back
from kmatrix.commands.invocation import Invocation, choose, marked_engine, resolve_pins
from kmatrix.decide.read_matrix import read_matrix
from kmatrix.effects.results import read_results, write_results
from kmatrix.effects.runs import only_run
from kmatrix.stages.progress import PlainProgress
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import Exit
from kmatrix.values.lock import Lock, inputs_digest, read_lock, write_lock

TARGETED = MATRIX.replace("    base_line:", "    target: registry.invalid/team\n    base_line:")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with pins, a target that nobody can reach, and no engine."""
    for name in [name for name in os.environ if name.startswith("KMATRIX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    monkeypatch.setenv("COLUMNS", "400")
    (tmp_path / "matrix.yaml").write_text(TARGETED, encoding="utf-8")
    stated = read_matrix(TARGETED).profile("site")
    pins = lock(profile()).model_copy(update={"inputs": inputs_digest(stated)})
    (tmp_path / "matrix.lock").write_text(write_lock(Lock().with_profile("site", pins)), encoding="utf-8")
    shutil.copytree(ROOT / "images" / "beegfs-client", tmp_path / "images" / "beegfs-client")
    return tmp_path


@pytest.mark.parametrize("command", ["build", "verify", "push", "bundle", "discover", "render"])
def test_a_command_that_writes_is_told_who_runs_and_touches_nothing(
    site: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    before = sorted(site.rglob("*"))
    with only_run(site / "build" / "run.lock", "build"):
        assert main([command, "--root", str(site)]) == Exit.USAGE
        assert sorted(site.rglob("*")) == sorted([*before, site / "build", site / "build" / "run.lock"])
    said = capsys.readouterr().err
    assert f"another run is under way in this checkout: `kmatrix build`, process {os.getpid()} on " in said
    assert "Wait for its end" in said


def test_commands_that_read_run_beside_one_that_writes(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--root", str(site)]) == Exit.OK
    write_results(site / "build" / "results.json", "site", {"c": RESULT}, ["c"])
    with only_run(site / "build" / "run.lock", "build"):
        for command in (["plan"], ["render", "--check"], ["report"], ["report", "--json"]):
            assert main([*command, "--root", str(site)]) == Exit.OK, command
    assert "another run" not in capsys.readouterr().err


def test_a_command_names_itself_and_the_next_one_is_not_in_its_way(site: Path) -> None:
    """Processes of their own, as nox starts them: none waits for itself, and none leaves a lock."""
    script = f"""
import os, sys
from pathlib import Path
from kmatrix import cli
from kmatrix.commands import planning
write = planning.write_rendered
def shown(*words, **options):
    print(Path({str(site)!r}, "build", "run.lock").read_text())
    return write(*words, **options)
planning.write_rendered = shown
sys.exit(cli.main(["render", "--root", {str(site)!r}]))
"""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout.splitlines()[0])["command"] == "render"


def test_what_a_killed_run_left_half_written_goes_with_the_next_run(site: Path) -> None:
    left = [site / "build" / f".{name}.kmatrix-x" for name in ("results.json", "results.xml", "bundles.json")]
    left[0].parent.mkdir()
    for path in left:
        path.touch()
    assert main(["render", "--root", str(site)]) == Exit.OK
    assert not [path for path in left if path.exists()]


def call_for(site: Path) -> Invocation:
    return Invocation(site, Console(file=io.StringIO()), command="test")


def test_pins_that_another_profile_got_meanwhile_stay(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = call_for(site)
    chosen = choose(call)
    pins = lock(profile())

    def slow(*_: object) -> object:
        now = read_lock((site / "matrix.lock").read_text())
        (site / "matrix.lock").write_text(write_lock(now.with_profile("other", pins)))
        return pins

    monkeypatch.setattr(invocation, "discover", slow)
    (site / ".matrix.lock.kmatrix-x").touch()
    resolve_pins(call, chosen)
    assert set(read_lock((site / "matrix.lock").read_text()).profiles) == {"site", "other"}
    assert not (site / ".matrix.lock.kmatrix-x").exists()


def test_the_next_run_clears_engine_and_disk_of_a_run_that_is_over(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []

    class Fake(SimpleNamespace):
        def __enter__(self) -> Fake:
            return self

        def __exit__(self, *_: object) -> None:
            return

    fake = lambda run_id: Fake(run_id=run_id, remove_leftovers=removed.append)  # noqa: E731
    monkeypatch.setattr(invocation, "Engine", fake)
    call = call_for(site)
    with marked_engine(call) as dead:
        pass
    boots = site / "build" / "boot"
    boots.mkdir()
    (boots / f"run-{dead.run_id}-c.cpio").touch()
    with marked_engine(call) as live:
        (boots / f"run-{live.run_id}-c.cpio").touch()
        with marked_engine(call):
            assert [path.name for path in boots.iterdir()] == [f"run-{live.run_id}-c.cpio"]
    assert removed[0] == dead.run_id
    assert live.run_id in {path.name for path in (site / "build" / "runs").iterdir()}


RESULT = CellResult(
    cell="c",
    client="8.2.2",
    kernel="k",
    releases=("4.16.3",),
    verdict="passed",
    reason="every check passed; not pushed (--no-push)",
    image="r/beegfs-client:c",
    image_id="sha256:1",
    booted=True,
)


def book(site: Path, order: tuple[str, ...]) -> Any:
    call = call_for(site)
    known = read_results(call.results_path, "site")
    job: Any = SimpleNamespace(call=call, chosen=SimpleNamespace(name="site"))
    return _Book(job, PlainProgress(call.console, 1), known, order)


def test_results_of_two_runs_of_one_profile_are_all_kept(site: Path) -> None:
    """Also where both read before either wrote, which the lock prevents for commands."""
    order = ("c1", "c2")
    books = book(site, order), book(site, order)
    for each, cell in zip(books, order, strict=True):
        each.keep(CellResult(**{**RESULT.__dict__, "cell": cell}))
    assert sorted(read_results(site / "build" / "results.json", "site")) == ["c1", "c2"]


def test_what_is_kept_back_can_be_pushed_after_a_run_that_reached_no_verdict(site: Path) -> None:
    path = site / "build" / "results.json"
    write_results(path, "site", {"c": RESULT}, ["c"])
    assert _is_kept_back(RESULT)
    errored = CellResult(**{**RESULT.__dict__, "verdict": "errored", "reason": "out", "image": "", "image_id": ""})
    for result, kept_back in ((errored, True), (errored, True)):
        book(site, ("c",)).keep(result)
        assert _is_kept_back(read_results(path, "site")["c"]) == kept_back
    tested = _as_tested(read_results(path, "site")["c"])
    assert (tested.verdict, tested.image_id, tested.booted) == ("passed", RESULT.image_id, True)
    failed = CellResult(**{**errored.__dict__, "verdict": "failed", "image_id": RESULT.image_id, "booted": False})
    book(site, ("c",)).keep(failed)
    assert not _is_kept_back(read_results(path, "site")["c"])


def test_the_profile_that_is_asked_for_is_reported(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = site / "build" / "results.json"
    write_results(path, "site", {"c": RESULT}, ["c"])
    write_results(path, "other", {}, [])
    assert main(["report", "--json", "--root", str(site)]) == Exit.OK
    shown = json.loads(capsys.readouterr().out)
    assert (shown["profile"], [cell["cell"] for cell in shown["cells"]]) == ("site", ["c"])
