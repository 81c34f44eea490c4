"""A bundle never loses a kernel to an incomplete answer: kernels are kept until a rule removes them."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from kmatrix.commands.bundle import print_bundles
from kmatrix.decide.bundle import CellImage, PublishedCells, compose, wanted_bundles
from kmatrix.decide.bundle_bounds import Bounds, bounds_of
from kmatrix.decide.kept_kernels import read_published, restored, restored_config
from kmatrix.decide.plan import make_plan
from kmatrix.effects.disk.bundles import read_bundles, write_bundles
from kmatrix.stages import gates
from kmatrix.stages.bundle import make_bundle
from kmatrix.stages.gates.gate import Gate, Outcome
from kmatrix.stages.published import published_cells
from kmatrix.values import labels
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import ClientVersion
from kmatrix.values.pins import RetiredPin
from kmatrix.values.recipe import Recipe
from tests.unit.support.bundle_bench import Bench
from tests.unit.support.cell_images import CLIENT, KERNELS, OCI, image, with_manifest
from tests.unit.support.gate_records import put_manifest, put_record, record_of
from tests.unit.support.http_server import Reply, Request
from tests.unit.support.plan_data import pins as plan_pins
from tests.unit.support.plan_data import profile_of

NEW = "6.13.0-1.el10"


def three(bench: Bench) -> list[CellImage]:
    return [bench.image(kernel) for kernel in KERNELS]


def pinned(*images: CellImage) -> Bounds:
    return Bounds(cells={(each.cell.arch, each.cell.kernel): each.cell for each in images})


def forget_image(bench: Bench, made: CellImage) -> None:
    """Have the registry lose the image of a cell: whatever names it, its manifest and its configuration."""
    path = f"/v2/{bench.server.repository}"
    for name in [name for name, (_, content) in bench.server.manifests.items() if content == made.manifest.content]:
        del bench.server.manifests[name]
    del bench.server.blobs[f"{path}/blobs/{json.loads(made.manifest.content)['config']['digest']}"]


def config_of_tag(bench: Bench, tag: str) -> dict[str, Any]:
    """Return the configuration of a tag's image; the registry must have its manifest and its blob."""
    registry = bench.run.registry
    manifest = registry.manifest(bench.ref(tag), "x86_64")
    assert manifest is not None
    return registry.config(manifest)


@pytest.mark.parametrize("image_is_there", [True, False])
@pytest.mark.parametrize("media_type", ["docker", "oci"])
def test_a_kernel_that_no_rule_removes_stays_and_the_bundle_is_the_same(
    bench: Bench, image_is_there: bool, media_type: str
) -> None:
    images = three(bench)
    if media_type == "oci":
        oci = [image(kernel, media_type=OCI) for kernel in KERNELS]
        images = [
            bench.publish(with_manifest(replace(each, layers=other.layers)))
            for each, other in zip(images, oci, strict=True)
        ]
    before = bench.make(*images)
    if not image_is_there:
        forget_image(bench, images[1])
    bench.booted.clear()
    result = bench.make(images[0], images[2])
    assert (result.verdict, result.digest, bench.booted) == ("skipped", before.digest, [])
    assert result.kernels == before.kernels
    assert [*result.kept] == [images[1].cell.kernel]
    assert f"--forget {images[1].cell.kernel}` removes it" in result.kept[images[1].cell.kernel]
    assert result.dropped == ()
    others = {kernel: name for kernel, name in before.modules.items() if image_is_there or kernel not in result.kept}
    assert others.items() <= result.modules.items(), "what Kernel Module Management has stays as it is"
    assert result.modules.keys() == before.modules.keys()


