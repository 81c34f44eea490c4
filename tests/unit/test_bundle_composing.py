"""Bundles, decided: which cells, in which order, and the very bytes of configuration and manifest."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from kmatrix.decide.bundle import (
    CellImage,
    Composed,
    PublishedCells,
    compose,
    manifest_list,
    wanted_bundles,
)
from kmatrix.decide.image_documents import Document, Layer
from kmatrix.effects.disk.bundles import read_bundles, update_bundles, write_bundles
from kmatrix.values.bundle import BundleImage, BundleResult
from kmatrix.values.cells import Finding
from kmatrix.values.errors import InputError, ProtocolError, ToolError
from kmatrix.values.labels import kernels_of_label
from kmatrix.values.names import ClientVersion
from tests.unit.support.cell_images import CLIENT, DOCKER, KERNELS, OCI, cell, digest, image

# The digest of `images` below when this was written; every process must reach the same.
WRITTEN = "sha256:214a9e1f4b0f9e8e9d059e9631aeac6e2f6900ce0cf9fe7fb1133e7e79c5eecc"


def with_config(sound: CellImage, **changes: Any) -> CellImage:
    return replace(sound, config={**sound.config, **changes})


def read(composed: Composed) -> tuple[dict[str, Any], dict[str, Any]]:
    return json.loads(composed.manifest.content), json.loads(composed.config.content)


def test_every_published_cell_is_included_oldest_kernel_first_and_the_others_are_named() -> None:
    other = ClientVersion.parse("7.98.1")
    images = [image(kernel) for kernel in KERNELS]
    cells = [*(each.cell for each in reversed(images)), cell("6.13.0"), cell("6.13.0", other)]
    older, newer = wanted_bundles(cells, PublishedCells(images))
    assert (older.client, older.images, older.missing) == (other, (), (f"7.98.1-{cell('6.13.0').kernel}",))
    assert newer.client == CLIENT
    assert newer.images == tuple(images), "427.9 is older than 427.10"
    assert newer.missing == (cell("6.13.0").id,)


def test_layers_are_the_cells_own_and_one_more_kernel_adds_one_at_the_end() -> None:
    images = tuple(image(kernel) for kernel in KERNELS)
    whole = compose(CLIENT, images)
    manifest, config = read(whole)
    assert [entry["digest"] for entry in manifest["layers"]] == [digest(n) for n in ("base", "userland", *KERNELS)]
    assert config["rootfs"]["diff_ids"] == [digest(f"{name} u") for name in ("base", "userland", *KERNELS)]
    assert whole.size == 113
    assert {kernel: layer.size for kernel, layer in whole.kernels.items()} == {each.cell.kernel: 1 for each in images}
    fewer, _ = read(compose(CLIENT, images[:-1]))
    assert fewer["layers"] == manifest["layers"][:-1]
    assert manifest["config"] == {
        "mediaType": whole.config.media_type,
        "size": len(whole.config.content),
        "digest": whole.config.digest,
    }


def test_history_has_an_entry_for_each_layer_and_says_where_a_module_is_from() -> None:
    images = tuple(image(kernel) for kernel in KERNELS)
    _, config = read(compose(CLIENT, images))
    history = config["history"]
    assert [entry["created_by"] for entry in history[:3]] == ["base", "userland", "entry point"]
    assert sum(not entry.get("empty_layer") for entry in history) == len(config["rootfs"]["diff_ids"])
    for entry, each in zip(history[3:], images, strict=True):
        assert each.cell.id in entry["created_by"]
        assert each.digest in entry["created_by"]
    assert config["created"] == max(each.config["created"] for each in images)


def test_the_fields_that_cells_run_by_are_kept_and_those_of_one_cell_are_not() -> None:
    images = (image(KERNELS[0], revision="1", vendor="x"), image(KERNELS[1], revision="2", vendor="x"))
    for composed, count in ((compose(CLIENT, images), 2), (compose(CLIENT, images[:1]), 1)):
        _, config = read(composed)
        assert "container" not in config
        labels = config["config"].pop("Labels")
        assert config["config"] == {"Entrypoint": ["/serve"], "Env": ["A=b"]}
        own = "io.github.beegfs-kmatrix.{}".format
        assert labels[own("client")] == labels["org.opencontainers.image.version"] == "8.98.1"
        assert kernels_of_label(labels[own("kernels")]) == tuple(each.cell.kernel for each in images[:count])
        assert labels[own("arch")] == "x86_64"
        assert not {own("kernel"), own("cell-key")} & set(labels)
        assert labels["vendor"] == "x"
        assert ("revision" in labels) == (count == 1), "what the cells do not say alike is not true of the bundle"
        assert labels["org.opencontainers.image.title"].startswith("BeeGFS client 8.98.1")


def test_the_same_cells_give_the_same_bytes_and_another_cell_another_key() -> None:
    images = tuple(image(kernel, b="1", a="2") for kernel in KERNELS)
    again = tuple(image(kernel, a="2", b="1") for kernel in KERNELS)
    assert compose(CLIENT, images).manifest == compose(CLIENT, again).manifest
    assert compose(CLIENT, images).manifest.digest == WRITTEN, "other bytes are another bundle for every node"
    other = (*images[:-1], replace(images[-1], manifest=Document("", b"of another build")))
    keys = {
        read(compose(CLIENT, each))[1]["config"]["Labels"]["io.github.beegfs-kmatrix.bundle-key"]
        for each in (images, images[:-1], other)
    }
    assert len(keys) == 3


def other_layers(sound: CellImage) -> CellImage:
    return replace(sound, layers=(Layer(digest("other base"), DOCKER, 100), *sound.layers[1:]))


def other_files(sound: CellImage) -> CellImage:
    ids = sound.config["rootfs"]["diff_ids"]
    return with_config(sound, rootfs={"type": "layers", "diff_ids": [digest("other"), *ids[1:]]})


@pytest.mark.parametrize("index", [0, 2])
def test_of_cells_made_at_different_times_the_first_ones_layers_are_below_the_modules(index: int) -> None:
    """The base's packages were installed anew; a node that has the bundle already is not to pull them again."""
    sound = [image(kernel) for kernel in KERNELS]
    images = list(sound)
    later = other_files(other_layers(images[index]))
    images[index] = with_config(later, created="2026-02-01T00:00:00Z")
    manifest, config = read(compose(CLIENT, tuple(images)))
    assert [entry["digest"] for entry in manifest["layers"]] == [digest(n) for n in ("base", "userland", *KERNELS)]
    assert config["rootfs"]["diff_ids"] == [digest(f"{name} u") for name in ("base", "userland", *KERNELS)]

    images[index] = with_config(later, created="2025-12-31T00:00:00Z")
    manifest, config = read(compose(CLIENT, tuple(images)))
    assert [entry["digest"] for entry in manifest["layers"]] == [
        digest(n) for n in ("other base", "userland", *KERNELS)
    ]
    assert config["rootfs"]["diff_ids"] == [digest("other"), *(digest(f"{n} u") for n in ("userland", *KERNELS))]


