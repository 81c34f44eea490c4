"""Modules in the records of published cells: written with a pass, and compared with other cells of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmatrix.cli import main
from kmatrix.commands import build as build_command
from kmatrix.commands import run as run_command
from kmatrix.decide.formats.elf import read_module
from kmatrix.decide.gate_record import record_tag
from kmatrix.decide.reuse import abi_of, recorded_module
from kmatrix.effects.disk.logs import open_log
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages import cell as cell_stage
from kmatrix.stages import gates as gate_list
from kmatrix.stages.cell import push_cell, run_cell
from kmatrix.stages.gate_records import find_record
from kmatrix.stages.gates import gate as gate_module
from kmatrix.stages.gates import gates_of_run, pass_gates
from kmatrix.stages.gates.gate import Gate, Outcome
from kmatrix.stages.gates.static import check_image
from kmatrix.stages.publish import image_of
from kmatrix.stages.reuse import query_neighbours
from kmatrix.stages.run import split_published
from kmatrix.stages.run_context import CellContext, Options, RunContext, cell_result
from kmatrix.values import labels
from kmatrix.values.boot import BootOptions
from kmatrix.values.cells import Cell, CellResult, Finding
from kmatrix.values.engine import EngineImage
from kmatrix.values.errors import BuildError, ToolError
from kmatrix.values.gate_record import GateRecord, RecordedModule, TestedKernel
from kmatrix.values.recipe import Recipe
from tests.unit.support.check_case import CELL, KO, TOOLKIT, Case, exporting
from tests.unit.support.fake_registry import MANIFEST, digest, problem
from tests.unit.support.gate_records import BOTH, put_manifest, put_record, record_of
from tests.unit.support.http_server import Reply
from tests.unit.support.made_up_profile import KERNELS, profile, recipes
from tests.unit.support.projects import MATRIX, write_project
from tests.unit.support.stand_in_engine import StandInEngine
from tests.unit.support.writable_registry import Writable, writable_registry
from tests.unit.test_gates import Lines
from tests.unit.test_verify_again import PullingEngine

pytestmark = pytest.mark.usefixtures("two_gates", "slept")
PATH = "team/beegfs-client"
FEATURES = ("KERNEL_HAS_A", "KERNEL_HAS_B")
MODULE = recorded_module(read_module(KO.build()), FEATURES)
GOOD = Outcome("passed", "good")
VMLINUZ = f"sha256:{'7' * 64}"


@dataclass
class Bench:
    """Cells of one client, whose kernels are of one line, and the registry that may have them."""

    server: Writable
    run: RunContext
    recipes: list[Recipe]
    progress: Lines
    kept: dict[str, CellResult] = field(default_factory=dict)

    def publish(self, recipe: Recipe, module: RecordedModule | None, *, name: str = "", gates: Any = BOTH) -> str:
        """Publish a cell whose record has a module; returns the digest of its image."""
        config = json.dumps({"config": {"Labels": {labels.CELL_KEY: recipe.cell_key, "cell": recipe.cell.id}}}).encode()
        self.server.blobs[f"/v2/{PATH}/blobs/{digest(config)}"] = config
        content = {"mediaType": MANIFEST, "config": {"digest": digest(config), "size": len(config)}, "layers": []}
        raw = json.dumps(content).encode()
        put_manifest(self.server, PATH, recipe.cell.tag, raw)
        record = record_of(digest(raw), name or recipe.cell.id, recipe.cell_key, gates)
        put_record(self.server, PATH, replace(record, module=module))
        return digest(raw)

    def split(self, *numbers: int) -> list[str]:
        """Query the registry about some of the cells, or all; returns those that are to be built."""
        chosen = [self.recipes[number] for number in numbers] or self.recipes
        left = split_published(self.run, chosen, lambda result: self.kept.update({result.cell: result}))
        return [recipe.cell.id for recipe in left]

    def recorded(self, recipe: Recipe, image: str) -> GateRecord | None:
        return find_record(self.run.registry, image_of(self.run.options.target, recipe.cell), image, print)

    def log(self, recipe: Recipe) -> str:
        return (self.run.logs / f"{recipe.cell.id}.log").read_text(encoding="utf-8")

    @property
    def ids(self) -> list[str]:
        return [recipe.cell.id for recipe in self.recipes]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "auth.json").write_text('{"auths": {}}', encoding="utf-8")
    credentials = load_credentials(tmp_path / "auth.json")
    wanted = profile().model_copy(update={"gates": (*BOTH, "made-up")})
    made = next(iter(recipes(wanted).values()))
    kernels = [f"5.14.0-427.{number}.1.el9_4.x86_64" for number in (9, 50, 51)]
    cells = [replace(CELL, client=made.cell.client, kernel=kernel) for kernel in kernels]
    with writable_registry(PATH) as server:
        options = Options(tmp_path, "site", wanted, f"{server.web.address}/team", boot=BootOptions())
        progress, anything = Lines(), cast("Any", None)
        engine = cast("Any", PullingEngine())
        run = RunContext(engine, RegistryWriter(credentials), credentials, options, progress, anything)
        yield Bench(server, run, [replace(made, cell=cell) for cell in cells], progress)


@pytest.fixture
def image_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images that were read; each has the module and its features."""
    read: list[str] = []

    def facts(_engine: object, image: str, _kernel: str) -> object:
        read.append(image)
        return replace(Case().facts(), features=FEATURES)

    monkeypatch.setattr(gate_module, "read_cell_image", facts)
    return read