@pytest.mark.parametrize("image_is_there", [True, False])
def test_a_new_kernel_is_added_to_the_kept_ones(bench: Bench, image_is_there: bool) -> None:
    """One kernel that is kept has pins, so it is booted again; of the other nothing tells the toolkit."""
    images = three(bench)
    bench.make(*images)
    if not image_is_there:
        for each in images[:2]:
            forget_image(bench, each)
    bench.booted.clear()
    new = bench.image(NEW)
    result = bench.make(images[2], new, missing=(images[0].cell.id,), bounds=pinned(images[0], images[2], new))
    kernels = tuple(each.cell.kernel for each in (*images, new))
    assert (result.verdict, result.kernels, result.missing) == ("passed", kernels, ())
    assert sorted(bench.booted) == sorted(each.cell.kernel for each in (images[0], images[2], new))
    assert result.reason == "loaded in 3 kernels; 1 kept from the earlier bundle, where it was loaded"
    assert [*result.kept] == [images[0].cell.kernel, images[1].cell.kernel]
    assert "planned, but no longer published" in result.kept[images[0].cell.kernel]
    assert "no release of the lock has it" in result.kept[images[1].cell.kernel]
    config = config_of_tag(bench, "8.98.1")
    assert labels.kernels_of_label(config["config"]["Labels"][labels.KERNELS]) == kernels
    assert config["rootfs"]["diff_ids"][2:] == [each.config["rootfs"]["diff_ids"][-1] for each in (*images, new)]
    again = bench.make(images[2], new)
    assert (again.verdict, again.digest) == ("skipped", result.digest)


def test_without_its_image_and_its_tag_a_kept_kernel_has_a_module_image_again(bench: Bench) -> None:
    images = three(bench)
    bench.make(*images)
    tag = f"8.98.1-{KERNELS[1]}"
    forget_image(bench, images[1])
    assert bench.names(tag) is None
    result = bench.make(images[0], images[2])
    assert (result.verdict, result.findings) == ("skipped", ())
    assert result.modules[images[1].cell.kernel].endswith(f"@{bench.names(tag)}")
    config = config_of_tag(bench, tag)
    assert config["rootfs"]["diff_ids"] == images[1].config["rootfs"]["diff_ids"]
    assert config["config"]["Labels"][labels.VERSION] == images[1].cell.id
    assert config["config"]["Labels"][labels.KERNEL] == images[1].cell.kernel
    assert not {labels.KERNELS, labels.BUNDLE_KEY, labels.CELL_KEY} & set(config["config"]["Labels"])
    assert sum(not entry.get("empty_layer") for entry in config["history"]) == 3


def test_an_architecture_that_an_answer_lost_stays(bench: Bench) -> None:
    images = [bench.image(KERNELS[0]), bench.image(KERNELS[0], "aarch64"), bench.image(KERNELS[1], "aarch64")]
    before = bench.make(*images)
    result = bench.make(images[0])
    assert (result.verdict, result.digest, result.arches) == ("skipped", before.digest, ("x86_64", "aarch64"))
    assert [*result.kept] == [each.cell.kernel for each in images[1:]]


def test_only_a_rule_removes_a_kernel_and_the_rule_is_printed(bench: Bench) -> None:
    images = three(bench)
    bench.make(*images)
    gone = images[0].cell
    result = bench.make(*images[1:], bounds=Bounds({(gone.arch, gone.kernel): "release 4.16.1 was forgotten by name"}))
    assert (result.verdict, result.dropped, result.kept) == ("passed", (gone.kernel,), {})
    assert result.kernels == tuple(each.cell.kernel for each in images[1:])
    assert f"8.98.1: {gone.kernel} leaves the bundle: release 4.16.1 was forgotten by name" in bench.lines
    other = Bounds({("aarch64", images[1].cell.kernel): "left matrix.yaml"})
    assert bench.make(images[2], bounds=other).dropped == (), "a rule is for one architecture"