@pytest.mark.parametrize("index", [0, 2])
def test_of_a_cell_of_other_inputs_only_the_module_is_included(index: int) -> None:
    images = [image(kernel) for kernel in KERNELS]
    other = other_files(other_layers(images[index]))
    other = with_config(other, created="2025-01-01T00:00:00Z", config={**other.config["config"], "Env": ["A=c"]})
    sound = compose(CLIENT, tuple(images))
    images[index] = replace(other, current=False)
    composed = compose(CLIENT, tuple(images))
    assert composed.layers == sound.layers
    assert read(composed)[1]["rootfs"] == read(sound)[1]["rootfs"]
    assert read(composed)[1]["config"]["Env"] == ["A=b"]


def test_more_kernels_than_an_engine_takes_layers_are_refused_before_anything_is_pulled() -> None:
    images = tuple(image(f"5.14.0-{number}") for number in range(122))
    assert len(compose(CLIENT, images[:121]).layers) == 123
    with pytest.raises(ToolError, match="would have 122 kernels; engines take 121"):
        compose(CLIENT, images)


@pytest.mark.parametrize("index", [0, 2])
def test_cells_that_are_not_run_alike_are_refused_with_the_next_step(index: int) -> None:
    images = [image(kernel) for kernel in KERNELS]
    images[index] = with_config(images[index], config={**images[index].config["config"], "Env": ["A=c"]})
    with pytest.raises(ToolError, match=r"differs from 8.98.1-.* in Env") as caught:
        compose(CLIENT, tuple(images))
    assert images[0].cell.id in caught.value.message
    assert "--force --only '8.98.1-*'" in caught.value.hint


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sound: with_config(sound, history=sound.config["history"][:-2]),
        lambda sound: with_config(sound, rootfs={"diff_ids": []}),
        lambda sound: with_config(sound, rootfs=None),
        lambda sound: with_config(sound, architecture="arm64"),
        lambda sound: with_config(sound, created=None),
        lambda sound: with_config(sound, config=None),
        lambda sound: replace(sound, config={}),
    ],
)
def test_a_configuration_that_is_not_of_the_form_names_its_cell(spoil: Any) -> None:
    images = (image(KERNELS[0]), spoil(image(KERNELS[1])))
    with pytest.raises(ProtocolError, match=r"published image of 8\.98\.1-5\.14\.0-427\.10\.1"):
        compose(CLIENT, images)