def with_gates(monkeypatch: pytest.MonkeyPatch, **outcomes: Outcome) -> None:
    """Have gates that end so."""

    def gate(name: str, outcome: Outcome) -> Gate:
        return Gate(name, lambda _: outcome)

    monkeypatch.setattr(gate_list, "GATES", tuple(gate(name, each) for name, each in outcomes.items()))


def lacking_a_gate(bench: Bench, monkeypatch: pytest.MonkeyPatch, module: RecordedModule | None) -> tuple[Recipe, str]:
    """Publish a cell that lacks gate `made-up`, as the run finds it."""
    recipe = bench.recipes[0]
    image = bench.publish(recipe, module)
    with_gates(monkeypatch, static=GOOD, boot=GOOD, **{"made-up": GOOD})
    assert bench.split(0) == [recipe.cell.id]
    return recipe, image


def test_a_gate_that_is_added_adds_the_module_to_a_record_without_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, image_reads: list[str]
) -> None:
    recipe, image = lacking_a_gate(bench, monkeypatch, None)
    result = run_cell(bench.run, recipe)
    assert (result.verdict, result.features, result.abi) == ("passed", FEATURES, abi_of(MODULE))
    record = bench.recorded(recipe, image)
    assert record is not None
    assert (set(record.gates), record.module) == ({*BOTH, "made-up"}, MODULE)
    assert len(image_reads) == 1, "the image is at hand"


def test_a_module_that_is_recorded_is_not_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, image_reads: list[str]
) -> None:
    recipe, image = lacking_a_gate(bench, monkeypatch, MODULE)
    result = run_cell(bench.run, recipe)
    assert (result.features, result.abi) == (FEATURES, abi_of(MODULE))
    record = bench.recorded(recipe, image)
    assert record is not None
    assert (set(record.gates), record.module) == ({*BOTH, "made-up"}, MODULE)
    assert image_reads == []


def test_a_record_of_an_earlier_version_gets_what_the_module_depends_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, image_reads: list[str]
) -> None:
    recipe, image = lacking_a_gate(bench, monkeypatch, replace(MODULE, depends=None))
    assert run_cell(bench.run, recipe).depends == MODULE.depends
    record = bench.recorded(recipe, image)
    assert record is not None
    assert record.module == MODULE
    assert len(image_reads) == 1


def test_a_record_of_an_earlier_version_stays_where_the_image_cannot_be_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def facts(*_: object) -> object:
        raise ToolError("the image cannot be read", "Look at it.")

    monkeypatch.setattr(gate_module, "read_cell_image", facts)
    earlier = replace(MODULE, depends=None)
    recipe, image = lacking_a_gate(bench, monkeypatch, earlier)
    assert run_cell(bench.run, recipe).verdict == "passed"
    record = bench.recorded(recipe, image)
    assert record is not None
    assert record.module == earlier


