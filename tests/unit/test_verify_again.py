"""verify: the registry's answer is kept however the checks end; an absent image is told apart from a stale one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages import verify as verify_stage
from kmatrix.stages.progress import QuietProgress
from kmatrix.stages.publish import image_of
from kmatrix.stages.run_context import CellContext, Options, RunContext, cell_result
from kmatrix.stages.verify import verify_cell
from kmatrix.values import labels
from kmatrix.values.cells import CellResult
from kmatrix.values.engine import EngineImage, RegistryLogin
from kmatrix.values.errors import ToolError
from kmatrix.values.names import ImageRef
from kmatrix.values.recipe import Recipe
from tests.unit.support.fake_registry import FakeRegistry, fake_registry, problem
from tests.unit.support.gate_records import PASSED, put_record, record_of
from tests.unit.support.made_up_profile import profile, recipes
from tests.unit.support.stand_in_engine import StandInEngine


class PullingEngine(StandInEngine):
    """Has the images that it pulled, and those that a test gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.held: set[str] = set()
        self.broken = ""
        self.key = ""

    def image(self, name: str) -> EngineImage | None:
        found = EngineImage(f"id of {name}", labels={labels.CELL_KEY: self.key})
        return found if name in self.held else None

    def hold(self, pinned: str, login: RegistryLogin | None) -> None:
        if self.broken and self.broken in pinned:
            raise ToolError("the engine cannot pull", "Look at it.")
        self.held.add(pinned)

    def let_go(self, pinned: str) -> None:
        self.held.discard(pinned)


@dataclass
@dataclass
class Bench:
    """A cell, the registry it may be in, and a run that verifies it."""

    server: FakeRegistry
    run: RunContext
    engine: PullingEngine
    recipe: Recipe

    @property
    def ref(self) -> ImageRef:
        return image_of(self.run.options.target, self.recipe.cell)

    def publish(self, **given: str) -> str:
        """Publish the cell's image with these labels; returns its digest."""
        path = self.ref.path
        made = self.server.image(path, [], {"config": {"Labels": given}})
        raw = self.server.manifests[f"/v2/{made.path}/manifests/1"]
        self.server.manifests[f"/v2/{path}/manifests/{self.ref.tag}"] = raw
        return RegistryWriter(self.run.credentials).resolve(self.ref).digest

    def record(self, digest: str, cell_key: str = "") -> None:
        """Have a record of this project's beside an image."""
        record = record_of(digest, self.recipe.cell.id, cell_key or self.recipe.cell_key)
        put_record(self.server, self.ref.path, record)

    def verify(self) -> CellResult:
        return verify_cell(self.run, self.recipe)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    def passed(run: CellContext, image: str, _: object) -> CellResult:
        result = cell_result(run.recipe, "passed", "every check passed")
        return replace(result, image_id=image, gates={"static": "passed"}, gates_at={"static": "now"})

    monkeypatch.setattr(verify_stage, "pass_gates", passed)
    recipe = next(iter(recipes(profile()).values()))
    with fake_registry() as server:
        (tmp_path / "auth.json").write_text('{"auths": {}}', encoding="utf-8")
        credentials = load_credentials(tmp_path / "auth.json")
        options = Options(root=tmp_path, profile_name="site", profile=profile(), target=f"{server.web.address}/team")
        engine = PullingEngine()
        registry, anything = RegistryWriter(credentials), cast("Any", None)
        run_context = RunContext(cast("Any", engine), registry, credentials, options, QuietProgress(), anything)
        yield Bench(server, run_context, engine, recipe)


def test_what_is_published_is_checked_and_dated(bench: Bench) -> None:
    digest = bench.publish(**{labels.CELL_KEY: bench.recipe.cell_key})
    bench.record(digest)
    result = bench.verify()
    assert (result.verdict, result.digest, result.image) == ("passed", digest, str(bench.ref))
    assert result.reason == "every check passed"
    assert result.gates == {"static": "passed", "boot": "passed"}, "the boot gate was not run, and is in the record"
    assert result.gates_at == {"static": "now", "boot": PASSED.at}
    published = bench.ref.with_digest(digest).pinned
    assert result.image_id == f"id of {published}"
    assert result.seen.endswith("Z")
    assert published not in bench.engine.held, "it was pulled for this alone"


