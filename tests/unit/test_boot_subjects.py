"""Subjects of a boot: of a cell's module for a gate, and of a cell or an image that a person names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from kmatrix.decide.boot import Booted
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages import boot_subjects
from kmatrix.stages import subject as subject_stage
from kmatrix.stages.boot_subjects import ManualSubject, find_subjects
from kmatrix.stages.gates import mount as mount_gate
from kmatrix.stages.publish import image_of
from kmatrix.stages.run_context import Options, RunContext
from kmatrix.stages.subject import Subject, subject_of
from kmatrix.values import labels
from kmatrix.values.boot import BootReport
from kmatrix.values.cells import Cell, Finding
from kmatrix.values.engine import EngineImage, RegistryLogin
from kmatrix.values.errors import InputError, ToolError
from kmatrix.values.module import ImageFacts
from kmatrix.values.mount import MountSetup
from tests.unit.support.check_case import Case
from tests.unit.support.elf_maker import Ko
from tests.unit.support.fake_registry import FakeRegistry, fake_registry
from tests.unit.support.made_up_profile import lock, profile, recipes
from tests.unit.support.saying import Saying
from tests.unit.support.stand_in_engine import StandInEngine

KO = Ko(modinfo=(("version", "9.9.9"), ("srcversion", "ABC"), ("depends", "ib_core,rdma_cm"))).build()
TOOLKIT = "registry.example/toolkit@sha256:" + "a" * 64


def a_cell() -> Cell:
    return next(iter(recipes(profile()).values())).cell


def test_a_gates_subject_must_report_the_cells_client_and_one_by_hand_its_files_version() -> None:
    cell = a_cell()
    strict = subject_of("name", "image", cell, TOOLKIT, KO)
    booted = Booted(cell.kernel, str(cell.client), "ABC")
    assert strict == Subject("name", "image", TOOLKIT, cell.arch, booted, ("ib_core", "rdma_cm"))
    by_hand = subject_of("name", "image", cell, TOOLKIT, KO, any_version=True)
    assert isinstance(by_hand, Subject)
    assert by_hand.module == Booted(cell.kernel, "9.9.9", "ABC")


@pytest.mark.parametrize(("ko", "code"), [(None, "module-missing"), (b"no ELF", "module-unreadable")])
def test_an_image_without_a_module_to_boot_has_failed_and_says_why(ko: bytes | None, code: str) -> None:
    report = subject_of("name", "image", a_cell(), TOOLKIT, ko)
    assert isinstance(report, BootReport)
    assert (report.verdict, report.code) == ("failed", code)
    assert report.findings == (Finding("boot", code, report.message),)
    assert report.message


class LabelledEngine(StandInEngine):
    """Has images with the labels that a test gives it by name, and those of a registry that it held."""

    def __init__(self) -> None:
        super().__init__()
        self.local: dict[str, dict[str, str]] = {}
        self.remote: dict[str, str] = {}
        self.held: list[str] = []

    def image(self, name: str) -> EngineImage | None:
        found = self.local.get(name, self.remote if name in self.held else None)
        return None if found is None else EngineImage(f"id of {name}", labels=found)

    def hold(self, pinned: str, login: RegistryLogin | None) -> None:
        self.held.append(pinned)


@dataclass
class Stage:
    """A run whose profile has pins, its engine, a registry, and the lines that were printed."""

    run: RunContext
    engine: LabelledEngine
    server: FakeRegistry
    lines: list[str]
    modules: dict[str, bytes | None]
    templates: dict[str, str | None]

    def find(self, name: str) -> list[ManualSubject]:
        return find_subjects(self.run, lock(profile()), name)


UNKNOWN = Finding("mount", "config-key-unknown", "the template has no such key")


def unknown(client: str, helperd: str | None, major: int) -> list[Finding]:
    """A finding for a template with a word that no template has."""
    assert (helperd, major) == (None, 9), "the image's own client, not the cell's"
    return [UNKNOWN] if "unknown" in client else []


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    engine, lines, modules = LabelledEngine(), list[str](), dict[str, bytes | None]()
    templates: dict[str, str | None] = {"client_config": "sysMgmtdHost =\n", "helperd_config": None}

    def read(_: object, __: object, kernel: str) -> ImageFacts:
        return replace(Case().facts(), ko=modules.get(kernel, KO), **cast("Any", templates))

    monkeypatch.setattr(boot_subjects, "read_cell_image", read)
    monkeypatch.setattr(subject_stage, "mount_config", lambda template, major: f"{template}# of client {major}\n")
    monkeypatch.setattr(mount_gate, "unknown_keys", lambda *words: tuple(unknown(*words)))
    with fake_registry() as server:
        (tmp_path / "auth.json").write_text('{"auths": {}}', encoding="utf-8")
        credentials = load_credentials(tmp_path / "auth.json")
        target = f"{server.web.address}/team"
        options = Options(tmp_path, "site", profile(target=target), target)
        anything: Any = None
        progress = Saying(lines.append)
        run = RunContext(
            cast("Any", engine), RegistryWriter(credentials), credentials, options, progress, machines=anything
        )
        yield Stage(run, engine, server, lines, modules, templates)


def test_a_cells_local_image_takes_precedence_over_the_registry(stage: Stage) -> None:
    cell = a_cell()
    ref = str(image_of(stage.run.options.target, cell))
    stage.engine.local[ref] = {labels.KERNEL: "another kernel, which a cell's id overrides"}
    subject = stage.find(cell.id)[0].subject
    assert (subject.image, subject.module.kernel, subject.toolkit) == (f"id of {ref}", cell.kernel, cell.toolkit.pinned)
    assert stage.lines == [f"{ref}: id of {ref}: using the local image (it takes precedence over the registry)"]
    assert (stage.engine.held, stage.server.web.requests) == ([], [])


def test_a_subject_is_mounted_with_its_images_own_template(stage: Stage) -> None:
    cell = a_cell()
    stage.engine.local["registry.example/image:1"] = {labels.KERNEL: cell.kernel}
    (named,) = stage.find("registry.example/image:1")
    assert named.subject.mount == MountSetup("sysMgmtdHost =\n# of client 9\n", 30)
    assert named.unmountable is None


@pytest.mark.parametrize(("template", "code"), [(None, "config-missing"), ("unknown =\n", "config-key-unknown")])
def test_templates_that_rule_out_a_mount_are_reported(stage: Stage, template: str | None, code: str) -> None:
    cell = a_cell()
    stage.engine.local["registry.example/image:1"] = {labels.KERNEL: cell.kernel}
    stage.templates["client_config"] = template
    (named,) = stage.find("registry.example/image:1")
    assert named.unmountable is not None
    assert (named.unmountable.verdict, named.unmountable.code) == ("failed", code)
    assert (named.subject.mount is None) == (template is None), "a person may try it at a prompt"


def test_a_module_without_a_version_is_taken_for_the_cells_client(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = a_cell()
    stage.modules[cell.kernel] = Ko(modinfo=(("srcversion", "ABC"), ("depends", "ib_core"))).build()
    monkeypatch.setattr(mount_gate, "unknown_keys", lambda *_: ())
    stage.engine.local["registry.example/image:1"] = {labels.KERNEL: cell.kernel}
    (named,) = stage.find("registry.example/image:1")
    assert named.subject.mount is not None
    assert named.subject.mount.config.endswith(f"# of client {cell.client.major}\n")


def test_an_image_that_the_engine_lacks_is_pulled_by_digest(stage: Stage) -> None:
    cell = a_cell()
    ref = stage.server.image("team/other", [], {"config": {}})
    stage.engine.remote = {labels.KERNEL: cell.kernel}
    subject = stage.find(str(ref))[0].subject
    assert stage.engine.held == [stage.run.registry.resolve(ref).pinned]
    assert subject.image == f"id of {stage.engine.held[0]}"
    assert stage.lines[0].endswith("using the image of the registry")


def test_each_kernel_of_a_bundle_is_a_subject_in_the_bundles_order(stage: Stage) -> None:
    kernels = list(dict.fromkeys(recipe.cell.kernel for recipe in recipes(profile()).values()))[:2]
    assert len(kernels) == 2
    stage.engine.local["registry.example/bundle:1"] = {labels.KERNELS: ",".join(kernels)}
    assert [each.subject.module.kernel for each in stage.find("registry.example/bundle:1")] == kernels


@pytest.mark.parametrize("name", ["No Such Thing", "registry.example/image:1"])
def test_a_name_of_no_cell_and_an_image_of_another_kernel_are_input_errors(stage: Stage, name: str) -> None:
    stage.engine.local["registry.example/image:1"] = {labels.KERNEL: "1.2.3"}
    with pytest.raises(InputError, match=r"is no cell of profile site|kernel 1\.2\.3, which no release") as caught:
        stage.find(name)
    assert "nox -s plan" in caught.value.hint


def test_an_image_whose_module_cannot_be_booted_is_no_verdict_by_hand(stage: Stage) -> None:
    cell = a_cell()
    stage.engine.local["registry.example/image:1"] = {labels.KERNEL: cell.kernel}
    stage.modules[cell.kernel] = None
    with pytest.raises(ToolError, match=f"its module for {cell.kernel} cannot be booted: the image has no /opt/lib"):
        stage.find("registry.example/image:1")