def test_media_types_are_of_one_family() -> None:
    docker, _ = read(compose(CLIENT, (image(KERNELS[0]), image(KERNELS[1]))))
    assert docker["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert docker["config"]["mediaType"] == "application/vnd.docker.container.image.v1+json"
    assert {entry["mediaType"] for entry in docker["layers"]} == {DOCKER}
    module = image(KERNELS[1]).layers[-1]
    mixed = replace(image(KERNELS[1]), layers=(*image(KERNELS[1]).layers[:-1], replace(module, media_type=OCI)))
    oci, _ = read(compose(CLIENT, (image(KERNELS[0]), mixed)))
    assert oci["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert oci["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert {entry["mediaType"] for entry in oci["layers"]} == {OCI}


def test_one_architecture_is_a_manifest_and_more_are_a_list_of_them() -> None:
    (wanted,) = wanted_bundles(
        [cell(KERNELS[0]), cell(KERNELS[0], arch="aarch64")],
        PublishedCells([image(KERNELS[0], arch="aarch64"), image(KERNELS[0])]),
    )
    assert wanted.arches == ("x86_64", "aarch64")
    bundles = [compose(CLIENT, wanted.of(arch)) for arch in wanted.arches]
    assert manifest_list(bundles[:1]) == bundles[0].manifest
    whole = manifest_list(bundles)
    content = json.loads(whole.content)
    assert content["mediaType"] == whole.media_type == "application/vnd.docker.distribution.manifest.list.v2+json"
    assert [(entry["digest"], entry["platform"]) for entry in content["manifests"]] == [
        (bundles[0].manifest.digest, {"architecture": "amd64", "os": "linux"}),
        (bundles[1].manifest.digest, {"architecture": "arm64", "os": "linux"}),
    ]
    in_oci = compose(CLIENT, (image(KERNELS[0], OCI, "aarch64"),))
    assert manifest_list([bundles[0], in_oci]).media_type == "application/vnd.oci.image.index.v1+json"


RESULT = BundleResult(
    client="8.98.1",
    image="registry.example/beegfs-client:8.98.1",
    verdict="failed",
    reason="load-refused: no",
    kernels=KERNELS,
    arches=("x86_64",),
    earlier=("c",),
    missing=("a",),
    lacking={"d": "its published image has not passed gate boot"},
    dropped=("b",),
    images=(BundleImage("x86_64", digest("x"), 113, {KERNELS[0]: 1}, 1000),),
    findings=(Finding("boot", "load-refused", "no"),),
    modules={KERNELS[0]: f"registry.example/beegfs-client@sha256:{'a' * 64}"},
)


def test_bundles_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bundles.json"
    assert read_bundles(path, "lab") == {}
    write_bundles(path, "lab", [RESULT])
    assert read_bundles(path, "lab") == {"8.98.1": RESULT}
    assert read_bundles(path, "okd") == {}
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["schema"] == 2
    assert {"client", "image", "digest", "kernels", "arches", "verdict", "reason"} <= set(content["bundles"][0])


def test_a_file_names_the_engine_of_its_last_run(tmp_path: Path) -> None:
    path = tmp_path / "bundles.json"
    update_bundles(path, "lab", {"8.98.1": RESULT}, ["8.98.1"], {"name": "Docker", "version": "26.1"})
    assert json.loads(path.read_text(encoding="utf-8"))["engine"] == {"name": "Docker", "version": "26.1"}
    update_bundles(path, "lab", {"8.98.1": RESULT}, ["8.98.1"], {"name": "Other"})
    assert json.loads(path.read_text(encoding="utf-8"))["engine"] == {"name": "Other"}
    assert read_bundles(path, "lab") == {"8.98.1": RESULT}


@pytest.mark.parametrize("field", ["kept", "lacking", "modules", "kernels"])
def test_a_file_that_lacks_a_field_is_refused(tmp_path: Path, field: str) -> None:
    path = tmp_path / "bundles.json"
    write_bundles(path, "lab", [RESULT])
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["bundles"][0][field]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=f"not as this program writes it .KeyError: '{field}'"):
        read_bundles(path, "lab")


def test_a_run_replaces_the_bundles_it_made_and_keeps_all_others(tmp_path: Path) -> None:
    path = tmp_path / "bundles.json"
    other, third = replace(RESULT, client="7.98.1"), replace(RESULT, client="6.98.1")
    write_bundles(path, "okd", [RESULT])
    update_bundles(path, "lab", {"8.98.1": RESULT, "6.98.1": third}, ["6.98.1", "7.98.1", "8.98.1"])
    update_bundles(path, "lab", {"7.98.1": other}, ["7.98.1", "8.98.1"])
    assert read_bundles(path, "lab") == {"7.98.1": other, "8.98.1": RESULT}
    assert read_bundles(path, "okd") == {"8.98.1": RESULT}


def test_fields_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "bundles.json"
    entry = json.loads(json.dumps({**asdict(RESULT), "later": 1}))
    assert entry["images"], "an entry without images shows less"
    for inner in (*entry["images"], *entry["findings"]):
        inner["later"] = {}
    path.write_text(json.dumps({"schema": 2, "profile": "lab", "bundles": [entry], "later": 2}), encoding="utf-8")
    assert read_bundles(path, "lab") == {RESULT.client: RESULT}


def with_modules(modules: object) -> str:
    bundles = [{**asdict(RESULT), "modules": modules}]
    return json.dumps({"schema": 2, "profile": "lab", "bundles": bundles})


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"schema": 2, "profile": "lab"}',
        with_modules([]),
        with_modules({KERNELS[0]: "registry.example/beegfs-client:a-tag"}),
        with_modules({KERNELS[0]: None}),
    ],
)
def test_another_file_of_that_name_is_an_input_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bundles.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="not as this program writes it"):
        read_bundles(path, "lab")
