"""Commands that write are alone in a checkout; those that read, or write files of their own alone, run beside them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from kmatrix.cli import main
from kmatrix.commands import build as build_command
from kmatrix.commands import bundle as bundle_command
from kmatrix.commands import lab as lab_command
from kmatrix.commands import pins as pins_command
from kmatrix.commands import run as run_command
from kmatrix.commands.build import _as_tested, _is_withheld
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.pins import resolve_pins
from kmatrix.commands.profile import select_profile
from kmatrix.commands.recorder import Job, Recorder
from kmatrix.commands.run import marked_engine
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.decide.plan import make_plan
from kmatrix.effects.disk.bundles import read_bundles, write_bundles
from kmatrix.effects.disk.results import read_results, write_results
from kmatrix.effects.runs import only_run
from kmatrix.lab import up as lab_up
from kmatrix.stages.progress import PlainProgress
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import Exit
from kmatrix.values.lock import inputs_digest, read_lock, write_lock
from kmatrix.values.names import ClientVersion
from tests.unit.support.made_up_profile import ROOT, lock, profile
from tests.unit.support.projects import MATRIX, write_project
from tests.unit.support.stand_in_engine import IN_USE, StandInEngine

TARGETED = MATRIX.replace("    base_stream:", "    target: registry.invalid/team\n    base_stream:")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with pins, a target that nobody can reach, and no engine."""
    for name in [name for name in os.environ if name.startswith("KMATRIX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    monkeypatch.setenv("COLUMNS", "400")
    write_project(tmp_path, TARGETED)
    return tmp_path


@pytest.mark.parametrize("command", ["build", "verify", "push", "bundle", "watch", "discover", "render"])
def test_a_command_that_writes_is_told_who_runs_and_touches_nothing(
    site: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    before = sorted(site.rglob("*"))
    with only_run(site / "build" / "run.lock", "build"):
        assert main([command, "--root", str(site)]) == Exit.USAGE
        assert sorted(site.rglob("*")) == sorted([*before, site / "build", site / "build" / "run.lock"])
    said = capsys.readouterr().err
    assert f"another run is under way in this checkout: `kmatrix build`, process {os.getpid()} on " in said
    assert "Wait until it ends" in said


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
from kmatrix.commands import plan as plan_command
write = plan_command.write_rendered
def shown(*words, **options):
    print(Path({str(site)!r}, "build", "run.lock").read_text())
    return write(*words, **options)
plan_command.write_rendered = shown
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
    chosen = select_profile(call)
    pins = lock(profile())

    def slow(*_: object) -> object:
        now = read_lock((site / "matrix.lock").read_text())
        (site / "matrix.lock").write_text(write_lock(now.with_profile("other", pins)))
        return pins

    monkeypatch.setattr(pins_command, "discover", slow)
    (site / ".matrix.lock.kmatrix-x").touch()
    resolve_pins(call, chosen)
    assert set(read_lock((site / "matrix.lock").read_text()).profiles) == {"site", "other"}
    assert not (site / ".matrix.lock.kmatrix-x").exists()


def test_the_next_run_clears_engine_and_disk_of_a_run_that_is_over(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []

    class ClearingEngine(StandInEngine):
        def remove_leftovers(self, run_id: str = "") -> None:
            assert self.notes == site / "build" / "builds"
            removed.append(run_id)

    monkeypatch.setattr(run_command, "DockerEngine", ClearingEngine)
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
    gates={"static": "passed", "boot": "passed"},
)


def recorder(site: Path, order: tuple[str, ...]) -> Any:
    call = call_for(site)
    known = read_results(call.results_path, "site")
    pins = SimpleNamespace(releases=(), unresolved=())
    job: Any = SimpleNamespace(call=call, chosen=SimpleNamespace(name="site", effective=profile()), pins=pins)
    rows = [SimpleNamespace(id=cell, state="in", releases=()) for cell in order]
    plan: Any = SimpleNamespace(rows=rows, open=())
    return Recorder(job, PlainProgress(call.console, 1), plan, known, ())


def test_results_of_two_runs_of_one_profile_are_all_kept(site: Path) -> None:
    """Also where both read before either wrote, which the lock prevents for commands."""
    order = ("c1", "c2")
    recorders = recorder(site, order), recorder(site, order)
    for each, cell in zip(recorders, order, strict=True):
        each.record(CellResult(**{**RESULT.__dict__, "cell": cell}))
    assert sorted(read_results(site / "build" / "results.json", "site")) == ["c1", "c2"]


def test_a_withheld_image_can_be_pushed_after_a_run_that_reached_no_verdict(site: Path) -> None:
    path = site / "build" / "results.json"
    write_results(path, "site", {"c": RESULT}, ["c"])
    assert _is_withheld(RESULT)
    errored = CellResult(**{**RESULT.__dict__, "verdict": "errored", "reason": "out", "image": "", "image_id": ""})
    for result, withheld in ((errored, True), (errored, True)):
        recorder(site, ("c",)).record(result)
        assert _is_withheld(read_results(path, "site")["c"]) == withheld
    tested = _as_tested(read_results(path, "site")["c"])
    assert (tested.verdict, tested.image_id, tested.gates) == ("passed", RESULT.image_id, RESULT.gates)
    failed = CellResult(
        **{**errored.__dict__, "verdict": "failed", "image_id": RESULT.image_id, "gates": {"static": "failed"}}
    )
    recorder(site, ("c",)).record(failed)
    assert not _is_withheld(read_results(path, "site")["c"])


def test_the_profile_that_is_asked_for_is_reported(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = site / "build" / "results.json"
    write_results(path, "site", {"c": RESULT}, ["c"])
    write_results(path, "other", {}, [])
    assert main(["report", "--json", "--root", str(site)]) == Exit.OK
    shown = json.loads(capsys.readouterr().out)
    assert (shown["profile"], [cell["cell"] for cell in shown["cells"]]) == ("site", ["c"])


def test_a_lock_that_cannot_be_looked_at_is_not_taken_for_none(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "in-the-way").touch()
    assert main(["plan", "--root", str(site), "--lock", "in-the-way/matrix.lock"]) == Exit.USAGE
    assert "Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize(("up", "code"), [(True, Exit.OK), (False, Exit.USAGE)])
def test_a_lab_that_is_up_needs_no_lock(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], up: bool, code: Exit
) -> None:
    shutil.copy(ROOT / "matrix.yaml", site / "matrix.yaml")
    monkeypatch.setattr(lab_command, "DockerEngine", StandInEngine)
    monkeypatch.setattr(lab_up, "status", lambda *_: lab_up.LabStatus((("content", up, ""),)))
    with only_run(site / "build" / "run.lock", "build"):
        assert main(["lab", "up", "--root", str(site)]) == code
        assert main(["lab", "status", "--root", str(site)]) == (Exit.OK if up else Exit.UNREACHABLE)
        assert main(["lab", "down", "--root", str(site)]) == Exit.USAGE
    assert "another run is under way" in capsys.readouterr().err


@pytest.fixture
def published(site: Path, monkeypatch: pytest.MonkeyPatch) -> CellResult:
    """A cell that is known as published, in a project whose registry says that it has none of the inputs of now."""
    stated = read_matrix(TARGETED).profile("site")
    pins = lock(profile()).model_copy(update={"inputs": inputs_digest(stated)})
    first = make_plan("site", stated, pins).cells[0]
    result = CellResult(**{**RESULT.__dict__, "cell": first.id, "digest": f"sha256:{'a' * 64}", "seen": "then"})
    write_results(site / "build" / "results.json", "site", {first.id: result}, [first.id])

    @contextmanager
    def job(call: Invocation) -> Iterator[Any]:
        recipe = cast("Any", SimpleNamespace(cell=first, dockerfile=""))
        engine = cast("Any", StandInEngine())
        yield Job(call, select_profile(call), engine, pins, [recipe], "r")

    def run(_shop: object, _work: object, recipes: list[Any], keep: Any) -> None:
        for recipe in recipes:
            blank = {"verdict": "errored", "image": "", "image_id": "", "gates": {}}
            keep(CellResult(**{**RESULT.__dict__, **blank, "cell": recipe.cell.id}))

    monkeypatch.setattr(build_command, "_job", job)
    monkeypatch.setattr(build_command, "write_rendered", lambda *_, **__: 0)
    monkeypatch.setattr(build_command, "split_published", lambda _, recipes, __: list(recipes))
    monkeypatch.setattr(build_command, "query_neighbours", lambda *_: None)
    monkeypatch.setattr(build_command, "run_cells", run)
    return result


@pytest.mark.parametrize(
    ("arguments", "known"), [(("build",), False), (("build", "--force"), True), (("verify",), True)]
)
def test_only_a_run_that_asked_forgets_what_is_published(
    site: Path, published: CellResult, arguments: tuple[str, ...], known: bool
) -> None:
    assert main([*arguments, "--root", str(site)]) == Exit.ERRORED
    path = site / "build" / "results.json"
    assert json.loads(path.read_text(encoding="utf-8"))["engine"] == IN_USE.as_dict()
    (result,) = read_results(path, "site").values()
    assert (result.digest, result.seen) == ((published.digest, "then") if known else ("", result.seen))
    assert result.seen


def test_a_published_cell_that_lacks_a_gate_stays_known_where_that_reaches_no_verdict(
    site: Path, published: CellResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of such a cell the registry did not say that it has none of its inputs."""

    def split(run: Any, recipes: list[Any], _: object) -> list[Any]:
        run.ungated[recipes[0].cell.id] = None
        return recipes

    monkeypatch.setattr(build_command, "split_published", split)
    monkeypatch.setattr(build_command, "query_neighbours", lambda *_: None)
    assert main(["build", "--root", str(site)]) == Exit.ERRORED
    (result,) = read_results(site / "build" / "results.json", "site").values()
    assert (result.digest, result.seen) == (published.digest, "then")


@pytest.mark.parametrize(("digest", "noted"), [("", 1), (f"sha256:{'a' * 64}", 0)], ids=["withheld", "published"])
def test_a_push_says_once_that_nothing_is_signed(
    site: Path, published: CellResult, capsys: pytest.CaptureFixture[str], digest: str, noted: int
) -> None:
    known = CellResult(**{**published.__dict__, "digest": digest})
    write_results(site / "build" / "results.json", "site", {known.cell: known}, [known.cell])
    assert main(["push", "--root", str(site)]) == (Exit.ERRORED if noted else Exit.OK)
    assert capsys.readouterr().err.count("note: neither images nor modules are signed") == noted


@pytest.mark.parametrize(
    ("arguments", "repeated"),
    [
        (("build",), "--only"),
        (("build", "--force", "--no-push", "--no-boot"), "--force --no-push --no-boot --only"),
        (("verify",), "--only"),
    ],
)
def test_the_command_that_repeats_a_cell_stands_below_the_table(
    site: Path,
    published: CellResult,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    repeated: str,
) -> None:
    assert main([*arguments, "--root", str(site)]) == Exit.ERRORED
    line = f"nox -s {arguments[0]} -- --profile site --root {site} {repeated} {published.cell}"
    assert f"Repeat this cell: `{line}`" in capsys.readouterr().err


def test_a_bundle_that_reaches_no_verdict_leaves_known_which_is_published(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site / "build" / "bundles.json"
    before = BundleResult("8.2.2", "r/x:8.2.2", "passed", "loaded", digest="sha256:1", kernels=("k",), seen="then")
    write_bundles(path, "site", [before])
    client = ClientVersion.parse("8.2.2")

    @contextmanager
    def job(call: Invocation) -> Iterator[Any]:
        recipes = [SimpleNamespace(cell=SimpleNamespace(client=client))]
        yield SimpleNamespace(
            chosen=select_profile(call), run=run, recipes=recipes, selected={client}, bounds={client: None}
        )

    run = SimpleNamespace(engine=StandInEngine())
    results = iter(
        [
            BundleResult("8.2.2", before.image, "errored", "no answer"),
            BundleResult("8.2.2", before.image, "passed", "loaded", digest="sha256:2", kernels=("k", "l")),
        ]
    )
    monkeypatch.setattr(bundle_command, "_job", job)
    monkeypatch.setattr(bundle_command, "published_cells", lambda *_: None)
    monkeypatch.setattr(bundle_command, "wanted_bundles", lambda *_: [None])
    monkeypatch.setattr(bundle_command, "make_bundle", lambda *_: next(results))
    assert main(["bundle", "--root", str(site)]) == Exit.ERRORED
    assert read_bundles(path, "site")["8.2.2"] == replace(before, verdict="errored", reason="no answer")
    assert main(["bundle", "--root", str(site)]) == Exit.OK
    now = read_bundles(path, "site")["8.2.2"]
    assert (now.digest, now.kernels, now.seen.endswith("Z")) == ("sha256:2", ("k", "l"), True)
    assert json.loads(path.read_text(encoding="utf-8"))["engine"] == IN_USE.as_dict()
