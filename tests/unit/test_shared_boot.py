"""The gates boot and mount share one boot; mounts that went wrong do not decide whether the module loads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmatrix.decide.boot import Booted
from kmatrix.effects.disk.logs import open_log
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages import gates as gate_list
from kmatrix.stages import subject as subject_stage
from kmatrix.stages.boot import Boot
from kmatrix.stages.cell import run_cell
from kmatrix.stages.gate_records import find_record
from kmatrix.stages.gates import boot as boot_gate
from kmatrix.stages.gates import gate as gate_module
from kmatrix.stages.gates import gates_of_profile, gates_of_run, pass_gates
from kmatrix.stages.gates import mount as mount_gate
from kmatrix.stages.gates.gate import Outcome
from kmatrix.stages.progress import QuietProgress
from kmatrix.stages.publish import image_of
from kmatrix.stages.run import split_published
from kmatrix.stages.run_context import CellContext, Options, RunContext
from kmatrix.stages.subject import Subject
from kmatrix.values import labels
from kmatrix.values.boot import BootOptions, BootReport, End, Section, Transcript
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.gate_record import TestedKernel
from kmatrix.values.module import ImageFacts
from kmatrix.values.recipe import Recipe
from tests.unit.support.check_case import CELL, Case
from tests.unit.support.fake_registry import MANIFEST, digest
from tests.unit.support.gate_records import PASSED, put_manifest, put_record, record_of
from tests.unit.support.made_up_profile import profile, recipes
from tests.unit.support.writable_registry import writable_registry
from tests.unit.test_verify_again import PullingEngine

PATH = "team/beegfs-client"
RECIPE = cast("Recipe", SimpleNamespace(cell=CELL, cell_key="sha256:key", toolkit=SimpleNamespace(pinned="t@d")))
GOOD = ("loaded", "mounted")
REFUSED = Finding("mount", "mount-refused", "mount: Operation canceled")
OOPS = Finding("boot", "oops", "the kernel oopsed")
CONFIG = "sysMgmtdHost =\n"
VMLINUZ = f"sha256:{'7' * 64}"


def boot_of(*words: str, end: End = "powered-off") -> Boot:
    """A boot in which the module `loaded`, and was `mounted` or `refused`, or is `hanging` in a mount, or none."""
    sections = cast("Any", dict.fromkeys(words))
    return Boot(Transcript(init_ran=True, done=True, step="end", sections=sections, console=(), log={}), end)


def answered(boot: Boot) -> Boot:
    """The same boot, of a file whose kernel answered with the cell's release."""
    sections = {**boot.transcript.sections, "uname": Section((CELL.kernel,), 0)}
    return replace(boot, transcript=replace(boot.transcript, sections=sections), vmlinuz=VMLINUZ)


@dataclass
class Guests:
    """Boots that end one after the other as a test says, and what was booted."""

    left: list[Boot] = field(default_factory=list)
    mounts: list[bool] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    def boot(self, _: object, __: object, subject: Subject, *rest: Any) -> Boot:
        self.mounts.append(subject.mount is not None)
        self.limits += [subject.mount.limit_seconds] if subject.mount else []
        self.logs.append(rest[-1].__self__.path.name.removeprefix(CELL.id))
        rest[-1]("a line of the console")
        return self.left.pop(0)


def judge_boot(transcript: Transcript, _: End, module: Booted) -> BootReport:
    assert module.kernel
    if "loaded" in transcript.sections:
        return BootReport("passed", "booted", "loaded twice")
    return BootReport("failed", OOPS.code, OOPS.message, (OOPS,))


def judge_mount(transcript: Transcript, end: End) -> BootReport:
    assert "mount-" not in transcript.step
    if "mounted" in transcript.sections and end == "powered-off":
        return BootReport("passed", "mounted", "mounted twice")
    if "refused" in transcript.sections:
        return BootReport("failed", REFUSED.code, REFUSED.message, (REFUSED,))
    return BootReport("errored", "mount-report-missing", "the guest did not come that far")


def mount_began(transcript: Transcript) -> bool:
    return bool({"mounted", "refused"} & {*transcript.sections})


