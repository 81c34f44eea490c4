"""The command boot: the reports of both gates, the second boot after mounts that went wrong, the prompt's setup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmatrix.cli import main
from kmatrix.commands import boot as boot_command
from kmatrix.decide.boot import Booted
from kmatrix.stages.boot import Boot
from kmatrix.stages.boot_subjects import ManualSubject
from kmatrix.stages.secure_boot import SecureReport
from kmatrix.stages.subject import Subject
from kmatrix.values.boot import BootReport
from kmatrix.values.errors import Exit
from kmatrix.values.gate_record import GATE_NAMES
from kmatrix.values.mount import MountSetup
from tests.unit.support.made_up_profile import profile

NOW = BootReport("passed", "booted", "loaded twice")
MOUNTED = BootReport("passed", "mounted", "mounted twice")
OOPS = BootReport("failed", "oops", "it oopsed")
REFUSED = BootReport("failed", "mount-refused", "Operation canceled")
NO_REPORT = BootReport("errored", "mount-report-missing", "the guest did not come that far")
CONFIG = BootReport("failed", "config-missing", "the image has no template")
TOOLKIT = f"registry.example/toolkit@sha256:{'a' * 64}"
SETUP = MountSetup("sysMgmtdHost = 192.0.2.2\n", 30)


def named(kernel: str = "k", unmountable: BootReport | None = None) -> ManualSubject:
    subject = Subject("x", "sha256:1", TOOLKIT, "x86_64", Booted(kernel, "8.3.1", "S"), (), SETUP)
    return ManualSubject(subject, unmountable)


@dataclass
class Machine:
    """Guests that report as a test says, by whether they mount; and what was booted."""

    subjects: list[ManualSubject] = field(default_factory=lambda: [named()])
    loading: Mapping[bool, BootReport] = field(default_factory=lambda: {True: NOW, False: NOW})
    mounts: BootReport = MOUNTED
    gates: tuple[str, ...] = ("static", "boot", "mount")
    module_signing: Mapping[str, str] | None = None
    booted: list[bool] = field(default_factory=list)
    prompts: list[tuple[MountSetup | None, bool]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def boot(self, _: object, __: object, subject: Subject, *___: object) -> Boot:
        self.booted.append(subject.mount is not None)
        return Boot(cast("Any", SimpleNamespace(mounting=subject.mount is not None)), "powered-off")

    def prepare(self, subject: Subject, *, interactive: bool) -> object:
        self.prompts.append((subject.mount, interactive))
        return None


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()

    @contextmanager
    def engine(_: object) -> Iterator[Any]:
        yield None

    def run(*_: object) -> Any:
        signing = {"module_signing": made.module_signing} if made.module_signing else {}
        options = SimpleNamespace(boot_seconds=120.0, profile=profile(gates=made.gates, **signing), root=tmp_path)
        machines = SimpleNamespace(stop=lambda: None, attach=lambda _: 0)
        progress = SimpleNamespace(say=made.said.append)
        return SimpleNamespace(engine=None, machines=machines, progress=progress, options=options, boot_folder=tmp_path)

    nothing: Any = lambda *_, **__: None  # noqa: E731
    fakes: dict[str, Any] = {
        "select_profile": nothing,
        "pins_for": nothing,
        "marked_engine": engine,
        "boot_run": run,
        "tidy": nothing,
        "hold_image": nothing,
        "Guests": lambda *_: nullcontext(SimpleNamespace(guest=made.prepare)),
        "find_subjects": lambda *_: made.subjects,
        "SharedImages": lambda *_, **__: nullcontext(SimpleNamespace(held=lambda _: nullcontext())),
        "boot_guest": made.boot,
        "judge_boot": lambda transcript, *_: made.loading[transcript.mounting],
        "mount_report": lambda *_: made.mounts,
        "mounted_well": lambda _: made.mounts.verdict == "passed",
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(boot_command, name, fake)
    return made


def boot(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = main(["boot", "8.3.1-k", *options])
    return code, capsys.readouterr().out.splitlines()


def test_one_boot_has_a_report_of_each_gate(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert boot(capsys) == (
        Exit.OK,
        ["boot passed: booted: loaded twice", "mount passed: mounted: mounted twice"],
    )
    assert machine.booted == [True]


@pytest.mark.parametrize(("mounts", "code"), [(REFUSED, Exit.FAILED), (NO_REPORT, Exit.ERRORED)])
def test_mounts_that_went_wrong_are_followed_by_a_boot_without_them(
    machine: Machine, capsys: pytest.CaptureFixture[str], mounts: BootReport, code: int
) -> None:
    machine.mounts = mounts
    machine.loading = {True: OOPS, False: NOW}
    lines = ["boot passed: booted: loaded twice", f"mount {mounts.verdict}: {mounts.code}: {mounts.message}"]
    assert boot(capsys) == (code, lines)
    assert machine.booted == [True, False]


def test_a_module_that_does_not_load_fails_the_command(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.loading = {True: OOPS, False: NOW}
    code, lines = boot(capsys)
    assert (code, lines[0]) == (Exit.FAILED, "boot failed: oops: it oopsed")
    assert machine.booted == [True]


def test_templates_that_rule_out_a_mount_leave_the_boot(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.subjects = [named(unmountable=CONFIG)]
    lines = ["boot passed: booted: loaded twice", "mount failed: config-missing: the image has no template"]
    assert boot(capsys) == (Exit.FAILED, lines)
    assert machine.booted == [False]


def test_a_profile_without_the_gate_mount_mounts_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.gates = ("static", "boot")
    assert boot(capsys) == (Exit.OK, ["boot passed: booted: loaded twice"])
    assert machine.booted == [False]


def test_a_profile_that_signs_modules_has_a_report_of_the_gate_secure_boot(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bytes]] = []
    monkeypatch.setattr(boot_command, "load_certificate", lambda *_: b"certificate")

    def secured(_engine: Any, _machines: Any, subject: Subject, certificate: bytes, *_: Any) -> SecureReport:
        seen.append((subject.mount is not None, certificate))
        return SecureReport(BootReport("errored", "kernel-unsigned", "no signature"))

    monkeypatch.setattr(boot_command, "boot_secured", secured)
    machine.gates = GATE_NAMES
    machine.module_signing = {"key": "file:key", "certificate": "certificate"}
    code, lines = boot(capsys)
    assert (code, lines[2:]) == (Exit.ERRORED, ["secure-boot errored: kernel-unsigned: no signature"])
    machine.subjects = [named(unmountable=CONFIG)]
    boot(capsys)
    assert seen == [(True, b"certificate"), (False, b"certificate")]


def test_the_kernels_of_a_bundle_are_told_apart(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.subjects = [named("k1"), named("k2")]
    _, lines = boot(capsys)
    assert lines == [
        "boot passed: booted: k1: loaded twice",
        "mount passed: mounted: k1: mounted twice",
        "boot passed: booted: k2: loaded twice",
        "mount passed: mounted: k2: mounted twice",
    ]


@pytest.mark.parametrize("gates", [("static", "boot", "mount"), ("static", "boot")])
def test_a_prompt_has_the_setup_for_a_mount(
    machine: Machine, capsys: pytest.CaptureFixture[str], gates: tuple[str, ...]
) -> None:
    """Also where the profile leaves out the gate: whoever asks for a prompt wants to try things."""
    machine.gates = gates
    assert boot(capsys, "--shell") == (Exit.OK, [])
    assert machine.prompts == [(SETUP, True)]
    assert machine.booted == []


def test_a_prompt_without_a_command_to_mount_says_why(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.subjects = [named(unmountable=CONFIG)]
    assert boot(capsys, "--shell")[0] == Exit.OK
    assert machine.said == ["kmatrix: mount: config-missing: the image has no template"]
