"""Files are written completely or not at all, and errors name the file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from kmatrix.effects.disk.files import cannot_write, file_digest, read_text, remove_unfinished, write_atomically
from kmatrix.values.errors import Exit, InputError


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    write_atomically(path, b"\xff", mode=0o600)
    assert path.read_bytes() == b"\xff"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_reader_keeps_what_it_opened(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "before")
    with path.open() as reader:
        write_atomically(path, "after")
        assert reader.read() == "before"
    assert path.read_text() == "after"


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["fdopen", "replace"])
def test_a_fault_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(os, step, fail)
    expected = InputError if isinstance(fault, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="No space left on device" if expected is InputError else None) as caught:
        write_atomically(path, "after")
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    if isinstance(caught.value, InputError):
        assert str(path) in str(caught.value)


def test_a_file_in_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "build").write_text("in the way")
    for path in (tmp_path / "build" / "x", tmp_path / "build" / "x" / "y"):
        with pytest.raises(InputError, match=f"cannot write {path}: (File exists|Not a directory)") as caught:
            write_atomically(path, "content")
        assert caught.value.exit_code is Exit.USAGE
    assert (tmp_path / "build").read_text() == "in the way"


def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*file: Is a directory"):
        write_atomically(tmp_path / "file", "content")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_reading_tells_what_the_file_was_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"matrix file .*x: No such file") as caught:
        read_text(tmp_path / "x", "matrix file", "write one")
    assert caught.value.hint == "write one"
    (tmp_path / "x").write_bytes(b"abc\xff")
    with pytest.raises(InputError, match=r"matrix file .*x: not UTF-8 at byte 3"):
        read_text(tmp_path / "x", "matrix file")
    (tmp_path / "x").write_text("grün", encoding="utf-8")
    assert read_text(tmp_path / "x", "matrix file") == "grün"


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "matrix[1].lock"
    others = [tmp_path / name for name in (".matrix[1].lock.swp", ".matrix[1].lock", ".matrix1.lock.kmatrix-x", "x")]
    for other in others:
        other.touch()
    write_atomically(path, "before")
    with monkeypatch.context() as killed:
        # As if the process were gone at once, without a chance to clear up.
        killed.setattr(os, "replace", lambda *_: None)
        write_atomically(path, "after")
    assert len(list(tmp_path.iterdir())) == len(others) + 2
    remove_unfinished(path)
    assert set(tmp_path.iterdir()) == {path, *others}
    assert path.read_text() == "before"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EIO, None])
def test_a_place_that_cannot_be_written_is_told_with_what_to_do(tmp_path: Path, code: int | None) -> None:
    error = OSError(code, os.strerror(code)) if code else OSError("odd")
    told = cannot_write(tmp_path / "file", error)
    assert str(tmp_path / "file") in told.message
    assert told.hint.endswith(".")


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "vmlinuz"
    file.write_bytes(b"abc")
    # FIPS 180-4's own example.
    assert file_digest(file) == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(InputError, match="missing"):
        file_digest(tmp_path / "missing")