@pytest.fixture
def facts() -> ImageFacts:
    return replace(Case().facts(), client_config=CONFIG)


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch, facts: ImageFacts) -> Guests:
    """Guests instead of machines; images pass every static check."""
    made = Guests()
    monkeypatch.setattr(gate_module, "read_cell_image", lambda *_: facts)
    monkeypatch.setattr(gate_module, "boot_guest", made.boot)
    for module in (boot_gate, mount_gate):
        monkeypatch.setattr(module, "judge_boot", judge_boot)
        monkeypatch.setattr(module, "judge_mount", judge_mount)
        monkeypatch.setattr(module, "mount_began", mount_began)
    monkeypatch.setattr(mount_gate, "unknown_keys", lambda *_: ())
    static = replace(gate_list.GATES[0], run=lambda _: Outcome("passed", "every check passed"))
    monkeypatch.setattr(gate_list, "GATES", (static, *gate_list.GATES[1:]))
    return made


@pytest.fixture(autouse=True)
def _configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject_stage, "mount_config", lambda template, _: f"{template}sysMgmtdHost = 192.0.2.2\n")


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    anything = cast("Any", SimpleNamespace(stopping=False))
    options = Options(tmp_path, "site", profile(), "registry.example/team", boot=BootOptions())
    return RunContext(anything, anything, anything, options, QuietProgress(), anything)


@pytest.fixture
def judged(run: RunContext, guests: Guests, tmp_path: Path) -> Callable[..., CellResult]:
    """Put an image through the gates of the run, with boots that end so."""

    def examine(*boots: Boot, gates: Sequence[str] = ("static", "boot", "mount")) -> CellResult:
        guests.left[:] = boots
        chosen = [gate for gate in gates_of_run(run) if gate.name in gates]
        with open_log(tmp_path / "log") as log:
            result = pass_gates(CellContext(run, RECIPE, log), "sha256:1", chosen)
        assert guests.left == []
        return result

    return examine


def test_one_boot_serves_both_gates(judged: Callable[..., CellResult], guests: Guests) -> None:
    result = judged(boot_of(*GOOD))
    assert result.gates == {"static": "passed", "boot": "passed", "mount": "passed"}
    assert result.reason == "every check passed; loaded twice; mounted twice"
    assert (guests.mounts, guests.logs) == ([True], [".serial.log"])
    assert result.serial == f"build/logs/site/{CELL.id}.serial.log"
    assert result.srcversion == "533BB7E5866E52F63B9ACCB"


@pytest.mark.parametrize("gates", [("static", "boot", "mount"), ("static", "boot"), ("static", "mount")])
def test_the_kernel_that_answered_is_kept_once_by_the_name_that_its_release_has(
    run: RunContext, guests: Guests, tmp_path: Path, gates: Sequence[str]
) -> None:
    guests.left[:] = [answered(boot_of(*GOOD))]
    with open_log(tmp_path / "log") as log:
        cell = CellContext(run, RECIPE, log)
        pass_gates(cell, "sha256:1", [gate for gate in gates_of_run(run) if gate.name in gates])
    assert CELL.toolkit.pinned != RECIPE.toolkit.pinned, "the site pulls it from a mirror"
    assert cell.kernels == (TestedKernel(CELL.toolkit.pinned, VMLINUZ, CELL.kernel),)


def test_a_kernel_that_failed_the_gate_is_no_evidence(run: RunContext, guests: Guests, tmp_path: Path) -> None:
    guests.left[:] = [answered(boot_of("oops"))]
    with open_log(tmp_path / "log") as log:
        cell = CellContext(run, RECIPE, log)
        result = pass_gates(cell, "sha256:1", [gate for gate in gates_of_run(run) if gate.name != "mount"])
    assert (result.verdict, cell.kernels) == ("failed", ())


def test_mounts_that_went_wrong_give_the_gate_boot_a_boot_without_them(
    judged: Callable[..., CellResult], guests: Guests
) -> None:
    result = judged(boot_of("refused"), boot_of("loaded"))
    assert result.gates == {"static": "passed", "boot": "passed", "mount": "failed"}
    assert (result.verdict, result.findings) == ("failed", (REFUSED,))
    assert result.reason == "mount: mount-refused: mount: Operation canceled"
    assert (guests.mounts, guests.logs) == ([True, False], [".serial.log", ".alone.serial.log"])
    assert result.serial == f"build/logs/site/{CELL.id}.serial.log", "the log of the boot that failed"
    assert result.serial in result.next_step


