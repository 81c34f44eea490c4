"""The statements of a run about its images: read from the registry's image, and from the image itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from kmatrix.decide.builders import LOCAL
from kmatrix.decide.bundle import CellImage, Wanted, compose
from kmatrix.effects.disk.logs import open_log
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages import statements as stage
from kmatrix.stages.gates import gate as gate_module
from kmatrix.stages.gates import gates_of_run, pass_gates
from kmatrix.stages.progress import QuietProgress
from kmatrix.stages.run_context import CellContext, Options, RunContext
from kmatrix.stages.statements import bundle_statements, cell_statements
from kmatrix.values import labels
from kmatrix.values.attestation import PROVENANCE, SPDX, Statement
from kmatrix.values.boot import BootOptions
from kmatrix.values.errors import InputError, ProtocolError, ToolError
from kmatrix.values.module import ModuleFile
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe
from tests.unit.support.attested_cell import CELL, INSTALLED, MODULE, named, spdx_faults
from tests.unit.support.cell_images import CLIENT, KERNELS, image
from tests.unit.support.check_case import KO, TOOLKIT, Case
from tests.unit.support.image_registry import NO_CREDENTIALS, ImageRegistry, image_registry
from tests.unit.support.made_up_profile import profile, recipes
from tests.unit.support.stand_in_engine import StandInEngine

PATH = "team/beegfs-client"
TEMPLATE = "images/beegfs-client/Dockerfile.j2"
BUILT = ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")


@dataclass
class Bench:
    """A checkout, a registry with an image of a cell, and a run whose engine has the image too."""

    root: Path
    server: ImageRegistry
    run: RunContext
    recipe: Recipe
    packages_read: list[str]

    @property
    def ref(self) -> ImageRef:
        return self.server.ref(PATH, "any")

    def image(self, *below: str, module: str = "m") -> str:
        """Have an image with these layers below that of its module; returns its digest."""
        config = {
            "created": "2026-01-01T00:00:59.5Z",
            "config": {"Labels": {labels.REVISION: "b" * 40, labels.SOURCE: "https://git.example.com/other"}},
            "rootfs": {"type": "layers", "diff_ids": [*below, module]},
        }
        return self.server.image(PATH, "", config)

    def cell(self, *, built: tuple[str, str] | None = BUILT, module_file: ModuleFile | None = MODULE) -> CellContext:
        with open_log(self.root / "log") as log:
            cell = CellContext(self.run, self.recipe, log)
        cell.image_id, cell.built, cell.module_file = "sha256:id", built, module_file
        return cell

    def stated(self, digest: str, cell: CellContext | None = None) -> dict[str, Statement]:
        made = cell_statements(cell or self.cell(), self.ref, digest)
        return {statement.predicate_type: statement for statement in made}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    for name in ("GITHUB_WORKFLOW_REF", "CI_RUNNER_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("matrix.yaml", "matrix.lock", TEMPLATE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    read: list[str] = []

    def installed(_: object, name: str) -> object:
        read.append(name)
        return INSTALLED

    monkeypatch.setattr(stage, "read_installed", installed)
    with image_registry() as server:
        options = Options(
            tmp_path, "site", profile(), f"{server.web.address}/team", boot=BootOptions(), revision="a" * 40
        )
        progress, engine = QuietProgress(), cast("Any", StandInEngine("4f1d"))
        run = RunContext(engine, RegistryWriter(NO_CREDENTIALS), NO_CREDENTIALS, options, progress, cast("Any", None))
        yield Bench(tmp_path, server, run, recipes(profile())[CELL], read)


def dependencies(statement: Statement) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in statement.predicate["buildDefinition"]["resolvedDependencies"]}


def test_a_cells_image_is_described_as_the_registry_has_it(bench: Bench) -> None:
    digest = bench.image("base", "userland")
    stated = bench.stated(digest)
    assert set(stated) == {PROVENANCE, SPDX}
    for statement in stated.values():
        assert (statement.name, statement.digest) == (bench.ref.repository, digest)
    assert spdx_faults(stated[SPDX].predicate) == []
    assert stated[SPDX].predicate["creationInfo"]["created"] == "2026-01-01T00:00:59Z"
    assert named(stated[SPDX].predicate, "beegfs")["sourceInfo"] == f"srcversion {MODULE.srcversion}"
    run = stated[PROVENANCE].predicate["runDetails"]
    assert run["builder"]["id"] == LOCAL
    assert run["builder"]["version"]["Stand-in"] == "1.0"
    assert run["metadata"] == {"invocationId": "4f1d", "startedOn": BUILT[0], "finishedOn": BUILT[1]}


def test_the_files_of_the_checkout_are_named_by_their_digests(bench: Bench) -> None:
    named_ = dependencies(bench.stated(bench.image("base"))[PROVENANCE])
    for name in ("matrix.yaml", "matrix.lock", TEMPLATE):
        assert named_[name]["digest"] == {"sha256": hashlib.sha256(name.encode()).hexdigest()}


def test_the_base_has_the_name_that_the_profile_gives_it(bench: Bench) -> None:
    bench.recipe = replace(bench.recipe, base=replace(bench.recipe.base, host="mirror.example"))
    stated = bench.stated(bench.image("base"))
    assert "mirror.example" not in json.dumps([statement.predicate for statement in stated.values()])
    assert "repository_url=registry.example/base/minimal" in dependencies(stated[PROVENANCE])["base"]["uri"]


def test_the_revision_is_that_of_the_image(bench: Bench) -> None:
    """`push` may publish what an earlier run built at another commit."""
    repository = dependencies(bench.stated(bench.image("base"))[PROVENANCE])["repository"]
    assert repository["digest"] == {"gitCommit": "b" * 40}
    assert repository["uri"] == f"git+https://git.example.com/other@{'b' * 40}"


def test_of_an_image_that_an_earlier_run_built_only_the_image_is_described(bench: Bench) -> None:
    (bench.root / "matrix.lock").write_text("changed since", encoding="utf-8")
    stated = bench.stated(bench.image("base"), bench.cell(built=None))
    assert "matrix.lock" not in dependencies(stated[PROVENANCE])
    assert "metadata" not in stated[PROVENANCE].predicate["runDetails"]


def test_packages_are_read_once_for_images_with_the_same_layers_below_the_module(bench: Bench) -> None:
    for below, module in ((("base", "userland"), "1"), (("base", "userland"), "2"), (("base", "other"), "3")):
        bench.stated(bench.image(*below, module=module))
    assert bench.packages_read == ["sha256:id", "sha256:id"]


def test_a_package_root_that_is_a_folder_is_not_named(bench: Bench) -> None:
    folder = profile(packages="/srv/packages")
    bench.run.options = replace(bench.run.options, profile=folder)
    stated = bench.stated(bench.image("base"))
    assert "/srv/packages" not in json.dumps([statement.predicate for statement in stated.values()])


def test_an_image_that_the_registry_lost_is_no_image_to_describe(bench: Bench) -> None:
    with pytest.raises(ToolError, match="no such image"):
        bench.stated(f"sha256:{'0' * 64}")


def test_a_checkout_that_cannot_be_read_describes_nothing(bench: Bench) -> None:
    (bench.root / "matrix.lock").unlink()
    with pytest.raises(InputError, match=r"matrix\.lock"):
        bench.stated(bench.image("base"))


def test_packages_that_cannot_be_listed_describe_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlisted(*_: object) -> object:
        raise ProtocolError("rpm lists nonsense", "Look at it.")

    monkeypatch.setattr(stage, "read_installed", unlisted)
    with pytest.raises(ProtocolError, match="nonsense"):
        bench.stated(bench.image("base"))


def test_a_module_that_no_gate_of_the_run_read_is_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    content = KO.build()
    monkeypatch.setattr(stage, "read_cell_image", lambda *_: replace(Case().facts(), ko=content))
    stated = bench.stated(bench.image("base"), bench.cell(module_file=None))
    (checksum,) = named(stated[SPDX].predicate, "beegfs")["checksums"]
    assert checksum["checksumValue"] == hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(stage, "read_cell_image", lambda *_: replace(Case().facts(), ko=None))
    with pytest.raises(ToolError, match="module in sha256:id cannot be read"):
        bench.stated(bench.image("base"), bench.cell(module_file=None))


def test_the_gates_leave_the_image_and_the_file_of_its_module(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "read_cell_image", lambda *_: Case().facts())
    monkeypatch.setattr(gate_module, "read_toolkit", lambda *_: TOOLKIT)
    with open_log(bench.root / "log") as log:
        cell = CellContext(bench.run, replace(bench.recipe, cell=Case().cell), log)
        pass_gates(cell, "sha256:1", [gates_of_run(bench.run)[0]])
    assert cell.image_id == "sha256:1"
    assert cell.module_file
    assert cell.module_file.sha256 == hashlib.sha256(KO.build()).hexdigest()
    assert cell.module_file.srcversion == "533BB7E5866E52F63B9ACCB"


def test_a_bundle_is_described_by_its_cells_and_their_bills_of_materials(bench: Bench) -> None:
    images: list[CellImage] = [image(kernel) for kernel in KERNELS]
    bundle = compose(CLIENT, tuple(images))
    asked: list[str] = []

    def sbom_of(digest: str) -> None:
        asked.append(digest)

    wanted = Wanted(CLIENT, tuple(images), ())
    made = bundle_statements(bench.run, wanted, [bundle], bench.ref, bundle.manifest.digest, BUILT[0], sbom_of)
    assert [statement.predicate_type for statement in made] == [PROVENANCE, SPDX]
    assert {(each.name, each.digest) for each in made} == {(bench.ref.repository, bundle.manifest.digest)}
    assert asked == [each.digest for each in images]
    details = made[0].predicate["runDetails"]
    assert details["metadata"]["startedOn"] == BUILT[0]
    assert dependencies(made[0])["repository"]["digest"] == {"gitCommit": "a" * 40}
    assert "not complete" in made[1].predicate["packages"][0]["comment"]
