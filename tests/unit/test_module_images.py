"""Module images for KMM: which cells each lists, and which digest a tag keeps.

KMM's requirements are those of rh-ecosystem-edge/kernel-module-management: internal/pod/imagepuller.go
(CreatePullPod, GetPullPodStatus), internal/controllers/mic_reconciler.go (updateStatusByPullPods),
internal/controllers/nmc_reconciler.go (ProcessModuleSpec).
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kmatrix.decide.bundle import CellImage, PublishedCells, Wanted, wanted_bundles
from kmatrix.decide.image_documents import Document
from kmatrix.decide.module_images import Holding, ModuleImage, may_stay, module_images
from kmatrix.values import labels
from kmatrix.values.boot import BootReport
from kmatrix.values.errors import ProtocolError, ToolError
from kmatrix.values.names import Arch, without_arch
from tests.unit.support.bundle_bench import Bench, made_of, tag
from tests.unit.support.cell_images import CLIENT, KERNELS, OCI, cell, digest, image, rebuilt, with_manifest
from tests.unit.support.gate_records import put_record, record_of


def wanted(*images: CellImage, missing: tuple[str, ...] = ()) -> Wanted:
    return Wanted(CLIENT, images, missing)


def listed(document: Document) -> dict[str, str]:
    """Return a list's entries by architecture."""
    entries = json.loads(document.content)["manifests"]
    return {entry["platform"]["architecture"]: entry["digest"] for entry in entries}


def called(kernel: str, arch: Arch = "x86_64") -> CellImage:
    """A cell of a kernel of this very release."""
    made = image(kernel, arch=arch)
    return replace(made, cell=replace(made.cell, kernel=kernel))


@pytest.mark.parametrize(
    ("kernel", "arch", "name"),
    [
        ("5.14.0-427.50.1.el9_4.x86_64", "x86_64", "5.14.0-427.50.1.el9_4"),
        ("5.14.0-427.50.1.el9_4.x86_64+rt", "x86_64", "5.14.0-427.50.1.el9_4+rt"),
        ("5.14.0-427.50.1.el9_4.aarch64+64k", "aarch64", "5.14.0-427.50.1.el9_4+64k"),
        ("6.12.117+deb12-amd64", "x86_64", "6.12.117+deb12"),
        ("6.1.0-56-rt-arm64", "aarch64", "6.1.0-56-rt"),
        ("4.18.0-372.el8.s390x", "s390x", "4.18.0-372.el8"),
        # Another architecture's name, or a word that only begins so, is no name of this one.
        ("5.14.0-1.x86_64", "aarch64", "5.14.0-1.x86_64.noarch"),
        ("5.14.0-1.x86_64v2", "x86_64", "5.14.0-1.x86_64v2.noarch"),
        ("6.12.0-custom", "x86_64", "6.12.0-custom.noarch"),
    ],
)
def test_a_kernel_has_one_name_for_all_architectures(kernel: str, arch: Arch, name: str) -> None:
    assert without_arch(kernel, arch) == name


def test_of_one_architecture_each_image_is_the_cells_own() -> None:
    """Whoever has the cells' digests in a Module already sees no other ones."""
    images = [image(kernel) for kernel in KERNELS]
    found = module_images(wanted(*images))
    assert [each.manifest for each in found] == [each.manifest for each in images]
    assert [each.tag for each in found] == [f"8.98.1-{kernel}" for kernel in KERNELS]
    assert [each.cells for each in found] == [(each,) for each in images]