@pytest.mark.parametrize("fault", ["unreadable", "no module", "malformed"])
def test_a_module_that_cannot_be_read_costs_no_gate(bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def facts(*_: object) -> object:
        if fault == "unreadable":
            raise ToolError("the image cannot be read", "Look at it.")
        return replace(Case().facts(), ko=None if fault == "no module" else b"none")

    monkeypatch.setattr(gate_module, "read_cell_image", facts)
    recipe, image = lacking_a_gate(bench, monkeypatch, None)
    assert run_cell(bench.run, recipe).verdict == "passed"
    record = bench.recorded(recipe, image)
    assert record is not None
    assert (set(record.gates), record.module) == ({*BOTH, "made-up"}, None)
    noted = "note: the facts about the module are not recorded: " in bench.log(recipe)
    assert noted == (fault != "no module")


def test_a_gate_that_is_added_is_recorded_with_the_kernel_that_it_booted_and_its_warnings(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, image = lacking_a_gate(bench, monkeypatch, MODULE)
    kernel = TestedKernel(recipe.cell.toolkit.pinned, VMLINUZ, recipe.cell.kernel)
    warning = Finding("made-up", "odd", "it is odd")
    with_gates(monkeypatch, static=GOOD, boot=GOOD, **{"made-up": replace(GOOD, kernel=kernel, warnings=(warning,))})
    bench.run.options = replace(bench.run.options, revision="a" * 40)
    added: list[GateRecord] = []
    monkeypatch.setattr(RunContext, "records", SimpleNamespace(add=lambda _, record: added.append(record)))
    result = run_cell(bench.run, recipe)
    assert (result.verdict, result.vmlinuz) == ("passed", VMLINUZ), result.reason
    (record,) = added
    assert (record.digest, set(record.gates), record.module) == (image, {"made-up"}, MODULE)
    assert (record.kernels, record.warnings, record.revision) == ((kernel,), (warning,), "a" * 40)


@pytest.mark.parametrize("why", ["no gate was passed", "nothing is pushed"])
def test_a_module_that_nothing_would_keep_is_not_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, image_reads: list[str], why: str
) -> None:
    recipe, image = lacking_a_gate(bench, monkeypatch, None)
    if why == "no gate was passed":
        with_gates(monkeypatch, static=GOOD, boot=GOOD, **{"made-up": Outcome("failed", "bad")})
    else:
        bench.run.options = replace(bench.run.options, push=False)
    run_cell(bench.run, recipe)
    record = bench.recorded(recipe, image)
    assert record is not None
    assert (record.module, image_reads) == (None, [])


def test_the_module_that_a_gate_read_is_kept_for_the_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gate_module, "read_toolkit", lambda *_: TOOLKIT)
    with_gates(monkeypatch, static=replace(GOOD, module=MODULE), boot=GOOD)
    with open_log(tmp_path / "log") as log:
        cell = CellContext(bench.run, bench.recipes[1], log)
        result = pass_gates(cell, "sha256:1", gates_of_run(bench.run))
    assert cell.module == MODULE
    assert (result.features, result.abi, result.reusable_from) == (FEATURES, abi_of(MODULE), ())
    assert (result.symbols, result.namespaces) == (len(MODULE.needs), MODULE.namespaces)


def test_the_static_gate_gives_a_result_the_labels_and_the_modules_that_the_module_depends_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gate_module, "read_toolkit", lambda *_: TOOLKIT)
    of_base = {**Case().facts().labels, "com.redhat.component": "ubi9-micro-container"}
    facts = replace(Case().facts(), features=FEATURES, labels=of_base)
    monkeypatch.setattr(gate_module, "read_cell_image", lambda *_: facts)
    with open_log(tmp_path / "log") as log:
        cell = CellContext(bench.run, bench.recipes[1], log)
        result = pass_gates(cell, "sha256:1", [Gate("static", check_image)])
    assert result.depends == ("ib_core", "rdma_cm", "libcrc32c")
    assert result.labels[labels.KERNEL] == CELL.kernel
    assert "com.redhat.component" not in result.labels