def test_a_cell_that_cannot_be_read_is_kept_where_it_was_and_makes_the_bundle_errored(bench: Bench) -> None:
    images = three(bench)
    bench.make(*images)
    new, other = bench.image(NEW), bench.image("6.14.0-1.el10")
    unread = {images[1].cell.id: "the configuration is gone", new.cell.id: "418"}
    result = bench.make(images[0], images[2], other, unread=unread, bounds=pinned(*images, new, other))
    assert (result.verdict, result.digest) == ("errored", bench.names("8.98.1"))
    assert result.is_published, "the others have it"
    assert result.kernels == tuple(each.cell.kernel for each in (*images, other))
    assert "could not be read: the configuration is gone" in result.kept[images[1].cell.kernel]
    assert [finding.code for finding in result.findings] == ["cell-image-unreadable"] * 2
    assert f"`nox -s build -- --profile lab --force --only {images[1].cell.id}`" in result.reason
    console = Console(file=StringIO(), width=200)
    print_bundles(console, [result])
    printed = cast("StringIO", console.file).getvalue()
    assert f"kept {images[1].cell.kernel} from the earlier bundle" in printed
    assert f"{new.cell.id}: 418" in printed
    alone = bench.make(unread=unread)
    assert (alone.verdict, alone.digest) == ("errored", "")
    assert "none of its 2 cells" in alone.reason


LACKING = "its published image has not passed gate boot; `nox -s build -- --only CELL` runs the missing gates"


@pytest.mark.parametrize("more", [False, True])
def test_a_published_cell_that_lacks_a_gate_holds_the_bundle_that_has_its_module(bench: Bench, more: bool) -> None:
    """A gate that was added later and fails must not be forgotten because the bundle had the module before."""
    images = three(bench)
    before = bench.make(*images)
    bench.publish(images[1], gates=["static"])
    bench.booted.clear()
    new = [bench.image(NEW)] if more else []
    lacking = {images[1].cell.id: LACKING}
    result = bench.make(images[0], images[2], *new, lacking=lacking, bounds=pinned(*images, *new))
    assert (result.verdict, result.digest, bench.written, bench.booted) == ("errored", "", [], [])
    (finding,) = result.findings
    assert (finding.check, finding.code) == ("published-cells", "cell-gates-missing")
    assert finding.message == f"{images[1].cell.id}: {LACKING}"
    assert "8.98.1 stays as it is" in result.reason
    assert result.reason.partition("; ")[0].endswith(
        f"no record shows every gate passed by its modules for {images[1].cell.kernel}"
    )
    assert result.lacking == {}
    assert finding.message in result.reason
    assert (bench.names("8.98.1"), result.dropped) == (before.digest, ())
    assert "no longer published" not in bench.said


def test_a_gate_that_is_added_to_the_list_holds_a_bundle_of_cells_that_have_not_passed_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = three(bench)
    recipes = [cast("Recipe", SimpleNamespace(cell=each.cell, cell_key="sha256:key")) for each in images]
    for each in images:
        put_manifest(bench.server, bench.server.repository, each.cell.tag, each.manifest.content)
        put_record(bench.server, bench.server.repository, record_of(each.digest, each.cell.id, "sha256:key"))

    def bundled() -> Any:
        (wanted,) = wanted_bundles([each.cell for each in images], published_cells(bench.run, recipes))
        return make_bundle(bench.run, wanted)

    before = bundled()
    assert before.verdict == "passed"
    added = Gate("mount", lambda _: Outcome("passed", ""))
    monkeypatch.setattr(gates, "GATES", (*gates.GATES, added))
    with_gate = record_of(images[0].digest, images[0].cell.id, "sha256:key", ["static", "boot", "mount"])
    put_record(bench.server, bench.server.repository, with_gate)
    result = bundled()
    assert (result.verdict, result.digest, bench.names("8.98.1")) == ("errored", "", before.digest)
    again = f"`nox -s build -- --profile lab --only {images[1].cell.id}` runs the missing gates"
    assert result.findings[0].message == (
        f"{images[1].cell.id}: its published image has not passed gate mount; {again}"
    )
    assert [finding.code for finding in result.findings] == ["cell-gates-missing"] * 2
    for each in images[1:]:
        record = record_of(each.digest, each.cell.id, "sha256:key", ["static", "boot", "mount"])
        put_record(bench.server, bench.server.repository, record)
    assert (bundled().verdict, bundled().digest) == ("skipped", before.digest)