def test_a_kernel_of_two_architectures_has_one_image_and_every_image_is_for_both() -> None:
    """KMM's pod of an image may run on a node of any architecture, and must end well there."""
    alone = called("5.14.0-2.el9.x86_64+rt")
    own = [image(KERNELS[0]), image(KERNELS[0], arch="aarch64"), image(KERNELS[1], arch="aarch64"), alone]
    both, arm, real_time = module_images(wanted(*own))
    assert [each.tag for each in (both, arm, real_time)] == [
        f"8.98.1-{KERNELS[0]}",
        f"8.98.1-{KERNELS[1]}",
        "8.98.1-5.14.0-2.el9_rt",
    ]
    assert listed(both.manifest) == {"amd64": own[0].digest, "arm64": own[1].digest}
    assert (both.cells, arm.cells, real_time.cells) == ((own[0], own[1]), (own[2],), (alone,))
    # The newest kernel's cell stands in where an architecture lacks the kernel.
    assert listed(arm.manifest) == {"amd64": alone.digest, "arm64": own[2].digest}
    assert listed(real_time.manifest) == {"amd64": alone.digest, "arm64": own[2].digest}
    assert {each.arches for each in (both, arm, real_time)} == {("x86_64", "aarch64")}


def test_a_list_names_manifests_as_they_are() -> None:
    own = [image(KERNELS[0]), image(KERNELS[0], arch="aarch64")]
    (found,) = module_images(wanted(*own))
    content = json.loads(found.manifest.content)
    assert content["mediaType"] == found.manifest.media_type == f"{MANIFEST_LIST}"
    assert [(entry["size"], entry["mediaType"]) for entry in content["manifests"]] == [
        (len(each.manifest.content), each.manifest.media_type) for each in own
    ]
    (mixed,) = module_images(wanted(own[0], image(KERNELS[0], OCI, "aarch64")))
    assert mixed.manifest.media_type == "application/vnd.oci.image.index.v1+json"


MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def test_only_published_cells_of_the_bundle_are_listed() -> None:
    published = [image(KERNELS[0]), image(KERNELS[1]), image(KERNELS[1], arch="aarch64")]
    cells = [*(each.cell for each in published), cell(KERNELS[0], arch="aarch64"), cell(KERNELS[2])]
    (bundle,) = wanted_bundles(cells, PublishedCells(published))
    found = module_images(bundle)
    assert [{each.cell for each in made.cells} for made in found] == [
        {published[0].cell},
        {published[1].cell, published[2].cell},
    ]
    digests = {digest for made in found for digest in listed(made.manifest).values()}
    assert digests == {each.digest for each in published}


@pytest.mark.parametrize(
    ("images", "missing", "fault"),
    [
        # Debian's and Red Hat's spelling of one architecture.
        ([called("6.1.0-x86_64"), called("6.1.0-amd64")], (), "several of x86_64"),
        ([called("6.1.0.x86_64"), called("6.1.0")], (), "a cell has that name"),
        ([called("6.1.0.x86_64")], ("8.98.1-6.1.0",), "a cell has that name"),
    ],
)
def test_no_tag_is_of_two_kernels_or_of_a_cell(images: list[CellImage], missing: tuple[str, ...], fault: str) -> None:
    with pytest.raises(ToolError, match=fault) as caught:
        module_images(wanted(*images, missing=missing))
    assert "matrix.yaml" in caught.value.hint


def test_a_manifest_of_no_type_is_listed_nowhere() -> None:
    own = [image(KERNELS[0]), image(KERNELS[0], arch="aarch64")]
    own[1] = replace(own[1], manifest=Document("", own[1].manifest.content))
    with pytest.raises(ProtocolError, match=f"the media type of the manifest of {own[1].cell.id}"):
        module_images(wanted(*own))


def holdings(made: ModuleImage) -> dict[Arch, Holding]:
    """Return the content of the image by architecture, as if the tag named it."""
    return {each.cell.arch: Holding(each.cell.id, each.cell.kernel, each.module.digest) for each in made.cells}


def test_a_published_image_stays_for_the_same_modules_of_the_same_kernel_on_all_architectures() -> None:
    (made,) = module_images(wanted(image(KERNELS[0]), image(KERNELS[0], arch="aarch64")))
    sound = holdings(made)
    assert may_stay(made, sound)
    assert may_stay(made, {**sound, "s390x": Holding("any", "any", "any")})
    for arch in sound:
        lacking = {other: held for other, held in sound.items() if other != arch}
        assert not may_stay(made, lacking)
        for change in (
            {"module": digest("other")},
            {"kernel": "5.14.0-other"},
            {"cell": f"7.4.6-{sound[arch].kernel}"},
        ):
            assert not may_stay(made, {**sound, arch: replace(sound[arch], **change)}), change
    assert not may_stay(made, {})


