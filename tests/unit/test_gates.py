"""Gates are a list: a new one needs a function and an entry, and is run on published images without a rebuild."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmatrix.decide.boot import Booted
from kmatrix.decide.gate_record import record_tag
from kmatrix.effects.disk.logs import open_log
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages import gates as gate_list
from kmatrix.stages import subject as subject_stage
from kmatrix.stages.boot import Boot
from kmatrix.stages.cell import push_cell, run_cell
from kmatrix.stages.concurrency import Once
from kmatrix.stages.gate_records import find_record
from kmatrix.stages.gates import boot as boot_gate
from kmatrix.stages.gates import gate as gate_module
from kmatrix.stages.gates import gates_of_profile, gates_of_run, not_passed, pass_gates
from kmatrix.stages.gates.gate import Gate, ImageUnderTest, Outcome
from kmatrix.stages.progress import QuietProgress
from kmatrix.stages.publish import image_of
from kmatrix.stages.run import split_published
from kmatrix.stages.run_context import CellContext, Options, RunContext, cell_result
from kmatrix.stages.subject import Subject
from kmatrix.values import labels
from kmatrix.values.boot import BootOptions, BootReport, Transcript
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.errors import InterruptedRunError, ToolError, UnreachableError
from kmatrix.values.gate_record import DEFAULT_GATES, GateRecord
from kmatrix.values.module import ImageFacts
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe
from tests.unit.support.check_case import CELL, TOOLKIT, Case
from tests.unit.support.fake_registry import MANIFEST, digest, problem
from tests.unit.support.gate_records import BOTH, PASSED, put_manifest, put_record, record_of
from tests.unit.support.made_up_profile import profile, recipes
from tests.unit.support.writable_registry import Writable, writable_registry
from tests.unit.test_verify_again import PullingEngine

pytestmark = pytest.mark.usefixtures("two_gates")
PATH = "team/beegfs-client"
# Gates that tests add to the list; the profile of these tests wants them all.
MADE_UP = ("made-up", "paper", "one", "two", "three")
FAULT = Finding("made-up", "not-nice", "it is not nice")


@dataclass
class Lines(QuietProgress):
    """Keeps what a run says."""

    said: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass
class Bench:
    """A cell, the registry it may be in, and a run whose engine can build nothing."""

    server: Writable
    run: RunContext
    recipe: Recipe
    progress: Lines
    kept: list[CellResult] = field(default_factory=list)

    @property
    def ref(self) -> ImageRef:
        return image_of(self.run.options.target, self.recipe.cell)

    def publish(self, record: tuple[str, ...] | None = BOTH, key: str = "") -> str:
        """Publish the cell's image, with a record of these gates; returns its digest."""
        key = key or self.recipe.cell_key
        config = json.dumps({"config": {"Labels": {labels.CELL_KEY: key}}}).encode()
        self.server.blobs[f"/v2/{PATH}/blobs/{digest(config)}"] = config
        content = {"mediaType": MANIFEST, "config": {"digest": digest(config), "size": len(config)}, "layers": []}
        raw = json.dumps(content).encode()
        put_manifest(self.server, PATH, self.ref.tag, raw)
        if record is not None:
            put_record(self.server, PATH, record_of(digest(raw), self.recipe.cell.id, key, record))
        return digest(raw)

    def build(self) -> CellResult | None:
        """Do with the cell as a run of `build` does; None if it was to be built."""
        self.server.web.requests.clear()
        self.run.ungated.clear()
        self.run.pulls = Once()
        for recipe in split_published(self.run, [self.recipe], self.kept.append):
            if recipe.cell.id not in self.run.ungated:
                return None
            self.kept.append(run_cell(self.run, recipe))
        return self.kept[-1]

    def recorded(self, image: str) -> GateRecord | None:
        return find_record(self.run.registry, self.ref, image, self.progress.say)

    @property
    def written(self) -> list[str]:
        """The names that manifests were put under."""
        return [line.rpartition("/")[2] for line in self.server.sent() if line.startswith("PUT /manifests/")]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    recipe = next(iter(recipes(profile()).values()))
    (tmp_path / "auth.json").write_text('{"auths": {}}', encoding="utf-8")
    credentials = load_credentials(tmp_path / "auth.json")
    with writable_registry(PATH) as server:
        wanted = profile().model_copy(update={"gates": (*DEFAULT_GATES, *MADE_UP)})
        options = Options(tmp_path, "site", wanted, f"{server.web.address}/team", boot=BootOptions())
        progress, anything = Lines(), cast("Any", None)
        engine = cast("Any", PullingEngine())
        run = RunContext(engine, RegistryWriter(credentials), credentials, options, progress, anything)
        yield Bench(server, run, recipe, progress)


