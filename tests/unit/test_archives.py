"""Archives as engines stream them: whole, or refused."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.engine.archives import ChunkReader, entries, regular_files
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.values.errors import UnreachableError

FILES = {"folder/a": b"a" * 700, "folder/b": b"", "folder/c": b"c" * 512}


@pytest.fixture
def packed(tmp_path: Path) -> bytes:
    """Three files and a second name of the first, packed by GNU tar without filling up its last record."""
    root = tmp_path / "folder"
    root.mkdir()
    for path, content in FILES.items():
        (tmp_path / path).write_bytes(content)
    os.link(root / "a", root / "second")
    command = ["tar", "--sort=name", "-b", "1", "-C", str(tmp_path), "-cf", "-", "folder"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def test_a_file_is_there_under_each_of_its_names(packed: bytes) -> None:
    assert regular_files(packed) == {**FILES, "folder/second": FILES["folder/a"]}


def test_an_archive_that_breaks_off_is_never_a_shorter_one(packed: bytes) -> None:
    assert packed[-1024:] == bytes(1024)
    # Not even within the first of the two blocks of zeros that are its end.
    for length in range(len(packed) - 512):
        with pytest.raises(tarfile.TarError):
            regular_files(packed[:length])


def test_a_damaged_header_is_not_the_end(packed: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        starts = [member.offset for member in archive]
    for start in starts:
        damaged = packed[:start] + b"\xff" * 9 + packed[start + 9 :]
        with pytest.raises(tarfile.TarError):
            regular_files(damaged)
        with pytest.raises(tarfile.TarError):
            list(entries(io.BytesIO(damaged)))


def test_a_hard_link_to_nothing_is_refused(packed: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        link = archive.getmember("folder/second").tobuf()
    with pytest.raises(tarfile.TarError, match="folder/second is a hard link to folder/a, which is not before it"):
        regular_files(link + bytes(1024))


class HalfApi:
    """An engine whose answers break off between two entries of an archive."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def get_archive(self, container: str, path: str) -> tuple[Any, dict[str, Any]]:
        del container, path
        return iter([self.data]), {}

    def export(self, container: str) -> Any:
        del container
        return iter([self.data])


def test_an_engine_that_breaks_off_is_named_whatever_is_read(packed: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        half = packed[: archive.getmember("folder/c").offset]
    engine = DockerEngine.__new__(DockerEngine)
    engine._api = HalfApi(half)  # type: ignore[assignment]
    for read in (
        lambda: engine.read_file("a container", "folder"),
        lambda: engine.read_tree("a container", "folder"),
        lambda: list(engine.root_files("a container")),
    ):
        with pytest.raises(UnreachableError, match=r"container engine .* breaks off before its end"):
            read()


def test_chunks_are_read_in_any_sizes() -> None:
    chance = random.Random(3)
    data = chance.randbytes(5000)
    for _ in range(50):
        cuts = sorted(chance.choices(range(len(data) + 1), k=8))
        reader = ChunkReader(data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True))
        found = b""
        while len(found) < chance.randrange(len(data)):
            size = chance.randrange(1, 900)
            piece = reader.read(size)
            assert len(piece) == min(size, len(data) - len(found))
            found += piece
        assert found + reader.read() == data
        assert reader.read(9) == reader.read() == b""
