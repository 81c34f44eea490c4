"""watch: discover, build what is new, update its bundles; three lines, one code, and nothing else is touched."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kmatrix.cli import main
from kmatrix.commands import build as build_command
from kmatrix.commands import bundle as bundle_command
from kmatrix.commands import pins as pins_command
from kmatrix.commands import recorder as recorder_module
from kmatrix.commands import run as run_command
from kmatrix.commands import watch as watch_command
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.decide.plan import make_plan
from kmatrix.decide.watch import bundles_line, clients_to_bundle, published_bundles, published_now, watch_exit
from kmatrix.effects.disk.bundles import read_bundles, write_bundles
from kmatrix.effects.disk.results import read_releases, read_results, write_results
from kmatrix.stages.run_context import RunContext, cell_result
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import Cell, CellResult, Verdict
from kmatrix.values.errors import Exit, InputError, InterruptedRunError, KmatrixError, ProtocolError, UnreachableError
from kmatrix.values.lock import Lock, ProfileLock, inputs_digest, write_lock
from kmatrix.values.names import ClientVersion, ReleaseVersion
from kmatrix.values.pins import UnresolvedPin
from kmatrix.values.recipe import Recipe
from tests.unit.support.made_up_profile import KERNELS, lock, profile
from tests.unit.support.projects import MATRIX, write_project
from tests.unit.support.stand_in_engine import StandInEngine

TARGETED = MATRIX.replace("    base_stream:", "    target: registry.invalid/team\n    base_stream:")
GATES: dict[str, Any] = {"static": "passed", "boot": "passed"}
ON = "goes on with the other"
BEFORE, NOW = "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"
PINS = lock(profile()).model_copy(update={"inputs": inputs_digest(read_matrix(TARGETED).profile("site"))})
UNRESOLVED = UnresolvedPin(
    version=ReleaseVersion.parse("4.22.2"),
    arch="x86_64",
    channels=("stable-4.22",),
    payload=PINS.releases[0].payload,
    obstacle="malformed",
    reason="its payload has no image-references",
    since="2026-03-01",
)


class ToldEngine(StandInEngine):
    """An engine that lets a cell wait until the run is told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def stop(self) -> None:
        super().stop()
        self.told.set()