def test_a_kept_module_of_an_image_with_a_record_is_published_although_its_cells_tag_names_another(
    bench: Bench,
) -> None:
    images = three(bench)
    bench.make(*images)
    bench.booted.clear()
    new = bench.image(NEW)
    lacking = {images[1].cell.id: LACKING}
    result = bench.make(images[0], images[2], new, lacking=lacking, bounds=pinned(*images, new))
    assert (result.verdict, result.digest) == ("errored", bench.names("8.98.1"))
    assert result.is_published
    assert result.kernels == tuple(each.cell.kernel for each in (*images, new))
    assert sorted(bench.booted) == sorted(result.kernels)
    assert result.kept == {images[1].cell.kernel: LACKING}
    assert [finding.code for finding in result.findings] == ["cell-gates-missing"]
    assert result.reason == f"loaded in each of its 4 kernels; {images[1].cell.id}: {LACKING}"
    assert result.lacking == {}


def test_a_published_cell_that_lacks_a_gate_and_is_in_no_bundle_is_left_out_and_named(bench: Bench) -> None:
    images = three(bench)
    lacking = {images[1].cell.id: LACKING}
    result = bench.make(images[0], images[2], lacking=lacking, bounds=pinned(*images))
    assert (result.verdict, result.lacking, result.missing, result.findings) == ("passed", lacking, (), ())
    assert result.kernels == (images[0].cell.kernel, images[2].cell.kernel)
    console = Console(file=StringIO(), width=200)
    print_bundles(console, [result])
    printed = cast("StringIO", console.file).getvalue()
    assert f"8.98.1: not included: {images[1].cell.id}: {LACKING}\n" in printed
    assert "unpublished" not in printed
    alone = bench.make(lacking=lacking)
    assert (alone.verdict, alone.lacking) == ("errored", lacking)
    assert "none of its 1 cells is published with its current inputs and every gate passed" in alone.reason


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize("reply", [Reply(418), Reply(503), Reply(404, b"<html>"), Reply(403), Reply(200, b"{}")])
def test_an_unreadable_answer_of_the_registry_is_never_taken_for_no_bundle(bench: Bench, reply: Reply) -> None:
    images = three(bench)
    before = bench.make(*images)
    answers = bench.server.web.answer
    config = json.loads(bench.server.manifests[f"/v2/{bench.server.repository}/manifests/8.98.1"][1])["config"]
    for place in ("/manifests/8.98.1", f"/blobs/{config['digest']}"):

        def answer(request: Request, place: str = place) -> Reply:
            return reply if request.path.endswith(place) else answers(request)

        bench.server.web.answer = answer
        result = bench.make(images[0])
        assert (result.verdict, result.digest, bench.written) == ("errored", "", [])
        bench.server.web.answer = answers
        assert bench.names("8.98.1") == before.digest


def test_a_cell_whose_tag_is_unreadable_is_distinguished_from_an_absent_one(bench: Bench) -> None:
    made = three(bench)[0]
    recipe = cast("Recipe", SimpleNamespace(cell=made.cell, cell_key="sha256:key"))
    assert published_cells(bench.run, [recipe]) == PublishedCells([])
    answers = bench.server.web.answer
    bench.server.web.answer = lambda request: Reply(418) if "/manifests/" in request.path else answers(request)
    found = published_cells(bench.run, [recipe])
    assert (found.images, [*found.unread], found.lacking) == ([], [made.cell.id], {})
    assert "418" in found.unread[made.cell.id]


