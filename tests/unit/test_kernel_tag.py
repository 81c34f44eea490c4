"""The kernel tag: the same image under the kernel's name, after the cell's own tag, and only with every gate passed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from kmatrix.decide.gate_record import record_image, record_tag
from kmatrix.decide.image_documents import Document
from kmatrix.effects.disk.logs import open_log
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages import cell as cell_stage
from kmatrix.stages.kernel_tag import kernel_image_of
from kmatrix.stages.publish import SentImage, image_of
from kmatrix.stages.run import split_published
from kmatrix.stages.run_context import CellContext, Options, RunContext, cell_result
from kmatrix.values import labels
from kmatrix.values.boot import BootOptions
from kmatrix.values.cells import CellResult, Verdict
from kmatrix.values.errors import InterruptedRunError
from kmatrix.values.recipe import Recipe
from tests.unit.support.fake_registry import digest, problem
from tests.unit.support.gate_records import BOTH, record_of
from tests.unit.support.http_server import Reply, Request
from tests.unit.support.image_registry import NO_CREDENTIALS, ImageRegistry, image_registry
from tests.unit.support.made_up_profile import profile, recipes
from tests.unit.support.saying import Saying
from tests.unit.support.stand_in_engine import StandInEngine

pytestmark = pytest.mark.usefixtures("two_gates")
OWN = "team/beegfs-client"
KERNEL = "5.14.0-427.22.1.el9_4.x86_64+rt"
TAG = "5.14.0-427.22.1.el9_4.x86_64_rt"


@dataclass
class Bench:
    """The cell of a real-time kernel, a registry, and a run for a profile that asks for kernel tags."""

    server: ImageRegistry
    run: RunContext
    recipe: Recipe
    kept: list[CellResult] = field(default_factory=list)

    @property
    def by_kernel(self) -> str:
        return f"{OWN}-{self.recipe.cell.client}"

    def publish(self, gates: tuple[str, ...] = BOTH, layer: bytes = b"module") -> str:
        """Publish the cell's image with a record of these gates; returns its digest."""
        key = self.recipe.cell_key
        config = {"config": {"Labels": {labels.CELL_KEY: key}}}
        found = self.server.image(OWN, self.recipe.cell.tag, config, (b"base", layer))
        record = record_image(record_of(found, self.recipe.cell.id, key, gates))
        for blob in (record.layer, record.config):
            self.server.repository(OWN).blobs[digest(blob)] = blob
        self.server.put(OWN, record_tag(found), record.manifest.content)
        return found

    def build(self) -> CellResult | None:
        """Look for the cell as `build` does; returns its result, or None if it was to be built."""
        self.server.web.requests.clear()
        self.kept.clear()
        split_published(self.run, [self.recipe], self.kept.append)
        return self.kept[0] if self.kept else None

    @property
    def named(self) -> str | None:
        """The digest that the kernel tag names."""
        return self.server.repository(self.by_kernel).tags.get(TAG)

    @property
    def written(self) -> list[str]:
        return [each for each in self.server.sent("PUT", "POST", "DELETE") if "tags" not in each]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    asking = profile(kernel_tags=True)
    (recipe,) = [each for each in recipes(asking).values() if each.cell.id == f"8.2.2-{KERNEL}"]
    with image_registry() as server:
        options = Options(tmp_path, "ocp", asking, f"{server.web.address}/team", boot=BootOptions())
        progress, anything = Saying(print), cast("Any", None)
        registry = RegistryWriter(NO_CREDENTIALS, pushes_to=options.target)
        engine = cast("Any", StandInEngine())
        yield Bench(server, RunContext(engine, registry, NO_CREDENTIALS, options, progress, anything), recipe)


def test_a_published_cell_gets_its_kernel_tag_without_a_build(bench: Bench) -> None:
    image = bench.publish()
    result = bench.build()
    assert result is not None
    assert (result.verdict, result.digest) == ("skipped", image)
    assert bench.named == image
    own, other = bench.server.repository(OWN), bench.server.repository(bench.by_kernel)
    assert other.manifests[image] == own.manifests[image], "the same bytes"
    blobs = [each["digest"] for each in json.loads(other.manifests[image][1])["layers"]]
    assert {*blobs, digest(b"base"), digest(b"module")} <= set(other.blobs)
    assert not [each for each in bench.written if each.startswith("PUT") and "blobs" in each], "blobs are mounted"
    assert bench.written[-1] == f"PUT {bench.by_kernel}/manifests/{TAG}"
    assert str(kernel_image_of(bench.run.options.target, bench.recipe.cell)).endswith(f"/{bench.by_kernel}:{TAG}")
    again = bench.build()
    assert (again, bench.written) == (result, []), "a tag that is right is left alone"


def test_a_kernel_tag_that_moved_is_put_right(bench: Bench) -> None:
    image = bench.publish()
    bench.build()
    bench.server.image(bench.by_kernel, TAG, {"other": True})
    assert bench.named != image
    bench.build()
    assert bench.named == image


def test_a_registry_that_mounts_nothing_gets_every_blob(bench: Bench) -> None:
    bench.server.mounts = False
    image = bench.publish()
    result = bench.build()
    assert result is not None
    assert (result.verdict, bench.named) == ("skipped", image)
    assert bench.server.repository(bench.by_kernel).blobs[digest(b"module")] == b"module"