@dataclass
class World:
    """The services and the engine, as a test has them; notes what a watch does with them.

    `published` are the cells that the registry has; a cell in `faults` ends so when it is built; a
    cell or a client in `lost` ends the run instead.
    """

    root: Path
    pins: ProfileLock | KmatrixError = PINS
    published: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    registry: KmatrixError | None = None
    lost: dict[str, KmatrixError | KeyboardInterrupt] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    holders: set[str] = field(default_factory=set)
    engines: list[ToldEngine] = field(default_factory=list)

    def engine(self, *_: object) -> StandInEngine:
        self.engines.append(ToldEngine())
        return self.engines[-1]

    def note(self, step: str) -> None:
        self.steps.append(step)
        self.holders.add((self.root / "build" / "run.lock").read_text(encoding="utf-8"))

    def discovered(self, *_: object) -> tuple[None, ProfileLock, datetime]:
        self.note("discover")
        if isinstance(self.pins, KmatrixError):
            raise self.pins
        return None, self.pins, datetime.now(UTC)

    def split(self, _: RunContext, recipes: list[Recipe], keep: Callable[[CellResult], None]) -> list[Recipe]:
        if self.registry:
            raise self.registry
        left = []
        for recipe in recipes:
            digest = self.published.get(recipe.cell.id)
            if digest is None:
                left.append(recipe)
            else:
                keep(replace(cell_result(recipe, "skipped", "already published"), digest=digest, gates=GATES))
        return left

    def run_cell(self, _: RunContext, recipe: Recipe) -> CellResult:
        cell = recipe.cell.id
        if self.lost.keys() & {step.removeprefix("build ") for step in self.steps}:
            # The run is about to end, and cells under way with it.
            assert self.engines[-1].told.wait(60)
            raise InterruptedRunError
        self.note(f"build {cell}")
        if cell in self.lost:
            raise self.lost[cell]
        if cell in self.faults:
            verdict: Any = self.faults[cell]
            return cell_result(recipe, verdict, "it is bad")
        self.published[cell] = f"sha256:{len(self.steps)}"
        result = cell_result(recipe, "passed", "every check passed", digest=self.published[cell])
        return replace(result, gates=GATES, pushed=NOW)

    def make_bundle(self, _: object, wanted: Any) -> BundleResult:
        self.note(f"bundle {wanted.client}")
        if str(wanted.client) in self.lost:
            raise self.lost[str(wanted.client)]
        kernels = tuple(cell.split("-", 1)[1] for cell in self.published if cell.startswith(f"{wanted.client}-"))
        name, digest = str(wanted.client), f"sha256:{'-'.join(sorted(kernels))}"
        return BundleResult(name, f"r:{name}", "passed", "loaded", digest=digest, kernels=kernels)

    def asked(self, _: object, recipes: list[Recipe]) -> None:
        assert recipes, "bundles are looked at although none is out of date"

    def watch(self, *arguments: str) -> tuple[int, list[str]]:
        """Return the exit code of a watch and its steps."""
        self.steps.clear()
        code = main(["watch", "--root", str(self.root), "--jobs", "1", *arguments])
        return code, list(self.steps)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_gates: None) -> World:  # noqa: ARG001
    for name in [name for name in os.environ if name.startswith("KMATRIX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "400")
    write_project(tmp_path, TARGETED)
    made = World(tmp_path)
    monkeypatch.setattr(run_command, "DockerEngine", made.engine)
    monkeypatch.setattr(pins_command, "discovered", made.discovered)
    monkeypatch.setattr(build_command, "split_published", made.split)
    monkeypatch.setattr(build_command, "run_cell", made.run_cell)
    monkeypatch.setattr(build_command, "find_published", lambda *_: None)
    monkeypatch.setattr(bundle_command, "published_cells", made.asked)
    monkeypatch.setattr(bundle_command, "make_bundle", made.make_bundle)
    monkeypatch.setattr(
        bundle_command,
        "wanted_bundles",
        lambda cells, *_: [Wanted(client) for client in sorted({cell.client for cell in cells})],
    )
    return made


@dataclass
class Wanted:
    """A bundle to compose."""

    client: ClientVersion


def cells(pins: ProfileLock = PINS) -> list[Cell]:
    return list(make_plan("site", read_matrix(TARGETED).profile("site"), pins).cells)


def three_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the last three lines that a watch printed."""
    lines = capsys.readouterr().err.splitlines()[-3:]
    assert [line.split(":")[:2] for line in lines] == [
        ["watch", f" {noun}"] for noun in ("releases", "cells", "bundles")
    ]
    return [line.removeprefix("watch: ") for line in lines]


def test_a_watch_builds_what_is_new_updates_its_bundles_and_tells_it_in_three_lines(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    known = cells()
    new = [cell.id for cell in known if cell.kernel == KERNELS["el10"][2]]
    world.published = {cell.id: "sha256:0" for cell in known if cell.id not in new}
    before = PINS.model_copy(update={"releases": PINS.releases[:2]})
    lock_text(world, before)
    code, steps = world.watch()
    assert code == Exit.OK
    assert steps == ["discover", *(f"build {cell}" for cell in new), "bundle 7.4.6", "bundle 8.2.2"]
    releases, built, bundles = three_lines(capsys)
    assert releases == f"releases: 1 new: 4.22.1 for x86_64; kernels: 1 new: {KERNELS['el10'][2]}"
    assert built == f"cells: 2 published: {', '.join(new)}"
    assert bundles.startswith("bundles: 7.4.6 published with 3 kernels as sha256:")
    assert "; 8.2.2 published with 3 kernels as sha256:" in bundles
    states = {release.version: release.state for release in read_releases(world.root / "build/results.json", "site")}
    assert states == dict.fromkeys(("4.12.3", "4.16.3", "4.22.1"), "published")


def lock_text(world: World, pins: ProfileLock) -> None:
    (world.root / "matrix.lock").write_text(write_lock(Lock().with_profile("site", pins)), encoding="utf-8")


def test_a_watch_without_news_builds_and_bundles_nothing_and_says_so(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.watch()[0] == Exit.OK
    capsys.readouterr()
    code, steps = world.watch()
    assert (code, steps) == (Exit.NOTHING_NEW, ["discover"])
    assert three_lines(capsys) == [
        "releases: none new; kernels: none new",
        "cells: none published",
        "bundles: none published",
    ]


def test_a_watch_without_keys_says_once_that_nothing_is_signed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.watch()
    assert capsys.readouterr().err.count("note: neither images nor modules are signed") == 1


def test_cells_that_are_published_are_written_to_the_results_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write is of the complete file: one for each of a thousand published cells took minutes, without any news."""
    world.watch()
    written: list[int] = []
    write = write_results

    def counted(path: Path, profile_name: str, results: dict[str, CellResult], *rest: Any) -> None:
        written.append(len(results))
        write(path, profile_name, results, *rest)

    monkeypatch.setattr(recorder_module, "write_results", counted)
    world.watch()
    assert written == [len(cells())]


def test_a_watch_is_one_run_over_all_its_steps(world: World) -> None:
    assert len(world.watch()[1]) == 9
    (holder,) = world.holders
    assert json.loads(holder)["command"] == "watch"
    assert len(world.engines) == 1


def test_a_watch_of_the_lab_brings_it_up_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = TARGETED.replace("default_profile: site", "default_profile: lab").replace("  site:", "  lab:")
    (world.root / "matrix.yaml").write_text(matrix, encoding="utf-8")
    monkeypatch.setattr(watch_command, "ensure_lab", lambda *_: world.note("lab up"))
    code, steps = world.watch()
    assert (code, steps[:2], len(steps)) == (Exit.OK, ["lab up", "discover"], 10)


def test_only_the_bundle_of_a_client_with_another_cell_is_updated(world: World) -> None:
    world.watch()
    cell = next(cell.id for cell in cells() if str(cell.client) == "8.2.2")
    del world.published[cell]
    assert world.watch() == (Exit.OK, ["discover", f"build {cell}", "bundle 8.2.2"])


def test_a_cell_that_fails_stops_no_other_and_decides_the_code(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, worse = (cell.id for cell in cells()[:2])
    world.faults = {bad: "errored"}
    code, steps = world.watch()
    assert (code, len([step for step in steps if step.startswith("build")])) == (Exit.ERRORED, 6)
    world.faults = {bad: "errored", worse: "failed"}
    del world.published[worse]
    assert world.watch()[0] == Exit.FAILED
    assert three_lines(capsys)[1] == f"cells: 1 failed: {worse}; 1 errored: {bad}"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (UnreachableError("update graph", "https://graph.invalid", "no answer"), Exit.UNREACHABLE),
        (ProtocolError("the update graph's answer is no JSON", "Run it again."), Exit.ERRORED),
    ],
)
def test_a_discovery_that_fails_leaves_the_cells_of_the_lock_to_be_built(
    world: World, capsys: pytest.CaptureFixture[str], fault: KmatrixError, code: Exit
) -> None:
    world.pins = fault
    assert world.watch() == (
        code,
        ["discover", *(f"build {cell.id}" for cell in cells()), "bundle 7.4.6", "bundle 8.2.2"],
    )
    lines = three_lines(capsys)
    assert lines[0] == f"releases: not discovered: {fault.message}"
    assert lines[1].startswith("cells: 6 published: ")


def test_a_discovery_that_fails_without_a_lock_ends_the_watch(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.root / "matrix.lock").unlink()
    world.pins = UnreachableError("update graph", "https://graph.invalid", "no answer")
    assert world.watch() == (Exit.UNREACHABLE, ["discover"])
    assert "the update graph at https://graph.invalid could not be queried: no answer" in capsys.readouterr().err


def test_a_registry_that_is_out_keeps_the_news_of_discovery(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.registry = UnreachableError("image registry", "registry.invalid", "no answer")
    assert world.watch() == (Exit.UNREACHABLE, ["discover"])
    lines = three_lines(capsys)
    assert lines[0].startswith("releases: ")
    assert lines[1:] == [
        f"cells: not built: {world.registry.message}",
        f"bundles: not composed: {world.registry.message}",
    ]


def test_cells_that_were_published_before_the_registry_was_lost_are_told(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = UnreachableError("image registry", "registry.invalid", "no answer")
    first, second, *rest = (cell.id for cell in cells())
    world.lost = {second: lost}
    assert world.watch() == (Exit.UNREACHABLE, ["discover", f"build {first}", f"build {second}"])
    said = capsys.readouterr().err.splitlines()
    told = said.index("1 passed")
    assert said[told + 1] == f"5 of 6 cells were not reached: {', '.join((second, *rest))}"
    assert said[told + 2] == f"error: {lost.message}"
    assert said[told + 4] == f"       `nox -s watch -- --profile site --root {world.root} --jobs 1` {ON} cells."
    assert said[-2:] == [
        f"watch: cells: 1 published: {first}; the others not built: {lost.message}",
        f"watch: bundles: not composed: {lost.message}",
    ]


def test_bundles_that_were_published_before_the_registry_was_lost_are_told(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = UnreachableError("image registry", "registry.invalid", "no answer")
    world.lost = {"8.2.2": lost}
    assert world.watch()[0] == Exit.UNREACHABLE
    said = capsys.readouterr().err.splitlines()
    told = said.index("bundles: 1 passed")
    assert said[told + 1 : told + 3] == ["1 of 2 bundles was not reached: 8.2.2", f"error: {lost.message}"]
    assert "goes on with the other bundles" in said[told + 4]
    assert said[-1].startswith("watch: bundles: 7.4.6 published with 3 kernels as ")
    assert said[-1].endswith(f"; the others not composed: {lost.message}")


@pytest.mark.parametrize(
    ("error", "code", "last"),
    [
        (KeyboardInterrupt(), Exit.INTERRUPTED, "Interrupted. Finished cells are saved; "),
        (UnreachableError("image registry", "registry.invalid", "no answer"), Exit.UNREACHABLE, "       "),
    ],
)
def test_a_bundle_run_that_is_cut_short_has_its_table_and_on_github_its_summary(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: KmatrixError | KeyboardInterrupt,
    code: Exit,
    last: str,
) -> None:
    summary = world.root / "summary"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    world.lost = {"8.2.2": error}
    assert main(["bundle", "--root", str(world.root)]) == code
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("::stop")][:-1]
    told = said.index("bundles: 1 passed")
    assert said[told + 1] == "1 of 2 bundles was not reached: 8.2.2"
    command = f"`nox -s bundle -- --profile site --root {world.root}`"
    (annotation,) = (line for line in said if line.startswith("::error"))
    assert "1 of 2 bundles was not reached: 8.2.2; nox -s bundle" in annotation
    assert said[-1] == f"{last}{command} {ON} bundles."
    text = summary.read_text(encoding="utf-8")
    assert "bundle: bundles of profile site" in text
    assert "1 of 2 bundles was not reached: 8.2.2" in text
    assert "<td><code>7.4.6</code></td><td>✓ passed</td>" in text


def test_a_disk_that_is_full_ends_a_watch_at_once(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    full = InputError("results.json cannot be written", "Make room.")
    world.lost = {cells()[1].id: full}
    code, steps = world.watch()
    assert (code, [step for step in steps if step.startswith("bundle")]) == (Exit.USAGE, [])
    assert "5 of 6 cells were not reached" in capsys.readouterr().err


def test_a_watch_on_github_has_a_summary_of_its_discovery_before_that_of_its_cells(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = world.root / "summary"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    world.pins = PINS.model_copy(update={"unresolved": (UNRESOLVED,)})
    assert world.watch()[0] == Exit.ERRORED
    heads = [line for line in summary.read_text(encoding="utf-8").splitlines() if line.startswith("<h3>")]
    assert heads == [
        "<h3>watch: releases of profile site</h3>",
        "<h3>watch: profile site</h3>",
        "<h3>watch: bundles of profile site</h3>",
    ]


def test_a_quiet_run_names_what_needs_a_person_and_nothing_else(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.pins = PINS.model_copy(update={"unresolved": (UNRESOLVED,)})
    assert world.watch("--quiet")[0] == Exit.ERRORED
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("watch: ")]
    starts = [
        "4.22.2 for x86_64: release-unresolved: ",
        "note: cells are not compared with ",
        "6 passed",
        "bundles: 2 ",
    ]
    assert [line[: len(start)] for line, start in zip(said, starts, strict=True)] == starts


def test_a_quiet_build_without_boots_warns_of_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.published = {cell.id: "sha256:1" for cell in cells()}
    before = GATES.pop("boot")
    try:
        assert main(["build", "--quiet", "--no-boot", "--root", str(world.root)]) == Exit.OK
    finally:
        GATES["boot"] = before
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "6 skipped"
    assert said[1].startswith("warning: --no-boot: gate boot NOT RUN on 6 cells; ")
    assert len(said) == 2


def test_a_quiet_push_says_that_there_is_nothing_to_push(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "--quiet", "--root", str(world.root)]) == Exit.OK
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Nothing to push: ")


def test_a_quiet_bundle_run_names_a_client_without_one(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    text = (world.root / "matrix.yaml").read_text(encoding="utf-8")
    text += "    excludes: [{client: 7.4.6, reason: too old}]\n"
    (world.root / "matrix.yaml").write_text(text, encoding="utf-8")
    pins = PINS.model_copy(update={"inputs": inputs_digest(read_matrix(text).profile("site"))})
    lock_text(world, pins)
    assert main(["bundle", "--quiet", "--root", str(world.root)]) == Exit.OK
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("7.4.6: no bundle, because the plan has no cell of this client; ")
    assert said[1:] == ["bundles: 1 passed"]


def test_an_unresolved_release_stops_no_other_and_an_exclude_silences_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.pins = PINS.model_copy(update={"unresolved": (UNRESOLVED,)})
    code, steps = world.watch()
    assert (code, len(steps)) == (Exit.ERRORED, 1 + 6 + 2)
    lines = three_lines(capsys)
    assert lines[0] == "releases: 1 new: 4.22.2 for x86_64, 1 unresolved: 4.22.2 for x86_64; kernels: none new"
    assert world.watch()[0] == Exit.ERRORED, "as long as it is so"
    text = (world.root / "matrix.yaml").read_text(encoding="utf-8")
    excludes = "    excludes: [{release: 4.22.2, reason: known}]\n"
    (world.root / "matrix.yaml").write_text(text + excludes, encoding="utf-8")
    assert world.watch() == (Exit.NOTHING_NEW, ["discover"])


NODE = "5.14.0-427.99.1.el9_4.x86_64+rt"


def mismatched() -> ProfileLock:
    """Pins of which one release has a toolkit without its nodes' kernel."""
    wrong = PINS.releases[1].model_copy(update={"node_kernel": NODE})
    return PINS.model_copy(update={"releases": (PINS.releases[0], wrong, PINS.releases[2])})


def test_a_toolkit_without_its_nodes_kernel_is_named_and_not_built_and_the_others_are(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.pins = mismatched()
    code, steps = world.watch()
    assert code == Exit.ERRORED
    wrong = KERNELS["el9"][2]
    assert not [step for step in steps if wrong in step or NODE in step]
    assert len([step for step in steps if step.startswith("build ")]) == 4
    path = world.root / "build" / "results.json"
    opened = [result for result in read_results(path, "site").values() if result.verdict == "errored"]
    assert [result.cell for result in opened] == [f"7.4.6-{NODE}", f"8.2.2-{NODE}"]
    assert {finding.code for result in opened for finding in result.findings} == {"toolkit-kernel-mismatch"}
    states = {release.version: release.state for release in read_releases(path, "site")}
    assert states == {"4.12.3": "published", "4.16.3": "mismatch", "4.22.1": "published"}
    said = capsys.readouterr().err
    assert f"4.16.3 for x86_64: toolkit-kernel-mismatch: its toolkit has {wrong}, but its nodes run {NODE}" in said
    suite = ElementTree.parse(path.with_suffix(".xml")).getroot()
    assert [case.attrib["name"] for case in suite if case.find("error") is not None] == [
        *(result.cell for result in opened),
        "4.16.3 x86_64",
    ]
    text = (world.root / "matrix.yaml").read_text(encoding="utf-8")
    excludes = "    excludes: [{release: 4.16.3, reason: okd 2061}]\n"
    (world.root / "matrix.yaml").write_text(text + excludes, encoding="utf-8")
    assert world.watch() == (Exit.NOTHING_NEW, ["discover"])
    assert {result.verdict for result in read_results(path, "site").values()} == {"skipped"}


def test_a_build_names_an_unresolved_release_and_does_not_end_with_its_fault(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    lock_text(world, PINS.model_copy(update={"unresolved": (UNRESOLVED,)}))
    assert main(["build", "--root", str(world.root)]) == Exit.OK
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "release-unresolved" in each]
    assert line.startswith("4.22.2 for x86_64: release-unresolved: ")
    assert UNRESOLVED.reason in line
    assert len(world.steps) == 6


def test_only_selects_open_cells_too(world: World) -> None:
    lock_text(world, mismatched())
    assert main(["build", "--root", str(world.root), "--only", "7.4.6-4.18*"]) == Exit.OK
    assert main(["build", "--root", str(world.root), "--only", "7.4.6-*"]) == Exit.ERRORED


def test_where_every_release_is_open_a_build_names_them_and_is_no_usage_error(world: World) -> None:
    lock_text(world, PINS.model_copy(update={"releases": (), "unresolved": (UNRESOLVED,)}))
    assert main(["build", "--root", str(world.root)]) == Exit.OK
    (release,) = read_releases(world.root / "build" / "results.json", "site")
    assert (release.version, release.state) == ("4.22.2", "unresolved")


def test_a_wrong_setting_ends_a_watch_at_once(world: World) -> None:
    world.registry = None
    world.pins = InputError("matrix.lock cannot be used", "Restore it.")
    assert world.watch() == (Exit.USAGE, ["discover"])
    assert world.watch("--only", "9.*")[0] == Exit.USAGE


def test_a_bundle_that_an_interrupted_watch_left_is_updated_by_the_next(world: World) -> None:
    world.watch()
    path = world.root / "build" / "bundles.json"
    known = read_bundles(path, "site")
    write_bundles(path, "site", [known["7.4.6"], replace(known["8.2.2"], seen=BEFORE)])
    assert world.watch()[1] == ["discover", "bundle 8.2.2"]
    path.unlink()
    assert world.watch()[1] == ["discover", "bundle 7.4.6", "bundle 8.2.2"]


def test_the_worst_code_counts() -> None:
    codes = {Exit.OK, Exit.FAILED, Exit.ERRORED, Exit.UNREACHABLE}
    assert watch_exit(codes, published=True) == Exit.FAILED
    assert watch_exit(codes - {Exit.FAILED}, published=True) == Exit.ERRORED
    assert watch_exit({Exit.OK, Exit.UNREACHABLE}, published=True) == Exit.UNREACHABLE
    assert watch_exit({Exit.OK}, published=True) == Exit.OK
    assert watch_exit({Exit.OK}, published=False) == Exit.NOTHING_NEW
    assert watch_exit(set(), published=False) == Exit.NOTHING_NEW


OWN = [cell for cell in cells() if str(cell.client) == "8.2.2"]
RESULTS = {
    cell.id: CellResult(cell.id, "8.2.2", cell.kernel, cell.releases, "skipped", "", digest="sha256:1", pushed=BEFORE)
    for cell in OWN
}
BUNDLE = BundleResult(
    "8.2.2", "r:8.2.2", "passed", "", digest="sha256:9", kernels=tuple(cell.kernel for cell in OWN), seen=NOW
)


@pytest.mark.parametrize(
    ("changes", "stale"),
    [
        ({}, False),
        ({"verdict": "skipped"}, False),
        ({"verdict": "errored"}, True),
        ({"verdict": "failed"}, True),
        ({"digest": ""}, True),
        ({"seen": ""}, True),
        ({"kernels": BUNDLE.kernels[1:]}, True),
        ({"kernels": (*BUNDLE.kernels, "gone")}, True),
        ({"kernels": (*BUNDLE.kernels, "gone"), "kept": {"gone": "a service lost it"}}, False),
        ({"kernels": (*BUNDLE.kernels, "gone"), "earlier": ("8.2.2-gone",)}, False),
    ],
)
def test_a_bundle_is_out_of_date_unless_it_has_exactly_the_published_cells(
    changes: dict[str, Any], stale: bool
) -> None:
    bundles = {"8.2.2": replace(BUNDLE, **changes)}
    assert clients_to_bundle(cells(), RESULTS, RESULTS, bundles) == ({OWN[0].client} if stale else set())


def test_a_bundle_is_out_of_date_once_a_cell_of_it_has_another_digest() -> None:
    other = {**RESULTS, OWN[0].id: replace(RESULTS[OWN[0].id], digest="sha256:2", pushed="")}
    assert clients_to_bundle(cells(), other, RESULTS, {"8.2.2": BUNDLE}) == {OWN[0].client}
    assert clients_to_bundle(cells(), {}, {}, {}) == set(), "a client without a published cell has no bundle"


def test_results_of_a_watch_have_the_times_of_pushes(world: World) -> None:
    world.watch()
    results = read_results(world.root / "build" / "results.json", "site")
    assert {result.pushed for result in results.values()} == {NOW}


@pytest.mark.parametrize("verdict", ["failed", "errored"])
def test_a_cell_or_bundle_without_a_pass_is_not_told_as_published(verdict: Verdict) -> None:
    """Results keep the digest, and the time of the push, of what was published before."""
    bundle = replace(BUNDLE, verdict=verdict)
    assert published_bundles([bundle], {"8.2.2": BUNDLE}) == ()
    assert bundles_line([bundle], {"8.2.2": BUNDLE}) == f"bundles: 8.2.2 {verdict}"
    cell = replace(next(iter(RESULTS.values())), verdict=verdict, pushed=NOW)
    assert published_now([cell], {}) == ()