def test_an_image_that_is_no_bundle_has_no_kernels_and_a_bundle_that_is_spoilt_is_not_replaced(bench: Bench) -> None:
    images = three(bench)
    registry = bench.run.registry
    first = images[0].manifest
    registry.put_manifest(bench.ref("8.98.1"), first.content, first.media_type)
    assert bench.make(*images).verdict == "passed"
    whole = compose(CLIENT, tuple(images))
    config = json.loads(whole.config.content)
    spoilt: list[dict[str, Any]] = [
        {**config, "history": config["history"][:-1]},
        {**config, "history": [*config["history"][:-1], {"created_by": "somebody", "created": "2026-01-01"}]},
        {**config, "history": [*config["history"][:-2], *reversed(config["history"][-2:])]},
        {**config, "rootfs": {"type": "layers", "diff_ids": config["rootfs"]["diff_ids"][:-1]}},
        {name: part for name, part in config.items() if name != "history"},
        {**config, "history": [None] * len(config["history"])},
    ]
    for each in spoilt:
        with pytest.raises(ProtocolError, match="do not fit together") as caught:
            read_published("x86_64", whole.layers, each, "registry.example/beegfs-client:8.98.1")
        assert "remove the tag 8.98.1" in caught.value.hint
    assert read_published("x86_64", whole.layers, config, "x").kernels[0].origin == images[0].digest


def test_a_kernel_is_restored_with_the_configuration_that_its_manifest_names() -> None:
    images = tuple(image(kernel, vendor="x") for kernel in KERNELS)
    whole = compose(CLIENT, images)
    bundle = read_published("x86_64", whole.layers, json.loads(whole.config.content), "x")
    made = restored(bundle, bundle.kernels[1], images[1].cell, bootable=True)
    assert made.digest == images[1].digest != made.manifest.digest
    assert [layer.digest for layer in made.layers] == [layer.digest for layer in images[1].layers]
    assert json.loads(restored_config(made).content)["config"]["Labels"]["vendor"] == "x"
    with pytest.raises(AssertionError):
        restored_config(replace(made, config={**made.config, "created": "now"}))


def test_a_rule_is_an_exclude_a_flavour_an_architecture_or_the_locks_note_and_never_a_lack_of_packages() -> None:
    client = ClientVersion.parse("8.98.1")
    note = RetiredPin(kernel="5.14.0-1.1.1.el9_4.x86_64", arch="x86_64", reason="forgotten by name, 2026-03-31")
    pins = plan_pins().model_copy(update={"retired": (note,)})
    for matrix in ("everything", "excludes", "unwanted"):
        profile = profile_of(matrix)
        plan = make_plan("one", profile, pins)
        bounds = bounds_of(client, profile, pins, plan)
        out = {(row.arch, row.kernel): row.reason for row in plan.rows if row.client == client and row.cell is None}
        lacking = {key for key, reason in out.items() if "has no packages" in reason}
        assert bounds.leaving == {
            (note.arch, note.kernel): note.reason,
            **{key: reason for key, reason in out.items() if key not in lacking},
        }
        assert lacking | {(cell.arch, cell.kernel) for cell in plan.cells if cell.client == client} <= set(bounds.cells)
    older = ClientVersion.parse("7.98.1")
    plan = make_plan("one", profile_of("everything"), pins)
    lacking = {(row.arch, row.kernel) for row in plan.rows if row.client == older and "no packages" in row.reason}
    assert lacking, "or the above shows nothing"
    bounds = bounds_of(older, profile_of("everything"), pins, plan)
    assert not lacking & set(bounds.leaving)
    assert lacking <= set(bounds.cells)


def test_a_kernel_without_packages_is_kept_and_booted(bench: Bench) -> None:
    images = three(bench)
    bench.make(*images)
    bench.booted.clear()
    new = bench.image(NEW)
    result = bench.make(*images[:2], new, bounds=pinned(*images, new))
    assert result.kept == {images[2].cell.kernel: "the plan no longer has packages of client 8.98.1 for it"}
    assert images[2].cell.kernel in bench.booted
    assert result.reason == "loaded in each of its 4 kernels"


def test_kept_kernels_are_written_and_read(tmp_path: Path, bench: Bench) -> None:
    images = three(bench)
    bench.make(*images)
    result = bench.make(*images[:2])
    path = tmp_path / "bundles.json"
    write_bundles(path, "one", [result])
    assert read_bundles(path, "one") == {"8.98.1": result}