@pytest.mark.parametrize("feature_lost", ["", "warn", "fail"])
def test_an_image_that_an_earlier_run_tested_is_pushed_with_its_module(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, image_reads: list[str], feature_lost: str
) -> None:
    recipe, pushed = bench.recipes[0], list[GateRecord]()
    bench.run.options = replace(bench.run.options, revision="a" * 40)

    monkeypatch.setattr(cell_stage, "send_image", lambda *_: SimpleNamespace(digest="sha256:" + "d" * 64))

    def vouch(_run: object, _ref: object, record: GateRecord, _: object) -> tuple[str, ...]:
        pushed.append(record)
        return ()

    monkeypatch.setattr(cell_stage, "vouch", vouch)
    monkeypatch.setattr(cell_stage, "name_image", lambda *_: None)
    label = {labels.CELL_KEY: recipe.cell_key}
    monkeypatch.setattr(bench.run.engine, "image", lambda _: EngineImage("sha256:1", labels=label))
    monkeypatch.setattr(bench.run.engine, "remove_image", lambda _: None, raising=False)
    verdicts = dict.fromkeys(BOTH, "passed")
    tested = cell_result(recipe, "passed", "good", image="r/x:1")
    with_gates(monkeypatch, static=GOOD, boot=GOOD)
    times = {"boot": "2026-01-01T00:00:09Z"}
    tested = replace(tested, image_id="sha256:1", gates=cast("Any", verdicts), gates_at=times, vmlinuz=VMLINUZ)
    if feature_lost:
        bench.run.options = replace(bench.run.options, profile=profile(feature_lost=feature_lost))
        tested = replace(tested, warnings=(Finding("features", "feature-lost", "m"),))
    result = push_cell(bench.run, recipe, tested)
    if feature_lost == "fail":
        assert (result.verdict, pushed) == ("errored", []), "a module that lost a feature is not pushed"
        assert result.reason == "r/x:1 has not passed gate static: feature-lost: m"
        return
    assert result.verdict == "passed", result.reason
    (passed,) = pushed
    assert (passed.module, image_reads) == (MODULE, ["sha256:1"])
    assert (passed.name, passed.cell_key, passed.revision) == (recipe.cell.id, recipe.cell_key, "a" * 40)
    assert {name: gate.at for name, gate in passed.gates.items()} == times
    assert passed.kernels == (TestedKernel(recipe.cell.toolkit.pinned, VMLINUZ, recipe.cell.kernel),)
    assert [warning.code for warning in passed.warnings] == (["feature-lost"] if feature_lost else [])


def test_a_published_cell_has_the_facts_of_its_record_and_the_others_that_its_kernel_would_load(bench: Bench) -> None:
    first, second, third = bench.recipes
    bench.publish(first, MODULE)
    bench.publish(second, replace(MODULE, needs={**MODULE.needs, "more": 7}, features=None))
    bench.publish(third, None)
    bench.run.options = replace(bench.run.options, profile=profile())
    assert bench.split() == []
    assert set(bench.run.recorded_modules) == {first.cell.id, second.cell.id}
    results = [bench.kept[cell] for cell in bench.ids]
    assert [result.depends for result in results] == [MODULE.depends, MODULE.depends, None]
    assert [result.verdict for result in results] == ["skipped"] * 3
    assert [result.features for result in results] == [FEATURES, None, None]
    assert results[0].abi == abi_of(MODULE)
    needed = len(MODULE.needs)
    assert [result.symbols for result in results] == [needed, needed + 1, None]
    assert [result.namespaces for result in results] == [MODULE.namespaces, MODULE.namespaces, None]
    assert results[1].abi not in ("", results[0].abi)
    assert results[2].abi == ""
    assert [result.reusable_from for result in results] == [(), (first.cell.id,), None]


