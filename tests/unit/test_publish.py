"""A name is given last: no tag before the registry has, under a digest, exactly what was tested."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kmatrix.decide.cell_manifest import CONFIG, LAYER, MANIFEST
from kmatrix.decide.gate_record import record_tag
from kmatrix.decide.image_documents import Layer
from kmatrix.stages.concurrency import Once
from kmatrix.stages.gate_records import PlainRecords, find_record
from kmatrix.stages.image_signing import vouch
from kmatrix.stages.progress import QuietProgress
from kmatrix.stages.publish import name_image, send_image
from kmatrix.stages.trust import Trust
from kmatrix.values.errors import NotReadableError, ToolError
from kmatrix.values.gate_record import GatePass, GateRecord, RecordedModule
from kmatrix.values.names import Arch, ImageRef
from tests.unit.support.fake_registry import digest
from tests.unit.support.http_server import Reply, Request
from tests.unit.support.saved_images import STORES, Saved, SavingEngine, archive
from tests.unit.support.writable_registry import Writable, ref, writable_registry, writer

TAG = "8.98.1-6.1.0"
LAYERS = (archive("a", b"1" * 5000), archive("b", b"2"))
RECIPE: Any = SimpleNamespace(cell=SimpleNamespace(arch="x86_64", id="8.98.1-6.1.0"), cell_key="sha256:key")
GATES = {"static": GatePass("2026-01-01T00:00:00Z", "0.1.0")}
PASSED = GateRecord("", RECIPE.cell.id, RECIPE.cell_key, GATES)


def publish(run: Any, image: str, name: ImageRef, module: RecordedModule | None = None) -> str:
    """Publish an image as a cell's last stages do; returns its digest."""
    sent = send_image(run, image, name, RECIPE.cell)
    vouch(run, sent.ref, replace(PASSED, digest=sent.digest, module=module))
    name_image(run, sent)
    return sent.digest


@dataclass
class Bench:
    """A registry and an engine with an image."""

    server: Writable
    image: Saved
    run: Any

    def push(self, module: RecordedModule | None = None) -> str:
        return publish(self.run, self.image.id, ref(self.server, TAG), module)

    @property
    def tag(self) -> dict[str, Any] | None:
        """What the name stands for."""
        found = self.server.manifests.get(f"/v2/team/image/manifests/{TAG}")
        return json.loads(found[1]) if found else None


@pytest.fixture(params=STORES)
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    image = Saved(request.param, LAYERS)
    with writable_registry("team/image") as server:
        options, registry = SimpleNamespace(root=tmp_path), writer(server)
        run_context = SimpleNamespace(
            engine=SavingEngine(image),
            registry=registry,
            records=PlainRecords(registry, lambda _: None),
            trust=Trust(),
            options=options,
            sent=Once(),
            blobs={},
            progress=QuietProgress(),
        )
        yield Bench(server, image, run_context)


def test_the_name_comes_last_and_stands_for_what_was_tested(bench: Bench) -> None:
    told = bench.push()
    asked = bench.server.sent()
    assert asked[-2:] == [f"PUT /manifests/{TAG}", f"GET /manifests/{TAG}"]
    manifests = [each for each in asked[:-2] if "/manifests/" in each]
    record = record_tag(told)
    assert manifests == [
        *(f"PUT /manifests/{told}", f"GET /manifests/{told}"),
        *(f"GET /manifests/{record}", f"PUT /manifests/{record}", f"GET /manifests/{record}"),
    ]
    found = find_record(bench.run.registry, ref(bench.server, TAG), told, print)
    assert found == GateRecord(told, RECIPE.cell.id, RECIPE.cell_key, GATES)
    assert bench.tag
    assert bench.tag["mediaType"] == MANIFEST
    assert (bench.tag["config"]["mediaType"], bench.tag["config"]["digest"]) == (CONFIG, digest(bench.image.config))
    blobs = [bench.server.blobs[f"/v2/team/image/blobs/{layer['digest']}"] for layer in bench.tag["layers"]]
    assert {layer["mediaType"] for layer in bench.tag["layers"]} == {LAYER}
    assert [layer["size"] for layer in bench.tag["layers"]] == [len(blob) for blob in blobs]
    assert [gzip.decompress(blob) for blob in blobs] == list(LAYERS)


def test_the_record_has_the_facts_about_the_module(bench: Bench) -> None:
    module = RecordedModule(("KERNEL_HAS_A",), {"_printk": 0x92997ED8}, ("VFS_internal",), "GPL v2")
    told = bench.push(module)
    found = find_record(bench.run.registry, ref(bench.server, TAG), told, print)
    assert found == GateRecord(told, RECIPE.cell.id, RECIPE.cell_key, GATES, module)