def test_the_second_boot_is_judged_by_itself(judged: Callable[..., CellResult], guests: Guests) -> None:
    result = judged(boot_of("refused"), boot_of())
    assert result.gates == {"static": "passed", "boot": "failed"}
    assert result.findings == (OOPS,)
    assert guests.mounts == [True, False]
    assert result.serial == f"build/logs/site/{CELL.id}.alone.serial.log"


def test_a_module_that_was_not_mounted_is_judged_by_the_one_boot(
    judged: Callable[..., CellResult], guests: Guests
) -> None:
    """A second boot would only repeat what the first showed before any mount."""
    result = judged(boot_of())
    assert (result.gates, result.findings) == ({"static": "passed", "boot": "failed"}, (OOPS,))
    assert guests.mounts == [True]


def test_the_gate_mount_alone_boots_once(judged: Callable[..., CellResult], guests: Guests) -> None:
    result = judged(boot_of(*GOOD), gates=["mount"])
    assert (result.verdict, result.gates, result.reason) == ("passed", {"mount": "passed"}, "mounted twice")
    assert (guests.mounts, guests.logs) == ([True], [".serial.log"])
    refused = judged(boot_of("refused"), gates=["mount"])
    assert refused.gates == {"mount": "failed"}
    assert guests.mounts == [True, True], "no second boot: nothing was asked about loading"


def test_the_gate_mount_alone_names_the_reason_why_nothing_was_mounted(judged: Callable[..., CellResult]) -> None:
    result = judged(boot_of(), gates=["mount"])
    assert (result.gates, result.findings) == ({"mount": "failed"}, (OOPS,))
    assert result.reason == "mount: oops: the kernel oopsed"
    lost = judged(boot_of("loaded"), gates=["mount"])
    assert (lost.verdict, lost.gates) == ("errored", {"mount": "errored"})
    assert "mount-report-missing" in lost.reason


def test_the_gate_boot_alone_mounts_nothing(judged: Callable[..., CellResult], guests: Guests) -> None:
    result = judged(boot_of("loaded"), gates=["boot"])
    assert (result.gates, guests.mounts, guests.logs) == ({"boot": "passed"}, [False], [".serial.log"])


def test_an_image_without_a_template_is_booted_and_fails_the_gate_mount(
    judged: Callable[..., CellResult], guests: Guests, monkeypatch: pytest.MonkeyPatch, facts: ImageFacts
) -> None:
    monkeypatch.setattr(gate_module, "read_cell_image", lambda *_: replace(facts, client_config=None))
    result = judged(boot_of("loaded"))
    assert result.gates == {"static": "passed", "boot": "passed", "mount": "failed"}
    assert [finding.code for finding in result.findings] == ["config-missing"]
    assert "the client's package" in result.next_step, "a prompt in the guest would show nothing"
    assert guests.mounts == [False]