def test_a_damaged_blob_is_not_copied(bench: Bench) -> None:
    bench.server.mounts = False
    image = bench.publish()
    bench.server.repository(OWN).blobs[digest(b"module")] = b"damaged"
    result = bench.build()
    assert result is not None
    assert (result.verdict, result.digest, bench.named) == ("errored", image, None)
    assert f"the registry sent {digest(b'damaged')} for the blob {digest(b'module')}" in result.reason


@pytest.mark.parametrize("gates", [(), ("static",)])
def test_an_image_that_has_not_passed_every_gate_gets_no_kernel_tag(bench: Bench, gates: tuple[str, ...]) -> None:
    bench.publish(gates)
    assert bench.build() is None
    without_boot = replace(bench.run.options, boot=None)
    bench.run.options = without_boot
    result = bench.build()
    assert (result is None) == (gates == ())
    assert (bench.named, bench.written) == (None, [])


def test_without_the_key_or_a_push_nothing_is_asked_or_written(bench: Bench) -> None:
    bench.publish()
    options = bench.run.options
    for changed in (replace(options, profile=profile()), replace(options, push=False)):
        bench.run.options = changed
        result = bench.build()
        assert result is not None
        assert result.verdict == "skipped"
        assert not [each for each in bench.server.sent() if bench.by_kernel in each]


def test_a_kernel_tag_that_cannot_be_written_is_an_error_of_the_cell_which_stays_published(bench: Bench) -> None:
    image = bench.publish()

    def refuse(request: Request) -> Reply | None:
        refused = request.method == "POST" and bench.by_kernel in request.path
        return problem(404, "NAME_UNKNOWN", "no such repository") if refused else None

    bench.server.instead = refuse
    result = bench.build()
    assert result is not None
    assert (result.verdict, result.digest) == ("errored", image)
    name = kernel_image_of(bench.run.options.target, bench.recipe.cell)
    assert f"already published, built from the same inputs; published, but not as {name}: " in result.reason
    assert "create it there" in result.next_step
    bench.server.instead = lambda _: None
    healed = bench.build()
    assert healed is not None
    assert (healed.verdict, bench.named) == ("skipped", image)


def test_a_registry_that_keeps_another_image_under_the_tag_is_an_error(bench: Bench) -> None:
    bench.publish()
    other = bench.server.image(bench.by_kernel, TAG, {"other": True})

    def hold(request: Request) -> Reply | None:
        put = request.method == "PUT" and request.path.endswith(TAG)
        return Reply(201) if put else None

    bench.server.instead = hold
    result = bench.build()
    assert result is not None
    assert result.verdict == "errored"
    assert f"and names {other}" in result.reason


def test_a_run_that_is_told_to_stop_writes_no_kernel_tag(bench: Bench) -> None:
    bench.publish()
    bench.run.engine.stop()
    with pytest.raises(InterruptedRunError):
        bench.build()
    assert bench.written == []


@pytest.mark.parametrize("verdict", ["passed", "failed", "errored"])
def test_a_published_image_that_passes_its_missing_gates_gets_its_kernel_tag_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, verdict: Verdict
) -> None:
    image = bench.publish(("static",))
    assert bench.build() is None
    gate = cell_result(bench.recipe, verdict, "gate boot ended")
    times = {"boot": "2026-01-01T00:00:00Z"} if verdict == "passed" else {}
    outcome = replace(gate, gates={"boot": verdict}, gates_at=times)
    monkeypatch.setattr(cell_stage, "pull", lambda *_: None)
    monkeypatch.setattr(cell_stage, "hold_image", lambda *_: None)
    monkeypatch.setattr(cell_stage, "id_in_engine", lambda *_: "id")
    monkeypatch.setattr(cell_stage, "pass_gates", lambda *_: outcome)
    monkeypatch.setattr(bench.run.engine, "let_go", lambda _: None, raising=False)
    result = cell_stage.run_cell(bench.run, bench.recipe)
    assert (result.verdict, result.digest) == (verdict, image)
    assert bench.named == (image if verdict == "passed" else None)


def test_a_cell_that_is_pushed_gets_its_own_tag_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def send(*_: object) -> SentImage:
        digest = bench.publish()
        media_type, content = bench.server.repository(OWN).manifests[digest]
        return SentImage(image_of(bench.run.options.target, bench.recipe.cell), Document(media_type, content))

    monkeypatch.setattr(cell_stage, "send_image", send)
    with open_log(tmp_path / "log") as log:
        assert_own_tag_first(bench, CellContext(bench.run, bench.recipe, log))


def assert_own_tag_first(bench: Bench, cell: CellContext) -> None:
    gates = dict.fromkeys(BOTH, "passed")
    tested = replace(cell_result(bench.recipe, "passed", "all well"), gates=cast("Any", gates))
    result = cell_stage._push(cell, tested)
    ref = image_of(bench.run.options.target, bench.recipe.cell)
    assert bench.run.registry.digest_of(ref) == result.digest == bench.named
    incomplete = replace(tested, gates=cast("Any", {"static": "passed"}))
    bench.server.repository(bench.by_kernel).tags.clear()
    assert cell_stage._push(cell, incomplete).verdict == "passed"
    assert bench.named is None
