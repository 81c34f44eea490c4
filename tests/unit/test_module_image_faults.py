"""Faults of module images for KMM change no digest, are reported, and prevent no bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from typing import Any, cast

import pytest
from rich.console import Console

from kmatrix.commands.bundle import print_bundles
from kmatrix.stages import module_images
from kmatrix.values.boot import BootReport
from kmatrix.values.bundle import BundleResult
from kmatrix.values.errors import InterruptedRunError, ProtocolError
from tests.unit.support.bundle_bench import Bench, made_of, tag
from tests.unit.support.cell_images import KERNELS, rebuilt
from tests.unit.support.http_server import Reply, Request

UNREADABLE: dict[str, Reply] = {
    "the registry is down": Reply(503),
    "a proxy answers": Reply(404, b"<html>not here</html>"),
    "it refuses": Reply(403),
    "it makes no sense": Reply(418),
}


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize("fault", UNREADABLE)
@pytest.mark.parametrize("place", ["tag", "manifest", "listed", "config"])
def test_an_unreadable_module_image_keeps_its_digest_and_prevents_no_bundle(
    bench: Bench, fault: str, place: str
) -> None:
    images = [bench.image(KERNELS[0]), bench.image(KERNELS[0], "aarch64")]
    before = made_of(bench, *images)
    again = [bench.publish(rebuilt(each)) for each in images]
    image_there = before.modules[images[0].cell.kernel].rpartition("@")[2]
    config = json.loads(images[1].manifest.content)["config"]["digest"]
    names = {"tag": tag(images[0]), "manifest": image_there, "listed": images[1].digest, "config": config}
    answers = bench.server.web.answer

    def answer(request: Request) -> Reply:
        return UNREADABLE[fault] if request.path.endswith(f"/{names[place]}") else answers(request)

    bench.server.web.answer = answer
    result = bench.make(*again)
    assert without_modules(result) == "module-image-unknown"
    assert tag(images[0]) not in bench.written
    last: BundleResult = bench.make(*again)
    assert (without_modules(last), last.digest) == ("module-image-unknown", result.digest)
    assert last.reason.startswith("already published, of the same cells, but has no images for Kernel Module")
    bench.server.web.answer = answers
    assert bench.names(tag(images[0])) == image_there
    assert bench.names("8.98.1") == result.digest != before.digest
    # Once it can be read, all is as it would have been.
    mended = made_of(bench, *again)
    assert (mended.verdict, mended.modules, mended.findings) == ("skipped", before.modules, ())


def without_modules(result: BundleResult) -> str:
    """Return the code of the finding about a bundle's module images; the bundle is published all the same."""
    (finding,) = result.findings
    assert (result.verdict, result.modules, finding.check) == ("errored", {}, "module-images")
    assert result.is_published
    assert finding.message in result.reason
    return finding.code


@pytest.mark.parametrize("place", ["listed", "config", "labels"])
def test_a_lost_or_damaged_module_image_is_reported_with_the_next_step(bench: Bench, place: str) -> None:
    images = [bench.image(KERNELS[0]), bench.image(KERNELS[0], "aarch64")]
    made_of(bench, *images)
    again = [bench.publish(rebuilt(each)) for each in images]
    config: Any = json.loads(images[1].manifest.content)["config"]["digest"]
    path = f"/v2/{bench.server.repository}"
    if place == "listed":
        del bench.server.manifests[f"{path}/manifests/{images[1].digest}"]
    elif place == "config":
        del bench.server.blobs[f"{path}/blobs/{config}"]
    else:
        bench.server.blobs[f"{path}/blobs/{config}"] += b" "
    result = bench.make(*again)
    assert without_modules(result) == "module-image-unknown"
    assert tag(images[0]) not in bench.written
    assert f"remove {bench.ref(tag(images[0]))}" in result.reason


def test_kernels_that_kmm_cannot_tell_apart_are_in_the_bundle(bench: Bench) -> None:
    images = [bench.image(KERNELS[0]), bench.image(KERNELS[1])]
    images = [
        replace(each, cell=replace(each.cell, kernel=name))
        for each, name in zip(images, ("6.1.0-x86_64", "6.1.0-amd64"), strict=True)
    ]
    result = bench.make(*images)
    assert without_modules(result) == "module-image-unknown"
    assert bench.names("8.98.1") == result.digest
    assert "matrix.yaml" in result.reason


def test_faults_of_module_images_are_reported_beside_other_faults(bench: Bench) -> None:
    images = [bench.image(KERNELS[0]), bench.image(KERNELS[1])]
    before = made_of(bench, *images)
    config = json.loads(images[0].manifest.content)["config"]["digest"]
    again = [bench.publish(rebuilt(each)) for each in images]
    del bench.server.blobs[f"/v2/{bench.server.repository}/blobs/{config}"]
    lost = bench.make(again[0], unread={again[1].cell.id: "it makes no sense"})
    assert (lost.verdict, lost.modules) == ("errored", {})
    assert [finding.code for finding in lost.findings] == ["module-image-unknown", "cell-image-unreadable"]
    assert [*lost.kept] == [images[1].cell.kernel]
    before = lost
    bench.reports = {again[0].cell.kernel: BootReport("failed", "load-refused", "no")}
    result = bench.make(*again)
    assert (result.verdict, result.digest, result.modules) == ("failed", "", {})
    assert [finding.code for finding in result.findings] == ["load-refused", "module-image-unknown"]
    assert result.reason == f"load-refused: {again[0].cell.kernel}: no; not published"
    assert bench.names("8.98.1") == before.digest
    for each in (lost, result):
        console = Console(file=StringIO(), width=200)
        print_bundles(console, [each])
        printed = cast("StringIO", console.file).getvalue()
        assert all(printed.count(finding.message) == 1 for finding in each.findings)


def test_a_tag_that_names_something_else_right_after_a_push_is_reported(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench.image(KERNELS[0])
    put = type(bench.run.registry).put_manifest

    def elsewhere(self: Any, ref: Any, content: bytes, media_type: str) -> str:
        if ref.tag.startswith("8.98.1-"):
            put(self, ref, b'{"schemaVersion":2}', media_type)
            return made.digest
        return put(self, ref, content, media_type)

    monkeypatch.setattr(type(bench.run.registry), "put_manifest", elsewhere)
    result = bench.make(made)
    assert without_modules(result) == "module-image-not-put"
    assert "Something else writes to this repository" in result.reason
    assert bench.names("8.98.1") == result.digest


def test_a_stopped_run_takes_no_module_image_for_unreadable(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench.image(KERNELS[0])

    def stopped(*_: object) -> Any:
        bench.engine.stop()
        raise ProtocolError("the connection was closed", "Do it.")

    monkeypatch.setattr(module_images, "choose_module_images", stopped)
    with pytest.raises(InterruptedRunError):
        bench.make(made)
    assert bench.written == []