def with_gate(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome | Exception) -> list[str]:
    """Add a made-up gate whose runs end so, one after the other; returns the ids of the images that it was given."""
    given: list[str] = []
    left = list(outcomes)

    def examine(image: ImageUnderTest) -> Outcome:
        given.append(image.id)
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(gate_list, "GATES", (*gate_list.GATES, Gate("made-up", examine)))
    return given


def test_a_new_gate_is_run_on_a_published_image_which_is_neither_built_nor_pushed_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = bench.publish()
    given = with_gate(monkeypatch, Outcome("passed", "it is nice"))
    result = bench.build()
    assert result is not None
    assert (result.verdict, result.digest, result.image) == ("passed", image, str(bench.ref))
    assert result.gates == {"static": "passed", "boot": "passed", "made-up": "passed"}
    assert result.gates_at["boot"] == PASSED.at
    assert result.gates_at["made-up"].endswith("Z")
    assert result.reason == "it is nice; published already, gate made-up recorded beside it"
    pinned = bench.ref.with_digest(image).pinned
    assert given == [f"id of {pinned}"]
    assert bench.run.engine.image(pinned) is None, "it was pulled for this alone"
    assert bench.written == [record_tag(image)]
    record = bench.recorded(image)
    assert record is not None
    assert set(record.gates) == {"static", "boot", "made-up"}
    again = bench.build()
    assert again is not None
    assert (again.verdict, again.digest, again.gates) == ("skipped", image, result.gates)
    assert (len(given), bench.written) == (1, [])


def test_a_published_image_that_fails_a_new_gate_stays_and_is_not_recorded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = bench.publish()
    failed = Outcome("failed", "not-nice: it is not nice", (FAULT,), "Make it nice.")
    given = with_gate(monkeypatch, failed, failed)
    for runs in (1, 2):
        result = bench.build()
        assert result is not None
        assert (result.verdict, result.digest, result.findings) == ("failed", image, (FAULT,))
        assert result.gates == {"static": "passed", "boot": "passed", "made-up": "failed"}
        stays = "the image is published already, without gate made-up, and stays"
        assert result.reason == f"not-nice: it is not nice; {stays}"
        again = f"`nox -s build -- --profile site --force --only {bench.recipe.cell.id}`"
        assert result.next_step == f"Make it nice. {again} builds the cell again and replaces the published image."
        assert (len(given), bench.written) == (runs, [])
    assert bench.run.registry.digest_of(bench.ref) == image