def test_no_name_where_the_registry_has_something_else_under_the_digest(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = json.dumps({"config": {"digest": digest(b"other")}, "layers": []}).encode()
    answer = bench.server.answer
    kind = {"Content-Type": MANIFEST, "Docker-Content-Digest": digest(other)}

    def instead(request: Request) -> Reply:
        reads = request.method == "GET" and "/manifests/sha256:" in request.path
        return Reply(200, other, kind) if reads else answer(request)

    monkeypatch.setattr(bench.server.web, "answer", instead)
    with pytest.raises(Exception, match=r"whose digest is|tested was"):
        bench.push()
    assert bench.tag is None


def test_no_name_where_the_registry_has_nothing_under_the_digest(
    bench: Bench, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget = bench.server.answer

    def instead(request: Request) -> Reply:
        if request.method == "GET":
            bench.server.manifests.clear()
        return forget(request)

    monkeypatch.setattr(bench.server.web, "answer", instead)
    with pytest.raises(ToolError, match="the registry has nothing there"):
        bench.push()
    assert bench.tag is None
    assert len(slept) == 3


def test_a_registry_that_takes_a_moment_is_asked_again(
    bench: Bench, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, late = bench.server.answer, [True]

    def instead(request: Request) -> Reply:
        if request.method == "GET" and "/manifests/sha256:" in request.path and late:
            late.clear()
            return Reply(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        return answer(request)

    monkeypatch.setattr(bench.server.web, "answer", instead)
    assert bench.push()
    assert len(slept) == 1


@pytest.mark.parametrize("times", [1, 9])
def test_a_registry_that_says_for_a_moment_that_it_may_not_be_read_is_asked_again(
    bench: Bench, slept: list[float], monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    read, left = bench.run.registry.manifest, [NotReadableError("not to be read", "hint")] * times

    def instead(image: ImageRef, arch: Arch) -> Any:
        if left:
            raise left.pop()
        return read(image, arch)

    monkeypatch.setattr(bench.run.registry, "manifest", instead)
    if times == 1:
        assert bench.push()
        assert len(slept) == 1
        return
    with pytest.raises(NotReadableError):
        bench.push()
    assert bench.tag is None
    assert len(slept) == 3


def test_a_name_that_somebody_moved_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = bench.server.answer

    def instead(request: Request) -> Reply:
        reply = answer(request)
        if request.method == "PUT" and request.path.endswith(f"/{TAG}"):
            bench.server.manifests[request.path] = (MANIFEST, b'{"schemaVersion":2}')
        return reply

    monkeypatch.setattr(bench.server.web, "answer", instead)
    with pytest.raises(ToolError, match=r"was written to name .* and names"):
        bench.push()


def test_layers_that_images_share_are_sent_once(bench: Bench) -> None:
    bench.push()
    other = Saved(bench.image.store, (*LAYERS, archive("c", b"3")))
    bench.run.engine = SavingEngine(other)
    before = len(bench.server.web.requests)
    publish(bench.run, other.id, ref(bench.server, "other"))
    sent = [each for each in bench.server.web.requests[before:] if each.method == "PUT" and "/uploads/" in each.path]
    assert len(sent) == 4, "the layer that is new, the configuration, and those of the record"
    asked = [each for each in bench.server.web.requests[before:] if each.method == "HEAD"]
    assert len(asked) == 4, "of the others it is known"


def test_a_published_layer_is_named_again_as_it_is(bench: Bench) -> None:
    """Another machine compresses to other bytes; nodes are not to pull them again."""
    published = gzip.compress(LAYERS[0], 1, mtime=9)
    bench.server.blobs[f"/v2/team/image/blobs/{digest(published)}"] = published
    bench.run.blobs[digest(LAYERS[0])] = Layer(digest(published), LAYER, len(published))
    bench.push()
    assert bench.tag
    assert bench.tag["layers"][0] == {"mediaType": LAYER, "size": len(published), "digest": digest(published)}


@pytest.mark.parametrize(
    "what",
    [
        *(gzip.compress(LAYERS[1]), b"no gzip", gzip.compress(LAYERS[0])[:-9], None),
        *(LAYERS[0], lzma.compress(LAYERS[0])),
    ],
    ids=["another layer", "no gzip", "cut", "gone", "plain", "xz"],
)
def test_a_layer_that_is_only_said_to_be_the_same_is_not_believed(bench: Bench, what: bytes | None) -> None:
    """Anybody who may push there can write a configuration that names a tested layer beside a file of theirs."""
    named = digest(what or b"gone")
    if what:
        bench.server.blobs[f"/v2/team/image/blobs/{named}"] = what
    bench.run.blobs[digest(LAYERS[0])] = Layer(named, LAYER, len(what or b""))
    bench.push()
    assert bench.tag
    first = bench.server.blobs[f"/v2/team/image/blobs/{bench.tag['layers'][0]['digest']}"]
    assert gzip.decompress(first) == LAYERS[0]