def test_a_run_over_a_part_of_the_cells_states_nothing_about_reuse(bench: Bench) -> None:
    for recipe in bench.recipes:
        bench.publish(recipe, MODULE)
    bench.run.options = replace(bench.run.options, profile=profile())
    other = replace(CELL, kernel="5.14.0-1.el9.aarch64", arch="aarch64")
    bench.run.planned = (*(recipe.cell for recipe in bench.recipes), other)
    bench.split(0, 1)
    assert bench.kept[bench.ids[0]].reusable_from is None, "an earlier run may know more"
    bench.split()
    assert bench.kept[bench.ids[0]].reusable_from == (bench.ids[1], bench.ids[2])


def test_the_record_of_another_cell_is_not_a_cell_s_own(bench: Bench) -> None:
    bench.publish(bench.recipes[0], MODULE, name=bench.ids[1])
    bench.split()
    assert bench.run.recorded_modules == {}
    assert sorted(bench.run.queried) == sorted(bench.ids)


def neighbour(bench: Bench) -> None:
    """Look up the published neighbours of the second cell."""
    bench.run.planned = tuple(recipe.cell for recipe in bench.recipes)
    bench.server.web.requests.clear()
    query_neighbours(bench.run, [bench.recipes[1].cell])


def test_the_neighbours_of_a_cell_are_looked_up_once_and_their_images_are_not_read(bench: Bench) -> None:
    first, second, _ = bench.recipes
    image = bench.publish(first, MODULE)
    bench.run.queried[second.cell.id] = second.cell
    neighbour(bench)
    assert bench.run.recorded_modules == {first.cell.id: MODULE}
    asked = bench.server.sent()
    assert len([line for line in asked if line.startswith("GET /manifests/")]) == 3, "two tags, and one record"
    assert f"GET /manifests/{record_tag(image)}" in asked
    assert not [line for line in asked if "config" in line]
    neighbour(bench)
    assert bench.server.sent() == []


def test_a_registry_that_does_not_answer_about_neighbours_ends_no_run(bench: Bench) -> None:
    bench.publish(bench.recipes[2], MODULE)
    answer, tag = bench.server.answer, bench.recipes[0].cell.tag
    malformed = Reply(200, b"<html>sign in</html>", {"Content-Type": "text/html"})
    bench.server.web.answer = lambda request: malformed if request.path.endswith(tag) else answer(request)
    neighbour(bench)
    (said,) = bench.progress.said
    assert said.startswith(f"note: {bench.ids[0]} is not compared with other cells: ")
    assert bench.run.recorded_modules == {bench.ids[2]: MODULE}
    assert bench.ids[0] not in bench.run.queried, "it was not answered"
    assert [*bench.run.unanswered] == [bench.ids[0]]
    bench.run.unanswered.clear()
    bench.run.queried.clear()
    bench.server.web.answer = lambda _: problem(503, "UNAVAILABLE")
    neighbour(bench)
    assert bench.progress.said[-1].startswith("note: cells are not compared with the modules of all published ones: ")
    assert [*bench.run.unanswered] == bench.ids


def checked(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toolkit: object) -> tuple[CellResult, str]:
    """Pass the second cell, whose kernel has these facts, through its gates; returns the result and the log."""
    monkeypatch.setattr(gate_module, "read_toolkit", lambda *_: toolkit)
    with_gates(monkeypatch, static=replace(GOOD, module=MODULE), boot=GOOD)
    with open_log(tmp_path / "log") as log:
        cell = CellContext(bench.run, bench.recipes[1], log)
        result = pass_gates(cell, "sha256:1", gates_of_run(bench.run))
    return result, (tmp_path / "log").read_text(encoding="utf-8")