def test_the_gates_before_one_that_fails_are_recorded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    image = bench.publish(record=("static",))
    monkeypatch.setattr(gate_module, "boot_guest", lambda *_: A_BOOT)
    monkeypatch.setattr(boot_gate, "judge_boot", lambda *_: BootReport("passed", "booted", "loaded"))
    monkeypatch.setattr(gate_module, "read_cell_image", lambda *_: facts_of(b"x"))
    monkeypatch.setattr(subject_stage, "read_module", lambda _: SimpleNamespace(first=lambda _: "A", depends=()))
    monkeypatch.setattr(gate_list, "GATES", tuple(replace(gate, run=boot_gate.boot_module) for gate in gate_list.GATES))
    with_gate(monkeypatch, Outcome("failed", "no"))
    result = bench.build()
    assert result is not None
    assert result.gates == {"static": "passed", "boot": "passed", "made-up": "failed"}
    assert "without gate made-up, and stays" in result.reason
    record = bench.recorded(image)
    assert record is not None
    assert set(record.gates) == {"static", "boot"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ToolError("the tool is broken", "Fix it."), "the tool is broken"),
        (ZeroDivisionError("oh"), "internal error: ZeroDivisionError: oh"),
    ],
)
def test_an_exception_in_a_gate_is_a_verdict_of_that_gate(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    image = bench.publish()
    with_gate(monkeypatch, error)
    result = bench.build()
    assert result is not None
    assert (result.verdict, result.reason, result.digest) == ("errored", reason, image)
    assert result.gates == {"static": "passed", "boot": "passed", "made-up": "errored"}
    assert result.next_step
    assert bench.written == []


def test_a_run_that_is_told_to_stop_gives_no_verdict(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.publish()
    with_gate(monkeypatch, InterruptedRunError())
    with pytest.raises(InterruptedRunError):
        bench.build()


def test_what_cannot_be_pulled_leaves_known_what_is_published(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    image = bench.publish()
    with_gate(monkeypatch)
    cast("PullingEngine", bench.run.engine).broken = "toolkit"
    result = bench.build()
    assert result is not None
    assert (result.verdict, result.digest, result.image) == ("errored", image, str(bench.ref))
    assert result.gates == {"static": "passed", "boot": "passed"}


@pytest.mark.parametrize("forged", ["no record", "another key", "another cell", "another image", "malformed"])
def test_an_image_without_its_own_record_is_built_as_if_it_was_not_there(bench: Bench, forged: str) -> None:
    """Its label is right in each case: anybody who may push can copy that."""
    image = bench.publish(record=None)
    name, key = bench.recipe.cell.id, bench.recipe.cell_key
    match forged:
        case "another key":
            put_record(bench.server, PATH, record_of(image, name, "sha256:other"))
        case "another cell":
            put_record(bench.server, PATH, record_of(image, "8.3.1-other", key))
        case "another image":
            put_record(bench.server, PATH, record_of("sha256:" + "b" * 64, name, key), tag=record_tag(image))
        case "malformed":
            put_manifest(bench.server, PATH, record_tag(image), b"{}")
    assert bench.build() is None
    assert bench.run.published == {}, "no layer of it is believed either"
    named = [line for line in bench.progress.said if f"{PATH}:{record_tag(image)} is not believed" in line]
    assert bool(named) == (forged in ("another image", "malformed"))


def test_a_registry_that_does_not_tell_about_the_record_ends_the_run(bench: Bench, slept: list[float]) -> None:
    image = bench.publish()
    answer = bench.server.answer
    bench.server.web.answer = lambda request: (
        problem(503, "UNAVAILABLE") if record_tag(image) in request.path else answer(request)
    )
    with pytest.raises(UnreachableError):
        bench.build()
    assert slept


def test_a_run_without_the_boot_gate_wants_no_boot_of_what_is_published(bench: Bench) -> None:
    image = bench.publish(record=("static",))
    bench.run.options = replace(bench.run.options, boot=None)
    result = bench.build()
    assert result is not None
    assert (result.verdict, result.digest, result.gates) == ("skipped", image, {"static": "passed"})
    assert result.reason == "already published, built from the same inputs; it has not passed gate boot"


def test_a_run_without_boots_leaves_out_every_gate_that_boots(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    good = Outcome("passed", "good")
    made_up = Gate("made-up", lambda _: good, boots=True)
    monkeypatch.setattr(gate_list, "GATES", (*gate_list.GATES, made_up, Gate("paper", lambda _: good)))
    assert [gate.name for gate in gates_of_run(bench.run)] == ["static", "boot", "made-up", "paper"]
    bench.run.options = replace(bench.run.options, boot=None)
    assert [gate.name for gate in gates_of_run(bench.run)] == ["static", "paper"]


def test_a_run_that_publishes_nothing_records_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    image = bench.publish()
    bench.run.options = replace(bench.run.options, push=False)
    with_gate(monkeypatch, Outcome("passed", "it is nice"))
    result = bench.build()
    assert result is not None
    assert (result.verdict, bench.written) == ("passed", [])
    assert result.reason == "it is nice; published already, gate made-up not recorded (--no-push)"
    record = bench.recorded(image)
    assert record is not None
    assert set(record.gates) == {"static", "boot"}


def test_the_cell_key_does_not_depend_on_the_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: recipe.cell_key for name, recipe in recipes(profile()).items()}
    with_gate(monkeypatch)
    assert {name: recipe.cell_key for name, recipe in recipes(profile()).items()} == before


def context(bench: Bench, recipe: Any, log: Any) -> CellContext:
    return CellContext(bench.run, recipe, log)


def in_order(monkeypatch: pytest.MonkeyPatch, **outcomes: Outcome) -> None:
    def gate(name: str, outcome: Outcome) -> Gate:
        return Gate(name, lambda _: outcome)

    monkeypatch.setattr(gate_list, "GATES", tuple(gate(name, outcome) for name, outcome in outcomes.items()))


def test_gates_run_in_order_and_the_first_that_fails_ends_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = Outcome("passed", "good", serial="s", srcversion="A")
    in_order(monkeypatch, one=good, two=Outcome("failed", "bad", (FAULT,), "Do."), three=good)
    with open_log(tmp_path / "log") as log:
        cell = context(bench, bench.recipe, log)
        result = pass_gates(cell, "sha256:1", gates_of_run(bench.run))
    assert result.gates == {"one": "passed", "two": "failed"}
    assert [*result.gates_at] == ["one"]
    assert (result.verdict, result.reason, result.findings, result.next_step) == ("failed", "bad", (FAULT,), "Do.")
    assert (result.serial, result.srcversion, result.image_id, result.image) == ("s", "A", "sha256:1", "")
    assert [*cell.stages] == ["one", "two"]
    assert not_passed(result.gates, gates_of_profile(bench.run.options.profile)) == ("two", "three")


@pytest.mark.parametrize(("gates", "words"), [({"static": "passed"}, "gate boot"), ({}, "gates static, boot")])
def test_a_withheld_image_that_lacks_a_gate_is_not_pushed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, gates: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr(bench.run.engine, "image", lambda _: {"Id": "sha256:1"})
    tested = replace(cell_result(bench.recipe, "passed", "good", image="r/x:1"), image_id="sha256:1", gates=gates)
    result = push_cell(bench.run, bench.recipe, tested)
    assert (result.verdict, result.reason) == ("errored", f"r/x:1 has not passed {words}")
    assert f"nox -s build -- --profile site --only {bench.recipe.cell.id}" in result.next_step
    assert bench.written == []


def facts_of(ko: bytes | None) -> ImageFacts:
    return replace(Case().facts(), ko=ko)


A_BOOT = Boot(Transcript(init_ran=True, done=True, step="end", sections={}, console=(), log={}), "powered-off")
BOOTED = "boot with ('ib_core', 'libcrc32c', 'rdma_cm')"
TOOLKIT_REF = SimpleNamespace(pinned="t@d")
RECIPE = cast("Recipe", SimpleNamespace(cell=CELL, cell_key="sha256:key", toolkit=TOOLKIT_REF, certificate=b""))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was read of image and toolkit, and booted; a boot passes, and shows what was booted."""
    read: list[str] = []

    def image(*_: object) -> ImageFacts:
        read.append("image")
        return Case().facts()

    def toolkit(*_: object) -> object:
        read.append("toolkit")
        return TOOLKIT

    def boot(*arguments: Any) -> Boot:
        subject: Subject = arguments[2]
        read.append(f"boot with {subject.depends}")
        return A_BOOT

    def judged(_: object, __: object, module: Booted) -> BootReport:
        return BootReport("passed", "booted", f"booted {module.srcversion}")

    monkeypatch.setattr(gate_module, "read_cell_image", image)
    monkeypatch.setattr(gate_module, "read_toolkit", toolkit)
    monkeypatch.setattr(gate_module, "boot_guest", boot)
    monkeypatch.setattr(boot_gate, "judge_boot", judged)
    return read


def test_the_image_and_the_kernel_are_read_once_for_all_gates(bench: Bench, reads: list[str], tmp_path: Path) -> None:
    with open_log(tmp_path / "log") as log:
        result = pass_gates(context(bench, RECIPE, log), "sha256:1", gates_of_run(bench.run))
        assert result.gates == {"static": "passed", "boot": "passed"}, result.reason
        assert sorted(reads) == [BOOTED, "image", "toolkit"]
        booted = "booted 533BB7E5866E52F63B9ACCB"
        assert (result.reason, result.srcversion) == (f"every check passed; {booted}", "533BB7E5866E52F63B9ACCB")
        pass_gates(context(bench, RECIPE, log), "sha256:1", gates_of_run(bench.run))
    assert sorted(reads) == [BOOTED, BOOTED, "image", "image", "toolkit"], "the kernel's facts are those of every cell"


def test_each_gate_can_be_run_alone(bench: Bench, reads: list[str], tmp_path: Path) -> None:
    for gate in gate_list.GATES:
        reads.clear()
        with open_log(tmp_path / "log") as log:
            result = pass_gates(context(bench, RECIPE, log), "sha256:1", [gate])
        assert (result.verdict, result.gates) == ("passed", {gate.name: "passed"})
        assert result.srcversion == "533BB7E5866E52F63B9ACCB"
        assert reads[:1] == ["image"]


@pytest.mark.parametrize(("ko", "code"), [(None, "module-missing"), (b"no module", "module-unreadable")])
def test_the_boot_gate_alone_finds_a_module_that_is_none(
    bench: Bench, reads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ko: bytes | None, code: str
) -> None:
    monkeypatch.setattr(gate_module, "read_cell_image", lambda *_: facts_of(ko))
    with open_log(tmp_path / "log") as log:
        result = pass_gates(context(bench, RECIPE, log), "sha256:1", gates_of_run(bench.run)[1:])
    assert (result.verdict, result.gates) == ("failed", {"boot": "failed"})
    assert result.reason.startswith(f"boot: {code}: ")
    assert [finding.code for finding in result.findings] == [code]
    assert f"`nox -s boot -- --profile site {CELL.id} --shell`" in result.next_step
    assert reads == []