def test_an_architecture_without_the_kernel_must_have_an_image_and_any_does() -> None:
    alone, _ = module_images(wanted(image(KERNELS[0]), image(KERNELS[1], arch="aarch64")))
    assert not may_stay(alone, holdings(alone))
    assert may_stay(alone, {**holdings(alone), "aarch64": Holding("older", "older", "older")})


def pinned(bench: Bench, digest_: str) -> str:
    return f"{bench.run.options.target}/beegfs-client@{digest_}"


def test_both_kernels_of_an_image_are_mapped_to_it(bench: Bench) -> None:
    images = [bench.image(KERNELS[0]), bench.image(KERNELS[0], "aarch64"), bench.image(KERNELS[1])]
    result = made_of(bench, *images)
    both = result.modules[images[0].cell.kernel]
    assert both == result.modules[images[1].cell.kernel] == pinned(bench, bench.names(tag(images[0])) or "")
    assert set(result.modules) == set(result.kernels)
    named = bench.run.registry.named(bench.ref(tag(images[0])))
    assert named
    assert {arch: manifest.digest for arch, manifest in named.manifests.items()} == {
        "x86_64": images[0].digest,
        "aarch64": images[1].digest,
    }


def test_one_more_kernel_leaves_the_others_as_they_are(bench: Bench) -> None:
    images = [bench.image(kernel) for kernel in KERNELS[:2]]
    before = made_of(bench, *images)
    more = bench.image(KERNELS[2])
    after = made_of(bench, *images, more)
    assert after.modules == {**before.modules, more.cell.kernel: pinned(bench, more.digest)}
    assert [name for name in bench.written if name.startswith("8.98.1-")] == [tag(more)]


@pytest.mark.parametrize("arches", [("x86_64",), ("x86_64", "aarch64")])
def test_another_build_of_the_same_module_keeps_the_digest(bench: Bench, arches: tuple[Arch, ...]) -> None:
    images = [bench.image(KERNELS[0], arch) for arch in arches]
    before = made_of(bench, *images)
    again = [bench.publish(rebuilt(each)) for each in images]
    assert {each.digest for each in again}.isdisjoint(each.digest for each in images)
    after = made_of(bench, *again)
    assert after.digest != before.digest, "the bundle has the new entry point"
    assert after.modules == before.modules
    assert tag(images[0]) not in bench.written
    # And the run after that has nothing to do.
    last = made_of(bench, *again)
    assert (last.verdict, last.modules, bench.written) == ("skipped", before.modules, [])


@pytest.mark.parametrize("changed", [0, 1])
def test_another_module_of_one_architecture_is_another_digest(bench: Bench, changed: int) -> None:
    images = [bench.image(KERNELS[0]), bench.image(KERNELS[0], "aarch64"), bench.image(KERNELS[1])]
    before = made_of(bench, *images)
    images[changed] = bench.publish(rebuilt(images[changed], "another module"))
    after = made_of(bench, *images)
    assert after.modules[images[0].cell.kernel] != before.modules[images[0].cell.kernel]
    assert after.modules[images[0].cell.kernel] == after.modules[images[1].cell.kernel]
    assert after.modules[images[2].cell.kernel] == before.modules[images[2].cell.kernel]


def test_an_architecture_that_comes_later_is_in_the_image_then(bench: Bench) -> None:
    images = [bench.image(KERNELS[0])]
    before = made_of(bench, *images)
    images.append(bench.image(KERNELS[0], "aarch64"))
    after = made_of(bench, *images)
    assert after.modules[images[1].cell.kernel] == after.modules[images[0].cell.kernel]
    assert after.modules[images[0].cell.kernel] != before.modules[images[0].cell.kernel]


def test_a_newer_kernel_of_the_other_architecture_changes_no_image_where_it_stands_in(bench: Bench) -> None:
    images = [bench.image(KERNELS[0]), bench.image(KERNELS[1], "aarch64")]
    before = made_of(bench, *images)
    after = made_of(bench, *images, bench.image(KERNELS[2], "aarch64"))
    assert {kernel: after.modules[kernel] for kernel in before.modules} == before.modules


