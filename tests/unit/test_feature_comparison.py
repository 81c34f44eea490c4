"""A lost feature is found by the gate if the kernel before is known, and else when all cells of a run are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmatrix.cli import main
from kmatrix.commands import build as build_command
from kmatrix.commands import run as run_command
from kmatrix.decide.features import CompiledFeatures, features_of_cell
from kmatrix.decide.formats.kernel_tree import kernel_facts
from kmatrix.effects.disk.logs import open_log
from kmatrix.effects.disk.results import read_results, write_results
from kmatrix.stages import cell as cell_stage
from kmatrix.stages.features import note_features
from kmatrix.stages.gates import GATES, pass_gates
from kmatrix.stages.gates.gate import ImageUnderTest, Outcome
from kmatrix.stages.gates.static import check_image
from kmatrix.stages.progress import QuietProgress
from kmatrix.stages.reuse import note_record
from kmatrix.stages.run_context import CellContext, Options, RunContext, cell_result
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import Exit, ToolError
from kmatrix.values.gate_record import GateRecord, RecordedModule
from kmatrix.values.lock import Lock, write_lock
from kmatrix.values.names import ReleaseVersion
from kmatrix.values.pins import KernelPin
from kmatrix.values.recipe import Recipe
from tests.unit.support.check_case import CELL, KERNEL, KO, TOOLKIT, Case
from tests.unit.support.made_up_profile import KERNELS, lock, profile
from tests.unit.support.projects import MATRIX, write_project
from tests.unit.support.stand_in_engine import StandInEngine

TOOLKIT_REF = SimpleNamespace(pinned="t@d")
RECIPE = cast("Recipe", SimpleNamespace(cell=CELL, cell_key="sha256:key", toolkit=TOOLKIT_REF, certificate=b""))
BEFORE = replace(CELL, kernel=KERNEL.replace("427.50", "427.9"))
DIGEST = "sha256:" + "a" * 64


@dataclass
class Bench:
    """A run that puts one image through the static gate."""

    run: RunContext
    log: Path

    def gate(self, features: tuple[str, ...] | None, **image: object) -> Outcome:
        with open_log(self.log) as log:
            under_test = ImageUnderTest(CellContext(self.run, RECIPE, log), "sha256:1", gates=["static"])
            under_test.__dict__["facts"] = replace(Case(image=image).facts(), features=features)
            under_test.__dict__["kernel"] = kernel_facts(KERNEL, TOOLKIT)
            return check_image(under_test)

    def know(self, *macros: str) -> None:
        known = [
            features_of_cell(BEFORE, macros),
            CompiledFeatures("9.9.9", "el9", "x86_64", "standard", KERNEL, ("X",)),
        ]
        self.run.known_features = {each.client: each for each in known}

    def fail(self) -> None:
        chosen = profile(feature_lost="fail")
        self.run.options = replace(self.run.options, profile=chosen)


@pytest.fixture
def gate(tmp_path: Path) -> Bench:
    anything = cast("Any", None)
    options = Options(tmp_path, "site", profile(), "registry.example/team")
    return Bench(RunContext(anything, anything, anything, options, QuietProgress(), anything), tmp_path / "log")


def test_the_static_gate_gives_the_facts_about_the_module(gate: Bench) -> None:
    module = gate.gate(("KERNEL_HAS_A",)).module
    assert module is not None
    assert (module.features, module.licence, module.namespaces) == (("KERNEL_HAS_A",), "GPL v2", ("VFS_internal",))
    assert module.needs.items() >= (KO.versions or {}).items()


@pytest.mark.parametrize("image", [{"ko": None, "module_paths": ()}, {"ko": b"no module"}], ids=["none", "damaged"])
def test_a_file_that_is_no_module_has_no_facts(gate: Bench, image: dict[str, object]) -> None:
    outcome = gate.gate(("KERNEL_HAS_A",), **image)
    assert (outcome.verdict, outcome.module) == ("failed", None)


def test_a_lost_feature_is_a_warning_and_a_new_one_a_note(gate: Bench) -> None:
    gate.know("KERNEL_HAS_A")
    outcome = gate.gate(("KERNEL_HAS_B",))
    assert (outcome.verdict, outcome.message, outcome.findings) == ("passed", "every check passed", ())
    assert [warning.code for warning in outcome.warnings] == ["feature-lost"]
    assert f"kmatrix: note: features that kernel {BEFORE.kernel} has not: KERNEL_HAS_B" in gate.log.read_text()


def test_a_lost_feature_fails_the_gate_where_the_profile_says_so(gate: Bench) -> None:
    gate.know("KERNEL_HAS_A")
    gate.fail()
    outcome = gate.gate(())
    assert (outcome.verdict, outcome.warnings) == ("failed", ())
    assert [finding.code for finding in outcome.findings] == ["feature-lost"]
    assert outcome.message.startswith(f"feature-lost: the module of kernel {BEFORE.kernel} has KERNEL_HAS_A")
    assert "feature_lost: warn" in outcome.next_step
    assert outcome.module is not None


def test_other_findings_come_before_a_lost_feature(gate: Bench) -> None:
    gate.know("KERNEL_HAS_A")
    gate.fail()
    outcome = gate.gate((), has_cp=False)
    assert [finding.code for finding in outcome.findings] == ["layout-no-cp", "feature-lost"]
    assert outcome.message.endswith("(and 1 more)")


@pytest.mark.parametrize("fails", [False, True])
def test_an_image_that_does_not_list_its_features_does_not_pass_silently(gate: Bench, fails: bool) -> None:
    if fails:
        gate.fail()
    outcome = gate.gate(None)
    found = outcome.findings if fails else outcome.warnings
    assert [finding.code for finding in found] == ["features-unknown"]
    assert outcome.verdict == ("failed" if fails else "passed")
    assert ("features-unknown in the cell's log" in outcome.next_step) == fails


def test_a_registry_that_does_not_answer_has_not_said_that_no_feature_is_lost(gate: Bench) -> None:
    later, other = replace(CELL, kernel=f"6.{KERNEL}"), replace(BEFORE, flavour="rt")
    gate.run.unanswered = {cell.id: cell for cell in (later, other)}
    gate.fail()
    assert gate.gate(()).verdict == "passed", "it is compared with neither"
    gate.run.unanswered[BEFORE.id] = BEFORE
    with pytest.raises(ToolError, match=f"the registry did not answer for {re.escape(BEFORE.id)}, with whose features"):
        gate.gate(())
    gate.run.known_features[BEFORE.id] = features_of_cell(BEFORE, ())
    assert gate.gate(()).verdict == "passed", "an earlier run found them out"
    between = replace(BEFORE, kernel=KERNEL.replace("427.50", "427.10"))
    gate.run.known_features = {between.id: features_of_cell(between, ())}
    assert gate.gate(()).verdict == "passed", "a nearer kernel is known"
    gate.run.known_features.clear()
    gate.run.options = replace(gate.run.options, profile=profile())
    assert gate.gate(()).verdict == "passed"
    assert f"note: the registry did not answer for {BEFORE.id}, " in gate.log.read_text()


def test_nothing_is_lost_where_no_kernel_before_is_known(gate: Bench) -> None:
    gate.fail()
    assert gate.gate(()).verdict == "passed"
    gate.run.known_features = {"later": features_of_cell(replace(CELL, kernel=f"6.{KERNEL}"), ("KERNEL_HAS_A",))}
    assert gate.gate(()).verdict == "passed"


def test_the_features_reach_the_result(gate: Bench) -> None:
    (static,) = [each for each in GATES if each.name == "static"]
    module = RecordedModule(("KERNEL_HAS_A",), {}, (), "GPL")
    outcome = Outcome("passed", "good", module=module)
    with open_log(gate.log) as log:
        cell = CellContext(gate.run, RECIPE, log)
        gate.run.engine = cast("Any", StandInEngine())
        gate.run.kernel_facts.get(f"t@d {KERNEL}", lambda: kernel_facts(KERNEL, TOOLKIT))
        result = pass_gates(cell, "sha256:1", [replace(static, run=lambda _: outcome)])
    assert result.features == ("KERNEL_HAS_A",)


@pytest.mark.parametrize(
    ("features", "rebuilt", "known"),
    [
        (("A",), (), {CELL.id: features_of_cell(CELL, ("A",))}),
        (("A",), (CELL.id,), {}),
        (None, (), {}),
    ],
    ids=["recorded", "built again", "not known"],
)
def test_the_features_of_a_published_module_are_known_from_its_record(
    gate: Bench, features: tuple[str, ...] | None, rebuilt: tuple[str, ...], known: Mapping[str, CompiledFeatures]
) -> None:
    note_record(gate.run, CELL, GateRecord(DIGEST, CELL.id, "sha256:key", {}, RecordedModule(features, {}, (), "")))
    note_features(gate.run, rebuilt)
    assert gate.run.known_features == known


LATER_KERNEL = KERNELS["el9"][2].replace("427.22", "427.31")
PAIR = [f"8.2.2-{kernel}" for kernel in (KERNELS["el9"][2], LATER_KERNEL)]


@dataclass
class Project:
    """A project with two kernels of one line, whose modules have the features that a test gives them."""

    root: Path
    features: dict[str, tuple[str, ...] | None]
    known: dict[str, dict[str, CompiledFeatures]]

    def command(self, *arguments: str) -> tuple[int, dict[str, CellResult]]:
        code = main([*arguments, "--root", str(self.root)])
        return code, read_results(self.root / "build/results.json", "site")

    def fail(self) -> None:
        path = self.root / "matrix.yaml"
        path.write_text(path.read_text(encoding="utf-8") + "    feature_lost: fail\n", encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    write_project(tmp_path, MATRIX.replace("[7.4.6, 8.2.2]", "[8.2.2]") + "    target: registry.example/team\n")
    pins = lock(profile())
    later = pins.releases[1].model_copy(
        update={
            "version": ReleaseVersion.parse("4.16.9"),
            "kernels": (KernelPin(release=LATER_KERNEL, flavour="rt"),),
        }
    )
    inputs = json.loads((tmp_path / "matrix.lock").read_text(encoding="utf-8"))["profiles"]["site"]["inputs"]
    both = pins.model_copy(update={"inputs": inputs, "releases": (*pins.releases, later)})
    (tmp_path / "matrix.lock").write_text(write_lock(Lock().with_profile("site", both)), encoding="utf-8")
    made = Project(tmp_path, dict.fromkeys(PAIR), {})

    def built(cell: CellContext) -> CellResult:
        name = cell.recipe.cell.id
        made.known[name] = dict(cell.run.known_features)
        return replace(cell_result(cell.recipe, "passed", "good", digest=DIGEST), features=made.features.get(name))

    monkeypatch.setattr(run_command, "DockerEngine", StandInEngine)
    monkeypatch.setattr(build_command, "split_published", lambda _, recipes, __: recipes)
    monkeypatch.setattr(build_command, "query_neighbours", lambda *_: None)
    monkeypatch.setattr(cell_stage, "_build_check_push", built)
    return made


def test_cells_that_are_built_side_by_side_are_compared(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.features = {PAIR[0]: ("KERNEL_HAS_A",), PAIR[1]: ()}
    code, results = project.command("build")
    assert code == Exit.OK
    assert [warning.code for warning in results[PAIR[1]].warnings] == ["feature-lost"]
    assert [cell for cell, result in results.items() if result.warnings] == [PAIR[1]]
    assert f"{PAIR[1]}: warning: feature-lost: " in capsys.readouterr().err
    assert project.command("report")[0] == Exit.OK
    assert f"{PAIR[1]}: warning: feature-lost: " in capsys.readouterr().out


def test_the_old_features_of_a_cell_that_is_built_again_are_no_measure(project: Project) -> None:
    project.features = dict.fromkeys(PAIR, ("KERNEL_HAS_A",))
    project.command("build")
    project.features = dict.fromkeys(PAIR, ())
    _, results = project.command("build")
    assert project.known == {cell: {} for cell in results}
    assert [cell for cell, result in results.items() if result.warnings] == []


def test_a_published_cell_that_lost_a_feature_fails_and_stays(project: Project) -> None:
    project.fail()
    project.features = {PAIR[0]: ("KERNEL_HAS_A",), PAIR[1]: ()}
    code, results = project.command("build")
    assert (code, results[PAIR[0]].verdict, results[PAIR[1]].verdict) == (Exit.FAILED, "passed", "failed")
    assert results[PAIR[1]].reason.endswith("; the image is published already, and stays")
    assert results[PAIR[1]].next_step.endswith(f" --force --only {PAIR[1]}` builds the cell again.")
    project.features[PAIR[1]] = ("KERNEL_HAS_A",)
    code, results = project.command("build", "--only", PAIR[1])
    assert (code, results[PAIR[1]].verdict, results[PAIR[1]].findings) == (Exit.OK, "passed", ())


def test_a_run_of_one_cell_knows_the_features_of_the_others(project: Project) -> None:
    project.features = {PAIR[0]: ("KERNEL_HAS_A",), PAIR[1]: ("KERNEL_HAS_A",)}
    project.command("build", "--only", PAIR[0])
    project.features[PAIR[1]] = ()
    _, results = project.command("build", "--only", PAIR[1])
    assert {cell: known.macros for cell, known in project.known[PAIR[1]].items()} == {PAIR[0]: ("KERNEL_HAS_A",)}
    assert len(results[PAIR[1]].warnings) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_cells_of_different_shards_are_compared_when_they_are_merged(project: Project, fails: bool) -> None:
    if fails:
        project.fail()
    for number, macros in enumerate([("KERNEL_HAS_A",), ()]):
        shard = project.root / f"shard{number}" / "results.json"
        project.features = {PAIR[number]: macros}
        _, results = project.command("build", "--only", PAIR[number])
        (project.root / "build/results.json").unlink()
        write_results(shard, "site", results, list(results))
        assert results[PAIR[number]].warnings == ()
    _, merged = project.command("merge", *(str(project.root / f"shard{number}") for number in (0, 1)))
    later = merged[PAIR[1]]
    found = later.findings if fails else later.warnings
    assert ([each.code for each in found], later.verdict) == (["feature-lost"], "failed" if fails else "passed")
