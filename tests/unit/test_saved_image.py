"""An image that an engine saves is the one that was asked for, part by part, or is refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.engine.saved_image import compressed, digest_and_size, saved_image
from kmatrix.values.errors import InputError, ToolError, UnreachableError
from tests.unit.support.fake_registry import digest
from tests.unit.support.saved_images import STORES, Saved, SavingEngine, archive

LAYERS = (archive("a", b"1" * 5000), archive("b", b"2"))


@pytest.mark.parametrize("store", STORES)
def test_every_part_is_there_whatever_the_store(tmp_path: Path, store: str) -> None:
    image = Saved(store, LAYERS)
    engine: Any = SavingEngine(image)
    with saved_image(engine, image.id, tmp_path) as saved:
        assert saved.config == image.config
        assert [layer.diff_id for layer in saved.layers] == [digest(layer) for layer in LAYERS]
        for layer, content in zip(saved.layers, LAYERS, strict=True):
            with compressed(layer, tmp_path) as file:
                told = digest_and_size(file)
                packed = file.read()
            assert told == (digest(packed), len(packed))
            assert gzip.decompress(packed) == content
    assert list(tmp_path.iterdir()) == []


def test_a_layer_is_compressed_to_the_same_bytes_each_time(tmp_path: Path) -> None:
    image = Saved("docker", LAYERS)
    engine: Any = SavingEngine(image)
    found = set()
    for _ in range(2):
        with saved_image(engine, image.id, tmp_path) as saved, compressed(saved.layers[0], tmp_path) as file:
            packed = file.read()
            found.add(packed)
            assert packed[4:8] == b"\0\0\0\0", "the time of the compression is in it"
            assert not packed[3], "a name is in it"
    assert len(found) == 1


def test_a_layer_that_is_saved_once_and_led_to_is_there_twice(tmp_path: Path) -> None:
    image = Saved("docker", (LAYERS[0], LAYERS[0]), links={"1/layer.tar": "../0/layer.tar"})
    engine: Any = SavingEngine(image)
    with saved_image(engine, image.id, tmp_path) as saved:
        assert [layer.diff_id for layer in saved.layers] == [digest(LAYERS[0])] * 2


@pytest.mark.parametrize("store", STORES)
def test_another_image_is_refused(tmp_path: Path, store: str) -> None:
    wanted, other = Saved(store, LAYERS), Saved(store, LAYERS[:1])
    engine: Any = SavingEngine(other)
    engine.saved[wanted.id] = engine.saved.pop(other.id)
    with (
        pytest.raises(ToolError, match=f"asked for the image {wanted.id} and saved"),
        saved_image(engine, wanted.id, tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("store", STORES)
def test_a_layer_that_is_not_the_configurations_is_refused(tmp_path: Path, store: str) -> None:
    image = Saved(store, LAYERS, diff_ids=(digest(LAYERS[0]), digest(b"another")))
    engine: Any = SavingEngine(image)
    with pytest.raises(ToolError, match="saved the layer"), saved_image(engine, image.id, tmp_path):
        pass


@pytest.mark.parametrize("store", STORES)
def test_a_layer_too_few_is_refused(tmp_path: Path, store: str) -> None:
    image = Saved(store, LAYERS, diff_ids=[digest(layer) for layer in (*LAYERS, b"")])
    engine: Any = SavingEngine(image)
    with pytest.raises(ToolError, match="no image's"), saved_image(engine, image.id, tmp_path):
        pass


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_an_archive_that_breaks_off_is_the_engines_going_away(tmp_path: Path, store: str, part: float) -> None:
    image = Saved(store, LAYERS)
    engine: Any = SavingEngine(image)
    data = engine.saved[image.id]
    engine.saved[image.id] = data[: int(len(data.rstrip(b"\0")) * part)]
    with pytest.raises((UnreachableError, ToolError)), saved_image(engine, image.id, tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_not_the_engines_fault(tmp_path: Path) -> None:
    image = Saved("docker", LAYERS)
    engine: Any = SavingEngine(image)
    (tmp_path / "build").write_text("a file", encoding="utf-8")
    with (
        pytest.raises(InputError, match="cannot write to") as caught,
        saved_image(engine, image.id, tmp_path / "build"),
    ):
        pass
    assert caught.value.hint