def test_an_image_of_another_cell_with_the_same_topmost_layer_does_not_stay(bench: Bench) -> None:
    made = bench.image(KERNELS[0])
    made_of(bench, made)
    foreign = {**made.config["config"], "Labels": {labels.VERSION: "8.98.1-6.1", labels.KERNEL: made.cell.kernel}}
    other = bench.publish(with_manifest(replace(made, config={**made.config, "config": foreign})), gates=())
    put_record(bench.server, bench.server.repository, record_of(other.digest, "8.98.1-6.1"))
    registry = bench.run.registry
    registry.put_manifest(bench.ref(tag(made)), other.manifest.content, other.manifest.media_type)
    again = made_of(bench, made)
    assert (again.verdict, again.modules) == ("skipped", {made.cell.kernel: pinned(bench, made.digest)})
    assert bench.names(tag(made)) == made.digest


@pytest.mark.parametrize("gates", [(), ("static",)])
def test_an_image_with_copied_labels_and_topmost_layer_does_not_stay_without_a_record(
    bench: Bench, gates: tuple[str, ...]
) -> None:
    """Kernel Module Management would run its entry point, on the layers below the module."""
    made = bench.image(KERNELS[0])
    made_of(bench, made)
    evil = rebuilt(made)
    run = {**made.config["config"], "Entrypoint": ["/evil"]}
    evil = bench.publish(with_manifest(replace(evil, config={**evil.config, "config": run})), gates)
    bench.run.registry.put_manifest(bench.ref(tag(made)), evil.manifest.content, evil.manifest.media_type)
    again = made_of(bench, made)
    assert (again.verdict, again.modules) == ("skipped", {made.cell.kernel: pinned(bench, made.digest)})
    assert bench.names(tag(made)) == made.digest


@pytest.mark.parametrize("place", ["of a stand-in", "of the kernel", "of no architecture"])
def test_a_list_stays_only_if_records_vouch_for_each_of_its_images(bench: Bench, place: str) -> None:
    """KMM's first pod runs the image of whichever architecture its node has."""
    images = [bench.image(KERNELS[0]), bench.image(KERNELS[1], "aarch64")]
    before = made_of(bench, *images)
    images[0] = bench.publish(rebuilt(images[0]))
    evil = bench.publish(rebuilt(images[1], "evil"), gates=())
    there = json.loads(bench.server.manifests[f"/v2/{bench.server.repository}/manifests/{tag(images[0])}"][1])
    entries = {entry["platform"]["architecture"]: entry for entry in there["manifests"]}
    if place == "of a stand-in":
        entries["arm64"].update(digest=evil.digest, size=len(evil.manifest.content))
    elif place == "of the kernel":
        bench.forget_record(entries["amd64"]["digest"])
    else:
        there["manifests"].append({**entries["arm64"], "digest": evil.digest, "platform": {"architecture": "riscv64"}})
    bench.run.registry.put_manifest(bench.ref(tag(images[0])), json.dumps(there).encode(), there["mediaType"])
    again = made_of(bench, *images)
    name = bench.names(tag(images[0])) or ""
    assert again.modules[images[0].cell.kernel] == pinned(bench, name) != before.modules[images[0].cell.kernel]
    assert listed(bench.document(name)) == {"amd64": images[0].digest, "arm64": images[1].digest}


def test_a_bundle_that_a_kernel_does_not_load_from_changes_no_image(bench: Bench) -> None:
    made = bench.image(KERNELS[0])
    before = made_of(bench, made)
    bench.reports = {made.cell.kernel: BootReport("failed", "load-refused", "no")}
    result = bench.make(bench.publish(rebuilt(made, "another module")), bench.image(KERNELS[1]))
    assert (result.verdict, result.modules) == ("failed", {})
    assert not [name for name in bench.written if name.startswith("8.98.1")]
    assert pinned(bench, bench.names(tag(made)) or "") == before.modules[made.cell.kernel]