def test_a_cell_under_test_is_compared_by_the_facts_of_its_kernel(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    more = replace(MODULE, needs={**MODULE.needs, "unused": 0x77777777})
    bench.publish(bench.recipes[0], more)
    bench.publish(bench.recipes[2], replace(MODULE, needs={**MODULE.needs, "_printk": 1}))
    bench.split(0, 2)
    result, log = checked(bench, monkeypatch, tmp_path, TOOLKIT)
    assert result.reusable_from == (bench.ids[0],)
    kernel = bench.recipes[1].cell.kernel
    assert f"kmatrix: note: modules of other kernels that {kernel} would load too: {bench.ids[0]}\n" in log
    changed = exporting(_printk=(1, "vmlinux", "EXPORT_SYMBOL", ""))
    bench.run.kernel_facts = type(bench.run.kernel_facts)()
    result, log = checked(bench, monkeypatch, tmp_path, changed)
    assert result.reusable_from == (bench.ids[2],)


def failing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> CellResult:
    """Build the second cell, which does not compile."""

    def refuse(*_: object) -> str:
        raise BuildError("the build failed", ("error: no such member",), "Look at it.")

    for name in ("pull", "build_context", "based_context", "build_base", "build_group"):
        monkeypatch.setattr(cell_stage, name, lambda *_: None)
    monkeypatch.setattr(cell_stage, "build_cell", refuse)
    return run_cell(bench.run, bench.recipes[1])


@pytest.mark.parametrize("known", [True, False])
def test_a_cell_that_does_not_compile_names_the_modules_that_its_kernel_would_load(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    reads: list[str] = []

    def read(_engine: object, toolkit: str, _kernel: str) -> object:
        reads.append(toolkit)
        return TOOLKIT

    monkeypatch.setattr(gate_module, "read_toolkit", read)
    if known:
        bench.publish(bench.recipes[0], MODULE)
    bench.split(0)
    result = failing(bench, monkeypatch)
    assert (result.verdict, result.reason) == ("failed", "build: error: no such member")
    assert result.reusable_from == ((bench.ids[0],) if known else ())
    assert len(reads) == known, "without a module to compare with, the toolkit is not read"


@pytest.mark.parametrize("known", [True, False])
def test_a_cell_is_not_known_to_have_no_module_where_the_registry_did_not_answer_for_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: bool
) -> None:
    if known:
        bench.publish(bench.recipes[0], MODULE)
        bench.split(0)
    answer = bench.server.answer
    bench.server.web.answer = lambda _: problem(503, "UNAVAILABLE")
    neighbour(bench)
    bench.server.web.answer = answer
    found = (bench.ids[0],) if known else None
    assert checked(bench, monkeypatch, tmp_path, TOOLKIT)[0].reusable_from == found
    assert failing(bench, monkeypatch).reusable_from == found


def test_a_toolkit_that_cannot_be_read_does_not_hide_why_a_cell_does_not_compile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> object:
        raise ToolError("the toolkit cannot be read", "Look at it.")

    monkeypatch.setattr(gate_module, "read_toolkit", refuse)
    bench.publish(bench.recipes[0], MODULE)
    bench.split(0)
    result = failing(bench, monkeypatch)
    assert (result.verdict, result.reason, result.reusable_from) == ("failed", "build: error: no such member", None)
    assert "not compared with published modules: the toolkit cannot be read" in bench.log(bench.recipes[1])


@pytest.mark.parametrize("command", [["build"], ["build", "--force"], ["verify"]], ids=" ".join)
def test_a_command_over_one_cell_looks_up_its_neighbours_in_the_whole_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    write_project(tmp_path, MATRIX + "    target: registry.example/team\n")
    looked_up: list[tuple[list[str], int]] = []

    def passed(run: RunContext, recipe: Recipe) -> CellResult:
        assert looked_up, "before any cell is compared"
        return cell_result(recipe, "passed", run.options.target)

    def look_up(run: RunContext, cells: list[Cell]) -> None:
        looked_up.append(([cell.id for cell in cells], len(run.planned)))

    monkeypatch.setattr(run_command, "DockerEngine", StandInEngine)
    monkeypatch.setattr(build_command, "split_published", lambda _, recipes, __: recipes)
    monkeypatch.setattr(build_command, "find_published", lambda *_: None)
    monkeypatch.setattr(build_command, "run_cell", passed)
    monkeypatch.setattr(build_command, "verify_cell", passed)
    monkeypatch.setattr(build_command, "query_neighbours", look_up)
    cell = f"8.2.2-{KERNELS['el9'][2]}"
    assert main([*command, "--only", cell, "--root", str(tmp_path)]) == 0
    assert looked_up == [([cell], 2 * len(KERNELS))]