def test_a_gate_that_the_record_lacks_is_passed_and_said_not_to_be_recorded(bench: Bench) -> None:
    digest = bench.publish(**{labels.CELL_KEY: bench.recipe.cell_key})
    record = record_of(digest, bench.recipe.cell.id, bench.recipe.cell_key, ["boot"])
    put_record(bench.server, bench.ref.path, record)
    result = bench.verify()
    again = f"`nox -s build -- --profile site --only {bench.recipe.cell.id}`"
    how = f"{again} runs it on the published image and records it"
    assert result.reason == f"every check passed; verify does not record gate static: {how}"


@pytest.mark.parametrize("broken", ["toolkit", "beegfs-client"])
def test_what_the_registry_told_stays_where_the_checks_reach_no_verdict(bench: Bench, broken: str) -> None:
    digest = bench.publish(**{labels.CELL_KEY: bench.recipe.cell_key})
    bench.engine.broken = broken
    result = bench.verify()
    assert (result.verdict, result.reason) == ("errored", "the engine cannot pull")
    assert (result.digest, result.image, bool(result.seen)) == (digest, str(bench.ref), True)


def test_a_registry_that_does_not_answer_has_told_nothing(bench: Bench, slept: list[float]) -> None:
    bench.publish(**{labels.CELL_KEY: bench.recipe.cell_key})
    path = f"/v2/{bench.ref.path}/manifests/{bench.ref.tag}"
    bench.server.instead[path] = problem(503, "UNAVAILABLE")
    result = bench.verify()
    assert (result.verdict, result.digest, result.seen) == ("errored", "", "")
    assert "could not be queried" in result.reason
    assert slept


def log_of(bench: Bench, result: CellResult) -> str:
    return (bench.run.options.root / result.log).read_text(encoding="utf-8")


def test_a_cell_that_is_nowhere_is_told_with_what_makes_it(bench: Bench) -> None:
    result = bench.verify()
    assert result.verdict == "errored"
    assert result.reason == f"{bench.recipe.cell.id} is neither in the registry nor in the container engine"
    assert (result.digest, bool(result.seen)) == ("", True), "the registry said that it has none"
    assert f"nox -s build -- --profile site --only {bench.recipe.cell.id}" in log_of(bench, result)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_tag_of_other_inputs_is_not_said_to_be_absent(bench: Bench, recorded: bool) -> None:
    digest = bench.publish(**{labels.CELL_KEY: "sha256:other"})
    if recorded:
        bench.record(digest, "sha256:other")
    result = bench.verify()
    assert result.verdict == "errored"
    stale = f"{bench.ref}@{digest} is stale: built from inputs that have changed since"
    assert result.reason == f"{stale}; the container engine has no image of the cell"
    assert "neither" not in log_of(bench, result)
    assert (result.digest, bool(result.seen)) == ("", True), "of these inputs it has none"


def test_an_image_with_a_copied_label_alone_is_checked_and_reported_as_not_believed(bench: Bench) -> None:
    digest = bench.publish(**{labels.CELL_KEY: bench.recipe.cell_key})
    result = bench.verify()
    assert (result.verdict, result.digest) == ("passed", digest)
    assert result.gates == {"static": "passed"}, "nothing but the gates of this run"
    assert "the registry has no record of this project's for it" in result.reason


def test_the_engines_image_is_checked_where_the_registry_has_none(bench: Bench) -> None:
    bench.engine.held.add(str(bench.ref))
    bench.engine.key = bench.recipe.cell_key
    result = bench.verify()
    assert (result.verdict, result.digest, result.image_id) == ("passed", "", f"id of {bench.ref}")


def test_an_image_of_that_name_made_from_other_inputs_is_not_judged(bench: Bench) -> None:
    """Another checkout with the same target gives its images the same names."""
    bench.engine.held.add(str(bench.ref))
    bench.engine.key = "sha256:other"
    result = bench.verify()
    assert (result.verdict, result.image_id) == ("errored", "")