def test_an_unknown_key_fails_the_gate_mount(
    judged: Callable[..., CellResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = Finding("mount", "config-key-unknown", "the template has no connCommRetrySecs")
    monkeypatch.setattr(mount_gate, "unknown_keys", lambda *_: (unknown,))
    result = judged(boot_of(*GOOD))
    assert result.gates == {"static": "passed", "boot": "passed", "mount": "failed"}
    assert result.findings == (unknown,)
    assert "the key's new name" in result.next_step


def test_a_kernel_without_an_interface_has_a_next_step_of_its_own(
    judged: Callable[..., CellResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run with fewer jobs or without acceleration changes it."""
    lacking = BootReport("errored", "mount-interface-missing", "no interface beside the loopback")
    monkeypatch.setattr(mount_gate, "judge_mount", lambda *_: lacking)
    result = judged(boot_of("loaded"), gates=["mount"])
    assert (result.verdict, result.gates) == ("errored", {"mount": "errored"})
    assert "dummy, veth" in result.next_step
    assert "--jobs" not in result.next_step


@pytest.mark.parametrize("gates", [["boot"], ["boot", "mount"], ["mount"]])
def test_an_image_without_a_module_boots_nothing(
    judged: Callable[..., CellResult],
    guests: Guests,
    monkeypatch: pytest.MonkeyPatch,
    facts: ImageFacts,
    gates: list[str],
) -> None:
    monkeypatch.setattr(gate_module, "read_cell_image", lambda *_: replace(facts, ko=None))
    result = judged(gates=gates)
    assert (result.verdict, [*result.gates]) == ("failed", gates[:1])
    assert [finding.code for finding in result.findings] == ["module-missing"]
    assert (guests.mounts, result.serial) == ([], "")


@pytest.mark.parametrize(
    ("deadline", "limit"), [(600.0, 30), (120.0, 30), (60.0, 15), (40.0, 10), (20.0, 10), (10.0, 5), (1.0, 1)]
)
def test_the_calls_of_a_mount_may_take_a_quarter_of_the_deadline_and_more_where_that_is_short(
    run: RunContext, judged: Callable[..., CellResult], guests: Guests, deadline: float, limit: int
) -> None:
    run.options = replace(run.options, boot=BootOptions(deadline_seconds=deadline))
    judged(boot_of(*GOOD))
    assert guests.limits == [limit]


def test_a_run_without_boots_leaves_out_both_gates(run: RunContext) -> None:
    assert [gate.name for gate in gates_of_run(run)] == ["static", "boot", "mount"]
    run.options = replace(run.options, boot=None)
    assert [gate.name for gate in gates_of_run(run)] == ["static"]
    assert gates_of_profile(run.options.profile) == ("static", "boot", "mount"), "they are lacking all the same"


@dataclass
class Published:
    """A cell whose image the registry has, and a run that builds nothing."""

    run: RunContext
    recipe: Recipe
    image: str
    kept: list[CellResult] = field(default_factory=list)

    def build(self) -> CellResult:
        """Do with the cell as a run of `build` does."""
        self.run.ungated.clear()
        for recipe in split_published(self.run, [self.recipe], self.kept.append):
            assert recipe.cell.id in self.run.ungated, "it would be built"
            self.kept.append(run_cell(self.run, recipe))
        return self.kept[-1]


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Published]:
    """A cell that was published with a pass of `static` and `boot`."""
    recipe = next(iter(recipes(profile()).values()))
    (tmp_path / "auth.json").write_text('{"auths": {}}', encoding="utf-8")
    credentials = load_credentials(tmp_path / "auth.json")
    anything = cast("Any", None)
    with writable_registry(PATH) as server:
        target = f"{server.web.address}/team"
        options = Options(tmp_path, "site", profile(gates=("static", "boot")), target, boot=BootOptions())
        engine = cast("Any", PullingEngine())
        made = RunContext(engine, RegistryWriter(credentials), credentials, options, QuietProgress(), anything)
        config = json.dumps({"config": {"Labels": {labels.CELL_KEY: recipe.cell_key}}}).encode()
        server.blobs[f"/v2/{PATH}/blobs/{digest(config)}"] = config
        content = {"mediaType": MANIFEST, "config": {"digest": digest(config), "size": len(config)}, "layers": []}
        raw = json.dumps(content).encode()
        put_manifest(server, PATH, image_of(target, recipe.cell).tag, raw)
        put_record(server, PATH, record_of(digest(raw), recipe.cell.id, recipe.cell_key))
        yield Published(made, recipe, digest(raw))


def test_a_cell_that_was_published_with_boot_alone_gets_mount_without_a_build(
    published: Published, guests: Guests
) -> None:
    first = published.build()
    assert (first.verdict, first.gates) == ("skipped", {"static": "passed", "boot": "passed"})
    assert first.reason == "already published, built from the same inputs", "the profile wants no other gate"
    published.run.options = replace(published.run.options, profile=profile())
    guests.left[:] = [boot_of(*GOOD)]
    added = published.build()
    assert (added.verdict, added.digest) == ("passed", published.image)
    assert added.gates == {"static": "passed", "boot": "passed", "mount": "passed"}
    assert added.gates_at["boot"] == PASSED.at, "that gate was not run again"
    assert guests.mounts == [True]
    record = find_record(
        published.run.registry, image_of(published.run.options.target, published.recipe.cell), published.image, print
    )
    assert record is not None
    assert set(record.gates) == {"static", "boot", "mount"}
    again = published.build()
    assert (again.verdict, again.digest, again.gates) == ("skipped", published.image, added.gates)
    assert guests.mounts == [True]


def test_without_boots_a_cell_that_lacks_mount_is_skipped_and_says_so(published: Published, guests: Guests) -> None:
    published.run.options = replace(published.run.options, profile=profile(), boot=None)
    result = published.build()
    assert (result.verdict, guests.mounts) == ("skipped", [])
    assert result.reason == "already published, built from the same inputs; it has not passed gate mount"
